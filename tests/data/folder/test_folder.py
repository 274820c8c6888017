"""Any folder of word folders becomes manifests: the loudest stretch, no speaker in two splits, nothing unsaid."""

import contextlib
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from data.base.errors import UserError
from data.folder.__main__ import OFFICIAL_STYLE, by_regex, by_table, divide, main, parse_args
from data.manifests.corpus import load_corpus
from data.manifests.registry import SPLITS, registered
from data.sources.splits import split_of
from tests.conftest import hiss, record


def run(root, *options, name="mine"):
    """Run the command; what it said, the corpus it registered, and the folder it wrote."""
    registry, out, said = root.parent / "registry.json", root.parent / "out" / name, io.StringIO()
    with contextlib.redirect_stdout(said):
        main(parse_args([str(root), "--name", name, "--out", str(out), "--registry", str(registry), *options]))
    return said.getvalue(), load_corpus(name, registry=registry), out


def home(corpus):
    """Path -> split."""
    found = {u.path: split for split, manifest in corpus.splits.items() for u in manifest}
    assert len(found) == sum(map(len, corpus.splits.values()))
    return found


def parts_no_speaker(corpus):
    where = {u.speaker: split for split, manifest in corpus.splits.items() for u in manifest}
    assert all(where[u.speaker] == split for split, manifest in corpus.splits.items() for u in manifest)


@pytest.mark.parametrize("count", [3, 4, 7, 20, 60])
def test_few_speakers_fill_every_split_and_every_word_is_trained(count):
    rng = np.random.default_rng(count)
    units = [f"s{i}" for i in range(count) for _ in range(rng.integers(5, 40))]
    labels = [f"w{i}" for i in rng.integers(0, 6, len(units))]
    units += ["s0", "s1"]
    labels += ["rare", "rare"]  # two speakers alone say this word
    found = divide(units, labels, 10, 10)
    assert set(found.values()) == set(SPLITS)
    assert found == divide(units[::-1], labels[::-1], 10, 10)
    assert {label for unit, label in zip(units, labels, strict=True) if found[unit] == "train"} == set(labels)
    if count >= 20:
        clips = [found[unit] for unit in units]
        assert abs(clips.count("dev") / len(units) - 0.1) < 0.03
        assert abs(clips.count("test") / len(units) - 0.1) < 0.03


@pytest.mark.parametrize("count", [20, 400])
def test_every_seed_divides_otherwise_and_nobody_is_always_tested(count):
    units = [f"s{i}" for i in range(count) for _ in range(4)]
    labels = ["a", "b"] * (2 * count)
    found = [divide(units, labels, 10, 25, seed) for seed in range(12)]
    assert found[0] == divide(units, labels, 10, 25)
    assert found[3] == divide(units[::-1], labels[::-1], 10, 25, 3)
    assert len({tuple(sorted(homes.items())) for homes in found}) == 12
    for homes in found:
        assert list(homes.values()).count("test") == pytest.approx(count / 4, abs=count / 10)
    tested = np.sum([[homes[unit] == "test" for unit in sorted(homes)] for homes in found], 0)
    assert (tested > 0).mean() > 0.85 and tested.max() < 12  # 0.75 ** 12 of them are never drawn


def a_folder(root, speakers=5, words=("ja", "nein", "_unknown_")):
    for word in words:
        for s in range(speakers):
            for n in range(2):
                record(root / word / f"sp{s}_nohash_{n}.wav")
    return root


