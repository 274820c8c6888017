"""Words that sound alike: phonetic codes, distances between them, and every word's nearest words.

The distance of two words is the weighted sum of the Levenshtein distances between their Soundex (0.2), Caverphone
(0.2), Metaphone (0.5) and NYSIIS (0.1) codes, as in Vygon & Mikhaylovskiy (2021, arXiv:2101.04792). The paper does
not say which Caverphone: this is 2.0. Words with equal codes are at distance 0 and so come **first** among the
nearest; the tables of the paper's own code pushed them away.
"""

import argparse
import hashlib
import json
import re
import sys
import time
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data.base import values
from data.base.cores import cores
from data.base.errors import UserError, exit_cleanly
from data.base.files import CACHE, open_regular, read_lines, read_npz, write_atomically
from data.manifests.corpus import load_corpus
from data.manifests.registry import REGISTRY

WEIGHTS = {"soundex": 2, "caverphone": 2, "metaphone": 5, "nysiis": 1}  # tenths: integer sums make ties exact
_CELLS = 2_000_000  # pairs held at a time
_VERSION = 1  # of codes, distance and tie-breaking; part of the cache's key

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
_RULES = {rules: [rule.rpartition(">") for rule in rules.split()]
          for rules in (_CAVERPHONE, _FOR_METAPHONE, _FOR_NYSIIS)}


def normalise(label: str) -> str:
    """The letters a-z of a label, lower case, accents removed: ``_silence_`` -> silence, ``Ærø`` -> aero, 35 -> ''."""
    plain = unicodedata.normalize("NFKD", label.casefold().translate(_LATIN))
    return "".join(letter for letter in plain if "a" <= letter <= "z")


def caverphone(word: str) -> str:
    """Caverphone 2.0 code of a normalised word, always 10 characters: peter -> PTA1111111."""
    return (_rewrite(word, _CAVERPHONE) + "1" * 10)[:10]


def _rewrite(word: str, rules: str) -> str:
    """Apply ``pattern>replacement`` rules, separated by blanks, one after another."""
    for pattern, _, replacement in _RULES[rules]:
        word = re.sub(pattern, replacement, word)
    return word


def codes(labels: Sequence[str]) -> dict[str, list[str]]:
    """The four codes of each label's normalised form, by name of the code; without a Latin letter they are empty."""
    import jellyfish

    words = [normalise(label) for label in labels]
    return {"soundex": [jellyfish.soundex(word) for word in words],
            "caverphone": [caverphone(word) for word in words],
            "metaphone": [jellyfish.metaphone(_rewrite(word, _FOR_METAPHONE)) for word in words],
            "nysiis": [jellyfish.nysiis(_rewrite(word, _FOR_NYSIIS)) for word in words]}


def nearest_words(labels: Sequence[str], top: int = 20,
                  cache_dir: str | Path = CACHE) -> tuple[np.ndarray, np.ndarray]:
    """Every word's nearest words, from the cache or else computed and kept in ``cache_dir``, under a name that follows
    from ``labels``, N words, and ``top``. Labels that are no words (``_unknown_``, ``35``) are welcome.

    Returns:
        (N, K) int32, K = min(top, N - 1), indices into ``labels``, nearest first, never the word itself; and (N, K)
        float32, their distances. Among words at equal distance the one spelled more alike (Levenshtein over the labels)
        comes first, then the lower index.
    """
    path = cache_file(labels, top, cache_dir)
    try:
        with open_regular(path) as file:
            tables = read_npz(file)
        indices, distances = tables["indices"], tables["distances"]
        shape = (len(labels), max(0, min(top, len(labels) - 1)))
        if indices.shape == distances.shape == shape and indices.dtype == np.int32 and (
                not indices.size or 0 <= indices.min() <= indices.max() < len(labels)):
            return indices, distances
    except (OSError, ValueError, KeyError):
        pass  # not there or not whole: computing takes seconds
    indices, distances = neighbours(labels, top)
    try:
        with write_atomically(path, "wb") as file:
            np.savez(file, indices=indices, distances=distances)
    except UserError as error:  # a read-only data folder must not keep anyone from training
        print(f"nearest words not cached: {error}", file=sys.stderr)
    return indices, distances


def cache_file(labels: Sequence[str], top: int, cache_dir: str | Path) -> Path:
    """Where the nearest words of exactly these labels, in this order, are cached."""
    key = json.dumps([_VERSION, WEIGHTS, top, list(labels)]).encode()
    return Path(cache_dir) / f"nearest-words-{hashlib.sha256(key).hexdigest()[:16]}.npz"


