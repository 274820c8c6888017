"""The cohort that is kept beside an encoder: windows of speech, written, read back, of this encoder only, and used."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from data.audio.decoding import decode
from data.sources.textgrids import write_words
from models.enrolment.cohort import Whitening
from models.enrolment.enrol import alike
from models.enrolment.kept_cohort import KEPT, pack, unpack
from models.runs.checkpoints import load_state
from spotting import cohort, enroll
from spotting.detection.thresholds import STEADY, tail
from spotting.encoders.load import SHIPPED, load_onnx, load_torch
from spotting.sound.conditions import heard_elsewhere
from spotting.words.words_file import read_words
from tests.conftest import refused
from tests.spotting.conftest import RATE, scene

SAID = [(at, at + 0.6) for at in (0.1, 1.3, 2.5, 3.7, 4.9)]  # of a much-said recording, from where to where


def speech(folder, seed, recordings):
    """Folders ``talk`` of recordings and ``grids`` of their TextGrids, each (number and second of words, labels)."""
    rng = np.random.default_rng(seed)
    for name in ("talk", "grids"):
        (folder / name).mkdir()
    for i, (said, labels) in enumerate(recordings):
        soundfile.write(folder / "talk" / f"{i:02}.flac", scene(rng, said, 6.0), RATE)
        write_words(folder / "grids" / f"{i:02}.TextGrid", labels, 6.0)
    return folder


@pytest.fixture(scope="module")
def talk(tmp_path_factory):
    """Ten recordings of running speech; bed is said in the first."""
    return speech(tmp_path_factory.mktemp("talk"), 5, [
        ([((0 if i == 0 else 2) + at % 3, 0.3 + at) for at in range(5)],
         [("Bed" if i == 0 else "other", 0.3, 0.9), (" SIL ", 1.0, 1.5), ("word", 2.3, 2.9)]) for i in range(10)])


@pytest.fixture(scope="module")
def much_said(tmp_path_factory):
    """40 recordings of five words each: enough to learn a whitening from. The first word begins after 0.1 s."""
    return speech(tmp_path_factory.mktemp("much"), 6, [
        ([(2 + (i + k) % 4, start) for k, (start, _) in enumerate(SAID)],
         [(f"word{2 + (i + k) % 4}", *place) for k, place in enumerate(SAID)]) for i in range(40)])


def with_cohort(tiny, heard, folder):
    """Copy the tiny encoder's run to ``folder``, and keep a cohort of recordings and their TextGrids beside it."""
    shutil.copytree(tiny, folder)
    flags = [f"--encoder={folder}", "--recordings", heard / "talk", "--alignments", heard / "grids"]
    assert cohort.main(cohort.parse_args(list(map(str, flags)))) == 0
    return folder


@pytest.fixture(scope="module")
def first(tiny, talk, tmp_path_factory):
    return with_cohort(tiny, talk, tmp_path_factory.mktemp("kept") / "tiny")


@pytest.fixture
def kept(first, tmp_path):
    """A copy of the tiny encoder's run, with a cohort beside it."""
    return Path(shutil.copytree(first, tmp_path / "tiny"))


def test_what_is_kept_are_windows_and_what_is_said_in_them(first):
    found = load_torch(first, None, None, 0).cohort
    assert found.embeddings.shape == (60, 45)
    assert np.allclose(np.linalg.norm(found.embeddings, axis=1), 1, atol=1e-5)
    bed = ["Bed" in said.split() for said in found.spoken]
    assert 0 < sum(bed) <= 6
    assert not any("SIL" in said for said in found.spoken)  # an aligner's mark, which is no word
    assert list(found.without(["bed"])) == list(np.flatnonzero(~np.array(bed)))  # as people spell it
    assert len(found.without(["be", "wor"])) == 60  # whole words only
    assert len(found.without(["other"])) < 60


def test_a_word_is_found_in_what_is_said_however_it_is_typed():
    said = ["I don't know", "i DON\u2019T know", "dont know", "ma\u0301s", "no"]
    found = unpack(pack(np.eye(5), said, "f"), "f", 5)
    for name in ("don\u2019t", "Don't", "I don\u2019t"):
        assert list(found.without([name])) == [2, 3, 4]
    assert list(found.without(["M\u00e1s", "do"])) == [0, 1, 2, 4]


