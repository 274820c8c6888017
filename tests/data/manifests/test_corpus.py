"""Joined data sets: labels by name, every clip of every set, and nothing held out in training."""

import numpy as np
import pytest
import soundfile

from data.base.errors import UserError
from data.manifests.corpus import load_corpus, new_words, trained_new_words
from data.manifests.manifest import Utterance, write_manifest
from data.manifests.registry import register


@pytest.fixture
def sets(tmp_path):
    """A function that registers a data set: name, and for each split (label, speaker, file) triples."""
    registry = tmp_path / "manifests.json"

    def add(name, noise=None, new=None, **splits):
        for split, clips in splits.items():
            write_manifest(tmp_path / name / f"{split}.json", [
                Utterance(str(tmp_path / name / (file or f"{split}{i}.wav")), label, 1.0, speaker=speaker)
                for i, (label, speaker, file) in enumerate(clips)])
        register(name, **{split: tmp_path / name / f"{split}.json" for split in ("train", "dev", "test")}, noise=noise,
                 new_words=new, registry=registry)
        return registry
    return add


def usual(add, name, words, first):
    """Speakers number first to first + 2, one a split."""
    return add(name, **{split: [(word, f"s{first + i}", None) for word in words]
                        for i, split in enumerate(("train", "dev", "test"))})


def test_every_clip_of_every_set_keeps_its_label(sets):
    usual(sets, "a", ["cat", "dog"], 0)
    registry = usual(sets, "b", ["ant", "dog", "eel"], 3)
    joined = load_corpus("a+b", registry=registry)
    assert joined.labels == ["ant", "cat", "dog", "eel"]
    assert joined.parts.tolist() == [1, 0, 0, 1]
    for split, manifest in joined.splits.items():
        alone = [load_corpus(name, registry=registry).splits[split] for name in "ab"]
        assert list(manifest) == [*alone[0], *alone[1]]
    assert load_corpus("b+a", registry=registry).parts.tolist() == [0, 1, 0, 0]
    assert set(load_corpus("a+b", ("test",), registry).splits) == {"test"}
    assert load_corpus("a", registry=registry).parts is None
    usual(sets, "a+x", ["cat", "eel"], 3)  # a set may have been given such a name
    assert load_corpus("a+x", registry=registry).labels == ["cat", "eel"]


def test_a_clip_of_two_sets_is_there_once(sets, tmp_path, capsys):
    """Also of two lists of new words, where a clip's distance to itself made the figures too good."""
    rng = np.random.default_rng(0)
    held = {"dev": [("cat", "s4", "d.wav")], "test": [("cat", "s5", "t.wav")]}
    for name, clips in (("a", 30), ("b", 40)):
        drawn = [("cat", f"/x/{i}.wav") for i in rng.permutation(50)[:clips]]
        registry = sets(name, train=[(word, "s0", file) for word, file in [*drawn, drawn[0]]], **held)
    for name in "ab":
        write_manifest(tmp_path / name / "new.json", [Utterance("/y.wav", "eel", 0.5, at, "s4") for at in (1, 2)])
        register(name, **{split: tmp_path / name / f"{split}.json" for split in ("train", "dev", "test")},
                 new_words=tmp_path / name / "new.json", registry=registry)
    alone = [load_corpus(name, registry=registry).splits["train"] for name in "ab"]
    a, b = map(list, alone)
    joined = load_corpus("a+b", registry=registry)
    train = joined.splits["train"]
    assert 0 < len(set(a) & set(b)) < 30
    # What a set itself has twice stays.
    assert list(train) == a + [clip for clip in b if clip not in a]
    assert f"{len(a) + len(b) - len(train)} train clips are in several of the sets" in capsys.readouterr().err
    assert len(new_words(joined, registry)) == 2


@pytest.mark.parametrize(("split", "order"), [("dev", "a+b"), ("test", "b+a")])
def test_what_one_holds_out_another_must_not_train_on(sets, split, order):
    usual(sets, "a", ["cat", "dog"], 0)
    held = {"dev": [("eel", "s4", None)], "test": [("eel", "s5", None)]}
    registry = sets("b", train=[("eel", "s3", None)], **held | {split: [("eel", "s0", None)]})
    with pytest.raises(UserError, match=rf"speakers of the {split} split of 'b' in the training of 'a' .1.: s0;"):
        load_corpus(order, registry=registry)
    sets("b", train=[("eel", "s3", None)], **held | {split: [("eel", "s9", "../a/train1.wav")]})
    with pytest.raises(UserError, match=rf"recordings of the {split} split of 'b' in the training of 'a' .*train1.wav"):
        load_corpus(order, registry=registry)


def test_contradictions(sets):
    usual(sets, "a", ["cat"], 0)
    registry = usual(sets, "b", ["Cat"], 3)
    for label in ("Cat", "c at", "cat\u200b", "\uff43at"):
        usual(sets, "b", [label], 3)
        with pytest.raises(UserError, match=r"labels '.*t' and '.*t.*' differ by case or blanks only"):
            load_corpus("a+b", registry=registry)
    with pytest.raises(UserError, match="twice"):
        load_corpus("a+a", registry=registry)
    with pytest.raises(UserError, match="'nowhere' is not registered"):
        load_corpus("a+nowhere", registry=registry)


