"""A pronunciation, in ARPAbet, for an English word that the dictionary lacks.

Most such words are inflections or compounds of words it has (footfalls, becky's, unfurnished), so those are tried
first. The rest is spelled out by letter-to-sound rules: the longest group of letters that fits, left to right, with
a few contexts. Good enough to align a known transcript, where a wrong vowel hardly moves a boundary.
"""

import re
from collections.abc import Callable

Lookup = Callable[[str], str | None]  # a word's phones, separated by spaces

_VOICELESS = {"P", "T", "K", "F", "TH"}
_SIBILANT = {"S", "Z", "SH", "ZH", "CH", "JH"}
_PREFIXES = {"un": "AH N", "re": "R IY", "in": "IH N", "im": "IH M", "dis": "D IH S", "mis": "M IH S", "non": "N AA N",
             "over": "OW V ER", "under": "AH N D ER", "out": "AW T", "fore": "F AO R", "pre": "P R IY", "sub": "S AH B",
             "en": "EH N", "inter": "IH N T ER"}
_SUFFIXES = {"ness": "N AH S", "ly": "L IY", "less": "L AH S", "ful": "F AH L", "ment": "M AH N T", "ship": "SH IH P",
             "ing": "IH NG", "in'": "IH N", "er": "ER", "ers": "ER Z", "est": "AH S T", "ings": "IH NG Z", "y": "IY",
             "able": "AH B AH L", "ish": "IH SH", "ward": "W ER D", "wards": "W ER D Z", "or": "ER", "ist": "AH S T",
             "hood": "HH UH D", "like": "L AY K", "man": "M AH N", "men": "M EH N", "dom": "D AH M", "some": "S AH M"}

# Letters, what follows them (a regular expression), phones. The first that fits is taken, so longer ones come first.
_RULES = [(letters, re.compile(after), phones.split()) for letters, after, phones in (
    ("tion", "", "SH AH N"), ("sion", "", "ZH AH N"), ("cian", "", "SH AH N"), ("cious", "", "SH AH S"),
    ("tious", "", "SH AH S"), ("tial", "", "SH AH L"), ("cial", "", "SH AH L"), ("ture", r"s?$", "CH ER"),
    ("sure", r"s?$", "ZH ER"), ("eigh", "", "EY"), ("ough", "t", "AO"), ("ough", "", "OW"), ("augh", "", "AO"),
    ("igh", "", "AY"), ("tch", "", "CH"), ("sch", "", "SH"), ("dge", "", "JH"), ("eau", "", "OW"), ("oor", "", "AO R"),
    ("our", "", "AO R"), ("air", "", "EH R"), ("are", r"s?$", "EH R"), ("ear", "", "IH R"), ("eer", "", "IH R"),
    ("ire", r"s?$", "AY ER"), ("ure", r"s?$", "Y UH R"), ("ore", r"s?$", "AO R"), ("ous", "$", "AH S"),
    ("ism", "$", "IH Z AH M"), ("que", "$", "K"), ("gue", "$", "G"), ("sce", "", "S EH"), ("sci", "", "S IH"),
    ("ch", "r", "K"), ("ch", "", "CH"), ("ck", "", "K"), ("gh", "", "G"), ("gn", "$", "N"), ("kh", "", "K"),
    ("ng", "$", "NG"), ("ng", "[^aeiouyr]", "NG"), ("nk", "", "NG K"), ("ph", "", "F"), ("qu", "", "K W"),
    ("rh", "", "R"), ("sh", "", "SH"), ("th", "", "TH"), ("wh", "", "W"), ("wr", "", "R"), ("zz", "", "Z"),
    ("cc", "[eiy]", "K S"), ("mb", "$", "M"), ("ts", "$", "T S"),
    ("ai", "", "EY"), ("ay", "", "EY"), ("au", "", "AO"), ("aw", "", "AO"), ("ee", "", "IY"), ("ea", "", "IY"),
    ("ei", "", "IY"), ("ey", "$", "IY"), ("ey", "", "EY"), ("eu", "", "Y UW"), ("ew", "", "UW"), ("ie", "", "IY"),
    ("ia", "", "IY AH"), ("io", "", "IY OW"), ("oa", "", "OW"), ("oe", "", "OW"), ("oi", "", "OY"), ("oy", "", "OY"),
    ("oo", "", "UW"), ("ou", "", "AW"), ("ow", "$", "OW"), ("ow", "", "AW"), ("ue", "$", "UW"), ("ui", "", "UW"),
    ("ae", "", "IY"), ("aa", "", "AA"), ("ah", "$", "AH"), ("oh", "$", "OW"), ("uh", "$", "AH"),
    ("ar", "[aeiou]", "EH R"), ("ar", "", "AA R"), ("er", "", "ER"), ("ir", "", "ER"), ("or", "", "AO R"),
    ("ur", "", "ER"), ("yr", "", "IH R"), ("es", "$", "Z"), ("al", "$", "AH L"), ("el", "$", "AH L"),
    ("le", "$", "AH L"),
    ("a", "[^aeiouywxr]e(s|d)?$", "EY"), ("e", "[^aeiouywxr]e(s|d)?$", "IY"), ("i", "[^aeiouywxr]e(s|d)?$", "AY"),
    ("o", "[^aeiouywxr]e(s|d)?$", "OW"), ("u", "[^aeiouywxr]e(s|d)?$", "UW"), ("y", "[^aeiouywxr]e(s|d)?$", "AY"),
    ("a", "$", "AH"), ("a", "", "AE"), ("e", "$", ""), ("e", "", "EH"), ("i", "$", "IY"), ("i", "", "IH"),
    ("o", "$", "OW"), ("o", "[^aeiou][aeiou]", "OW"), ("o", "", "AA"), ("u", "$", "UW"), ("u", "[^aeiou][aeiou]", "UW"),
    ("u", "", "AH"), ("y", "$", "IY"), ("y", "[aeiou]", "Y"), ("y", "", "IH"),
    ("b", "", "B"), ("c", "[eiy]", "S"), ("c", "", "K"), ("d", "", "D"), ("f", "", "F"), ("g", "[eiy]", "JH"),
    ("g", "", "G"), ("h", "", "HH"), ("j", "", "JH"), ("k", "", "K"), ("l", "", "L"), ("m", "", "M"), ("n", "", "N"),
    ("p", "", "P"), ("q", "", "K"), ("r", "", "R"), ("s", "m$", "Z AH"), ("s", "", "S"), ("t", "", "T"), ("v", "", "V"),
    ("w", "", "W"), ("x", "", "K S"), ("z", "", "Z"),
)]
_FIRST = {"kn": ["N"], "gn": ["N"], "ps": ["S"], "pt": ["T"], "pn": ["N"], "x": ["Z"], "mc": ["M", "AH", "K"]}


