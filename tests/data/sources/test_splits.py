"""Who goes where, that nobody is in two places, and what is written about it."""

import pytest

from data.base.errors import UserError
from data.manifests.corpus import load_corpus
from data.manifests.manifest import Utterance
from data.manifests.registry import SPLITS
from data.sources.splits import check_disjoint, count_table, split_of, write_corpus

# From the published lists of Speech Commands v0.02.
OFFICIAL = {"train": ["00176480", "004ae714", "00b01445"], "dev": ["026290a7", "060cd039", "099d52ad"],
            "test": ["022cd682", "0487ba9b", "096456f9"]}


def clip(path, label="a", speaker=None, offset=0.0, duration=1.0):
    return Utterance(str(path), label, duration, offset, speaker)


def test_shares_are_as_asked_and_official_speakers_go_where_the_official_lists_have_them():
    names = [f"speaker {i}" for i in range(20_000)]
    found = [split_of(name, 10, 20) for name in names]
    assert abs(found.count("dev") / 20_000 - 0.10) < 0.01
    assert abs(found.count("test") / 20_000 - 0.20) < 0.01
    assert {split_of(name, 0, 0) for name in names[:500]} == {"train"}
    assert {split_of(name, 100, 0) for name in names[:500]} == {"dev"}
    for split, names in OFFICIAL.items():
        assert {split_of(name) for speaker in names for name in (speaker, f"{speaker}_nohash_3.wav")} == {split}


@pytest.mark.parametrize(("train", "test", "what"), [
    (("a.wav", "x", "anna"), ("c.wav", "x", "anna"), "speaker 'anna'"), (("a.wav",), ("a.wav",), "this audio"),
    (("a.wav", "x", "M\u00fcller"), ("c.wav", "x", "mu\u0308ller"), "speaker 'mu\u0308ller'"),  # however it is spelt
    (("a.wav",), ("link.wav",), "this audio")])
def test_a_speaker_or_a_stretch_of_a_file_in_two_splits_is_named_and_others_pass(tmp_path, train, test, what):
    (tmp_path / "link.wav").symlink_to(tmp_path / "a.wav")
    with pytest.raises(UserError, match=rf"{test[0]}: {what} is in test, and by .*a.wav in train"):
        check_disjoint({"train": [clip(tmp_path / train[0], *train[1:])], "dev": [clip("b.wav", speaker="ben")],
                        "test": [clip(tmp_path / test[0], *test[1:])]})
    check_disjoint({"train": [clip(tmp_path / "a.wav", "x", "anna"), clip(tmp_path / "a.wav", "y", "anna")],
                    "dev": [clip(tmp_path / "b.wav", "x", "ben", 0, 0.5)],
                    "test": [clip(tmp_path / "b.wav", "x", "cem", 0.5, 0.5), clip(tmp_path / "c.wav")]})


def test_the_table_counts_clips_and_speakers():
    splits = {"train": [clip("a", "yes", "s1"), clip("b", "yes", "s1"), clip("c", "no", "s2"), clip("d", "no")],
              "dev": [], "test": [clip("e", "yes", "s3")]}
    rows = [line.split() for line in count_table(splits, ["no", "yes", "maybe"]).splitlines()]
    assert rows[1:] == [["no", "2", "(1)", "0", "0"], ["yes", "2", "(1)", "0", "1", "(1)"],
                        ["maybe", "0", "0", "0"], ["all", "4", "(2)", "0", "1", "(1)"]]
    assert len({len(line) for line in count_table(splits, ["no", "yes", "maybe"]).splitlines()}) == 1


def test_a_written_corpus_is_registered_and_the_same_in_any_order(tmp_path, capsys):
    registry = tmp_path / "registry.json"
    splits = {s: [clip(tmp_path / f"{s}{i}.wav", label, f"{s} speaker") for i, label in enumerate("abcab")]
              for s in SPLITS}
    write_corpus("mine", splits, tmp_path / "out", noise=tmp_path / "noise", made_by="me", registry=registry)
    assert "5 train, 5 dev, 5 test clips of 3 classes" in capsys.readouterr().out
    before = {path: path.read_bytes() for path in (*(tmp_path / "out").iterdir(), registry)}
    write_corpus("mine", {s: utterances[::-1] for s, utterances in splits.items()}, tmp_path / "out",
                 noise=tmp_path / "noise", made_by="me", registry=registry)
    assert {path: path.read_bytes() for path in (*(tmp_path / "out").iterdir(), registry)} == before
    assert "replaces" not in capsys.readouterr().out
    found = load_corpus("mine", registry=registry)
    assert found.noise == tmp_path / "noise"
    for split, manifest in found.splits.items():
        assert sorted(map(str, manifest)) == sorted(map(str, splits[split]))


@pytest.mark.parametrize(("dev", "complaint"), [([], "no clip falls into the dev split"),
                                                (["a", "z"], "label 'z' has clips in dev but none in train")])
def test_splits_that_cannot_be_trained_on_are_refused_and_nothing_is_written(tmp_path, dev, complaint):
    splits = {"train": [clip("a.wav", "a")], "dev": [clip("b.wav", label) for label in dev],
              "test": [clip("c.wav", "a")]}
    with pytest.raises(UserError, match=complaint):
        write_corpus("mine", splits, tmp_path / "out", registry=tmp_path / "registry.json")
    assert not list(tmp_path.iterdir())
