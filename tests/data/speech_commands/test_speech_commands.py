"""Speech Commands from generated archives of the same layout: splits, classes, lists, downloads, bad input."""

import gzip
import hashlib
import shutil
import tarfile
from collections import Counter
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import soundfile

from data.audio.decoding import decode
from data.base.errors import UserError
from data.base.labels import COMMANDS as TEN
from data.base.labels import OTHER_WORD, SILENCE
from data.manifests.corpus import load_corpus
from data.manifests.registry import read_registry
from data.sources.splits import check_disjoint, split_of
from data.speech_commands.__main__ import NAMES, SHA256, URL, address, main, parse_args
from data.speech_commands.archive import STRETCHES, share, silence
from tests.conftest import record

RATE = 16_000
OTHERS = ("bed", "cat", "zero")


def speakers(split, count):
    """The first ``count`` 8-digit speakers that the hash rule puts into ``split``."""
    return [s for s in (f"{i:08x}" for i in range(2000)) if split_of(s) == split][:count]


SPEAKERS = {"train": speakers("train", 6), "dev": speakers("dev", 3), "test": speakers("test", 3)}


def noise(seed, seconds=0.05):
    return 0.1 * np.random.default_rng(seed).standard_normal(round(seconds * RATE)).clip(-5, 5)


def make_folder(root, words=(*TEN, *OTHERS), takes=2):
    """An extracted archive: every word by every speaker ``takes`` times, 60 s and 20 s of noise."""
    listed = {"dev": [], "test": []}
    for w, word in enumerate(words):
        for split, names in SPEAKERS.items():
            for i, speaker in enumerate(names):
                for take in range(takes):
                    name = f"{word}/{speaker}_nohash_{take}.wav"
                    record(root / name, noise((w, ["train", "dev", "test"].index(split), i, take)))
                    if split != "train":
                        listed[split].append(name)
    for i, seconds in enumerate((60, 20)):
        record(root / "_background_noise_" / f"noise{i}.wav", noise((99, i), seconds))
    (root / "_background_noise_" / "README.md").write_text("not a clip")
    (root / "validation_list.txt").write_text("\n".join(listed["dev"]) + "\n")
    (root / "testing_list.txt").write_text("\n".join(listed["test"]))
    return root


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("made") / "speech")


@pytest.fixture
def root(made, tmp_path):
    """A copy to spoil."""
    return Path(shutil.copytree(made, tmp_path / "speech"))


@pytest.fixture
def run(tmp_path, capsys):
    """Run the command on ``root``; returns what it printed and the registered corpus."""
    def command(root, *flags, name="mine"):
        flags = [*flags, *(["--name", name] if name else [])]
        out = tmp_path / "out" / (name or "-".join(map(str, flags)) or "default")
        main(parse_args(["--root", str(root), "--out", str(out), "--registry", str(tmp_path / "m.json"),
                         *map(str, flags)]))
        printed = capsys.readouterr()
        registered = name or list(read_registry(tmp_path / "m.json"))[-1]
        return printed.out + printed.err, load_corpus(registered, registry=tmp_path / "m.json")
    return command


def clips(corpus):
    return {split: list(manifest) for split, manifest in corpus.splits.items()}


def names(corpus):
    """word/file.wav of every clip, by split."""
    return {split: {"/".join(Path(u.path).parts[-2:]) for u in us} for split, us in clips(corpus).items()}