@pytest.fixture(scope="module")
def second(tiny, much_said, tmp_path_factory):
    return with_cohort(tiny, much_said, tmp_path_factory.mktemp("whitening") / "tiny")


@pytest.fixture(scope="module")
def whitened(second, spotter, tmp_path_factory):
    """The words enrolled with an encoder whose cohort whitens."""
    path = tmp_path_factory.mktemp("whitened") / "w.json"
    flags = [f"--encoder={second}", "--clips", str(spotter.clips), "--out", str(path)]
    assert enroll.main(enroll.parse_args(flags)) == 0
    return path


def test_words_said_several_times_give_a_whitening(second, much_said):
    embedder = load_torch(second, None, None, 0)
    clips, labels = [], []
    for i in range(40):
        samples = np.pad(decode(str(much_said / "talk" / f"{i:02}.flac")), RATE)
        for k, (start, end) in enumerate(SAID):
            first = RATE + round(RATE * ((start + end) / 2 - 0.5))
            clips.append(samples[first:first + RATE])
            labels.append((i + k) % 4)
    plain = embedder.embed(np.stack(clips))
    heard = zip(*(heard_elsewhere(clip[None], halls=0)[:, 0] for clip in clips), strict=True)
    elsewhere = [embedder.embed(np.stack(x)) for x in heard]
    wanted = Whitening.fit(np.concatenate([plain, *elsewhere]), np.tile(labels, 3))
    assert np.allclose(embedder.cohort.whitening.centre, wanted.centre, atol=1e-5)
    assert np.allclose(embedder.cohort.whitening.factor, wanted.factor, rtol=1e-2, atol=1e-2 * abs(wanted.factor).max())
    assert np.allclose(embedder(np.stack(clips)), wanted(plain), atol=1e-3)
    found = embedder.cohort
    assert np.allclose(found.embeddings, found.whitening(found.plain))
    assert found.learnt_from(["WORD3", "word", "word9"]) == {"WORD3": int((np.array(labels) == 1).sum())}
    assert replace(found, whitening=None).learnt_from(["word3"]) == {}
    assert np.abs(found.embeddings - found.plain).max() > 0.1


def test_an_encoder_is_centred_on_speech(talk, tiny, run, tmp_path):
    """All stays but the last layer's bias, and speech is on an average like nothing."""
    before, after = tmp_path / "words", tmp_path / "level"
    shutil.copytree(SHIPPED, before, ignore=shutil.ignore_patterns(KEPT))
    flags = "--recordings", talk / "talk", "--centred=level"
    done = run("spotting.cohort", f"--encoder={before}", *flags)
    assert done.code == 0, done.error
    old, new = (load_state(next((folder / "checkpoints").iterdir())) for folder in (before, after))
    assert [name for name in old if not old[name].equal(new[name])] == ["project.bias"]
    embedder, plain = load_torch(after, None, None, 0), load_torch(before, None, None, 0)
    assert plain.cohort is None and "level" in done.out
    clips = np.stack([decode(str(path), at, plain.facts.clip_seconds) for path in sorted((talk / "talk").iterdir())
                      for at in np.arange(0, 4.5, 0.6)])
    off = [np.linalg.norm(one.embed(clips).mean(0)) for one in (plain, embedder)]
    assert max(off[1], np.linalg.norm(embedder.cohort.plain.mean(0))) < 0.6 * off[0]
    refused(run("spotting.cohort", f"--encoder={before}", *flags), "is a run already")
    refused(run("spotting.cohort", f"--encoder={tiny}", *flags), "no last layer with a bias")