def test_mixed_formats_rates_and_lengths(tmp_path):
    root = a_folder(tmp_path / "r", speakers=4)
    record(root / "ja" / "sp4_nohash_0.flac", hiss(0.5, 44_100), 44_100)
    record(root / "ja" / "sp4_nohash_1.ogg", np.stack([hiss(0.8)] * 2, 1))
    record(root / "nein" / "sp4_nohash_0.mp3", hiss(0.5, 22_050), 22_050)
    faint = hiss(2, level=0.01)
    long = record(root / "nein" / "sp4_nohash_1.WAV", np.concatenate([faint, hiss(1), faint]))
    (root / "nein" / "notes.txt").write_text("no audio")
    (root / "README").write_text("no audio")
    record(root / "_background_noise_" / "free-sound" / "hum.wav", hiss(3))
    (root / "_background_noise_" / "._hum.wav").write_bytes(b"of a Mac")
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    said, corpus, out = run(root)
    assert corpus.labels == ["_unknown_", "ja", "nein"]
    assert corpus.noise == root / "_background_noise_"
    assert sum(map(len, corpus.splits.values())) == 28
    assert "28 audio files in 3 word folders" in said
    assert f"left out 1 files in no word folder: {root / 'README'}\n" in said
    assert "left out 1 recordings that cannot be used" in said and "notes.txt" in said
    assert "cut to the loudest 1 s: 1 longer files" in said and "speakers: 5" in said
    [cut] = [u for manifest in corpus.splits.values() for u in manifest if u.path == str(long)]
    assert (cut.offset, cut.duration) == (pytest.approx(2, abs=0.03), 1.0)
    parts_no_speaker(corpus)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before  # a source is only read
    assert sorted(path.name for path in out.iterdir()) == ["dev.json", "test.json", "train.json"]


def test_twice_gives_the_same_bytes_and_another_division_others_that_part_no_speaker(tmp_path):
    root = a_folder(tmp_path / "my r")
    first = home(run(root, "--dev_percent", "20")[1])
    paths = [*(tmp_path / "out/mine").iterdir(), tmp_path / "registry.json"]
    before = [path.read_bytes() for path in paths]
    run(root, "--dev_percent", "20")
    assert [path.read_bytes() for path in paths] == before
    made_by = registered("mine", tmp_path / "registry.json")["made_by"]
    assert made_by.startswith(f"python -m data.folder '{root}' --name mine --out") and "--dev_percent 20" in made_by
    others = [run(root, "--dev_percent", "20", "--split_seed", str(seed))[1] for seed in (1, 2, 3)]
    assert any(home(corpus) != first for corpus in others)
    assert "--split_seed 3" in registered("mine", tmp_path / "registry.json")["made_by"]
    for corpus in others:
        parts_no_speaker(corpus)


def test_many_speakers_agree_with_the_hash_rule_and_words_without_training_clips_are_dropped(tmp_path):
    root, names = tmp_path / "r", [f"{i:08x}" for i in range(120)]
    rare = next(name for name in names if split_of(name) == "test")
    for path in (*(f"{word}/{name}" for name in names for word in "ab"), f"rare/{rare}"):
        record(root / f"{path}_nohash_0.wav", hiss(0.02))
    said, corpus, _ = run(root)
    assert "speakers: 120" in said
    assert "dropped 1 words, whose few clips left none to train on: rare (1)" in said and corpus.labels == ["a", "b"]
    for path, split in home(corpus).items():
        assert split == split_of(os.path.basename(path))


def test_without_speakers_clips_are_divided_and_that_is_said(tmp_path):
    root = tmp_path / "r"
    for word in ("a", "b"):
        for i in range(12):
            record(root / word / f"{i}.wav", hiss(0.02))
    said, corpus, _ = run(root)
    assert "warning: the file names tell no speakers" in said
    for manifest in corpus.splits.values():
        assert set(manifest.speaker) == {None}
        assert manifest.counts().min() >= 1
    for path in root.rglob("*.wav"):  # names play no part
        path.rename(path.with_stem(f"renamed{path.stem}"))
    again = home(run(root)[1])
    assert {path.replace("renamed", ""): split for path, split in again.items()} == home(corpus)


def test_clips_of_unknown_speakers_are_said_and_kept_and_one_speaker_is_as_none(tmp_path):
    root = a_folder(tmp_path / "r", speakers=9, words=("a", "b"))
    for i in range(4):
        record(root / "a" / f"x{i}.wav")
    said, corpus, _ = run(root)
    assert "no speaker is known for 4 clips" in said and sum(map(len, corpus.splits.values())) == 40
    said, corpus, _ = run(root, "--speaker_regex", "^(sp)")
    assert "warning: only 1 speaker: clips are divided one by one" in said
    assert {u.speaker for manifest in corpus.splits.values() for u in manifest} == {None}


