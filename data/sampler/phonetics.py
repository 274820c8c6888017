"""Words that sound alike: phonetic codes, distances between them, and every word's nearest words.

The distance of two words is the weighted sum of the Levenshtein distances between their Soundex (0.2), Caverphone
(0.2), Metaphone (0.5) and NYSIIS (0.1) codes, as in Vygon & Mikhaylovskiy (2021, arXiv:2101.04792). The paper does
not say which Caverphone: this is 2.0. Words with equal codes are at distance 0 and so come **first** among the
nearest; the tables of the paper's own code pushed them away.
"""

import re
import unicodedata
from collections.abc import Sequence
from functools import cache

import numpy as np
from tqdm import tqdm

from data.base.cores import cores

WEIGHTS = {"soundex": 2, "caverphone": 2, "metaphone": 5, "nysiis": 1}  # tenths: integer sums make ties exact
_CELLS = 2_000_000  # pairs held at a time

_LATIN = str.maketrans({"æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i"})
# Caverphone 2.0's rules in their order (D. Hood, Caverphone Revisited, Caversham Project technical paper CTP150804,
# 2004). 2 stands for a letter that falls silent, 3 for a vowel; capitals are letters that no later rule touches.
_CAVERPHONE = """
    e$> ^(c|r|t|en|tr)ough>\\1ou2f ^gn>2n mb$>m2
    cq>2q c(?=[iey])>s tch>2ch [cqx]>k v>f dg>2g ti(?=[oa])>si d>t ph>fh b>p sh>s2 z>s
    ^[aeiou]>A [aeiou]>3 j>y ^y3>Y3 ^y>A y>3 3gh3>3kh3 gh>22 g>k
    s+>S t+>T p+>P k+>K f+>F m+>M n+>N
    w3>W3 wh3>Wh3 w$>3 w>2 ^h>A h>2 r3>R3 r$>3 r>2 l3>L3 l$>3 l>2
    2> 3$>A 3>"""
# Where jellyfish departs from the published rules the word is respelled, so that the code comes out as published:
# school SKL, science SNS, sign and signed SN and SNT, bigger BKR; brown BRAN.
_FOR_METAPHONE = "sch>sk sc(?=[eiy])>s gn(?=$|ed$)>n gg>k"
_FOR_NYSIIS = "(?<=.)[eiou]w>aw"


def normalise(label: str) -> str:
    """The letters a-z of a label, lower case, accents removed: ``_silence_`` -> silence, ``Ærø`` -> aero, 35 -> ''."""
    plain = unicodedata.normalize("NFKD", label.casefold().translate(_LATIN))
    return "".join(letter for letter in plain if "a" <= letter <= "z")


def caverphone(word: str) -> str:
    """Caverphone 2.0 code of a normalised word, always 10 characters: peter -> PTA1111111."""
    return (_rewrite(word, _CAVERPHONE) + "1" * 10)[:10]


def _rewrite(word: str, rules: str) -> str:
    """Apply ``pattern>replacement`` rules, separated by blanks, one after another."""
    for pattern, replacement in _compiled(rules):
        word = pattern.sub(replacement, word)
    return word


@cache
def _compiled(rules: str) -> list[tuple[re.Pattern, str]]:
    return [(re.compile(pattern), replacement) for pattern, _, replacement in
            (rule.rpartition(">") for rule in rules.split())]


def codes(labels: Sequence[str]) -> dict[str, list[str]]:
    """The four codes of each label's normalised form, by name of the code; without a Latin letter they are empty."""
    import jellyfish

    words = [normalise(label) for label in labels]
    return {"soundex": [jellyfish.soundex(word) for word in words],
            "caverphone": [caverphone(word) for word in words],
            "metaphone": [jellyfish.metaphone(_rewrite(word, _FOR_METAPHONE)) for word in words],
            "nysiis": [jellyfish.nysiis(_rewrite(word, _FOR_NYSIIS)) for word in words]}


def nearest_words(labels: Sequence[str], top: int) -> np.ndarray:
    """Every word's nearest words, by the distances of all pairs, a block of rows at a time.

    Args:
        labels: N words; labels that are no words (``_unknown_``, ``35``) are welcome.

    Returns:
        (N, K) int32, K = min(top, N - 1), indices into ``labels``, nearest first, never the word itself. Among words at
        equal distance the one spelled more alike (Levenshtein over the labels) comes first, then the lower index.
    """
    from rapidfuzz.distance import Levenshtein
    from rapidfuzz.process import cdist

    count = len(labels)
    top = max(0, min(top, count - 1))
    nearest = np.zeros((count, top), np.int32)
    weighted = [(WEIGHTS[name], texts) for name, texts in codes(labels).items()]
    longest = 1 + max(map(len, labels), default=0)
    blocks = range(0, count if top else 0, max(1, _CELLS // max(count, 1)))
    for start in tqdm(blocks, desc="nearest words", disable=None, leave=False, delay=2):
        rows = slice(start, start + blocks.step)

        def edits(texts: Sequence[str], rows: slice = rows) -> np.ndarray:  # (R, N)
            return cdist(texts[rows], texts, scorer=Levenshtein.distance, dtype=np.int32, workers=cores())

        # One number a pair: first the distance, then the spelling, then the index.
        order = sum(weight * edits(texts) for weight, texts in weighted) * longest + edits(labels)
        order = order.astype(np.int64) * count + np.arange(count)
        order[range(len(order)), range(start, start + len(order))] = np.iinfo(np.int64).max  # no word is near itself
        nearest[rows] = np.sort(np.partition(order, top - 1, axis=1)[:, :top], axis=1) % count
    return nearest