def neighbours(labels: Sequence[str], top: int) -> tuple[np.ndarray, np.ndarray]:
    """`nearest_words` by the distances of all pairs, a block of rows at a time; no N x N table ever exists."""
    count = len(labels)
    top = max(0, min(top, count - 1))
    indices, tenths = (np.zeros((count, top), np.int32) for _ in range(2))
    weighted = [(WEIGHTS[name], _Edits(values)) for name, values in codes(labels).items()]
    spelling, longest = _Edits(labels), 1 + max(map(len, labels), default=0)
    blocks = range(0, count if top else 0, max(1, _CELLS // max(count, 1)))
    for start in tqdm(blocks, desc="nearest words", disable=None, leave=False, delay=2):
        rows = slice(start, start + blocks.step)
        # One number a pair: first the distance, then the spelling, then the index.
        order = sum(weight * edits(rows) for weight, edits in weighted) * longest + spelling(rows)
        order = order.astype(np.int64) * count + np.arange(count)
        order[range(len(order)), range(start, start + len(order))] = np.iinfo(np.int64).max  # no word is near itself
        order = np.sort(np.partition(order, top - 1, axis=1)[:, :top], axis=1)
        indices[rows], tenths[rows] = order % count, order // count // longest
    return indices, (tenths / np.float32(10)).astype(np.float32)


class _Edits:
    """Edit distances between N texts, of which many are equal."""

    def __init__(self, texts: Sequence[str]):
        self.texts, self.distinct = texts, list(dict.fromkeys(texts))
        place = {text: i for i, text in enumerate(self.distinct)}
        self.index = np.array([place[text] for text in texts], np.int64)

    def __call__(self, rows: slice) -> np.ndarray:
        """(R, N) int32, of those rows against all."""
        from rapidfuzz.distance import Levenshtein
        from rapidfuzz.process import cdist

        return cdist(self.texts[rows], self.distinct, scorer=Levenshtein.distance, dtype=np.int32,
                     workers=cores()).take(self.index, axis=1)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m data.phonetics", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Lists the words that sound most like each word, as --data_probs uses them.\n\n"
                    "Distance: Levenshtein over the words' Soundex (0.2), Caverphone 2.0 (0.2), Metaphone (0.5) and "
                    "NYSIIS (0.1)\ncodes. Ties: the more alike spelling, then the earlier word.",
        epilog="example: python -m data.phonetics --manifest=demo --top=20 --sample=35")
    words = parser.add_argument_group("words (one of the two)").add_mutually_exclusive_group(required=True)
    words.add_argument("--manifest", metavar="NAME", help="the labels of this registered data set")
    words.add_argument("--words", metavar="FILE", help="a text file, one word a line")
    lists = parser.add_argument_group("lists")
    lists.add_argument("--top", type=values.count, default=20, help="nearest words kept for each word (default: 20)")
    lists.add_argument("--sample", type=values.whole, default=10, help="words printed, evenly spread over the list "
                       "(default: 10)")
    lists.add_argument("--out", metavar="FILE", help="also write every word's list here, a JSON object a line")
    lists.add_argument("--registry", metavar="FILE", default=REGISTRY, help="(default: manifests.json)")
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> None:
    if args.manifest is not None:
        train = load_corpus(args.manifest, ["train"], args.registry).splits["train"]
        labels, cache_dir, source = train.labels, train.path.parent, f"--manifest {args.manifest}"
    else:
        labels, cache_dir, source = read_lines(args.words), CACHE, f"--words {args.words}"
    if len(labels) < 2:
        raise UserError(f"{source}: only {len(labels)} distinct words; nearest words need at least 2")
    path = cache_file(labels, args.top, cache_dir)
    known, start = path.exists(), time.perf_counter()
    indices, distances = nearest_words(labels, args.top, cache_dir)
    seconds = time.perf_counter() - start
    for i in np.unique(np.linspace(0, len(labels) - 1, min(args.sample, len(labels))).astype(int)):
        print(f"{labels[i]}: " + ", ".join(f"{labels[j]} {d:.1f}"
                                           for j, d in zip(indices[i], distances[i], strict=True)))
    if args.out is not None:
        with write_atomically(args.out) as file:
            for word, near, far in zip(labels, indices, distances, strict=True):
                entry = {"word": word, "nearest": [labels[j] for j in near],
                         "distance": [round(float(d), 1) for d in far]}
                file.write(json.dumps(entry, ensure_ascii=False) + "\n")
    equal = int((distances[:, 0] == 0).sum())
    print(f"{len(labels):,} words x {indices.shape[1]} nearest {'read from the cache' if known else 'computed'} in "
          f"{seconds:.1f} s; {equal:,} words have another with equal codes")
    print(f"{'used' if known else 'cached in'} {path}" if path.exists() else "not cached")


if __name__ == "__main__":
    exit_cleanly(lambda: main(parse_args()))