def test_all_that_is_compared_is_whitened(second, whitened, run, spotter, tmp_path):
    said, words, embedder = spotter.said / "bed" / "0.wav", read_words(whitened), load_torch(second, None, None, 0)
    word, found = words.words[0], embedder.cohort
    whole = embedder.embed(np.stack([decode(clip.file, clip.offset, 1.0) for clip in word.clips]))
    mine = found.whitening(whole)
    assert np.allclose(np.concatenate([clip.embedding for clip in word.clips]), mine, atol=1e-4)
    models = np.array([[getattr(clip, name) for clip in word.clips] for name in ("model", "halls")])  # (2, N, 1, D)
    models = (models / np.linalg.norm(models, axis=-1, keepdims=True)).swapaxes(1, 2)
    mean = models.mean(2, keepdims=True)
    models = np.concatenate([mean / np.linalg.norm(mean, axis=-1, keepdims=True), models], 2)
    assert (models[:, 0, 1:] * mine).sum(-1).min() > 0.9 and (models[:, 0, 1:] * mine).sum(-1).max() < 0.99999
    others = [np.sort(np.delete(found.embeddings, i, 0) @ found.embeddings[i])[-50:].mean()
              for i in range(len(found.embeddings))]
    scores = np.sort(alike(found.embeddings, models)[:, 0] - others)[::-1]
    assert word.threshold == pytest.approx(tail(scores, 0.5 * 0.1 / 3600) - STEADY, abs=1e-3)
    assert run("spotting.find", whitened, said, "--threshold=-1", "--out", tmp_path / "hits.json").code == 0
    hits = json.loads((tmp_path / "hits.json").read_text())["recordings"][0]["hits"]
    samples = decode(str(said))
    windows = found.whitening(embedder.embed(np.stack([samples[i:i + RATE]
                                                       for i in range(0, len(samples) - RATE + 1, 1600)])))
    level = [np.sort(found.embeddings @ window)[-50:].mean() for window in windows]
    best = max(hit["score"] for hit in hits if hit["word"] == word.name)
    alone = alike(windows, models)[:, 0] - level
    assert best == pytest.approx(float(np.convolve(alone, np.ones(3) / 3, "valid").max()), abs=1e-3)


def test_the_export_whitens_as_torch_does(second, whitened, run, spotter, tmp_path):
    pytest.importorskip("onnxscript")
    done = run("spotting.export", f"--encoder={second}", "--out", tmp_path / "e.onnx", "--check", spotter.said)
    assert done.code == 0, done.error
    hits = [run("spotting.find", whitened, spotter.said / "cat" / "1.wav", "--threshold=-1", *flags).out
            for flags in ([], ["--onnx", tmp_path / "e.onnx"])]
    assert hits[0] == hits[1]
    clips = np.stack([decode(str(path), 0.0, 1.0) for path in sorted(spotter.said.glob("*/*.wav"))])
    assert np.abs(load_onnx(tmp_path / "e.onnx")(clips) - load_torch(second, None, None, 0)(clips)).max() < 1e-3


def test_scores_and_thresholds_rest_on_it(kept, run, spotter, tmp_path):
    done = run("spotting.enroll", f"--encoder={kept}", "--clips", spotter.clips, "--out", tmp_path / "w.json")
    assert done.code == 0, done.error
    others = len(load_torch(kept, None, None, 0).cohort.without(["bed", "cat"]))
    assert others < 60 and f"for about 0.5 false alarms an hour, by {others} seconds of others' speech; " in done.out
    words = read_words(tmp_path / "w.json")
    assert words.cohort == load_torch(kept, None, None, 0).cohort.digest
    assert len({word.threshold for word in words.words}) == len(words.words)  # each its own
    flags = "--clips", spotter.clips, "--out", tmp_path / "o.json", "--fa_per_hour=5"
    assert run("spotting.enroll", f"--encoder={kept}", *flags).code == 0
    lax, strict = ([word.threshold for word in read_words(tmp_path / f"{name}.json").words] for name in "ow")
    assert np.less_equal(lax, strict).all() and np.less(lax, strict).any()


