"""What tests of enrolled words, and of words held out as new, print and leave behind."""

import csv
import io
import json
import re

import numpy as np
import pytest

from models.enrolment.enrol import UNKNOWN, Result, figures, misses
from models.report.new_words import cells, draw_errors, measure, report_enrolment, report_new_words, tell_trained
from models.report.outcome import Enrolment
from models.report.tables import markdown
from models.runs.provenance import trained_words
from tests.conftest import manifest_of
from tests.models.enrolment.test_enrol import auroc, equal_error_rate

FACTS = {"enrolled": ["bed", "cat", "dog"], "unknown": ["four", "tree"], "manifest": "m"}


def results(repeats=4, known=90, unknown=210, methods=("embedding", "DTW of MFCC"), shots=(1, 5), apart=1.0):
    """Of methods that know more with each shot. Returns them and the truth."""
    rng = np.random.default_rng(0)
    truth = np.r_[np.arange(known) % 3, np.full(unknown, UNKNOWN)]
    made = []
    for m, method in enumerate(methods):
        for n in shots:
            score = rng.standard_normal((repeats, len(truth))) + (truth != UNKNOWN) * apart * n ** 0.5 / (m + 1)
            best = np.where(rng.random(score.shape) < 0.2, 0, np.maximum(truth, 0))
            each = [figures(truth, *pair) for pair in zip(best, score, strict=True)]
            made.append(Result(method, n, best, score, {name: np.array([one[name] for one in each])
                                                        for name in each[0]}))
    return made, truth


def outcome(made, truth, facts=FACTS, stem="s", command=None):
    """Of a test without clips, which the page alone needs."""
    return Enrolment(stem, made, truth, None, None, None, None, facts, command)


def test_files_hold_every_repeat_and_their_means(tmp_path, capsys):
    made, truth = results()
    report_enrolment(tmp_path / "deep" / "run", outcome(made, truth, FACTS, command="python x.py --y"))
    printed = capsys.readouterr().out.splitlines()
    folder = tmp_path / "deep" / "run"
    assert printed[0].startswith("3 words enrolled, 90 test clips of them, 210 of 2 unknown words; ")
    assert printed[-1] == f"wrote {folder}/s.json, s.csv, s-det.png"
    assert sorted(path.name for path in folder.iterdir()) == ["s-det.png", "s.csv", "s.json"]
    assert not any("no test clip" in line for line in printed)
    stored = json.loads((folder / "s.json").read_text())
    assert stored["facts"] == FACTS | {"known_clips": 90, "unknown_clips": 210}
    assert stored["command"] == "python x.py --y" and "numpy" in stored["versions"]
    rows = list(csv.DictReader(io.StringIO((folder / "s.csv").read_text())))
    assert len(stored["repeats"]) == 16 and len(stored["results"]) == len(rows) == 4
    names = ["accuracy", "auroc", "equal_error_rate", "accuracy_at_1_percent", "accuracy_at_5_percent"]
    for result, mean, row in zip(made, stored["results"], rows, strict=True):
        repeats = [r for r in stored["repeats"] if (r["method"], r["shots"]) == (result.method, result.shots)]
        assert [r["repeat"] for r in repeats] == [0, 1, 2, 3]
        assert (row["method"], row["shots"]) == (mean["method"], str(mean["shots"])) == (result.method,
                                                                                       str(result.shots))
        for name in names:
            values = [r[name] for r in repeats]
            assert values == result.figures[name].tolist()
            assert mean[f"{name}_mean"] == pytest.approx(np.mean(values))
            assert mean[f"{name}_std"] == pytest.approx(np.sqrt(sum((v - np.mean(values)) ** 2 for v in values) / 3))
            assert float(row[f"{name}_std"]) == pytest.approx(mean[f"{name}_std"], abs=1e-6)
    assert list(rows[0])[2:] == [f"{name}_{kind}" for name in names for kind in ("mean", "std")]


def test_the_table_is_in_per_cent():
    made, _ = results(repeats=2, methods=("embedding",), shots=(5,))
    made[0].figures = {"accuracy": np.array([0.5, 0.6]), "auroc": np.array([0.9, 0.9])}
    head, rule, row = markdown(cells(made)).splitlines()
    assert len(head) == len(rule) == len(row)
    assert (head.replace(" ", ""), row.replace(" ", "")) == ("|method|shots|accuracy|AUROC|",
                                                             "|embedding|5|55.00±7.07|90.00±0.00|")


