"""A page's figures are the printed ones, and its mistakes those that were made, each beside its true neighbour."""

import hashlib
import re
from types import SimpleNamespace

import numpy as np
import pytest

from models.enrolment.enrol import UNKNOWN, by_mean, draw, evaluate, targets
from models.report.new_words import report_enrolment
from models.report.outcome import Embedded, Enrolment
from models.report.page.content import decide, page_of_enrolment
from models.report.page.page import origin_rows, render
from models.runs.provenance import fingerprint
from tests.models.report.page.conftest import LABELS, make_clips, make_vectors
from tests.pages import Read

WORDS = ["bed", "cat", "dog", "four", "tree"]
DRAWS = 4


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


@pytest.fixture
def enrolled(tmp_path, capsys):
    def make(known=(0, 1, 2), shots=(1, 3), labels=WORDS, each=(6, 9)):
        rng = np.random.default_rng(1)
        train, test = (make_clips(tmp_path, split, labels, n, rng)
                       for split, n in zip(("train", "test"), each, strict=True))
        known = np.array(known)
        drawn = draw(train.manifest.label, known, max(shots), DRAWS, 0)
        pool, rows = np.unique(drawn, return_inverse=True)
        rows = rows.reshape(drawn.shape)
        tested = np.arange(len(test))[len(test) % 2::1] if len(known) < len(labels) else np.arange(len(test))
        a, b = make_vectors(train, rng, 0.6)[pool], make_vectors(test, rng, 0.6)[tested]
        truth = targets(test.manifest.label[tested], known)
        results = evaluate({"embedding": by_mean(b, a), "other": by_mean(b[:, ::-1], a)}, rows, shots, truth)
        unknown = [label for i, label in enumerate(labels) if i not in known]
        capsys.readouterr()
        outcome = Enrolment("shots-x", results, truth, Embedded(test, tested, b), Embedded(train, pool, a), rows, known,
                            {"enrolled": [labels[c] for c in known], "unknown": unknown, "manifest": "x"})
        page = page_of_enrolment(outcome, report_enrolment(tmp_path / "run", outcome), {})
        return SimpleNamespace(page=page, printed=capsys.readouterr().out, results=results, truth=truth, test=test,
                               train=train, tested=tested, pool=pool, drawn=drawn, vectors=(a, b), known=known)
    return make


def test_the_table_is_the_printed_one_and_the_matrix_sums_to_its_accuracy(enrolled):
    made = enrolled()
    page = Read(render(made.page, 5)[0])
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in made.printed.splitlines()
             if line.startswith("|") and "---" not in line]
    assert page.tables[0] == lines and len(lines) == 5
    matrix = page.tables[1]
    assert matrix[0][1:] == ["bed", "cat", "dog", "(rejected)"] and [row[0] for row in matrix[1:]] == WORDS
    counts = np.array([[int(cell or 0) for cell in row[1:]] for row in matrix[1:]])
    assert (counts.sum(1) == DRAWS * np.bincount(made.test.manifest.label[made.tested])).all()
    accuracy = made.results[1].figures["accuracy_at_5_percent"].mean()
    assert made.results[1].shots == 3 and made.results[1].method == "embedding"
    assert counts[[0, 1, 2], [0, 1, 2]].sum() / counts[:3].sum() == pytest.approx(accuracy)
    assert f"{100 * accuracy:.2f} %, the table's accuracy at 5 % FA" in page.text
    assert f"{100 * accuracy:.2f} ± " in next(line for line in lines if line[:2] == ["embedding", "3"])[-1]
    unknown = int((made.truth == UNKNOWN).sum())
    assert counts[3:, :3].sum() <= DRAWS * (unknown * 5 // 100)


def test_without_unknown_words_nothing_is_rejected(enrolled):
    made = enrolled(known=range(5))
    page = Read(render(made.page, 5)[0])
    counts = np.array([[int(cell or 0) for cell in row[1:]] for row in page.tables[1][1:]])
    accuracy = made.results[1].figures["accuracy"].mean()
    assert counts.shape == (5, 5) and counts.trace() / counts.sum() == pytest.approx(accuracy) and accuracy < 1
    assert "threshold" not in page.data["names"]["values"] and "rejected" not in page.text


def test_mistakes_by_brute_force(enrolled):
    made = enrolled()
    page = Read(render(made.page, 5)[0])
    templates, queries = made.vectors
    wanted = {}
    for r in range(DRAWS):
        rows = np.searchsorted(made.pool, made.drawn[r])  # (C, 3)
        means = templates[rows].mean(1)
        similar = queries @ (means / np.linalg.norm(means, axis=1, keepdims=True)).T
        score, best = similar.max(1), similar.argmax(1)
        unknown = np.sort(score[made.truth == UNKNOWN])
        threshold = next(t for t in [-1.0, *unknown] if (unknown > t).sum() <= len(unknown) * 5 // 100)
        for q, truth in enumerate(made.truth):
            column = best[q] if score[q] > threshold else 3
            if column != (3 if truth == UNKNOWN else truth):
                wanted.setdefault((int(made.tested[q]), int(column)), []).append(
                    (score[q], threshold, rows.ravel()[(templates[rows.ravel()] @ queries[q]).argmax()]))
    assert len(wanted) > 10
    found = {}
    for mistake in page.data["mistakes"]:
        row = int(re.search(r"test(\d+)\.wav", mistake["clip"]["lines"][0])[1])
        values = dict(zip(page.data["names"]["values"], mistake["values"], strict=True))
        found[row, mistake["column"]] = values, mistake
    assert found.keys() == wanted.keys()
    for key, (values, mistake) in found.items():
        score, threshold, nearest = wanted[key][0]  # of the first draw that erred so
        assert values["draws"][0] == len(wanted[key])
        assert values["score"][0] == pytest.approx(score, abs=1e-5)
        assert values["threshold"][0] == pytest.approx(threshold, abs=1e-5)
        clip = made.pool[nearest]
        assert f"train{clip}.wav" in mistake["nearest"]["lines"][0]
        assert mistake["nearest"]["label"] == WORDS[made.train.manifest.label[clip]]


def test_a_threshold_is_exceeded_by_no_more_unknown_clips_than_it_allows():
    score = np.array([[0.9, 0.5, 0.5, 0.1]])
    decided, thresholds = decide(SimpleNamespace(best=np.zeros((1, 4), int), score=score),
                                 np.array([0, UNKNOWN, 0, UNKNOWN]), 1)
    assert thresholds.tolist() == [0.5] and decided.tolist() == [[0, 1, 1, 1]]  # equal scores are rejected together


def test_many_words_are_cut_to_those_with_the_most_mistakes(enrolled):
    made = enrolled(known=range(40), labels=[f"w{i:02d}" for i in range(70)], each=(3, 2))
    page = Read(render(made.page, 5)[0])
    assert "Drawn are 40 of 70 rows and 41 of 41 columns" in page.text
    assert len(page.tables[1]) == 41
