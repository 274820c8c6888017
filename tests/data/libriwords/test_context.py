"""Clips with what is said around the word, words in training only, and words held out as new."""

import json
import re

import numpy as np
import pytest
import soundfile

from data.base.errors import UserError
from data.libriwords.selection import held_out, with_context
from data.manifests.corpus import load_corpus
from data.manifests.manifest import Utterance, read_manifest
from tests.data.libriwords.test_libriwords import (
    RATE,
    add_utterance,
    corpus,  # noqa: F401
    random_words,
    run,
    table,
)


@pytest.fixture
def recording(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.ones(5 * 8_000, np.int16), 8_000)
    return str(tmp_path / "a.wav")


@pytest.mark.parametrize(("offset", "duration", "expected"), [
    (2.0, 0.4, (1.7, 1.0)), (0.1, 0.2, (0.0, 0.7)), (4.7, 0.2, (4.3, 0.7)), (1.0, 1.3, (1.0, 1.3))])
def test_a_clip_reaches_around_the_words_middle_as_far_as_there_is_sound(recording, offset, duration, expected):
    clip, = with_context([Utterance(recording, "a", duration, offset, "s")], 1.0)
    assert (clip.offset, clip.duration) == pytest.approx(expected)
    assert (clip.path, clip.label, clip.speaker) == (recording, "a", "s")


def test_a_share_gets_context_and_the_same_every_time(recording):
    words = [Utterance(recording, "a", 0.2, i / 500) for i in range(2_000)]
    assert len({(clip.offset, clip.duration) for clip in with_context(words[::50], 1.0)}) == 40  # no two are one clip
    found = list(with_context(words, 1.0, 0.3))
    assert 0.27 < np.mean([a != b for a, b in zip(found, words, strict=True)]) < 0.33
    assert found == list(with_context(words, 1.0, 0.3))
    assert list(with_context(words, 1.0, 0.0)) == words


def test_words_held_out_depend_on_the_word_alone():
    words = [f"w{i}" for i in range(5_000)]
    held = held_out(words, 10)
    assert 400 < len(held) < 600
    assert held_out(words[::2], 10) == held & set(words[::2])
    assert held_out(words, 5) < held
    assert not held_out(words, 0)


def flags(tmp_path, *more):
    return tmp_path / "out", "--name", "any", "--sizes", 15, *more


def test_train_only_keeps_words_that_dev_and_test_lack(corpus, tmp_path, monkeypatch):  # noqa: F811
    rng = np.random.default_rng(1)
    lone = [f"lone{letter}" for letter in "abcde"]  # each said by one speaker only
    for i, word in enumerate(lone):
        for take in range(5):
            said = random_words(rng)
            add_utterance(tmp_path / "more", f"{990 + i}-1-{take}", [(word, *said[0][1:]), *said[1:]])
    for folder in ("LibriSpeech", "alignments"):
        (tmp_path / "more" / folder / "rest").symlink_to(corpus / folder)
    source, registry = tmp_path / "more", tmp_path / "out" / "registry.json"
    run(monkeypatch, source, tmp_path / "a", "--sizes", 20)
    rows = table(tmp_path / "a", 20)
    assert all(rows[word]["verdict"].startswith("none in") for word in lone)
    run(monkeypatch, source, *flags(tmp_path, "--train_only", "--sizes", 20))
    loaded = load_corpus("any-20", registry=registry)
    trained = {word for i, word in enumerate(lone) if str(990 + i) in loaded.splits["train"].speaker}
    assert trained
    assert set(lone) & set(loaded.labels) == trained
    assert {word for word, row in table(tmp_path / "out", "any-20").items() if row["verdict"] == "kept"} \
        == set(loaded.labels)
    run(monkeypatch, source, *flags(tmp_path, "--train_only", "--min_speakers", 2, "--sizes", 20))
    assert not set(lone) & set(load_corpus("any-20", registry=registry).labels)
    assert table(tmp_path / "out", "any-20")[min(trained)]["verdict"] == "fewer than 2 speakers"


