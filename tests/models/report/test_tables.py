"""What a test prints and leaves behind, against figures counted by hand and by scikit-learn."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from sklearn.metrics import confusion_matrix, f1_score

from data.manifests.manifest import Manifest
from models.report.outcome import Outcome
from models.report.tables import draw_confusion, drawn_classes, figures, report, summary
from tests.conftest import manifest_of

WORDS = ["backward", "bed", "bird", "cat", "dog", "down", "eight", "five", "follow", "forward", "four", "go", "happy",
         "house", "learn", "left", "marvin", "nine", "no", "off", "on", "one", "right", "seven", "sheila", "six",
         "stop", "three", "tree", "two", "up", "visual", "wow", "yes", "zero"]


def confused(classes: int, clips: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Truth and predictions, a fifth of them wrong by up to three classes."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, clips)
    wrong = rng.random(clips) < 0.2
    return truth, np.where(wrong, (truth + rng.integers(1, 4, clips)) % classes, truth)


def reported(out: Path, stem: str, tested: Manifest, predicted: np.ndarray, facts: dict | None = None, **more) -> dict:
    more = more if "distances" in more else {"scores": np.ones(len(predicted))} | more
    return report(out, Outcome(stem, tested, predicted, facts or {}, **more))


def small() -> tuple[list[str], np.ndarray, np.ndarray]:
    """Ten clips, eight right: one of four "three" is a "tree", the only "two" a "three"; no clip of "up"."""
    labels = ["one", "three", "tree", "two", "up"]
    truth = np.array([0, 0, 0, 1, 1, 1, 1, 2, 2, 3])
    predicted = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, 1])
    return labels, truth, predicted


def test_small_case_counted_by_hand():
    result = figures(*small())
    assert (result["accuracy"], result["clips"], result["correct"], result["labels"]) == (0.8, 10, 8, 5)
    # F1 = 2 TP / (2 TP + FP + FN): one 6/6, three 6/(6+1+1), tree 4/(4+1), two 0; "up" is no clip's and no prediction.
    assert result["f1_macro"] == pytest.approx((1 + 6 / 8 + 4 / 5 + 0) / 4)
    assert result["classes"] == [{"label": "one", "accuracy": 1.0, "correct": 3, "clips": 3},
                                 {"label": "three", "accuracy": 0.75, "correct": 3, "clips": 4},
                                 {"label": "tree", "accuracy": 1.0, "correct": 2, "clips": 2},
                                 {"label": "two", "accuracy": 0.0, "correct": 0, "clips": 1}]
    assert result["confused_pairs"] == [{"label": "three", "prediction": "tree", "clips": 1},
                                        {"label": "two", "prediction": "three", "clips": 1}]
    assert result["confusion"] == {"one": {"one": 3}, "three": {"three": 3, "tree": 1}, "tree": {"tree": 2},
                                   "two": {"three": 1}}


def test_a_class_without_test_clips_that_clips_are_taken_for_counts():
    labels, truth, predicted = small()
    predicted[9] = 4  # "two" is taken for "up"
    result = figures(labels, truth, predicted)
    assert result["f1_macro"] == pytest.approx((1 + 6 / 7 + 4 / 5 + 0 + 0) / 5)
    assert result["f1_classes"] == 5 and "f1_macro is over the 5 that they have or are taken for" in summary(result)


def test_small_case_as_printed():
    assert summary(figures(*small())).split("\n") == [
        "Accuracy: 80.00", "f1_macro 0.6375", "8 of 10 clips right; the test set has clips of 4 of the 5 classes",
        "worst classes:", "  two      0.00  (0/1)", "  three   75.00  (3/4)", "  one    100.00  (3/3)",
        "  tree   100.00  (2/2)",
        "most confused (true -> predicted, clips):", "  three -> tree 1", "  two -> three 1"]


@pytest.mark.parametrize(("classes", "clips"), [(2, 9), (35, 3000), (300, 900)])
def test_figures_equal_sklearn(classes, clips):
    truth, predicted = confused(classes, clips)
    labels = [f"w{i:03}" for i in range(classes)]
    result = figures(labels, truth, predicted)
    present, either = np.unique(truth), np.union1d(truth, predicted)
    matrix = confusion_matrix(truth, predicted, labels=range(classes))
    dense = np.array([[result["confusion"].get(a, {}).get(b, 0) for b in labels] for a in labels])
    np.testing.assert_array_equal(dense, matrix)
    assert result["accuracy"] == pytest.approx(np.trace(matrix) / clips)
    assert result["f1_macro"] == pytest.approx(f1_score(truth, predicted, average="macro", zero_division=0))
    assert result["f1_classes"] == len(either)
    assert [c["label"] for c in result["classes"]] == [labels[i] for i in present]
    np.testing.assert_allclose([c["accuracy"] for c in result["classes"]],
                               matrix.diagonal()[present] / matrix.sum(1)[present])
    pairs = [p["clips"] for p in result["confused_pairs"]]
    assert pairs == sorted(matrix[~np.eye(classes, dtype=bool) & (matrix > 0)], reverse=True)


def test_the_files_of_a_nearest_neighbour_test(tmp_path, capsys):
    labels, truth, predicted = small()
    distances = np.linspace(0, 1.5, 30, dtype=np.float32).reshape(10, 3)
    facts = {"k": np.int64(3), "encoder": Path("runs/x"), "note": "line\nbreak", "list": [1, {"a": 2}]}
    returned = reported(tmp_path / "deep" / "run", "test", manifest_of(truth, labels), predicted,
                      distances=distances, facts=facts, command="python x.py --y")
    printed = capsys.readouterr().out.split("\n")
    assert printed[:2] == ["Accuracy: 80.00", "f1_macro 0.6375"]
    folder = tmp_path / "deep" / "run"
    assert printed[-2] == f"wrote {folder}/test.json, test.csv, test-confusion.png" and printed[-1] == ""
    assert sorted(p.name for p in folder.iterdir()) == ["test-confusion.png", "test.csv", "test.json"]

    stored = json.loads((folder / "test.json").read_text())
    expected = figures(labels, truth, predicted)
    assert {key: stored[key] for key in expected} == expected
    assert stored["facts"] == {"k": 3, "encoder": "runs/x", "note": "line\nbreak", "list": [1, {"a": 2}]}
    assert stored["command"] == "python x.py --y" and {"python", "torch", "numpy"} <= set(stored["versions"])
    assert list(stored) == list(returned)

    rows = list(csv.reader(io.StringIO((folder / "test.csv").read_text())))
    assert rows[0] == ["path", "label", "prediction", *(f"squared_distance_{i}" for i in (1, 2, 3))]
    assert rows[7][:3] == ["/clips/6.wav", "three", "tree"] and len(rows) == 11
    np.testing.assert_allclose(np.array([row[3:] for row in rows[1:]], float), distances, atol=1e-6)
    assert (folder / "test-confusion.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_the_csv_of_a_head_has_a_probability_and_offsets_where_there_are_any(tmp_path):
    labels, truth, predicted = small()
    labels[1] = 'th,"ree'
    reported(tmp_path, "head", manifest_of(truth, labels, 0.25), predicted, scores=np.linspace(0.1, 1, 10))
    rows = list(csv.reader(io.StringIO((tmp_path / "head.csv").read_text())))
    assert rows[0] == ["path", "offset", "label", "prediction", "probability"]
    assert rows[7] == ["/clips/6.wav", "1.500000", 'th,"ree', "tree", "0.700000"]


@pytest.mark.filterwarnings("ignore:A single label was found")  # by the oracle
@pytest.mark.parametrize("classes", [1, 2, 35])
def test_picture_has_every_count_and_no_overlapping_label(drawn, classes):
    truth, predicted = confused(classes, 200 * classes)
    labels = WORDS[:classes] if classes > 2 else ["a rather long label of a class", "go"][:classes]
    draw_confusion(labels, truth, predicted, "title")
    axes = drawn[0].axes[0]
    matrix = confusion_matrix(truth, predicted, labels=range(classes))
    cells = {(int(t.get_position()[1]), int(t.get_position()[0])): int(t.get_text()) for t in axes.texts}
    assert cells == {(i, j): matrix[i, j] for i, j in np.argwhere(matrix)}
    np.testing.assert_allclose(axes.images[0].get_array(), matrix / matrix.sum(1, keepdims=True))
    renderer = FigureCanvasAgg(drawn[0]).get_renderer()
    for texts in (axes.get_xticklabels(), axes.get_yticklabels(), axes.texts):
        boxes = [t.get_window_extent(renderer) for t in texts]
        assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1:i + classes + 1])


def test_of_many_classes_those_most_confused_are_drawn(drawn):
    truth = np.repeat(np.arange(200), 30)
    predicted = truth.copy()
    for c in range(20):  # classes 10 c -> 10 c + 7: more often the higher c
        rows = np.flatnonzero(truth == 10 * c)[:c + 3]
        predicted[rows] = 10 * c + 7
    draw_confusion([f"w{i}" for i in range(200)], truth, predicted, "run")
    axes = drawn[0].axes[0]
    shown = [t.get_text() for t in axes.get_xticklabels()]
    assert shown == [f"w{i}" for i in range(200) if i % 10 in (0, 7)]
    assert axes.get_title() == "run\nthe 40 of 200 classes with the most frequent confusions"
    assert sorted(int(t.get_text()) for t in axes.texts if t.get_position()[0] != t.get_position()[1]) \
        == list(range(3, 23))
    assert len(drawn_classes(truth, truth, "perfect")[0]) == 40  # though there is no confusion at all


def test_several_numbers_of_neighbours_are_a_table_beside_the_first_ones_report(tmp_path, capsys):
    labels, truth, predicted = small()
    utterances = manifest_of(truth, labels)
    alone = reported(tmp_path / "a", "s", utterances, predicted, by_k={5: predicted})
    one = capsys.readouterr().out
    several = reported(tmp_path / "b", "s", utterances, predicted, by_k={5: predicted, 1: truth})
    printed = capsys.readouterr().out
    assert "by_k" not in alone and "neighbours" not in one
    assert several["by_k"] == [{"k": 5, "accuracy": 0.8, "correct": 8, "clips": 10},
                               {"k": 1, "accuracy": 1.0, "correct": 10, "clips": 10}]
    assert "|k|accuracy|right|\n" in printed.replace(" ", "") and "|1|100.00|10of10|\n" in printed.replace(" ", "")
    assert printed.startswith(one.split("wrote")[0])
    assert json.loads((tmp_path / "b" / "s.json").read_text())["by_k"] == several["by_k"]
    assert (tmp_path / "a" / "s.csv").read_bytes() == (tmp_path / "b" / "s.csv").read_bytes()
