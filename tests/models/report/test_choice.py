"""A way of scoring is chosen on dev clips, and only where these have no part in the test."""

import numpy as np
import pytest

from data.dataset import Clips
from data.manifests.corpus import load_corpus
from models.enrolment.enrol import Result
from models.report import enrolled_words as choice


def result(method, shots, **figures):
    return Result(method, shots, np.zeros((2, 1), np.int64), np.zeros((2, 1), np.float32),
                  {name: np.array(values) for name, values in figures.items()})


def test_the_least_equal_error_rate_is_chosen_for_each_number_of_clips_the_first_of_equal_ones():
    results = [result("plain", 1, accuracy=[0.9, 0.9], equal_error_rate=[0.2, 0.4]),
               result("plain", 5, accuracy=[0.9, 0.9], equal_error_rate=[0.1, 0.1]),
               result("normed", 1, accuracy=[0.5, 0.5], equal_error_rate=[0.1, 0.3]),
               result("normed", 5, accuracy=[0.9, 0.9], equal_error_rate=[0.05, 0.15])]
    figure, chosen = choice.choose(results)
    assert figure == "equal_error_rate"
    assert chosen == {1: ("normed", pytest.approx(0.2)), 5: ("plain", pytest.approx(0.1))}


def test_without_unknown_words_it_is_the_highest_accuracy():
    results = [result("plain", 2, accuracy=[0.5, 0.7]), result("nearest", 2, accuracy=[0.8, 0.6])]
    assert choice.choose(results) == ("accuracy", {2: ("nearest", pytest.approx(0.7))})


@pytest.fixture
def opened(words):
    corpus = load_corpus("words", registry=words.registry)
    return corpus, {split: Clips.of(manifest, f"choice-{split}", 1.0, words.folder / "cache", False)
                    for split, manifest in corpus.splits.items()}


def test_dev_clips_are_those_of_the_words_and_no_others(opened, monkeypatch):
    corpus, clips = opened
    words = np.array([0, 2]), np.array([5])
    rows = choice.dev_clips(clips["dev"], corpus, words, (clips["train"], clips["test"]))
    assert rows.tolist() == [i for i, label in enumerate(corpus.splits["dev"].label) if label in (0, 2, 5)]
    monkeypatch.setattr(choice, "DEV_CLIPS", 8)
    few = choice.dev_clips(clips["dev"], corpus, words, (clips["train"], clips["test"]))
    assert np.bincount(corpus.splits["dev"].label[few]).tolist() == [2, 0, 2, 0, 0, 4]


def test_no_dev_clip_may_be_a_test_or_training_clip(opened):
    corpus, clips = opened
    words = np.array([0, 2]), np.array([5])
    for other in ("test", "train"):
        said = choice.dev_clips(clips[other], corpus, words, (clips["train"], clips["test"]))
        assert "are test or training clips, too" in said
        assert said.startswith({"test": "15 of its 15", "train": "36 of its 36"}[other])


def test_words_without_dev_clips_are_said(opened):
    corpus, clips = opened
    dev = clips["dev"]
    for label, what in ((5, "unknown"), (0, "enrolled")):
        rows = np.flatnonzero(dev.manifest.label != label)
        few = Clips(dev.packed, dev.manifest.subset(rows), dev.rows[rows])
        assert choice.dev_clips(few, corpus, (np.array([0]), np.array([5])), (clips["train"], clips["test"])) == \
            f"the dev set has no clip of an {what} word"