def test_repeated_audio_is_used_once_and_never_under_two_words(tmp_path):
    root = a_folder(tmp_path / "r")
    twice, torn = (root / "ja" / f"sp{s}_nohash_0.wav" for s in (0, 1))
    samples, rate = soundfile.read(twice, dtype="int16")
    soundfile.write(root / "ja" / "sp3_nohash_9.flac", samples, rate)
    (root / "nein" / "sp4_nohash_9.wav").symlink_to(torn)
    said, corpus, _ = run(root)
    assert "left out 1 clips that repeat the audio of another: " + str(root / "ja" / "sp3_nohash_9.flac") in said
    assert "left out 2 clips whose audio is under two words" in said
    assert str(twice) in home(corpus)
    assert str(torn) not in home(corpus) and not any("_9." in path for path in home(corpus))


@pytest.mark.parametrize(("make", "complaint"), [
    (lambda root: None, "r: cannot be read .No such file"),
    (lambda root: record(root / "flat.wav"), "has no sub-folders"),
    (lambda root: ((root / "a").mkdir(parents=True), (root / "a" / "x").write_text("x")), "none of its 1 files"),
    (lambda root: a_folder(root, words=("only",)), "at least two words"),
    (lambda root: (record(root / "a" / "1.wav"), record(root / "b" / "1.wav")), "only|no clip falls into"),
])
def test_folders_that_cannot_become_a_data_set(tmp_path, make, complaint):
    make(tmp_path / "r")
    with pytest.raises(UserError, match=complaint):
        run(tmp_path / "r")
    assert not (tmp_path / "registry.json").exists() and not (tmp_path / "out").exists()


@pytest.mark.parametrize("options", [["--clip_seconds", "0.001"], ["--dev_percent", "nan"], ["--name", "x" * 300],
                                     ["--dev_percent", "60", "--test_percent", "40"], ["--name", "a/b"],
                                     ["--speaker_regex", "("], ["--speaker_regex", "anna"]])
def test_flags_out_of_range(options):
    with pytest.raises((UserError, SystemExit)):
        parse_args(["r", "--name", "x", *options])


def test_other_data_sets_and_the_recordings_are_not_overwritten(tmp_path):
    root = a_folder(tmp_path / "r")
    (tmp_path / "registry.json").write_text(json.dumps({"mine": {"train": "x", "made_by": "python -m data.demo"}}))
    with pytest.raises(UserError, match="has another data set of that name"):
        run(root)
    with pytest.raises(UserError, match="in the folder of the recordings"):
        run(root, "--out", str(root / "lists"))
    assert not (tmp_path / "out").exists() and not (root / "lists").exists()


def test_every_kind_of_what_is_left_out_is_said(tmp_path):
    root = a_folder(tmp_path / "r")
    for i in range(7):
        (root / "ja" / f"call{i}.m4a").write_bytes(b"not for libsndfile")
    (root / "ja" / "._sp0_0.wav").write_bytes(b"of a Mac")
    (root / "nein" / "gone.wav").symlink_to(root / "nowhere.wav")
    (root / "nein" / "empty.wav").write_bytes(b"")
    record(root / "nein" / "silent.wav", np.zeros(4_000))
    (root / "leer").mkdir()
    record(root / "still" / "a.wav", np.zeros(4_000))
    os.mkfifo(root / "nein" / "pipe.wav")
    said, corpus, _ = run(root)
    for line in ("left out 1 entries that cannot be reached: ", "left out 10 recordings that cannot be used: ",
                 "left out 1 word folders without a file: ", "left out 1 entries that are no files: ",
                 "warning: no usable recording of 1 words: still"):
        assert f"\n{line}" in said, line
    assert corpus.labels == ["_unknown_", "ja", "nein"]


def test_one_word_in_two_folders_is_one_class(tmp_path):
    root = a_folder(tmp_path / "r", words=("f\u00fcr", "nein", "Nein", "ja "))
    for s in range(5):
        record(root / "fu\u0308r" / f"sp{s}_nohash_9.wav")
    said, corpus, _ = run(root)
    assert corpus.labels == sorted(["Nein", "f\u00fcr", "ja", "nein"])
    assert "joined folders whose names look the same: f\u00fcr ('fu\\u0308r', 'f\\xfcr')" in said
    assert "warning: labels that differ only by case" in said and "'Nein' and 'nein'" in said
    assert sum(u.label == "f\u00fcr" for manifest in corpus.splits.values() for u in manifest) == 15