def pronounce(word: str, lookup: Lookup) -> str | None:
    """Phones of a word, separated by spaces: the dictionary's, or put together from its words, or by rules.

    Args:
        word: lower case.
        lookup: phones of a word of the dictionary, None for any other.

    Returns:
        None where the word has anything but the letters a-z and apostrophes.
    """
    if not re.fullmatch("[a-z']*[a-z][a-z']*", word):
        return None
    phones = lookup(word)
    if phones is None:
        phones = _derived(word, lookup) or _derived(word.replace("'", ""), lookup)
    return phones or spell(word.replace("'", ""))


def _derived(word: str, lookup: Lookup) -> str | None:
    """From an inflected or composed word of the dictionary, or None."""
    if word.endswith(("'s", "s'")) and (stem := _base(word[:-2] + "s" * (word[-1] == "'"), lookup)):
        return stem if word[-1] == "'" else _with_s(stem)
    if word.endswith("s") and (stem := _base(word[:-1], lookup)):
        return _with_s(stem)
    if word.endswith("es") and (stem := _base(word[:-2], lookup)):
        return _with_s(stem)
    if word.endswith("ies") and (stem := lookup(word[:-3] + "y")):
        return _with_s(stem)
    if word.endswith("ed") and (stem := _stem(word[:-2], lookup)):
        last = stem.split()[-1]
        return stem + (" AH D" if last in ("T", "D") else " T" if last in _VOICELESS | {"S", "SH", "CH"} else " D")
    for suffix, phones in _SUFFIXES.items():
        if word.endswith(suffix) and (stem := _stem(word[:-len(suffix)], lookup)):
            return f"{stem} {phones}"
    for prefix, phones in _PREFIXES.items():
        rest = word[len(prefix):]
        if word.startswith(prefix) and len(rest) > 2 and (stem := lookup(rest) or _derived(rest, lookup)):
            return f"{phones} {stem}"
    for cut in sorted(range(3, len(word) - 2), key=lambda cut: abs(2 * cut - len(word))):  # the most even compound
        if (first := lookup(word[:cut])) and (second := lookup(word[cut:])):
            return f"{first} {second}"
    return None


def _base(word: str, lookup: Lookup) -> str | None:
    return lookup(word) or (_derived(word, lookup) if len(word) > 4 else None)


def _stem(word: str, lookup: Lookup) -> str | None:
    """What is left before a suffix, with the spelling it has alone: hop(p)-ing, mak(e)-ing, happi-ness."""
    if len(word) < 3:
        return None
    spellings = [word, word + "e"] + [word[:-1]] * (word[-1] == word[-2]) + [word[:-1] + "y"] * (word[-1] == "i")
    for spelling in spellings:
        if phones := lookup(spelling):
            return phones
    return _derived(word, lookup) if len(word) > 4 else None


def _with_s(stem: str) -> str:
    last = stem.split()[-1]
    return stem + (" AH Z" if last in _SIBILANT else " S" if last in _VOICELESS else " Z")


def spell(word: str) -> str:
    """Phones of a word (a-z only) by rules alone; never empty."""
    phones: list[str] = []
    place = 0
    for letters, start in _FIRST.items():
        if word.startswith(letters) and len(word) > len(letters):
            phones, place = list(start), len(letters)
            break
    while place < len(word):
        for letters, after, sound in _RULES:
            if word.startswith(letters, place) and after.match(word, place + len(letters)):
                phones += [sound[0]] * (sound[:1] != phones[-1:]) + sound[1:] if sound else []  # tt is one T
                place += len(letters)
                break
    return " ".join(phones) or "AH"
