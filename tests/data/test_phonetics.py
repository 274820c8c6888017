"""Phonetic codes against published examples; nearest words against brute force."""

import json
import os
import subprocess
import sys
from functools import cache

import numpy as np
import pytest

from data import phonetics
from data.base.errors import UserError
from data.base.files import ROOT, read_lines
from data.manifests.manifest import Utterance
from data.phonetics import cache_file, caverphone, codes, nearest_words, neighbours, normalise
from tests.conftest import write_set

WORDS = ["cat", "cut", "kit", "bed", "bad", "bird", "happy", "house", "zero", "one", "won", "two", "too", "to", "three",
         "tree", "four", "for", "five", "nine", "eight", "ate", "go", "no", "know", "down", "dawn", "left", "right",
         "write", "up", "on", "off", "stop", "yes", "wow", "sheila", "marvin", "dog", "follow", "forward", "backward",
         "learn", "visual", "night", "knight", "thought", "though", "sign", "sine", "psalm", "school", "skull"]
ODD = ["_silence_", "_unknown_", "35", "36", "7", "été", "ete", "ночь", "день", "日本", "don't", "turn on", "", "-"]


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


@cache
def levenshtein(a: str, b: str) -> int:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        above, row[0] = row[:], i
        for j, y in enumerate(b, 1):
            row[j] = min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (x != y))
    return row[-1]


def brute_force(labels: list[str], top: int) -> tuple[list[list[int]], list[list[float]]]:
    """The definition, read literally: every pair, sorted by (distance, spelling, index)."""
    weights = {"soundex": 0.2, "caverphone": 0.2, "metaphone": 0.5, "nysiis": 0.1}
    of = codes(labels)
    indices, distances = [], []
    for i, word in enumerate(labels):
        ranked = sorted((round(sum(w * levenshtein(of[c][i], of[c][j]) for c, w in weights.items()), 6),
                         levenshtein(word, other), j) for j, other in enumerate(labels) if j != i)[:top]
        indices.append([j for _, _, j in ranked])
        distances.append([d for d, _, _ in ranked])
    return indices, distances


@pytest.mark.parametrize(("top", "cells"), [(1, 4_000_000), (5, 200), (1000, 4_000_000)])  # all rows, or a few
@pytest.mark.parametrize("labels", [
    [*WORDS, *ODD, "cat", "35"],
    ["".join(word[:2 + i % 5]) for i, word in enumerate(np.random.default_rng(0).choice(list("абвгд"), (40, 6)))]])
def test_equals_brute_force(monkeypatch, top, cells, labels):
    monkeypatch.setattr(phonetics, "_CELLS", cells)
    indices, distances = neighbours(labels, top)
    expected_indices, expected_distances = brute_force(labels, top)
    assert indices.dtype == np.int32 and distances.dtype == np.float32
    assert indices.shape == distances.shape == (len(labels), min(top, len(labels) - 1))
    assert indices.tolist() == expected_indices
    np.testing.assert_allclose(distances, expected_distances, atol=1e-6)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_labels(tmp_path, count):
    found = nearest_words(["yes", "no"][:count], cache_dir=tmp_path)[0]
    assert found.dtype == np.int32 and found.tolist() == [[], [[]], [[1], [0]]][count]


def test_cached_by_content_and_the_same_bytes(tmp_path, monkeypatch):
    first = nearest_words(WORDS, 5, tmp_path)[0]
    assert [path.name for path in tmp_path.iterdir()] == [cache_file(WORDS, 5, tmp_path).name]
    nearest_words(WORDS, 5, tmp_path / "b")
    assert cache_file(WORDS, 5, tmp_path).read_bytes() == cache_file(WORDS, 5, tmp_path / "b").read_bytes()
    monkeypatch.setattr(phonetics, "neighbours", None)  # a second computation would fail
    np.testing.assert_array_equal(nearest_words(WORDS, 5, tmp_path)[0], first)
    paths = {cache_file(labels, top, tmp_path) for labels, top in (
        (WORDS, 5), (WORDS, 6), (WORDS[::-1], 5), (["ab", "c"], 5), (["a", "bc"], 5))}
    assert len(paths) == 5


def test_a_cache_of_impossible_words_is_made_anew(tmp_path):
    first = nearest_words(WORDS, 5, tmp_path)[0]
    cached = cache_file(WORDS, 5, tmp_path)
    for change in (lambda table: table + len(WORDS), lambda table: table - len(WORDS),
                   lambda table: table.astype(float), lambda table: table.astype(object)):
        with np.load(cached) as tables:
            old = dict(tables)
        np.savez(cached, indices=change(old["indices"]), distances=old["distances"])
        np.testing.assert_array_equal(nearest_words(WORDS, 5, tmp_path)[0], first)
    for damaged in (b"", b"PK\x03\x04 cut off"):
        cached.write_bytes(damaged)
        np.testing.assert_array_equal(nearest_words(WORDS, 5, tmp_path)[0], first)
    cached.unlink()
    os.mkfifo(cached)
    np.testing.assert_array_equal(nearest_words(WORDS, 5, tmp_path)[0], first)  # and waits for nobody


def test_an_unwritable_cache_is_no_error(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    found, _ = nearest_words(WORDS, 5, tmp_path / "file" / "cache")
    assert found.tolist() == brute_force(WORDS, 5)[0]
    assert "not cached" in capsys.readouterr().err


def run(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "data.phonetics", *map(str, arguments)], capture_output=True,
                          text=True, cwd=ROOT)


def test_command_on_a_manifest(tmp_path):
    spoken = [Utterance(str(tmp_path / f"{i}.wav"), word, 1.0) for i, word in enumerate(WORDS)]  # which need not exist
    registry = write_set(tmp_path, "words", train=spoken, dev=spoken, test=spoken)
    lists = tmp_path / "lists.jsonl"
    done = run("--manifest", "words", "--registry", registry, "--top", 3, "--sample", 4, "--out", lists)
    assert done.returncode == 0, done.stderr
    labels = sorted(WORDS)
    shown = [line for line in done.stdout.splitlines() if line.split(":")[0] in labels]
    assert len(shown) == 4 and shown[0].startswith("ate: cat 1.0, ")
    entries = [json.loads(line) for line in lists.read_text().splitlines()]
    indices, distances = brute_force(labels, 3)
    assert entries == [{"word": word, "nearest": [labels[j] for j in near], "distance": [round(d, 1) for d in far]}
                       for word, near, far in zip(labels, indices, distances, strict=True)]
    assert cache_file(labels, 3, registry.parent).exists()  # beside the manifest
    again = run("--manifest", "words", "--registry", registry, "--top", 3, "--sample", 4)
    assert "read from the cache" in again.stdout
    assert [line for line in again.stdout.splitlines() if line in shown] == shown


def test_lists_of_words(tmp_path):
    file = tmp_path / "words.txt"
    for encoding in ("utf-8", "utf-8-sig"):
        file.write_text("cat\n\n dog \ncat\nété\n", encoding=encoding)
        assert read_lines(file) == ["cat", "dog", "été"]
    file.unlink()
    for content, message in ((None, "words.txt"), (b"\xff\xfe\x00", "UTF-8"), (b"", "at least 2"),
                             (b"cat\ncat\n", "only 1 distinct")):
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(UserError, match=message):
            phonetics.main(phonetics.parse_args(["--words", str(file)]))