def test_splits_are_refused_and_folders_of_speakers_are_said(tmp_path):
    for part in ("train", "test"):
        a_folder(tmp_path / "split" / part)
    with pytest.raises(UserError, match=r"splits of the data.*'test', 'train'.*'_unknown_', 'ja', 'nein'"):
        run(tmp_path / "split")
    root = tmp_path / "r"
    for word in ("a", "b"):
        for speaker in "uvwxyz":
            record(root / word / speaker / "1.wav")
    said, _, _ = run(root)
    assert "warning: most files lie one folder deeper" in said and "--speaker_regex '^([^/]+)/'" in said
    said, corpus, _ = run(root, "--speaker_regex", "^([^/]+)/")
    assert "warning" not in said
    assert {u.speaker for manifest in corpus.splits.values() for u in manifest} == set("uvwxyz")


def test_speakers_spelt_in_two_ways_are_in_one_split(tmp_path):
    root = tmp_path / "r"
    for speaker in ("anna", "Anna", "ben", "Ben", "cem", "Cem", "dora", "Dora"):
        for word in ("a", "b"):
            record(root / word / f"{speaker}_nohash_1.wav", hiss(0.06))
    said, corpus, _ = run(root)
    assert "speakers: 4," in said and "joined 4 speakers whose names look the same: Anna and anna" in said
    where = {}
    for path, split in home(corpus).items():
        assert where.setdefault(os.path.basename(path).lower(), split) == split


# Who speaks.

def files(*names):
    return [(name.split("/")[0], f"/r/{name}") for name in names]


def test_a_regular_expression_sees_the_path_within_the_word_folder():
    names = files("yes/anna/1.wav", "no/ben/1.wav", "no/7.wav")
    assert by_regex(names, r"^(\w+)/", Path("/r")) == ["anna", "ben", None]
    with pytest.raises(UserError, match="fits no file"):
        by_regex(names, "(zoe)", Path("/r"))
    official = files("yes/0a-7_c_nohash_0.wav", "no/x_nohash_nohash_1.wav", "no/1.wav")
    assert by_regex(official, OFFICIAL_STYLE, Path("/r"), must_fit=False) == ["0a-7_c", "x", None]


def test_a_table_names_paths_or_file_names(tmp_path):
    names, table = files("yes/1.wav", "no/1.wav", "no/2.wav", "no/3.wav"), tmp_path / "who.csv"

    def told(text):
        table.write_bytes(text.encode())
        return by_table(names, table, Path("/r"))

    assert told("\ufeffspeaker,file,age\r\nanna,yes/1.wav,3\r\nben,1.wav,4\r\n cem ,./no/2.wav,5\r\n,3.wav,\r\n") == [
        "anna", "ben", "cem", None]
    for text, complaint in (("file;speaker\n1.wav;a\n", "must name the columns file,speaker"), ("", "must name"),
                            ("file,speaker\n1.wav,a\n1.wav,b\n", "line 3: '1.wav' is by 'b' here and by 'a'"),
                            ("file,speaker\n1.wav\n", "line 2: lacks a column"),
                            ('file,speaker\n"1.wav,anna\n' + "x" * 200_000, "cannot be read as a CSV file"),
                            ("file,speaker\n1.wav,a\n", "no row for no/2.wav and 1 more")):
        with pytest.raises(UserError, match=complaint):
            told(text)
    with pytest.raises(UserError, match="cannot read this table of speakers"):
        by_table(names, tmp_path / "nowhere.csv", Path("/r"))


@pytest.mark.parametrize("form", ["/r/{word}/{n}.wav", "./{word}/{n}.wav", "{word}//{n}.wav"])
def test_a_table_may_write_paths_in_other_ways(tmp_path, form):
    table = tmp_path / "who.csv"
    rows = [form.format(word=word, n=n) + f",{word}{n}" for word in ("yes", "f\u00fcr") for n in (1, 2)]
    table.write_text("file, speaker\n" + "\n".join(rows))
    names = files("yes/1.wav", "yes/2.wav", "fu\u0308r/1.wav", "fu\u0308r/2.wav")  # as a Mac has it on its disk
    assert by_table(names, table, Path("/r")) == ["yes1", "yes2", "f\u00fcr1", "f\u00fcr2"]
