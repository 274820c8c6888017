"""A pronunciation, in ARPAbet, for an English word that the dictionary lacks: what eSpeak NG would say."""

import ctypes
import re
from functools import lru_cache

from data.base.errors import UserError

# eSpeak NG's names of phonemes in its American voice, stress marks left out; what is not here is silent.
_PHONES = """
    p>P b>B t>T t#>T t2>T d>D k>K g>G f>F v>V T>TH D>DH s>S z>Z S>SH Z>ZH h>HH m>M n>N n->AH+N N>NG l>L r>R r->R w>W
    j>Y tS>CH dZ>JH x>K ?>T @>AH @->AH @2>AH @L>AH+L 3>ER 3:>ER a>AE a#>AH aa>AE A:>AA A@>AA+R 0>AA V>AH E>EH e@>EH+R
    eI>EY I>IH I2>IH I#>IH i>IY i:>IY i@>IY+AH i@3>IH+R O:>AO O2>AO O@>AO+R o@>AO+R oU>OW OI>OY U>UH U@>UH+R u:>UW
    aI>AY aI3>AY+ER aI@>AY+AH aU>AW"""


def pronounce(word: str) -> str | None:
    """Phones of a word, lower case, separated by spaces; None where it has anything but a-z and apostrophes."""
    if not re.fullmatch("[a-z']*[a-z][a-z']*", word):
        return None
    text = ctypes.c_char_p(word.encode())
    names = _espeak().espeak_TextToPhonemes(ctypes.byref(text), 1, ord(" ") << 8).decode()
    phones = dict(pair.split(">") for pair in _PHONES.split())
    spoken = " ".join(filter(None, (phones.get(name.strip("',%=")) for name in names.split()))).replace("+", " ")
    return re.sub(r"\b(\w+)( \1\b)+", r"\1", spoken) or "AH"  # oar-ah has one R


@lru_cache(1)
def _espeak() -> ctypes.CDLL:
    try:
        import espeakng_loader

        library = ctypes.CDLL(espeakng_loader.get_library_path())
        usable = library.espeak_Initialize(2, 0, espeakng_loader.get_data_path().encode(), 0) > 0
    except (ImportError, OSError, RuntimeError):
        usable = False
    if not usable or library.espeak_SetVoiceByName(b"en-us"):
        raise UserError("eSpeak NG, which pronounces words, cannot be used; install it with: pip install -r "
                        "requirements.txt")
    library.espeak_TextToPhonemes.restype = ctypes.c_char_p
    library.espeak_TextToPhonemes.argtypes = [ctypes.POINTER(ctypes.c_char_p), ctypes.c_int, ctypes.c_int]
    return library