def test_words_are_of_their_cohort_only(kept, run, spotter, talk, tmp_path):
    said = spotter.said / "bed" / "0.wav"
    again = ["spotting.cohort", f"--encoder={kept}", "--recordings", talk / "talk"]
    assert run("spotting.enroll", f"--encoder={kept}", "--clips", spotter.clips, "--out", tmp_path / "w.json").code == 0
    refused(run(*again), "cohort.npz: is there", "move it away")
    former = (kept / KEPT).rename(tmp_path / "former.npz")
    refused(run("spotting.find", tmp_path / "w.json", said), "w.json", "has none", "cohort.npz")
    assert run("spotting.enroll", f"--encoder={kept}", "--clips", spotter.clips, "--out", tmp_path / "b.json").code == 0
    assert run("spotting.find", tmp_path / "b.json", said).code == 0 and run(*again, "--seed=1").code == 0
    refused(run("spotting.find", tmp_path / "b.json", said), "b.json", "the cohort none", "enrol the words")
    refused(run("spotting.find", tmp_path / "w.json", said), "w.json", "held against the cohort", "enrol the words")
    shutil.copy(former, kept / KEPT)
    assert run("spotting.find", tmp_path / "w.json", said).code == 0


def test_another_encoders_and_a_damaged_one_are_refused(kept, run, spotter, tmp_path):
    whole = (kept / KEPT).read_bytes()
    flags = f"--encoder={kept}", "--clips", spotter.clips, "--out", tmp_path / "w.json"
    for content, message in ((pack(np.eye(45), ["a"] * 45, "0" * 64), "not of this encoder"),
                             (whole[:200], "cannot be read")):
        (kept / KEPT).write_bytes(content)
        refused(run("spotting.enroll", *flags), "cohort.npz", message, "spotting.cohort")
    assert not (tmp_path / "w.json").exists()


def test_a_cohort_in_which_the_words_are_said_all_over_sets_no_threshold(run, tiny, spotter, tmp_path):
    """As that of an encoder which was trained on the very words that are enrolled, and no others."""
    shutil.copytree(tiny, tmp_path / "tiny")
    embedder = load_torch(tiny, None, None, 0)
    windows = np.random.default_rng(0).normal(size=(80, 45))
    windows /= np.linalg.norm(windows, axis=1, keepdims=True)
    for others, refuses in ((5, True), (40, False)):
        said = ["bed", "a cat"] * ((80 - others) // 2 + 1)
        (tmp_path / "tiny" / KEPT).write_bytes(
            pack(windows, [*said[:80 - others], *["word"] * others], embedder.facts.sha256))
        done = run("spotting.enroll", f"--encoder={tmp_path / 'tiny'}", "--clips", spotter.clips, "--out",
                   tmp_path / "w.json")
        if refuses:
            refused(done, "the cohort has 5 windows without bed, cat, of 80", "--background")
        else:
            assert done.code == 0 and "by 40 seconds of others' speech" in done.out


def test_no_speech_to_speak_of(run, tiny, spotter, talk, tmp_path):
    encoder = f"--encoder={tiny}"
    refused(run("spotting.cohort", encoder, "--recordings", spotter.background), "only", "30")
    refused(run("spotting.cohort", encoder), "--manifest", "--recordings")
    refused(run("spotting.cohort", encoder, "--recordings", tmp_path / "none"), "none", "no such file")
    (tmp_path / "grids").mkdir()
    refused(run("spotting.cohort", encoder, "--recordings", talk / "talk", "--alignments", tmp_path / "grids"),
            "--alignments", "no usable TextGrid")
    assert not (tiny / KEPT).exists()


def test_words_added_keep_the_hop_of_the_others_thresholds(kept, run, spotter, tmp_path):
    first, out = tmp_path / "first", tmp_path / "w.json"
    shutil.copytree(spotter.clips / "bed", first / "bed")
    assert run("spotting.enroll", f"--encoder={kept}", "--clips", first, "--out", out, "--hop=0.2").code == 0
    before = out.read_bytes()
    refused(run("spotting.enroll", "--clips", spotter.clips, "--out", out, "--add"), "--hop 0.1", "--hop 0.2")
    assert out.read_bytes() == before
    assert run("spotting.enroll", "--clips", spotter.clips, "--out", out, "--add", "--hop=0.2").code == 0
    assert json.loads(out.read_text())["calibration"]["hop"] == 0.2
    assert "set with --hop 0.2" in run("spotting.find", out, spotter.said / "bed" / "0.wav").error
