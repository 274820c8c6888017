"""Manifests and their registry: what is read is what was written, and every defect is found with its line."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from data.base.errors import UserError, in_a_line
from data.base.files import ROOT
from data.manifests.corpus import load_corpus, two_labels
from data.manifests.manifest import Manifest, Utterance, read_manifest, under_two_labels, write_manifest
from data.manifests.registry import read_registry, register, registered

GOOD = {"audio_filepath": "a.wav", "duration": 1.0, "label": "yes"}


def write(path, *lines, encoding="utf-8"):
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines), encoding)
    return path


def corpus(folder, **labels):
    """Three manifests of the given labels, registered as ``mine``."""
    paths = {split: write(folder / f"{split}.json", *(
        {"audio_filepath": f"{split}{i}.wav", "duration": 1, "label": label, "speaker": split}
        for i, label in enumerate(labels.get(split, "ab")))) for split in ("train", "dev", "test")}
    register("mine", **paths, made_by="make it", registry=folder / "registry.json")
    return folder / "registry.json"


def test_round_trip_keeps_every_field(tmp_path):
    utterances = [Utterance(str(tmp_path / "wörter/ja ✓.wav"), "ja", 1.0, 0.0, "0a7c"),
                  Utterance(str(tmp_path / "wörter/ja ✓.wav"), "nein", 0.25, 3.141593, None),
                  Utterance(str(tmp_path.parent / "日本\u2028語.flac"), "はい", 0.5, 0.0, "anna\tb")]
    path = tmp_path / "datasets" / "train.json"
    write_manifest(path, utterances)
    found = read_manifest(path)
    assert list(found) == utterances
    assert found.labels == ["ja", "nein", "はい"]
    assert len(found.files) == 2
    assert "../wörter/ja ✓.wav" in path.read_text(encoding="utf-8")  # relative to the manifest, readable


def test_field_names_of_others_defaults_and_blank_lines(tmp_path):
    path = write(tmp_path / "a.json", {"audio_filename": "x/../a.wav", "duration": 2, "command": "no"}, "",
                 {"audio_filepath": str(tmp_path / "abs.wav"), "duration": 0.5, "target": 7, "offset": 1, "speaker": 5})
    found = read_manifest(path)
    assert found[0] == Utterance(str(tmp_path / "a.wav"), "no", 2.0)
    assert found[1] == Utterance(str(tmp_path / "abs.wav"), "7", 0.5, 1.0, "5")
    assert found.labels == ["7", "no"]


def test_classes_are_sorted_whatever_the_order_of_lines(tmp_path):
    names = ["zebra", "\u00c4", "two", "a", "10", "9", "two", "a"]
    path = write(tmp_path / "a.json", *(GOOD | {"label": name} for name in ["zebra", "A\u0308", " two", *names[3:]]))
    found = read_manifest(path)
    assert found.labels == sorted(set(names))  # in one form
    assert [found[i].label for i in range(len(found))] == names
    assert read_manifest(path, sorted(set(names))[::-1]).labels == found.labels[::-1]
    assert found.counts().tolist() == [names.count(label) for label in found.labels]
    assert [found.subset(np.array([3, 0]))[i].label for i in range(2)] == ["a", "zebra"]


@pytest.mark.parametrize(("line", "complaint"), [
    ("{broken", "not JSON"), ("[1, 2]", "not JSON"), ("[" * 100_000, "not JSON"),
    ('{"audio_filepath": "a.wav", "duration": 1, "label": "yes", "label": "no"}', "'label' is there twice"),
    ({"duration": 1, "label": "a"}, "no field 'audio_filepath' or 'audio_filename'"),
    ({"audio_filepath": "a.wav", "duration": 1}, "no field 'label' or 'command' or 'target'"),
    (GOOD | {"duration": "long"}, "duration must be a number of seconds, not 'long'"),
    (GOOD | {"duration": 0}, "duration is 0"), (GOOD | {"duration": -1}, "duration must"),
    ('{"audio_filepath": "a.wav", "duration": NaN, "label": "a"}', "duration must"),
    (GOOD | {"offset": -0.1}, "offset must"), (GOOD | {"offset": None}, "offset must"),
    (GOOD | {"label": ""}, "label must be a text"), (GOOD | {"audio_filepath": None}, "audio_filepath must be a text"),
    (GOOD | {"audio_filepath": "a\0.wav"}, "audio_filepath must be a text"),
    (GOOD | {"speaker": ["a", "b"]}, "speaker must be a text"), (GOOD | {"audio_filepath": 5}, "must be a text"),
    (GOOD | {"label": " \t"}, "is blank"), (GOOD | {"label": "a\x1b[2Jb"}, "control characters"),
    (GOOD | {"label": "a\nb"}, "control characters"), (GOOD | {"label": "\udce9"}, "not valid UTF-8"),
    (GOOD | {"audio_filepath": "\udce9.wav"}, "not valid UTF-8"), (GOOD | {"speaker": "\ud800"}, "not valid UTF-8"),
])
def test_a_bad_line_is_named_with_its_number(tmp_path, line, complaint):
    path = write(tmp_path / "a.json", GOOD, "", line, GOOD)
    with pytest.raises(UserError) as error:
        read_manifest(path)
    assert str(error.value).startswith(f"{path}, line 3: ")
    assert complaint in str(error.value)


def test_paths_as_people_write_them_name_one_file(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "yes").mkdir()
    (tmp_path / "yes" / "a.wav").touch()
    forms = ["yes/a.wav", "./yes/a.wav", "yes//a.wav", "yes/../yes/./a.wav", "~/yes/a.wav", str(tmp_path / "yes/a.wav")]
    found = read_manifest(write(tmp_path / "a.json", *(GOOD | {"audio_filepath": form} for form in forms)))
    assert found.files == [str(tmp_path / "yes" / "a.wav")]
    others = ["back\\slash.wav", "C:\\no\\where.wav", "~no such user/a.wav", "~.wav"]  # as they are
    found = read_manifest(write(tmp_path / "a.json", *(GOOD | {"audio_filepath": form} for form in others)))
    assert found.files == [str(tmp_path / other) for other in others]


def test_speakers_of_two_splits_are_told(tmp_path, capsys):
    registry = corpus(tmp_path)
    load_corpus("mine", registry=registry)
    assert not capsys.readouterr().err
    write(tmp_path / "test.json", *(GOOD | {"label": "a", "speaker": name} for name in ("TRAIN", "dev", "x", "dev")))
    load_corpus("mine", ["test"], registry)
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("warning: mine: 1 speaker is in two splits, as speaker 'train' is in train and as 'TRAIN'")
    load_corpus("mine", registry=registry)
    assert "2 speakers are in two splits" in capsys.readouterr().err


def test_twins_and_clips_with_two_labels_are_told_once(tmp_path, capsys):
    registry = corpus(tmp_path, train=["alfa", "Alfa", "bravo"], dev=["alfa"], test=["bravo"])
    load_corpus("mine", registry=registry)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and said[0].startswith("warning: mine: ") and "'Alfa' and 'alfa'" in said[0]
    registry = corpus(tmp_path, train=["alfa", "bravo"], dev=["alfa"], test=["bravo"])
    write(tmp_path / "dev.json", {"audio_filepath": "train0.wav", "duration": 1, "label": "bravo"})
    load_corpus("mine", ["test"], registry)
    assert capsys.readouterr().err == ""
    load_corpus("mine", registry=registry)
    (said,) = capsys.readouterr().err.splitlines()
    assert "1 clips have two labels" in said and "'alfa' in train.json, 'bravo' in dev.json" in said


def test_unreadable_manifests(tmp_path):
    write(tmp_path / "empty.json", "", "")
    (tmp_path / "latin.json").write_bytes(json.dumps(GOOD).encode() + b"\n\xe9\n")
    for name, complaint in (("nowhere.json", r"nowhere.json: cannot read this manifest \(No such file"),
                            (".", "cannot read this manifest"), ("empty.json", "no utterances"),
                            ("latin.json", "not a text file in UTF-8")):
        with pytest.raises(UserError, match=complaint):
            read_manifest(tmp_path / name)


def test_a_name_that_is_no_utf8_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(UserError, match="not valid UTF-8"):
        write_manifest(tmp_path / "a.json", [Utterance("/x/ok.wav", "a", 1.0), Utterance("/caf\udce9.wav", "a", 1.0)])
    assert not list(tmp_path.iterdir())


def test_a_class_has_one_index_in_every_split_which_registered_labels_fix(tmp_path):
    registry = corpus(tmp_path, train="ba", dev="b")
    found = load_corpus("mine", ["train", "dev"], registry)
    assert {split: manifest.label.tolist() for split, manifest in found.splits.items()} == {"train": [1, 0], "dev": [1]}
    assert found.noise is None
    entries = json.loads(registry.read_text())
    entries["mine"]["labels"] = ["b", "a"]
    registry.write_text(json.dumps(entries))
    assert load_corpus("mine", registry=registry).splits["train"].label.tolist() == [0, 1]
    for labels, complaint in ((["a", "b", "c"], "no utterance of label 'c'"), (["a"], "'b' is not one of the 1 known"),
                              (["a", "b", "a"], "must be a list")):
        entries["mine"]["labels"] = labels
        registry.write_text(json.dumps(entries))
        with pytest.raises(UserError, match=complaint):
            load_corpus("mine", registry=registry)


def test_missing_parts_of_a_corpus(tmp_path):
    registry = corpus(tmp_path, train=["right", "left"], dev=["right", "rihgt"], test=["left"])
    with pytest.raises(UserError, match=r"dev.json, line 2: label 'rihgt' .*did you mean 'right'\?"):
        load_corpus("mine", registry=registry)
    with pytest.raises(UserError, match=r"'mien' is not registered .*did you mean 'mine'.*known: mine"):
        load_corpus("mien", registry=registry)
    (tmp_path / "dev.json").unlink()
    with pytest.raises(UserError, match=r"dev.json: no such file.*make it with: make it"):
        load_corpus("mine", registry=registry)
    registry.write_text(json.dumps({"mine": {"train": "train.json", "test": 5}}))
    with pytest.raises(UserError, match="no 'test' manifest"):
        load_corpus("mine", ["test"], registry)


@pytest.mark.parametrize("entry", [{"noise": 5}, {"made_by": ["a"]}, {"labels": "ab"}, {"labels": [["a"]]},
                                   {"train": None}, {"train": "a\0.json"}, {"train": "\ud800.json"},
                                   {"new_words": {}}, {"labels": ["a", " a"]}, {"train": "x" * 5_000}])
def test_registry_entries_of_other_shapes_are_one_line(tmp_path, entry):
    registry = corpus(tmp_path)
    entries = json.loads(registry.read_text())
    entries["mine"] |= entry
    registry.write_text(json.dumps(entries))
    with pytest.raises((UserError, OSError)) as error:
        load_corpus("mine", registry=registry)
    assert in_a_line(error.value) and "\n" not in in_a_line(error.value)


def test_two_programs_that_register_lose_nothing(tmp_path):
    code = ("import sys; from pathlib import Path; from data.manifests.registry import register\n"
            "for i in range(40): register(f'{sys.argv[1]}{i}', train=Path('/a'), dev=Path('/b'), test=Path('/c'), "
            "registry=sys.argv[2])")
    programs = [subprocess.Popen([sys.executable, "-c", code, name, tmp_path / "registry.json"], cwd=ROOT)
                for name in "ab"]
    assert [program.wait() for program in programs] == [0, 0]
    assert len(read_registry(tmp_path / "registry.json")) == 80
    assert [path.name for path in tmp_path.iterdir()] == ["registry.json"]


@pytest.mark.parametrize("content", ["{", "[]", '{"a": 1}', "", "[" * 100_000])
def test_broken_registry_is_named_and_never_overwritten(tmp_path, content):
    registry = tmp_path / "registry.json"
    registry.write_text(content)
    with pytest.raises(UserError, match=r"registry\.json"):
        read_registry(registry)
    with pytest.raises(UserError, match=r"registry\.json"):
        register("a", train=tmp_path, dev=tmp_path, test=tmp_path, registry=registry)
    assert registry.read_text() == content


def test_registering_keeps_the_others_and_repeats_its_bytes(tmp_path):
    registry = tmp_path / "registry.json"
    with pytest.raises(UserError, match="cannot read this registry"):
        registered("a", registry)
    paths = {split: tmp_path / "datasets" / f"{split}.json" for split in ("train", "dev", "test")}
    register("ä", **paths, noise=tmp_path / "noise", registry=registry)
    register("b", **paths, registry=registry)
    once = registry.read_bytes()
    register("ä", **paths, noise=tmp_path / "noise", registry=registry)
    assert registry.read_bytes() == once
    assert registered("ä", registry) == {"train": "datasets/train.json", "dev": "datasets/dev.json",
                                         "test": "datasets/test.json", "noise": "noise"}
    assert list(read_registry(registry)) == ["ä", "b"]
    (tmp_path / "empty.json").write_text("{}")
    with pytest.raises(UserError, match="known: none yet"):
        registered("a", tmp_path / "empty.json")


def made(labels, files, clips):
    """A manifest of clips (file, offset, label)."""
    file, offset, label = zip(*clips, strict=True)
    return Manifest(Path("x.json"), labels, files, np.array(file), np.array(offset, float),
                    0.5 + 0.5 * (np.arange(len(clips)) % 2), np.array(label), np.full(len(clips), None))


def test_clips_under_two_labels_against_brute_force():
    rng = np.random.default_rng(2)
    some = 0
    for _ in range(200):
        manifests = []
        for _ in range(rng.integers(1, 4)):
            count = rng.integers(1, 8)
            labels, files = list(rng.permutation(["a", "b", "c"])), list(rng.permutation(["/x", "/y", "/z"]))
            manifests.append(made(labels, files, [(rng.integers(3), rng.integers(3), rng.integers(3))
                                                      for _ in range(count)]))
        clips = [(m, i, one[i]) for m, one in enumerate(manifests) for i in range(len(one))]
        expected = set()
        for m, i, clip in clips:
            n, j, first = next(c for c in clips if (c[2].path, c[2].offset, c[2].duration) == (
                clip.path, clip.offset, clip.duration))
            if clip.label != first.label:
                expected.add((m, i, n, j))
        found = under_two_labels(manifests)
        assert len(found) == len(set(found))
        assert set(found) == expected
        assert bool(two_labels(manifests)) == bool(expected)
        some += bool(expected)
    assert 20 < some < 200
    assert under_two_labels([]) == []
