"""A page's figures are the printed ones, and its mistakes those that were made, each beside its true neighbour."""

import hashlib
import re

import numpy as np
import pytest

from models.report.page.origin import origin_rows
from models.report.page.page import render
from models.runs.provenance import fingerprint
from tests.models.report.page.conftest import LABELS, make_clips
from tests.pages import Read


def test_figures_are_those_that_were_printed(tested):
    made = tested(each=(10, 20), notes=["fewer than k"])
    page = Read(render(made.page, 5)[0])
    printed = made.printed
    assert f"{re.search(r'Accuracy: (.*)', printed)[1]}accuracy, %" in page.text
    assert f"{re.search(r'f1_macro (.*)', printed)[1]}macro-F1 of 3 classes" in page.text
    assert f"{re.search(r'(.*) clips right', printed)[1]}clips right" in page.text
    assert "fewer than k" in page.text
    worst = re.findall(r"^  (\w+) +([\d.]+)  \((\d+)/(\d+)\)$", printed, re.M)
    assert len(worst) == 3 and [tuple(row) for row in page.tables[0][1:]] == worst
    matrix = page.tables[1]
    assert matrix[0][1:] == LABELS and [row[0] for row in matrix[1:]] == LABELS
    confusion = np.array([[int(cell or 0) for cell in row[1:]] for row in matrix[1:]])
    assert confusion.sum() == 60 and f"{confusion.trace()} of 60 clips right" in printed
    for label, prediction, count in re.findall(r"^  (\w+) -> (\w+) (\d+)$", printed, re.M):
        assert confusion[LABELS.index(label), LABELS.index(prediction)] == int(count)


def test_mistakes_are_all_there_with_the_nearest_training_clip_by_brute_force(tested):
    made = tested(each=(10, 20))
    data = Read(render(made.page, 5)[0]).data
    templates, queries = made.vectors
    found = {}
    for mistake in data["mistakes"]:
        q, t = (int(re.search(rf"{split}(\d+)\.wav", mistake[name]["lines"][0])[1])
                for split, name in (("test", "clip"), ("train", "nearest")))
        found[q] = mistake
        distance = ((templates - queries[q]) ** 2).sum(1)
        assert t == distance.argmin()
        assert mistake["nearest"]["label"] == LABELS[made.train.manifest.label[t]]
        values = dict(zip(data["names"]["values"], mistake["values"], strict=True))
        assert float(values["nearest, squared distance"][1]) == pytest.approx(distance.min(), abs=6e-4)
        assert (mistake["row"], mistake["column"]) == (made.test.manifest.label[q], made.found.labels[q])
        votes = [LABELS[made.train.manifest.label[i]] for i in np.argsort(distance)[:3]]
        assert {label: int(n) for n, label in (vote.split() for vote in values["votes"][1].split(", "))} == {
            label: votes.count(label) for label in votes}
        assert mistake["clip"]["lines"][-1] == f"speaker s{q}" and (len(mistake["clip"]["lines"]) == 3) == q % 2
    assert sorted(found) == np.flatnonzero(made.found.labels != made.test.manifest.label).tolist()


def test_many_classes_are_cut_to_those_most_confused_and_it_says_so(tested):
    labels = [f"w{i:03d}" for i in range(230)]
    made = tested(labels, each=(1, 1))
    page = Read(render(made.page, 5)[0])
    assert len(page.tables[0]) == 201 and "Classes, the worst first; 200 of 230" in page.text
    assert len(page.tables[1]) == 41 and len(page.tables[1][0]) == 41
    assert "the 40 of 230 classes with the most frequent confusions" in page.text


def test_the_origin_tells_one_run_and_one_data_set_from_another(tmp_path):
    rng = np.random.default_rng(0)
    clips = make_clips(tmp_path, "test", LABELS, 2, rng)
    path = tmp_path / "some_run" / "checkpoints" / "Res8-STEP-7.pt"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"weights")
    content = {"command": "python x --y", "versions": {"python": "3"},
               "facts": {"encoder": str(path), "manifest": "m", "k": 5, "seed": None, "enrolled": ["a"] * 45}}
    rows = dict(origin_rows(content, {"test": clips}))
    assert rows["command"] == "python x --y" and re.match(r"20\d\d-\d\d-\d\d \d\d:", rows["made"])
    assert "run some_run, Res8-STEP-7" in rows["encoder"]
    assert hashlib.sha256(b"weights").hexdigest() in rows["encoder"]
    assert rows["manifest"] == "m" and rows["enrolled"].endswith("and 5 more")
    assert fingerprint(clips.manifest) in rows["test clips"]
