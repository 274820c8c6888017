"""Phonetic codes against published examples; nearest words against brute force."""

from functools import cache

import numpy as np
import pytest

from data.sampler import phonetics
from data.sampler.phonetics import caverphone, codes, nearest_words, normalise

WORDS = ["cat", "cut", "kit", "bed", "bad", "bird", "happy", "house", "zero", "one", "won", "two", "too", "to", "three",
         "tree", "four", "for", "five", "nine", "eight", "ate", "go", "no", "know", "down", "dawn", "left", "right",
         "write", "up", "on", "off", "stop", "yes", "wow", "sheila", "marvin", "dog", "follow", "forward", "backward",
         "learn", "visual", "night", "knight", "thought", "though", "sign", "sine", "psalm", "school", "skull"]
ODD = ["_silence_", "_unknown_", "35", "36", "7", "été", "ete", "ночь", "день", "日本", "don't", "turn on", "", "-"]


# Each code's published examples.

@pytest.mark.parametrize(("name", "pairs"), {
    # The census rules' and Knuth's examples (The Art of Computer Programming, volume 3).
    "soundex": "Robert R163 Rupert R163 Rubin R150 Ashcraft A261 Ashcroft A261 Tymczak T522 Pfister P236 Honeyman H555 "
               "Euler E460 Ellery E460 Gauss G200 Ghosh G200 Hilbert H416 Heilbronn H416 Knuth K530 Kant K530 "
               "Lloyd L300 Ladd L300 Lukasiewicz L222 Lissajous L222",
    # Hood's paper, and the lists of equal names in its appendix.
    "caverphone": "Lee LA11111111 Thompson TMPSN11111 Stevenson STFNSN1111 Peter PTA1111111 add AT11111111 "
                  "earth AT11111111 head AT11111111 heart AT11111111 out AT11111111 rather RTA1111111 "
                  "ready RTA1111111 writer RTA1111111 social SSA1111111 able APA1111111 appear APA1111111 "
                  "Darda TTA1111111 Tedder TTA1111111 Karleen KLN1111111 Dyun TN11111111 Whittle WTA1111111 "
                  "Henrichsen ANRKSN1111 mb M111111111 mbmb MPM1111111 cough KF11111111 enough ANF1111111",
    # Philips' rules (Computer Language, 1990).
    "metaphone": "metaphone MTFN howl HL the 0 quick KK brown BRN fox FKS jumped JMPT over OFR lazy LS dogs TKS "
                 "knight NT gnome NM wright RT phone FN dumb TM thumb 0M whole WL nation NXN vision FXN sheep XP "
                 "judge JJ edge EJ catch KX xray SR school SKL schmidt SKMTT science SNS sign SN signed SNT bigger BKR",
    # Taft (1970) and the worked examples in common use.
    "nysiis": "knight NAGT mitchell MATCAL odaniel ODANAL brown BRAN obanion OBANAN mclaughlin MCLAGLAN chapman CAPNAN "
              "silva SALV mcdonald MCDANALD lawson LASAN jacobs JACAB greene GRAN obrien OBRAN morrison MARASAN "
              "larson LARSAN willis WAL mackenzie MCANSY lawrence LARANC matthews MAT richards RACARD "
              "franklin FRANCLAN worthy WARTY montgomery MANTGANARY macintosh MCANT phillipson FALAPSAN",
}.items())
def test_published_codes(name, pairs):
    words, expected = pairs.split()[::2], pairs.split()[1::2]
    assert dict(zip(words, codes(words)[name], strict=True)) == dict(zip(words, expected, strict=True))


def test_normalise_keeps_latin_letters_only():
    assert [normalise(label) for label in ("_silence_", "Don't", "Ærø", "été", "straße", "35", "ночь", "")] == \
        ["silence", "dont", "aero", "ete", "strasse", "", "", ""]


@pytest.mark.parametrize("label", [*ODD, "a", "x" * 300, "ﬁx", "\ud800"])
def test_any_label_has_codes(label):
    for name, (code,) in codes([label]).items():
        assert code.isascii(), name
    assert len(caverphone(normalise(label))) == 10


# Nearest words.

@cache
def levenshtein(a: str, b: str) -> int:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        above, row[0] = row[:], i
        for j, y in enumerate(b, 1):
            row[j] = min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (x != y))
    return row[-1]


def brute_force(labels: list[str], top: int) -> list[list[int]]:
    """The definition, read literally: every pair, sorted by (distance, spelling, index)."""
    weights = {"soundex": 0.2, "caverphone": 0.2, "metaphone": 0.5, "nysiis": 0.1}
    of = codes(labels)
    return [[j for *_, j in sorted((round(sum(w * levenshtein(of[c][i], of[c][j]) for c, w in weights.items()), 6),
                                    levenshtein(word, other), j) for j, other in enumerate(labels) if j != i)[:top]]
            for i, word in enumerate(labels)]


@pytest.mark.parametrize(("top", "cells"), [(1, 4_000_000), (5, 200), (1000, 4_000_000)])  # all rows, or a few
@pytest.mark.parametrize("labels", [
    [*WORDS, *ODD, "cat", "35"], ["yes", "no"],
    ["".join(word[:2 + i % 5]) for i, word in enumerate(np.random.default_rng(0).choice(list("абвгд"), (40, 6)))]])
def test_equals_brute_force(monkeypatch, top, cells, labels):
    monkeypatch.setattr(phonetics, "_CELLS", cells)
    found = nearest_words(labels, top)
    assert found.dtype == np.int32 and found.shape == (len(labels), min(top, len(labels) - 1))
    assert found.tolist() == brute_force(labels, top)


def test_a_word_alone_has_none():
    assert [nearest_words(labels, 20).tolist() for labels in ([], ["yes"])] == [[], [[]]]
