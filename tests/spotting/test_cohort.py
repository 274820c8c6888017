"""The cohort that is kept beside an encoder: written, read back, of this encoder only, and what thresholds it gives."""

import json
import shutil

import numpy as np
import pytest

from data.manifests import Utterance, register, write_manifest
from spotting import cohort
from spotting.encoders import load_torch
from tests.conftest import refused


@pytest.fixture
def kept(run, words, tiny, tmp_path):
    """A copy of the tiny encoder's run, with a cohort beside it."""
    shutil.copytree(tiny, tmp_path / "tiny")
    done = run("spotting.cohort", f"--encoder={tmp_path / 'tiny'}", "--manifest=words", f"--registry={words.registry}")
    assert done.code == 0, done.error
    assert "72 clips of 6 words" in done.out
    return tmp_path / "tiny"


def test_what_is_kept_are_the_embeddings_of_other_words(kept):
    facts = load_torch(kept, None, None, 0).facts
    everything = cohort.read_kept(facts, [])
    assert everything.shape == (72, facts.width)
    assert np.allclose(np.linalg.norm(everything, axis=1), 1, atol=1e-2)
    assert len(cohort.read_kept(facts, ["Cat", "dog "])) == 48  # as people spell them


def test_thresholds_rest_on_it(kept, run, spotter, tmp_path):
    done = run("spotting.enroll", f"--encoder={kept}", "--clips", spotter.clips, "--out", tmp_path / "w.json")
    assert done.code == 0, done.error
    assert "thresholds by" in done.error and "which rests on no recording" not in done.error
    found = json.loads((tmp_path / "w.json").read_text())["words"]
    assert len({word["threshold"] for word in found.values()}) == len(found)  # each its own


def test_another_encoders_and_a_damaged_one_are_refused(kept, run, spotter, tmp_path):
    whole = (kept / cohort.KEPT).read_bytes()
    with np.load(kept / cohort.KEPT) as parts:
        np.savez(kept / cohort.KEPT, **dict(parts) | {"sha256": "0" * 64})
    flags = f"--encoder={kept}", "--clips", spotter.clips, "--out", tmp_path / "w.json"
    refused(run("spotting.enroll", *flags), "cohort.npz", "not of this encoder", "spotting.cohort")
    (kept / cohort.KEPT).write_bytes(whole[:200])
    refused(run("spotting.enroll", *flags), "cohort.npz", "cannot be read")
    assert not (tmp_path / "w.json").exists()


def test_too_few_other_words(run, tiny, spotter, tmp_path):
    clip = next(spotter.clips.rglob("*.wav"))
    for split in ("train", "dev", "test"):
        write_manifest(tmp_path / f"{split}.json", [Utterance(str(clip), word, 1.0) for word in ("a", "b")])
    register("few", **{split: tmp_path / f"{split}.json" for split in ("train", "dev", "test")},
             registry=tmp_path / "m.json")
    refused(run("spotting.cohort", f"--encoder={tiny}", "--manifest=few", f"--registry={tmp_path / 'm.json'}"),
            "few", "at least 30")