def bytes_of(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_splits_by_lists_equal_those_by_hash_and_are_disjoint(run, root):
    says, corpus = run(root, name="lists")
    n = len(TEN) + len(OTHERS)
    assert "split by the official lists\n" in says
    assert {s: len(m) for s, m in corpus.splits.items()} == {"train": n * 12, "dev": n * 6, "test": n * 6}
    assert corpus.labels == sorted((*TEN, *OTHERS))
    for split, utterances in clips(corpus).items():
        assert {u.speaker for u in utterances} == set(SPEAKERS[split])
        assert all(u.duration == 0.05 and Path(u.path).parent.name == u.label for u in utterances)
    assert corpus.noise.samefile(root / "_background_noise_")
    row = next(line for line in says.splitlines() if line.startswith("yes"))
    assert row.split() == ["yes", "12", "(6)", "6", "(3)", "6", "(3)"]
    moved = SPEAKERS["train"][0]  # the lists win over the rule
    with (root / "testing_list.txt").open("a") as file:
        file.writelines(f"\n{word}/{moved}_nohash_{take}.wav" for word in (*TEN, *OTHERS) for take in range(2))
        file.write("\nyes/gone_nohash_0.wav")
    says, other = run(root)
    assert "split by the official lists; 1 listed clips are not in" in says
    assert moved in {u.speaker for u in clips(other)["test"]}
    for file in ("validation_list.txt", "testing_list.txt"):
        (root / file).unlink()
    says, hashed = run(root, name="hash")
    assert "no official lists" in says
    assert names(hashed) == names(corpus)


def test_silence_beside_all_words(run, made):
    _, everything = run(made, name="all")
    _, corpus = run(made, "--silence", name="open")
    assert corpus.labels == sorted((*TEN, *OTHERS, SILENCE))
    for split, utterances in clips(corpus).items():
        assert [u for u in utterances if u.label != SILENCE] == clips(everything)[split]
        check_silence(split, utterances)
    check_disjoint(clips(corpus))


def check_silence(split, utterances):
    """A tenth as many as of the ten words, from the split's part of the noise."""
    quiet = [u for u in utterances if u.label == SILENCE]
    words = sum(u.label in TEN for u in utterances)
    assert len(quiet) == share(words) == -(-words // 10) > 0
    first, last = STRETCHES[split]
    for u in quiet:
        seconds = soundfile.info(u.path).duration
        assert Path(u.path).parent.name == "_background_noise_" and u.duration == 1.0 and u.speaker is None
        assert first * seconds - 1e-6 <= u.offset and u.offset + u.duration <= last * seconds + 1e-6


def test_twelve_classes_and_the_same_bytes_again(run, made, tmp_path):
    _, everything = run(made, name="all")
    _, corpus = run(made, "--classes", "12", name="twelve")
    assert corpus.labels == sorted((*TEN, OTHER_WORD, SILENCE))
    for split, utterances in clips(corpus).items():
        check_silence(split, utterances)
        unknown = ["/".join(Path(u.path).parts[-2:]) for u in utterances if u.label == OTHER_WORD]
        assert len(set(unknown)) == len(unknown) == share(sum(u.label in TEN for u in utterances))
        assert set(unknown) <= names(everything)[split]
        assert {name.split("/")[0] for name in unknown} <= set(OTHERS)
    check_disjoint(clips(corpus))
    made_before, first = sorted(made.rglob("*")), bytes_of(tmp_path / "out" / "twelve")
    registry = (tmp_path / "m.json").read_bytes()
    run(made, "--classes", "12", name="twelve")
    assert bytes_of(tmp_path / "out" / "twelve") == first and (tmp_path / "m.json").read_bytes() == registry
    assert sorted(made.rglob("*")) == made_before  # a source is only read
    _, other = run(made, "--classes", "12", "--seed", "1", name="other")
    assert names(other) != names(corpus)


def test_silence_passes_over_what_is_silent_to_the_bit(tmp_path):
    samples = noise(0, 40)
    samples[20 * RATE:30 * RATE] = 0
    record(tmp_path / "a.wav", samples)
    record(tmp_path / "short.wav", noise(1, 5))  # nothing for dev or test in it
    drawn = silence(tmp_path, {"train": 900, "dev": 100, "test": 7})
    assert {split: len(c) for split, c in drawn.items()} == {"train": 900, "dev": 100, "test": 7}
    for split, quiet in drawn.items():
        assert len({(c.path, c.offset) for c in quiet}) == len(quiet)
        assert all(len(decode(c.path, c.offset, c.duration)) == RATE for c in quiet)  # raises on bit silence
        assert any(Path(c.path).name == "short.wav" for c in quiet) == (split == "train")
    # train has 0-32 s and 0-4 s, a start every 10 ms, less those wholly inside the 10 silent seconds
    assert len(silence(tmp_path, {"train": 3101 + 301 - 901})["train"]) == 2501
    with pytest.raises(UserError, match="room for 2,501 different seconds of train"):
        silence(tmp_path, {"train": 2502})


@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_silence_beside_sound_of_another_rate_is_passed_over(tmp_path, rate):
    """A sound rings into the silence beside it where the whole file is resampled; the second alone is silent."""
    samples = np.random.default_rng(5).uniform(-0.9, 0.9, 10 * rate)
    samples[2 * rate:5 * rate] = 0
    soundfile.write(tmp_path / "a.wav", samples, rate, subtype="PCM_16")
    sounding = silence(tmp_path, {"train": 494})["train"]  # 701 starts, less 201 in the silence, and some
    assert all(len(decode(c.path, c.offset, c.duration)) == RATE for c in sounding)  # raises on bit silence


@pytest.fixture
def test_set(tmp_path):
    folder = tmp_path / "official"
    for w, word in enumerate((*TEN, OTHER_WORD)):
        for i, speaker in enumerate(SPEAKERS["test"]):
            record(folder / word / f"{speaker}_nohash_0.wav", noise((7, w, i, 7)))
    record(folder / SILENCE / "0.wav", noise(8, 1))
    return folder


def test_official_protocol_tests_on_the_other_archive(run, made, test_set):
    _, split = run(made, "--classes", "12", name="split")
    _, corpus = run(made, "--classes", "12", "--protocol", "official", "--test_root", test_set, name="official")
    assert names(corpus)["train"] == names(split)["train"]
    assert names(corpus)["dev"] == names(split)["dev"]
    assert Counter(u.label for u in clips(corpus)["test"]) == {word: 3 for word in (*TEN, OTHER_WORD)} | {SILENCE: 1}
    assert all(Path(u.path).is_relative_to(test_set) for u in clips(corpus)["test"])
    shutil.rmtree(test_set / "go")
    with pytest.raises(UserError, match="no folder 'go'"):
        run(made, "--classes", "12", "--protocol", "official", "--test_root", test_set)
    with pytest.raises(UserError, match="--test_root, or get it with --download"):
        run(made, "--classes", "12", "--protocol", "official")


@pytest.mark.parametrize("flags", [[], ["--classes", "12"]])
def test_a_list_repeats_a_corpus_from_a_larger_archive(run, root, tmp_path, flags):
    file = tmp_path / "list.tsv"
    run(root, *flags, "--write_list", file, name="a")
    lines = file.read_text().splitlines()
    assert lines == sorted(lines)
    for line in lines[::20]:
        name, sha1 = line.split("\t")
        assert hashlib.sha1((root / name).read_bytes()).hexdigest() == sha1
    first = bytes_of(tmp_path / "out" / "a")
    record(root / "yes" / f"{SPEAKERS['train'][0]}_nohash_9.wav", noise(123))
    record(root / "new" / f"{SPEAKERS['train'][0]}_nohash_0.wav", noise(124))
    _, corpus = run(root, *flags, "--list", file, "--write_list", tmp_path / "again.tsv", name="a")
    assert bytes_of(tmp_path / "out" / "a") == first
    assert (tmp_path / "again.tsv").read_bytes() == file.read_bytes()
    (tmp_path / "packed.gz").write_bytes(gzip.compress(file.read_bytes()))
    run(root, *flags, "--list", tmp_path / "packed.gz", name="a")
    assert bytes_of(tmp_path / "out" / "a") == first
    assert len(lines) == sum(u.label != SILENCE for us in clips(corpus).values() for u in us)


@pytest.mark.parametrize("flags", [["--classes", "12"], ["--silence"]])
def test_a_list_repeats_a_corpus_that_copies_were_dropped_from(run, root, tmp_path, flags):
    """120 training clips of the ten words go with 12 others; with a copy 121 would with 13, of which a list knows not
    why."""
    shutil.copy(root / "yes" / f"{SPEAKERS['test'][0]}_nohash_0.wav",
                root / "yes" / f"{SPEAKERS['train'][0]}_nohash_7.wav")
    _, corpus = run(root, *flags, "--drop_duplicates", "--write_list", tmp_path / "list.tsv", name="a")
    check_silence("train", clips(corpus)["train"])
    first = bytes_of(tmp_path / "out" / "a")
    run(root, *flags, "--list", tmp_path / "list.tsv", name="a")
    assert bytes_of(tmp_path / "out" / "a") == first


@pytest.mark.parametrize(("line", "message"), [
    ("yes/gone.wav\t" + "0" * 40, "gone.wav: no such clip"), ("{name}\t" + "0" * 40, "SHA-1 is not the one"),
    ("{name}\tabc", "line 2: not of the form"), ("{name}", "line 2: not of the form"),
    ("../../etc/passwd\t" + "0" * 40, "no such clip"), ("", "names no clip")])
def test_bad_lists(run, made, tmp_path, line, message):
    name = f"yes/{SPEAKERS['train'][0]}_nohash_0.wav"
    (tmp_path / "list").write_text("# names\n" + line.format(name=name) + "\n")
    with pytest.raises(UserError, match=message):
        run(made, "--list", tmp_path / "list")
    assert not (tmp_path / "m.json").exists()


def test_copies_are_an_error_or_dropped_from_training(run, root, tmp_path):
    test_clip = root / "yes" / f"{SPEAKERS['test'][0]}_nohash_0.wav"
    train_copy = root / "yes" / f"{SPEAKERS['train'][0]}_nohash_7.wav"
    dev_copy = root / "no" / f"{SPEAKERS['dev'][0]}_nohash_7.wav"
    _, before = run(root, name="before")
    shutil.copy(test_clip, train_copy)
    shutil.copy(test_clip, dev_copy)
    with (root / "validation_list.txt").open("a") as file:
        file.write(f"no/{dev_copy.name}\n")
    with pytest.raises(UserError, match=r"2 clips have the same audio.*--drop_duplicates"):
        run(root)
    assert not (tmp_path / "out" / "mine").exists()
    says, corpus = run(root, "--drop_duplicates")
    assert "left out 2 copies" in says
    assert f"{train_copy} (train) = {test_clip} (test)" in says
    assert f"{dev_copy} (dev) = {test_clip} (test)" in says
    assert names(corpus) == names(before)


def test_silence_is_not_drawn_as_an_unknown_word(run, root):
    for speaker in SPEAKERS["train"]:
        record(root / SILENCE / f"{speaker}_nohash_0.wav", noise((77, 7, int(speaker, 16))))
    with pytest.raises(UserError, match="has a folder '_silence_', as the test-set archive has"):
        run(root, "--classes", "12")
    assert SILENCE in run(root)[1].labels


def test_bad_audio_is_an_error_or_left_out(run, root):
    bad = root / "yes" / f"{SPEAKERS['train'][0]}_nohash_0.wav"
    bad.write_bytes(b"no audio")
    with pytest.raises(UserError, match=rf"{bad.name}.*1 of 312 clips.*--skip_bad_audio"):
        run(root)
    says, corpus = run(root, "--skip_bad_audio")
    assert f"leaving out 1 of 312 clips that cannot be used: {bad}" in says
    assert f"yes/{bad.name}" not in names(corpus)["train"]


@pytest.mark.parametrize(("flags", "message"), [
    (["--words", "yes", "--silence"], "--silence adds background noise to all words"),
    (["--words", "yes", "--classes", "12"], "exclude each other"), (["--protocol", "official"], "--classes 12"),
    (["--words", "yess", "no"], r"'yess' \(did you mean 'yes'\?\)"),
    (["--name", "a/b"], "--name 'a/b'"), (["--list", "/no/list"], "cannot read this list")])
def test_bad_flags(run, made, tmp_path, flags, message):
    with pytest.raises(UserError, match=message):
        run(made, *flags, name=None if "--name" in flags else "mine")
    assert not (tmp_path / "m.json").exists()


def test_names(run, made, tmp_path):
    before = '{"10": {"train": "x", "made_by": "python -m data.libriwords"}}'
    (tmp_path / "m.json").write_text(before)
    with pytest.raises(UserError, match=r"--name '10'.*another data set of that name"):
        run(made, name="10")
    assert (tmp_path / "m.json").read_text() == before and not (tmp_path / "out").exists()
    with pytest.raises(UserError, match="13 words are not the 35 of version 2; name this set with --name"):
        run(made, name=None)
    with pytest.raises(UserError, match="--words and --list make a set of its own; name it with --name"):
        run(made, "--words", "yes", name=None)
    v1 = make_folder(tmp_path / "v1", [*TEN, *(f"w{i}" for i in range(20))], takes=1)
    for flags, expected in (((), ("v1-30", 30)), (("--classes", "12"), ("v1-12", 12))):
        _, corpus = run(v1, "--version", "1", *flags, name=None)
        assert (corpus.name, len(corpus.labels)) == expected


def test_untrained_words_are_left_out_and_named(run, root, tmp_path):
    for word, speaker, take in product(("bed", "cat"), SPEAKERS["train"], range(2)):
        (root / word / f"{speaker}_nohash_{take}.wav").unlink()
    with pytest.raises(UserError, match="no training clip of cat; leave them out of --words"):
        run(root, "--words", "cat", "yes", "no")
    assert not (tmp_path / "out").exists()
    printed, corpus = run(root)
    assert "left out, for want of training clips: bed cat" in printed
    assert not {"bed", "cat"} & set(corpus.labels)


def test_bad_folders(run, root, tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        run(tmp_path / "none")
    record(tmp_path / "deep" / "yes" / "anna" / "1.wav", noise(1))
    with pytest.raises(UserError, match=r"no clip named <word>/<file>\.wav"):
        run(tmp_path / "deep")
    lists = (root / "testing_list.txt").read_text()
    (root / "testing_list.txt").write_text(f"{lists}\nyes/{SPEAKERS['train'][0]}_nohash_0.wav\n")
    with pytest.raises(UserError, match=f"speaker '{SPEAKERS['train'][0]}'"):
        run(root)
    (root / "testing_list.txt").write_text(lists)
    with (root / "validation_list.txt").open("a") as file:
        file.write(lists.splitlines()[0])
    with pytest.raises(UserError, match=r"testing_list.txt: .* is in validation_list.txt too"):
        run(root)
    (root / "testing_list.txt").unlink()
    with pytest.raises(UserError, match=r"testing_list\.txt: cannot read this list of clips"):
        run(root)
    (root / "validation_list.txt").unlink()
    shutil.rmtree(root / "_background_noise_")
    with pytest.raises(UserError, match=r"_background_noise_: no recording"):
        run(root, "--classes", "12")
    assert run(root)[1].noise is None


@pytest.fixture
def served(made, test_set, tmp_path, monkeypatch):
    """A folder with both archives of version 2, their own hashes in the place of the official ones."""
    folder = tmp_path / "served"
    folder.mkdir()
    for name, source in (("speech_commands_v0.02", made), ("speech_commands_test_set_v0.02", test_set)):
        with tarfile.open(folder / f"{name}.tar.gz", "w:gz", compresslevel=1) as tar:
            tar.add(source, ".")
    sha256 = hashlib.sha256((folder / "speech_commands_v0.02.tar.gz").read_bytes()).hexdigest()
    monkeypatch.setitem(SHA256, "speech_commands_v0.02.tar.gz", sha256)
    return folder


def test_download_gives_what_the_folder_gives(run, made, served, tmp_path):
    _, expected = run(made, "--classes", "12", name="folder")
    flags = ["--classes", "12", "--protocol", "official", "--download", "--url", served]
    _, corpus = run(tmp_path / "data", *flags)
    assert names(corpus)["train"] == names(expected)["train"]
    assert len(corpus.splits["test"]) == 34
    _, again = run(tmp_path / "data", "--classes", "12", name="later")  # without --download, from the same --root
    assert names(again) == names(expected)
    with pytest.raises(UserError, match=f"sha256 is .* where {'0' * 64} is expected"):
        run(tmp_path / "data", "--download", "--url", served / "speech_commands_v0.02.tar.gz", "--sha256", "0" * 64)


@pytest.mark.parametrize(("url", "main_archive", "expected"), [
    (URL, True, "http://download.tensorflow.org/data/a.tar.gz"),
    ("http://m.example/x/b.tar.gz", True, "http://m.example/x/b.tar.gz"),
    ("http://m.example/x/b.tar.gz", False, "http://m.example/x/a.tar.gz"),
    ("b.tar.gz", False, "./a.tar.gz"), ("/mnt/archives", True, "/mnt/archives/a.tar.gz")])
def test_address(url, main_archive, expected):
    assert address(url, "a.tar.gz", main_archive) == expected


def test_tracked_registry_has_every_default_name():
    entries = read_registry()
    for (version, classes, protocol), name in NAMES.items():
        entry = entries[name]
        assert [entry[split] for split in ("train", "dev", "test")] == [
            f"datasets/{name}/{split}.json" for split in ("train", "dev", "test")]
        args = parse_args(entry["made_by"].split()[3:])
        assert (args.version, args.classes + "+silence" * args.silence, args.protocol, args.download) == (
            version, classes, protocol, True)
        assert entry["noise"] == f"{args.root}/speech_commands_v0.0{version}/_background_noise_"
        assert args.command == entry["made_by"]


def test_what_is_left_out_is_counted_and_one_recording_under_two_words_said(run, root):
    one, other = (root / word / f"{SPEAKERS['train'][0]}_nohash_0.wav" for word in ("bed", "cat"))
    shutil.copy(one, other)
    for file in ("yes/a.mp3", "yes/notes.txt", "yes/._x.wav", "no/anna/1.wav"):
        (root / file).parent.mkdir(exist_ok=True)
        (root / file).write_bytes(b"x")
    says, corpus = run(root)
    assert "left out 3 files other than <word>/<file>.wav" in says
    assert sum(map(len, corpus.splits.values())) == 312
    assert f"1 clips have the audio of one of another word, so one of the two is wrong: {one} = {other}" in says