def test_a_recording_that_a_link_leads_to_is_the_same_in_all_sets(sets, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    held = {"dev": [("cat", "s1", None)], "test": [("cat", "s2", None)]}
    sets("a", train=[("cat", "s0", "../real/x.wav"), ("cat", "s0", "../real/y.wav")], **held)
    registry = sets("b", train=[("cat", "s0", "../link/y.wav"), ("cat", "s0", "../link/z.wav")], **held)
    train = load_corpus("a+b", registry=registry).splits["train"]
    assert train.files == [str(tmp_path / path) for path in ("real/x.wav", "real/y.wav", "link/z.wav")]
    assert train.file.tolist() == [0, 1, 2]
    sets("b", train=[("cat", "s0", "z.wav"), ("eel", "s0", "../link/y.wav")], **held)
    with pytest.raises(UserError, match="'cat' in 'a' and 'eel' in 'b'; mend"):
        load_corpus("a+b", registry=registry)


def test_all_other_words_are_not_a_word_beside_them(sets):
    usual(sets, "a", ["cat", "_unknown_", "_silence_"], 0)
    registry = usual(sets, "b", ["cat", "eel"], 3)
    for order in ("a+b", "b+a"):
        with pytest.raises(UserError, match=r"'_unknown_' of 'a' stands for any word .* name 1 more: eel; join a set"):
            load_corpus(order, registry=registry)
    usual(sets, "b", ["cat"], 3)
    assert load_corpus("a+b", registry=registry).labels == ["_silence_", "_unknown_", "cat"]


def test_a_speaker_or_a_recording_is_known_however_it_is_written(sets, tmp_path):
    sets("a", train=[("cat", "Ren\u00e9 ", "x.wav")], dev=[("cat", "s1", None)], test=[("cat", "s2", None)])
    held = {"train": [("eel", "s3", None)], "dev": [("eel", "s4", None)]}
    registry = sets("b", **held, test=[("eel", "rene\u0301", None)])
    with pytest.raises(UserError, match=r"speakers of the test split of 'b' in the training of 'a'.*other people"):
        load_corpus("a+b", registry=registry)
    (tmp_path / "a" / "x.wav").touch()
    (tmp_path / "b" / "link.wav").symlink_to(tmp_path / "a" / "x.wav")
    sets("b", **held, test=[("eel", "s5", "link.wav")])
    with pytest.raises(UserError, match=r"recordings of the test split of 'b' in the training of 'a'.*link.wav"):
        load_corpus("a+b", registry=registry)


def test_sets_of_different_rates_are_said(sets, tmp_path, capsys):
    for name, rate, first in (("a", 16_000, 0), ("b", 8_000, 3), ("c", 44_100, 6)):
        registry = usual(sets, name, [f"word{name}"], first)
        for split in ("train", "dev", "test"):
            soundfile.write(tmp_path / name / f"{split}0.wav", np.zeros(rate, np.int16), rate)
    load_corpus("a+c", registry=registry)
    assert not capsys.readouterr().err
    load_corpus("a+b+c", registry=registry)
    assert "recordings of 'b' have 8,000 Hz, all others 16,000 or more" in capsys.readouterr().err


def test_new_words_are_those_of_all_sets_and_none_is_trained_on(sets, tmp_path):
    clips = {"train": [("cat", "s0", None)], "dev": [("cat", "s1", None)], "test": [("cat", "s2", None)]}
    registry = usual(sets, "b", ["eel", "gnu"], 3)
    with pytest.raises(UserError, match="no words held out"):
        new_words(load_corpus("b", registry=registry), registry)

    def hold_out(word, speaker):
        write_manifest(tmp_path / "a" / "new.json", [Utterance(str(tmp_path / f"n{i}.wav"), word, 1.0, speaker=speaker)
                                                     for i in range(2)])
        sets("a", new=tmp_path / "a" / "new.json", **clips)
    hold_out("yak", "s1")
    held = new_words(load_corpus("a+b", registry=registry), registry)
    assert (held.labels, len(held)) == (["yak"], 2)
    hold_out("gnu", "s1")
    assert new_words(load_corpus("a", registry=registry), registry).labels == ["gnu"]
    for word in ("gnu", "GNU "):
        hold_out(word, "s1")
        with pytest.raises(UserError, match=rf"1 words held out as new .*a\+b: {word.strip()}"):
            new_words(load_corpus("a+b", registry=registry), registry)
        said, = trained_new_words(load_corpus("a+b", registry=registry), registry)
        assert said.startswith(f"1 words that 'a' holds out as new are in this training: {word.strip()};")
    assert trained_new_words(load_corpus("b", registry=registry), registry) == []
    hold_out("yak", "s3")
    with pytest.raises(UserError, match=r"1 speakers held out as new .*s3"):
        new_words(load_corpus("a+b", registry=registry), registry)
