"""What is collected of a cell is what its scripts left."""

import json

import numpy as np

from experiments import collect
from experiments.belongs import Data
from experiments.cells import Cell, written_to
from experiments.collect import about_the_test, by_k
from experiments.setup import Setup


def test_neighbours_are_counted_from_the_saved_embeddings_by_the_same_vote(tmp_path, capsys):
    from models.neighbours.knn import classify

    rng = np.random.default_rng(0)
    train, test = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in
                   (rng.standard_normal((n, 6)).astype(np.float32) for n in (12, 40)))
    labels, truth = np.arange(12) // 2, rng.integers(0, 6, 40)
    for name, array in (("train_embeddings", train), ("train_labels", labels), ("test_embeddings", test),
                        ("test_labels", truth)):
        np.save(tmp_path / f"s-{name}.npy", array)
    found = by_k(tmp_path / "s", (1, 5, 12, 13))
    assert found == {str(k): np.mean(classify(train, labels, test, k, 6).labels == truth) for k in (1, 5, 12)}
    assert "--ks 13 left out, the training set has 12 clips" in capsys.readouterr().out


def test_a_result_keeps_what_its_cohort_was_but_not_where_it_lay():
    facts = {"cohort": {"manifest": "ten", "path": "/home/me/ten/train.json", "clips": 400}, "known_clips": 3,
             "test_clips_trained_on": 2, "test_speakers_trained_on": 0}
    assert about_the_test(facts) == {"cohort": {"manifest": "ten", "clips": 400}, "test_clips_trained_on": 2}
    assert facts["cohort"]["path"] and about_the_test({}) == {}
    assert about_the_test({"cohort": {"file": "/home/me/cohort.npz", "windows": 9}}) == {"cohort": {"windows": 9}}


def test_a_result_keeps_that_test_clips_were_trained_on(tmp_path, monkeypatch):
    cell = Cell("words", "Res8", "head", 6, 0)
    setup, stem = Setup(tmp_path, tmp_path / "manifests.json", Data("a", "t")), written_to(cell, tmp_path)
    stem.parent.mkdir()
    monkeypatch.setattr(collect, "looked", lambda folder: ("dev", [(6, 1.0, 0.5)]))
    for heard in (0, 2):
        facts = {"test_clips_trained_on": heard, "test_speakers_trained_on": heard // 2}
        stem.with_name(stem.name + ".json").write_text(json.dumps({
            "accuracy": 0.5, "f1_macro": 0.5, "classes": [{"label": "a", "accuracy": 0.5}], "versions": {},
            "facts": facts}))
        stem.with_name(stem.name + ".csv").write_text("path,label,prediction\nx.wav,a,a\ny.wav,a,b\n")
        found = collect.collect(cell, setup)
        assert found["right"] == "10" and {key: found.get(key, 0) for key in facts} == facts
