"""The test of enrolled words: how scoring is chosen on dev, and what is said of clips, cohorts and draws."""

import json
import shutil

import numpy as np
import pytest

from data.audio.dataset import Clips
from data.base.files import file_digest
from data.manifests.corpus import load_corpus
from data.manifests.registry import register
from models.enrolment.cohort import Whitening
from models.enrolment.kept_cohort import KEPT, pack
from models.report import enrolled_words as choice
from tests.conftest import infer, refused


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


def test_why_no_dev_clip_is_taken_is_said(opened):
    corpus, clips = opened
    words, others, dev = (np.array([0, 2]), np.array([5])), (clips["train"], clips["test"]), clips["dev"]
    for split, said in (("test", "15 of its 15"), ("train", "36 of its 36")):
        found = choice.dev_clips(clips[split], corpus, words, others)
        assert found.startswith(said) and "are test or training clips, too" in found
    for label in (5, 0):
        few = dev.subset(np.flatnonzero(dev.manifest.label != label))
        assert "no clip of an enrolled, or of an unknown word" in choice.dev_clips(
            few, corpus, (np.array([0]), np.array([5])), others)


def test_clips_that_are_enrolled_or_vote_and_are_tested_are_told(run, words, runs, encoder, tmp_path):
    train, test = words.folder / "train.json", words.folder / "test.json"
    mixed = words.folder / "mixed.json"  # beside the others, whose paths it has
    bed = [line for line in train.read_text().splitlines() if '"bed"' in line][:3]
    mixed.write_text(test.read_text() + "".join(f"{line}\n" for line in bed))
    register("mixed", train=train, dev=words.folder / "dev.json", test=mixed, registry=tmp_path / "manifests.json")
    flags = ["--shots", "2", "--repeats=2", "--enroll", "bed", "cat"]
    mixed = ["--manifest=mixed", f"--registry={tmp_path / 'manifests.json'}"]
    done = infer(run, words, runs, *flags, *mixed)
    assert done.code == 0, done.error
    assert "3 of the 13 test clips are clips to enrol from, too" in done.error
    assert "clips to enrol from, too" not in infer(run, words, runs, *flags).error
    voted = infer(run, words, runs, *mixed)
    assert "3 of the 33 test clips are training clips that vote, too" in voted.error
    facts = json.loads((runs / "enc" / "knn-mixed-Res8-40.json").read_text())["facts"]
    assert facts["test_clips_in_train"] == 3
    assert "that vote, too" not in infer(run, words, runs).error


def test_a_cohort_has_no_clip_of_a_tested_word_under_another_label(run, words, runs, encoder, tmp_path):
    """As the label of all other words hides, whose clips are those of the unknown ones."""
    registry = tmp_path / "manifests.json"
    splits = {split: words.folder / f"{split}.json" for split in ("train", "dev", "test")}
    others = [line for line in splits["train"].read_text().splitlines()
              if not any(f'"{word}"' in line for word in ("cat", "dog"))]
    hidden = [line.replace('"dog"', '"_unknown_"') for split in ("train", "test")
              for line in splits[split].read_text().splitlines() if '"dog"' in line]
    assert len(hidden) == 12 + 5 and all("_unknown_" in line for line in hidden)
    for name, lines in (("pure", others), ("leaky", others + hidden), ("dogs", others[:20] + hidden)):
        path = words.folder / f"{name}.json"  # beside the others, whose paths it has
        path.write_text("".join(f"{line}\n" for line in lines))
        register(name, train=path, dev=splits["dev"], test=splits["test"], registry=registry)
    register("words", **splits, registry=registry)
    flags = ["--shots", "2", "--repeats=2", "--enroll", "cat", "--unknown", "dog", f"--registry={registry}"]
    pure, leaky = (infer(run, words, runs, *flags, f"--cohort={name}") for name in ("pure", "leaky"))
    assert "cohort: 48 clips of 4 other words of --manifest leaky" in leaky.out
    tables = [[line for line in done.out.splitlines() if line.startswith("|")] for done in (pure, leaky)]
    assert tables[0] == tables[1] and len(tables[0]) > 3
    refused(infer(run, words, runs, *flags, "--cohort=dogs"), "'dogs' has 20 training clips", "--cohort")


def test_the_cohort_kept_beside_an_encoder_is_what_scores_are_held_against(run, words, runs, encoder, tmp_path):
    flags = ["--shots", "1", "4", "--repeats=2", "--enroll", "bed", "cat", "--unknown"]
    shutil.copytree(runs / "enc", tmp_path / "enc")
    assert "running speech" not in infer(run, words, tmp_path, *flags).out
    newest = file_digest(max((tmp_path / "enc" / "checkpoints").glob("Res8-*.pt"), key=lambda p: int(p.stem[10:])))
    rng, kept = np.random.default_rng(0), tmp_path / "enc" / KEPT
    windows = rng.standard_normal((80, 12)) + 1
    windows /= np.linalg.norm(windows, axis=1, keepdims=True)
    said = ["Bed and more"] * 20 + ["other"] * 60
    whitening = Whitening(np.full(12, 0.1, np.float32), np.diag(np.linspace(0.5, 2, 12)).astype(np.float32))
    kept.write_bytes(pack(windows, said, newest, whitening))
    done = infer(run, words, tmp_path, *flags)
    assert done.code == 0, done.error
    assert "60 windows of running speech kept in" in done.out and "by the 60 most similar" in done.out
    content = json.loads(next((tmp_path / "enc").glob("**/shots-unknown-*.json")).read_text())
    assert content["facts"]["cohort"]["windows"] == 60
    got = {(row["method"], row["shots"]) for row in content["results"]}
    for method in ("embedding, t-norm", "whitened embedding", "whitened embedding, t-norm, mean and nearest three"):
        assert (method, 4) in got
    assert ("whitened embedding, t-norm, mean and nearest three", 1) not in got  # one clip is its mean and its nearest
    refused(infer(run, words, tmp_path, *flags, "--cohort=words"), "cohort 'words'")  # --cohort goes before
    for content, why in ((pack(windows, ["bed"] * 70 + ["other"] * 10, newest), "10 windows"),
                         (pack(windows, said, "0" * 64), "not of this encoder")):
        kept.write_bytes(content)
        done = infer(run, words, tmp_path, *flags)
        assert done.code == 0, done.error
        assert "the cohort beside the encoder is not used" in done.out and why in done.out
        assert "embedding, t-norm" not in done.out