def test_one_repeat_has_no_deviation_and_no_unknown_word_no_curve(tmp_path, capsys):
    made, truth = results(repeats=1, unknown=0)
    report_enrolment(tmp_path, outcome(made, truth, FACTS | {"unknown": []}))
    assert "±" not in capsys.readouterr().out.split("\n", 1)[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.csv", "s.json"]
    assert json.loads((tmp_path / "s.json").read_text())["results"][0]["accuracy_std"] is None
    assert (tmp_path / "s.csv").read_text().splitlines()[1].endswith(",")


def test_curves_are_the_mean_of_the_repeats_on_normal_deviates(drawn):
    from scipy.special import ndtr

    made, truth = results()
    draw_errors(outcome(made, truth))
    lines = drawn[0].axes[0].get_lines()
    assert [line.get_label() for line in lines] == ["embedding, 1 clip", "embedding, 5 clips", "DTW of MFCC, 1 clip",
                                                    "DTW of MFCC, 5 clips"]
    for line, result in zip(lines, made, strict=True):
        curve = np.mean([misses(score[:90], score[90:]) for score in result.score], axis=0)
        accepted, missed = ndtr(line.get_xdata()), ndtr(line.get_ydata())
        np.testing.assert_allclose(missed, curve[np.rint(210 * accepted).astype(int)], atol=1e-9)


@pytest.mark.parametrize("apart", [0.0, 100.0])
def test_every_line_of_the_picture_can_be_told_from_the_others(drawn, apart):
    made, truth = results(methods=("embedding", "DTW of MFCC", "log-mel cosine"), shots=(1, 2, 5, 10), apart=apart)
    draw_errors(outcome(made, truth, stem="$\\frac"))
    axes = drawn[0].axes[0]
    looks = {(line.get_color(), line.get_linestyle()) for line in axes.get_lines()}
    assert len(looks) == 12
    low, high = axes.get_xlim()
    assert low < high and axes.get_ylim() == (low, high)
    assert all(np.isfinite(line.get_ydata()).all() for line in axes.get_lines())


def test_what_was_chosen_on_dev_is_a_line_and_stays_in_the_json(tmp_path, capsys):
    made, truth = results()
    chosen = {"clips": 50, "unknown_clips": 30, "figure": "equal_error_rate", "results": [], "chosen": [
        {"shots": 1, "method": "embedding", "equal_error_rate": 0.125},
        {"shots": 5, "method": "embedding, t-norm", "equal_error_rate": 0.05}]}
    report_enrolment(tmp_path, outcome(made, truth, FACTS | {"chosen_on_dev": chosen}))
    assert ("chosen on dev (50 clips, 30 of them unknown), by the equal-error rate there: 1 clip: embedding "
            "(12.50); 5 clips: embedding, t-norm (5.00)\n") in capsys.readouterr().out
    assert json.loads((tmp_path / "s.json").read_text())["facts"]["chosen_on_dev"] == chosen


def test_words_that_the_encoder_was_trained_on_are_named(capsys):
    # One of them before it was trained further; "unknown" may be any sound: no word unless it is enrolled.
    config = {"labels": ["tree", "four", "unknown"], "labels_before": ["Bed", "tree"]}
    assert trained_words(config) == ["tree", "four", "unknown", "Bed"] and trained_words({}) == []
    said = ("the encoder was trained on 1 of the 2 enrolled words (bed) and 1 of the 2 unknown words (tree): these are "
            "not new to it")
    assert tell_trained(["bed", "cat"], ["unknown", "tree"], config) == {
        "enrolled_words_trained_on": ["bed"], "unknown_words_trained_on": ["tree"], "note on words": said}
    assert tell_trained(["unknown"], [], config)["enrolled_words_trained_on"] == ["unknown"]
    assert tell_trained([], ["unknown"], config, all_words=True)["unknown_words_trained_on"] == ["unknown"]
    assert capsys.readouterr().out.startswith(f"{said}\n")
    tell_trained(["cat"], ["dog", "unknown"], config)
    assert tell_trained(["bed"], [], {}) == {}  # a published encoder does not say
    assert capsys.readouterr().out == ""


@pytest.fixture
def made():
    """Forty clips of seven words in nine files of three speakers, those of a word a little alike."""
    rng = np.random.default_rng(0)
    labels, files = rng.integers(0, 7, 40), rng.integers(0, 9, 40)
    vectors = rng.standard_normal((7, 12))[labels] + rng.standard_normal((40, 12))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), manifest_of(labels, file=files, speaker=[f"s{file % 3}" for file in files])


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
    of_some = manifest_of(manifest.label, file=manifest.file, speaker=np.where(unnamed, None, manifest.speaker))
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
        low, high = measure(vectors, manifest_of(labels))[0]["auroc_interval"]
        widths.append(high - low)
    assert widths[0] < 1e-6 and widths[1] > 0.02


def test_pairs_that_are_not_there_have_no_figure_and_files_say_so(tmp_path, capsys):
    vectors = np.eye(4, dtype=np.float32)[[0, 0, 1, 1]]
    manifest = manifest_of([0, 0, 1, 1], file=[0, 0, 1, 1], speaker="s")  # a recording for each word, one speaker
    rows = measure(vectors, manifest)
    assert (rows[0]["auroc"], rows[0]["equal_error_rate"]) == (1.0, 0.0)
    assert [row["auroc"] for row in rows[1:]] == [None, None]
    assert (rows[1]["same_word_pairs"], rows[1]["different_word_pairs"], rows[2]["different_word_pairs"]) == (0, 4, 0)
    report_new_words(tmp_path, "new", rows, manifest, {"manifest": "m"})
    printed = capsys.readouterr().out
    assert "4 clips of 2 words held out as new, said by 1 speakers" in printed
    assert re.search(r"\|all\|2\|4\|100.00\|[0-9.]+to[0-9.]+\|0.00\|", printed.replace(" ", ""))
    assert "|oftwospeakers|0|0|-|" in printed.replace(" ", "")
    stored = json.loads((tmp_path / "new.json").read_text())
    assert stored["facts"] == {"manifest": "m", "clips": 4, "words": ["word0", "word1"], "speakers": 1}
    assert stored["pairs"][0]["auroc"] == 1.0
