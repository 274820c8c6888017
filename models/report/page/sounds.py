"""Sound that a page carries within itself: compressed, as a data URI that browsers play."""

import base64
import io

import numpy as np

from data.audio.decoding import SAMPLE_RATE


def data_uri(content: bytes, kind: str) -> str:
    """Bytes of a media type as an address that holds them."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def sound_uri(samples: np.ndarray, lossless: bool) -> str:
    """(T,) int16 at 16 kHz as a data URI of FLAC or, a sixth as large, of Ogg Opus; at least a sample, which players
    want."""
    import soundfile

    content, how = io.BytesIO(), ("FLAC", "PCM_16") if lossless else ("OGG", "OPUS")
    soundfile.write(content, samples if len(samples) else np.zeros(1, np.int16), SAMPLE_RATE, how[1], format=how[0])
    return data_uri(content.getvalue(), f"audio/{how[0].lower()}")
