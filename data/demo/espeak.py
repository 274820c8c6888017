"""Words spoken by eSpeak NG through the espeakng-loader wheel, the same bytes every time.

The library seeds its noise from the clock and carries state from one word to the next. So a process of its own, this
file's ``main``, speaks each list of words, from a fixed seed.
"""

import ctypes
import json
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from data.base.errors import UserError
from data.base.files import ROOT

# From espeak-ng/speak_lib.h
_SYNCHRONOUS = 2  # espeak_AUDIO_OUTPUT: all samples have gone to the callback when espeak_Synth returns
_RATE, _PITCH, _RANGE = 1, 3, 4  # espeak_PARAMETER
_CHARACTERS, _UTF8 = 1, 1  # espeak_POSITION_TYPE, flags
_UNUSABLE = 3  # exit code of the child when the library cannot be used; its stderr says why


class Saying(NamedTuple):
    """One word: ``rate`` in words a minute (80-450), ``pitch`` and its ``range`` 0-99, 50 being the voice's own."""

    word: str
    rate: int = 160
    pitch: int = 50
    range: int = 50


def speak(voice: str, sayings: Sequence[Saying]) -> tuple[int, list]:
    """Let an eSpeak NG voice, such as ``en-us+f3``, say words, in a fresh process: samples per second, and for each
    word (T,) int16. Raises UserError: the library is not installed, cannot be loaded, or has no such voice."""
    import numpy as np  # not at the top, for the process that speaks needs none

    child = subprocess.run([sys.executable, "-m", "data.demo.espeak"], cwd=ROOT,
                           input=json.dumps([voice, list(sayings)]).encode(), capture_output=True)
    if child.returncode == _UNUSABLE:
        raise UserError(f"eSpeak NG cannot speak: {child.stderr.decode(errors='replace').strip()}; "
                        "install it with: pip install -r requirements.txt")
    if child.returncode:
        raise RuntimeError(f"eSpeak NG process for {voice} ended with code {child.returncode}: "
                           + child.stderr.decode(errors="replace"))
    rate, *lengths = struct.unpack_from(f"<{1 + len(sayings)}i", child.stdout)
    samples = np.frombuffer(child.stdout, "<i2", offset=4 * (1 + len(sayings)))
    return rate, np.split(samples, np.cumsum(lengths)[:-1])


def main() -> int:
    """The child: a voice and its sayings as JSON on stdin; rate, lengths (int32) and samples (int16) on stdout."""
    voice, sayings = json.load(sys.stdin)
    try:
        import espeakng_loader

        library = ctypes.CDLL(espeakng_loader.get_library_path())
        data = espeakng_loader.get_data_path()
    except (ImportError, OSError, RuntimeError) as error:
        print(f"espeakng-loader: {error}".replace("\n", " "), file=sys.stderr)
        return _UNUSABLE
    library.espeak_Synth.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int, ctypes.c_uint,
                                     ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p]
    library.espeak_ng_SetRandSeed.argtypes = [ctypes.c_long]
    pieces: list[bytes] = []

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
    def keep(samples, count, _events):
        if samples and count > 0:
            pieces.append(ctypes.string_at(samples, 2 * count))
        return 0  # go on

    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, data.encode(), 0)
    if rate <= 0:
        print(f"its data folder {data} cannot be used", file=sys.stderr)
        return _UNUSABLE
    library.espeak_SetSynthCallback(keep)
    variant = Path(data, "voices", "!v", voice.partition("+")[2])  # an unknown one is silently left out
    if not variant.exists() or library.espeak_SetVoiceByName(voice.encode()):
        print(f"it has no voice {voice!r}", file=sys.stderr)
        return _UNUSABLE
    library.espeak_ng_SetRandSeed(1)  # after the start, which seeds from the clock
    spoken = []
    for word, *settings in sayings:
        for parameter, value in zip((_RATE, _PITCH, _RANGE), settings, strict=True):
            library.espeak_SetParameter(parameter, value, 0)
        text = word.encode() + b"\0"
        pieces.clear()
        if library.espeak_Synth(text, len(text), 0, _CHARACTERS, 0, _UTF8, None, None):
            raise RuntimeError(f"espeak_Synth failed on {word!r}")
        spoken.append(b"".join(pieces))
    lengths = [len(samples) // 2 for samples in spoken]
    sys.stdout.buffer.write(struct.pack(f"<{1 + len(spoken)}i", rate, *lengths) + b"".join(spoken))
    return 0


if __name__ == "__main__":
    sys.exit(main())
