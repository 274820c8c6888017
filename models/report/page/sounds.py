"""Sound that a page carries within itself: compressed, as a data URI that browsers play."""

import base64
import io

import numpy as np

from data.audio.decoding import SAMPLE_RATE

# Name, what libsndfile calls it, its media type, and what the page says of it. The second is a sixth of the first.
CODECS = (("FLAC", {"format": "FLAC", "subtype": "PCM_16"}, "audio/flac", "FLAC, sample by sample as it was heard"),
          ("Opus", {"format": "OGG", "subtype": "OPUS"}, "audio/ogg",
           "Ogg Opus of some 27 kbit/s, so that more clips fit; what was heard had no such losses"))


def data_uri(content: bytes, kind: str) -> str:
    """Bytes of a media type as an address that holds them."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def sound_uri(samples: np.ndarray, codec: int) -> str:
    """(T,) int16 at 16 kHz as a data URI, by one of `CODECS`; at least a sample, for players want some."""
    import soundfile

    _, how, kind, _ = CODECS[codec]
    content = io.BytesIO()
    soundfile.write(content, samples if len(samples) else np.zeros(1, np.int16), SAMPLE_RATE, **how)
    return data_uri(content.getvalue(), kind)
