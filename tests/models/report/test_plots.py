"""What --plot adds to a test: distances of pairs against brute force, names that do not overlap, files that align."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from models import neighbours
from models.enrolment.enrol import by_score
from models.neighbours import BINS, count_pairs, equal_error
from models.report import plots
from tests.conftest import manifest_of, unit

WIDTH = 4 / BINS


def embedded(classes: int, clips: int, noise: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(N, 12) float32 vectors of length 1 around a centre for each class, and (N,) classes in random order."""
    rng = np.random.default_rng(seed)
    label = rng.permutation(np.repeat(np.arange(classes), clips)).astype(np.int32)
    x = rng.standard_normal((classes, 12))[label] + noise * rng.standard_normal((len(label), 12))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32), label


def brute(x: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Squared distances of all same-word and of all different-word pairs."""
    i, j = np.triu_indices(len(x), 1)
    distance = ((x[i].astype(float) - x[j].astype(float)) ** 2).sum(1)
    return distance[label[i] == label[j]], distance[label[i] != label[j]]


def read_tsv(path: Path) -> list[list[str]]:
    """As the projector does: lines, then tabs, no quotes."""
    text = path.read_text(encoding="utf-8")
    assert text.endswith("\n") and "\r" not in text
    return [line.split("\t") for line in text[:-1].split("\n")]


@pytest.mark.parametrize("cells", [1, 700, 1 << 20])
def test_every_pair_is_counted_once_in_its_bin(cells, monkeypatch):
    monkeypatch.setattr(neighbours, "_CELLS", cells)  # blocks of one clip, of some, of all
    x, label = embedded(5, 20)
    found, distances = count_pairs(x, label), brute(x, label)
    for counts, mean, distance in zip(found.counts, found.means, distances, strict=True):
        np.testing.assert_array_equal(counts, np.histogram(distance, BINS, (0, 4))[0])
        assert mean == pytest.approx(distance.mean(), abs=1e-12)
    figures = found.figures()
    assert (figures["same_word_pairs"], figures["different_word_pairs"]) == (5 * 190, 4950 - 5 * 190)
    assert figures["same_word_mean"] == pytest.approx(distances[0].mean())


def test_a_perfect_encoders_threshold_lies_midway():
    x = np.eye(4, dtype=np.float32)[[0, 0, 1, 1, 1, 2]]
    figures = count_pairs(x, np.array([0, 0, 1, 1, 1, 2])).figures()
    assert (figures["auroc"], figures["equal_error_rate"], figures["same_word_mean"]) == (1.0, 0.0, 0.0)
    assert figures["different_word_mean"] == pytest.approx(2) and figures["equal_error_threshold"] == pytest.approx(
        1, abs=WIDTH)
    worst = count_pairs(np.eye(4, dtype=np.float32)[[0, 1, 0, 1]], np.array([0, 0, 1, 1])).figures()
    assert worst["auroc"] == pytest.approx(0.25)  # same: 2, 2; different: 0, 2, 2, 0; a tie counts half
    same, different = -np.array([2, 2]), -np.array([0, 2, 2, 0])
    assert worst["equal_error_rate"] == pytest.approx(equal_error(*by_score(same, different))[0])


@pytest.mark.parametrize("label, kinds", [([0, 0, 0], (3, 0)), ([0, 1, 2], (0, 3)), ([0], (0, 0)), ([], (0, 0))])
def test_without_both_kinds_of_pairs_there_is_no_threshold(label, kinds, drawn):
    found = count_pairs(np.eye(3, dtype=np.float32)[:len(label)], np.array(label, int))
    figures = found.figures()
    assert (figures["same_word_pairs"], figures["different_word_pairs"]) == kinds
    assert figures["auroc"] is figures["equal_error_rate"] is figures["equal_error_threshold"] is None
    assert (figures["same_word_mean"] is None) == (not kinds[0])
    said = plots.summary(figures)
    assert "AUROC" not in said and ("no pair" in said) == (sum(kinds) == 0)
    assert plots.draw_distances(found, "title")[:4] == b"\x89PNG"
    assert (drawn[0].axes[0].get_legend() is None) == (sum(kinds) == 0)


@pytest.mark.parametrize("clips, width", [(0, 12), (1, 12), (2, 1), (3, 2), (31, 12)])
def test_few_clips_and_narrow_embeddings_have_a_place(clips, width):
    x = unit(np.random.default_rng(0), clips, width)
    for vectors in (x, x[:1].repeat(clips, 0)):  # also of clips that are all equal
        points = plots.project(vectors)
        assert points.shape == (clips, 2) and np.isfinite(points).all()


def check_map(figure: Figure, classes: int) -> None:
    """No name lies on another; the legend has all of them."""
    axes, renderer = figure.axes[0], FigureCanvasAgg(figure).get_renderer()
    legend = axes.get_legend()
    boxes = [text.get_window_extent(renderer) for text in axes.texts if text.get_visible()]
    assert boxes and not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1:])
    names = [text.get_text() for text in legend.get_texts()]
    assert names == [text.get_text() for text in axes.texts] + ["other classes"] * (classes > plots.COLOURED)
    looks = {(tuple(handle.get_edgecolor()[0]), tuple(handle.get_facecolor().ravel()),
              handle.get_paths()[0].vertices.tobytes()) for handle in legend.legend_handles}
    assert len(looks) == len(names)  # every class can be told from the others


@pytest.mark.parametrize("classes, crowded", [(1, False), (35, False), (40, True), (1000, False)])
def test_the_map_is_readable(drawn, classes, crowded):
    rng = np.random.default_rng(classes)
    truth = np.repeat(np.arange(classes), 6)
    centres = rng.uniform(-1, 1, (classes, 2)) * (0.02 if crowded else 1)  # else: all at one spot but for a few
    points = centres[truth] + 0.02 * rng.standard_normal((len(truth), 2))
    points[0], points[-1] = (-1.0, -1.0), (1.0, 1.0)
    names = [f"a word numbered {c}" if c % 4 == 0 else f"w{c}" for c in range(classes)]
    ranked = rng.permutation(classes)
    plots.draw_map(names, points, truth, ranked, "title", "most clips")
    check_map(drawn[0], classes)
    axes = drawn[0].axes[0]
    shown = sorted(ranked[:plots.COLOURED])
    assert [text.get_text() for text in axes.texts] == [names[c] for c in shown]
    title = axes.get_title()
    assert (title == "title") == (classes <= plots.COLOURED)
    if classes > plots.COLOURED:
        assert title == f"title\nin colour the 40 of {classes:,} classes with most clips, grey the others"
    drawn_points = np.concatenate([collection.get_offsets() for collection in axes.collections])
    assert sorted(map(tuple, drawn_points)) == sorted(map(tuple, points))  # no clip is lost


def test_unknown_words_are_hollow_and_the_legend_says_so(drawn):
    x, label = embedded(4, 10)
    plots.draw_map(list("abcd"), plots.project(x), label, range(4), "title", "most clips", [1, 3])
    axes = drawn[0].axes[0]
    assert [len(c.get_facecolor()) == 0 for c in axes.collections] == [False, True, False, True]
    assert axes.get_legend().get_title().get_text() == "filled: enrolled\nhollow: unknown"
    check_map(drawn[0], 4)


def test_the_projectors_files_align_with_the_clips(tmp_path, capsys):
    x, label = embedded(4, 9)
    clips = manifest_of(label, ["one", "tab\there", "new\nline", 'q"uote'], 0.25, "ann")
    predicted = np.roll(label, 1)
    plots.plot(tmp_path / "run", "t", x, clips, count_pairs(x, label), predicted=predicted)
    printed = capsys.readouterr().out.split("\n")
    assert printed == [plots.summary(count_pairs(x, label).figures()),
                       f"wrote {tmp_path / 'run' / 't'}-map.png, t-distances.png, t-vectors.tsv and t-metadata.tsv", ""]
    vectors = np.array(read_tsv(tmp_path / "run" / "t-vectors.tsv"), np.float32)
    np.testing.assert_array_equal(vectors, x)
    header, *rows = read_tsv(tmp_path / "run" / "t-metadata.tsv")
    assert header == ["label", "prediction", "speaker", "path", "offset"] and len(rows) == len(vectors)
    names = ["one", "tab here", "new line", 'q"uote']
    assert rows == [[names[c], names[p], "ann", f"/clips/{i}.wav", f"{i * 0.25:.6f}"]
                    for i, (c, p) in enumerate(zip(label, predicted, strict=True))]


def test_of_many_clips_some_of_every_class_are_mapped_and_all_are_written(tmp_path, monkeypatch, drawn):
    assert plots.MAPPED >= 1000
    monkeypatch.setattr(plots, "MAPPED", 60)
    x, label = embedded(50, 4)
    predicted = label.copy()
    predicted[label >= 45] = 7  # the five last classes and this one are confused
    plots.plot(tmp_path, "t", x, manifest_of(label), count_pairs(x, label), predicted=predicted)
    axes = drawn[0].axes[0]
    assert axes.get_title() == ("t: t-SNE of 60 of 200 test clips\n"
                                "in colour the 40 of 50 classes with the most frequent confusions, grey the others")
    shown = {text.get_text() for text in axes.texts}
    assert {f"word{c}" for c in (7, *range(45, 50))} < shown and len(shown) == 40
    assert sum(len(collection.get_offsets()) for collection in axes.collections) == 60
    assert len(read_tsv(tmp_path / "t-vectors.tsv")) == 200