def test_context_reaches_into_the_recording(corpus, tmp_path, monkeypatch):  # noqa: F811
    run(monkeypatch, corpus, *flags(tmp_path))
    run(monkeypatch, corpus, *flags(tmp_path, "--name", "wide", "--context"))
    cut, wide = (load_corpus(name, registry=tmp_path / "out" / "registry.json") for name in ("any-15", "wide-15"))
    for split in cut.splits:
        a, b = cut.splits[split], wide.splits[split]
        assert a.labels == b.labels
        assert len(a) == len(b)
        assert (b.duration <= 1.0 + 1e-6).all()
        assert (b.offset <= a.offset + 1e-6).all()
        assert (b.offset + b.duration >= a.offset + a.duration - 1e-6).all()
        assert np.median(b.duration) == pytest.approx(1.0)
        for file, offset, duration in zip(b.file, b.offset, b.duration, strict=True):
            assert offset + duration <= soundfile.info(b.files[file]).frames / RATE + 1e-6


def test_excluded_words_and_speakers_are_nowhere(corpus, tmp_path, monkeypatch, capsys):  # noqa: F811
    run(monkeypatch, corpus, *flags(tmp_path, "--exclude_words", "THE", "fox", "alexa", "--exclude_speakers", "100",
                                    "103"))
    assert "1 of 3 are not in this corpus, such as alexa" in capsys.readouterr().out
    loaded = load_corpus("any-15", registry=tmp_path / "out" / "registry.json")
    assert not {"the", "fox"} & set(loaded.labels)
    assert "and" in loaded.labels
    for manifest in loaded.splits.values():
        assert not {"100", "103"} & set(manifest.speaker)
        assert not [path for path in manifest.files if re.search(r"/10[03]-", path)]
    with pytest.raises(UserError, match="--exclude_speakers 7: no such speaker"):
        run(monkeypatch, corpus, *flags(tmp_path, "--exclude_speakers", "7"))


def test_new_words_are_said_by_dev_speakers_and_trained_on_nowhere(corpus, tmp_path, monkeypatch):  # noqa: F811
    run(monkeypatch, corpus, *flags(tmp_path, "--new_words", 30))
    registry = tmp_path / "out" / "registry.json"
    entry = json.loads(registry.read_text())["any-15"]
    new = read_manifest(tmp_path / "out" / entry["new_words"])
    loaded = load_corpus("any-15", registry=registry)
    assert new.labels
    assert not set(new.labels) & set(loaded.labels)
    assert set(new.labels) <= held_out(new.labels, 30)
    assert set(new.speaker) <= set(loaded.splits["dev"].speaker)
    assert not set(new.speaker) & (set(loaded.splits["train"].speaker) | set(loaded.splits["test"].speaker))
    assert new.counts().min() > 1


def test_a_refusal_for_want_of_new_words_leaves_the_manifests_that_are_there(corpus, tmp_path, monkeypatch):  # noqa: F811
    run(monkeypatch, corpus, *flags(tmp_path, "--new_words", 30))
    before = {path.name: path.read_bytes() for path in (tmp_path / "out" / "any-15").iterdir()}
    with pytest.raises(UserError, match=r"--new_words 0\.01: the dev speakers say none"):
        run(monkeypatch, corpus, *flags(tmp_path, "--new_words", 0.01))
    assert {path.name: path.read_bytes() for path in (tmp_path / "out" / "any-15").iterdir()} == before


def test_a_split_without_a_clip_is_refused_before_it_is_registered(tmp_path, monkeypatch):
    for speaker in range(6):
        for number in range(2 + speaker):
            add_utterance(tmp_path, f"{speaker}-1-{number}",
                          [(f"{'abcdef'[speaker]}{letter}", at, at + 0.4) for at, letter in enumerate("ab")])
    with pytest.raises(UserError, match=r"--sizes 2: no clip of its words falls into dev and test"):
        run(monkeypatch, tmp_path, tmp_path / "out", "--sizes", 2, "--name", "any", "--train_only")
    assert not (tmp_path / "out" / "registry.json").exists()
