"""Encoders that hear context at both ends of a clip, so that a recording's windows share their work.

A window's embedding is then a mean over frames that do not depend on where the window begins: the front end normalises
by constants, and the convolutions see real sound beyond the stretch that is averaged over.
"""

SHARED = "constant"  # the --compression of such an encoder, a Res8
SECONDS = 0.2  # of context at either end of a clip
ROW = 480  # samples from a row of frames, three of which Res8 pools, to the next
MARGIN = 7  # rows at either end that the clip's edge changes: one by the spectrum and the first layer, six by six more


def rows_of(samples: int) -> int:
    """Rows of frames that have all their context, of a clip of so many samples."""
    return (3 * samples // ROW + 1) // 3 - 2 * MARGIN


def context_seconds(compression: str) -> float:
    """Seconds at either end of a clip that are heard, but not averaged over."""
    return SECONDS if compression == SHARED else 0.0
