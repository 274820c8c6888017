"""A way of scoring is chosen on dev clips, and only where these have no part in the test."""

import numpy as np
import pytest

from data.dataset import Clips
from data.manifests.corpus import load_corpus
from models.report import enrolled_words as choice


def result(method, shots, **figures):
    return {"method": method, "shots": shots, **figures}


def test_the_least_equal_error_rate_or_else_the_highest_accuracy_is_chosen_for_each_number_of_clips():
    results = [result("plain", 1, accuracy=0.9, equal_error_rate=0.3), result("plain", 5, equal_error_rate=0.1),
               result("normed", 1, accuracy=0.5, equal_error_rate=0.2), result("normed", 5, equal_error_rate=0.1)]
    found = choice.choose(results)
    assert (found["figure"], found["results"]) == ("equal_error_rate", results)
    assert found["chosen"] == [result("normed", 1, equal_error_rate=0.2), result("plain", 5, equal_error_rate=0.1)]
    results = [result("plain", 2, accuracy=0.6), result("nearest", 2, accuracy=0.7)]
    assert choice.choose(results)["chosen"] == results[1:]


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
    for label in (5, 0):
        few = dev.subset(np.flatnonzero(dev.manifest.label != label))
        assert "no clip of an enrolled, or of an unknown word" in choice.dev_clips(
            few, corpus, (np.array([0]), np.array([5])), (clips["train"], clips["test"]))
