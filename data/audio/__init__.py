"""Recordings: found, decoded, and packed once for fast reading."""

from data.audio.decoding import decode
from data.audio.packed import PackedClips, pack

__all__ = ["PackedClips", "decode", "pack"]
