"""Pairs of words held out as new: the figures against counting, which pairs are left out, and the interval."""

import json
from pathlib import Path

import numpy as np
import pytest

from data.manifests.manifest import Manifest
from models.report.new_words import measure, report_new_words, table
from tests.models.enrolment.test_enrol import auroc, equal_error_rate


def held(labels, files=None, speakers=None):
    n = len(labels)
    return Manifest(Path("new.json"), [f"w{i}" for i in range(max(labels) + 1)], [f"{i}.wav" for i in range(n)],
                    np.asarray(range(n) if files is None else files, np.int32), np.zeros(n), np.ones(n),
                    np.asarray(labels, np.int32), np.asarray([None] * n if speakers is None else speakers, object))


@pytest.fixture
def made():
    """Forty clips of seven words in nine files of three speakers, those of a word a little alike."""
    rng = np.random.default_rng(0)
    labels, files = rng.integers(0, 7, 40), rng.integers(0, 9, 40)
    vectors = rng.standard_normal((7, 12))[labels] + rng.standard_normal((40, 12))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), held(labels, files, [f"s{file % 3}" for file in files])


def test_figures_equal_counting_the_pairs_that_are_taken(made):
    vectors, manifest = made
    rows = measure(vectors, manifest)
    assert [row["pairs"] for row in rows] == ["all", "of two recordings", "of two speakers"]
    for row, apart in zip(rows, (lambda i, j: True, lambda i, j: manifest.file[i] != manifest.file[j],
                                 lambda i, j: manifest.speaker[i] != manifest.speaker[j]), strict=True):
        pairs = [(i, j) for i in range(40) for j in range(i) if apart(i, j)]
        near = {kind: np.array([float(vectors[i] @ vectors[j]) for i, j in pairs
                                if (manifest.label[i] == manifest.label[j]) == kind]) for kind in (True, False)}
        assert (row["same_word_pairs"], row["different_word_pairs"]) == (len(near[True]), len(near[False]))
        assert row["auroc"] == pytest.approx(auroc(near[True], near[False]), abs=1e-4)
        assert row["equal_error_rate"] == pytest.approx(equal_error_rate(near[True], near[False]), abs=2e-3)
        assert row["same_word_mean"] == pytest.approx(np.mean(2 - 2 * near[True]), abs=1e-5)
        low, high = row["auroc_interval"]
        assert low < row["auroc"] < high


def test_a_clip_whose_speaker_is_not_named_is_in_no_pair_of_two_speakers(made):
    vectors, manifest = made
    unnamed = np.arange(40) % 4 == 0
    of_some = held(manifest.label.tolist(), manifest.file, np.where(unnamed, None, manifest.speaker))
    figures, alone = measure(vectors, of_some)[2], measure(vectors[~unnamed], manifest.subset(~unnamed))[2]
    for name in ("same_word_pairs", "different_word_pairs", "same_word_mean", "auroc", "equal_error_rate"):
        assert figures[name] == pytest.approx(alone[name])


def test_the_interval_is_that_of_other_words(made):
    """Of words that are told apart alike, hardly any; of one that is not among many, a wide one."""
    rng = np.random.default_rng(1)
    labels = np.repeat(np.arange(20), 5)
    clean = np.eye(20)[labels] + 0.01 * rng.standard_normal((100, 20))
    torn = clean.copy()
    torn[labels < 3] = rng.standard_normal((15, 20))
    widths = []
    for vectors in (clean, torn):
        vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        low, high = measure(vectors, held(labels))[0]["auroc_interval"]
        widths.append(high - low)
    assert widths[0] < 1e-6 and widths[1] > 0.02


def test_pairs_that_are_not_there_have_no_figure_and_files_say_so(tmp_path, capsys):
    vectors = np.eye(4, dtype=np.float32)[[0, 0, 1, 1]]
    manifest = held([0, 0, 1, 1], [0, 0, 1, 1], ["s"] * 4)  # both clips of a word from one recording, one speaker
    rows = measure(vectors, manifest)
    assert (rows[0]["auroc"], rows[0]["equal_error_rate"]) == (1.0, 0.0)
    assert [row["auroc"] for row in rows[1:]] == [None, None]
    assert (rows[1]["same_word_pairs"], rows[1]["different_word_pairs"], rows[2]["different_word_pairs"]) == (0, 4, 0)
    report_new_words(tmp_path, "new", rows, manifest, {"manifest": "m"})
    printed = capsys.readouterr().out
    assert "4 clips of 2 words held out as new, said by 1 speakers" in printed and table(rows) in printed
    assert "|oftwospeakers|0|0|-|" in printed.replace(" ", "")
    stored = json.loads((tmp_path / "new.json").read_text())
    assert stored["facts"] == {"manifest": "m", "clips": 4, "words": ["w0", "w1"], "speakers": 1}
    assert stored["pairs"][0]["auroc"] == 1.0
