"""From TextGrids to manifests: which words, which split, what is left out, clips with what is said around the word."""

import hashlib
import json
import os
import re
import sys
import tarfile
import zipfile
from collections import Counter, defaultdict
from itertools import product

import numpy as np
import pytest
import soundfile
import textgrid

from data.base.errors import UserError
from data.base.labels import folded
from data.libriwords import __main__ as libriwords
from data.libriwords.__main__ import PARTS, parse_args
from data.libriwords.selection import _quota, held_out, with_context
from data.manifests.corpus import load_corpus
from data.manifests.manifest import Utterance, read_manifest
from data.manifests.registry import SPLITS, register, registered
from data.sources.splits import SHARES, balanced_split
from data.sources.textgrids import write_words
from tests.conftest import record

VOCABULARY = ["the", "and", "of", "to", "a", "in", "he", "i", "that", "was", "o'clock", "quick", "brown", "fox", "rare"]
SPEAKERS, UTTERANCES, RATE = 15, 5, 8_000


def add_utterance(folder, name, words, seconds=None):
    """Noise as audio, and a TextGrid with (word, start, end)."""
    seconds = seconds or words[-1][2] + 0.25
    inside = "/".join(["train-clean-5", *name.split("-")[:2]])
    audio = folder / "LibriSpeech" / inside / f"{name}.flac"
    noise = np.random.default_rng(len(words)).normal(0, 1000, round(seconds * RATE)).astype(np.int16)
    record(audio, noise, RATE)
    grid = folder / "alignments" / inside / f"{name}.TextGrid"
    write_words(grid, words, seconds)
    return audio, grid


def random_words(rng):
    now, words = 0.1, []
    for word in rng.choice(VOCABULARY, rng.integers(12, 25), p=(p := 1 / np.arange(2, 17)) / p.sum()):
        end = now + rng.integers(4, 40) / 100
        words.append((str(word), round(now, 2), round(end, 2)))
        now = end + rng.choice([0, 0.05])
    return words


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(0)
    for speaker in range(SPEAKERS):
        for number in range(UTTERANCES):
            add_utterance(folder, f"{100 + speaker}-7-{number:04}", random_words(rng))
    return folder


def run(monkeypatch, source, out, *flags):
    flags = ["--librispeech", source / "LibriSpeech", "--alignments", source / "alignments", "--out", out,
             "--registry", out / "registry.json", *flags]
    monkeypatch.setattr(sys, "argv", ["libriwords", *map(str, flags)])
    libriwords.main(parse_args())


def entries(out, size, split):
    path = out / str(size) / f"{split}.json"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [((path.parent / e["audio_filepath"]).resolve().stem, e["label"], e["offset"], e["duration"], e["speaker"])
            for e in lines]


def problems_of(out):
    return [line.split("\t") for line in (out / "problems.tsv").read_text().splitlines()]


def table(out, size):
    head, *rows = [line.split("\t") for line in (out / str(size) / "words.tsv").read_text().splitlines()]
    return {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in rows}


def brute_force(folder):
    """{(utterance, word, start, duration, speaker)} by the textgrid package."""
    return {(path.stem, i.mark, round(i.minTime, 6), round(i.maxTime - i.minTime, 6), path.stem.split("-")[0])
            for path in (folder / "alignments").rglob("*.TextGrid")
            for i in textgrid.TextGrid.fromFile(str(path)).getFirst("words") if i.mark}


def test_manifests_hold_the_most_frequent_words_and_nothing_else(corpus, tmp_path, monkeypatch):
    run(monkeypatch, corpus, tmp_path, "--sizes", 10, 4)
    everything = brute_force(corpus)
    counts = Counter(word for _, word, *_ in everything)
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    where = defaultdict(set)
    for size in (4, 10):
        rows = table(tmp_path, size)
        assert list(rows) == ranked[:size]
        assert all(int(rows[word]["aligned"]) == counts[word] for word in rows)
        kept = {word for word in rows if rows[word]["verdict"] == "kept"}
        assert len(kept) >= 4
        found = {split: entries(tmp_path, size, split) for split in SPLITS}
        assert all({word for _, word, *_ in found[split]} == kept for split in SPLITS)
        assert {e for split in SPLITS for e in found[split]} == {e for e in everything if e[1] in kept}
        assert sum(map(len, found.values())) == sum(counts[word] for word in kept)
        for split in SPLITS:
            keys = [(word, name, offset) for name, word, offset, *_ in found[split]]
            assert keys == sorted(keys)
            for *_, speaker in found[split]:
                where[speaker].add(split)
    assert len(where) == SPEAKERS
    assert all(len(splits) == 1 for splits in where.values())  # also between the sizes
    made_by = registered("10", tmp_path / "registry.json")["made_by"]
    assert made_by == registered("4", tmp_path / "registry.json")["made_by"]
    assert made_by.startswith("python -m data.libriwords --librispeech ") and made_by.endswith(" --sizes 10 4")
    loaded = load_corpus("10", registry=tmp_path / "registry.json")
    assert set(loaded.labels) == {word for word, row in table(tmp_path, 10).items() if row["verdict"] == "kept"}


def test_flags_on_words_drop_what_they_say(corpus, tmp_path, monkeypatch, capsys):
    run(monkeypatch, corpus, tmp_path, "--sizes", 12, "--min_seconds", 0.1, "--min_count", 60, "--max_per_word", 40)
    everything = brute_force(corpus)
    long = Counter(word for _, word, _, duration, _ in everything if duration >= 0.1 - 1e-9)
    rows = table(tmp_path, 12)
    assert {row["verdict"] for row in rows.values()} > {"fewer than 60 clips"}
    clips = [e for split in SPLITS for e in entries(tmp_path, 12, split)]
    assert min(duration for *_, duration, _ in clips) >= 0.1
    assert len(set(clips)) == len(clips) and set(clips) <= everything
    for word, row in rows.items():
        assert int(row["usable"]) == long[word] == int(row["aligned"]) - int(row["too_short"])
        assert (row["verdict"] == "fewer than 60 clips") == (long[word] < 60)
        if row["verdict"] == "kept":
            assert sum(e[1] == word for e in clips) == min(long[word], 40) == sum(int(row[s]) for s in SPLITS)
    dropped = [word for word, row in rows.items() if row["verdict"] != "kept"]
    assert all(word in capsys.readouterr().out for word in dropped[:1])


def test_broken_textgrids_are_named_and_the_rest_goes_on(corpus, tmp_path, monkeypatch, capsys):
    run(monkeypatch, corpus, tmp_path / "clean", "--sizes", 10)
    clean = {split: entries(tmp_path / "clean", 10, split) for split in SPLITS}
    source = tmp_path / "source"
    source.mkdir()
    for name in ("LibriSpeech", "alignments"):
        (source / name).mkdir()
        (source / name / "good").symlink_to(corpus / name, target_is_directory=True)
        (source / name / "good2").symlink_to(source / name, target_is_directory=True)  # a circle
    words = [("the", 0.1, 0.4), ("fox", 0.5, 0.9)]
    text = add_utterance(tmp_path / "model", "1-1-0", words)[1].read_text()
    contents = {"1-1-0001": b"", "1-1-0002": text[:len(text) // 2].encode(), "1-1-0003": text.encode("utf-16"),
                "1-1-0004": text.replace("fox", "f\xf6x").encode("latin-1"),
                "1-1-0005": text.replace('"words"', '"phones"').encode(),
                "1-1-0006": text.replace("xmin = 0.5", "xmin = 0.3").encode(), "1-1-0007": text.encode(),
                "1-1-0008": text.encode(), "1-1-0009": text.encode(), "odd": text.encode()}
    for name, content in contents.items():
        seconds = 0.5 if name == "1-1-0007" else 1.15
        audio, grid = add_utterance(source, name, words, max(seconds, 1.15))
        grid.write_bytes(content)
        if seconds < 1:
            soundfile.write(audio, np.ones(4000, np.int16), RATE)
        if name == "1-1-0008":
            audio.unlink()
        if name == "1-1-0009":
            audio.write_bytes(b"fLaC no more")
    add_utterance(source, "1-1-0010", words)[1].unlink()
    for part, ending in (("LibriSpeech", "wav"), ("alignments", "TextGrid")):
        (source / part / f"9-1-1.{ending}").symlink_to("nowhere")
        os.mkfifo(source / part / f"9-1-2.{ending}")
        (source / part / (os.fsdecode(b"9-M\xfcller-1.") + ending)).touch()
    run(monkeypatch, source, tmp_path / "out", "--sizes", 10)
    problems = problems_of(tmp_path / "out")
    assert {(kind, path.rpartition("/")[2].partition(".")[0]) for kind, path, _ in problems} == {
        ("empty", "1-1-0001"), ("broken", "1-1-0002"), ("encoding", "1-1-0004"),
        ("no words tier", "1-1-0005"), ("out of order", "1-1-0006"), ("past the audio's end", "1-1-0007"),
        ("TextGrid without audio", "1-1-0008"), ("audio unreadable", "1-1-0009"),
        ("audio without TextGrid", "1-1-0010"), ("name that tells no speaker", "odd"),
        ("entries that cannot be reached", "9-1-1"), ("entries that are no files", "9-1-2"),
        ("names that are not UTF-8", r"9-M\udcfcller-1")}
    assert len(problems) == 16  # of the last three there are two each
    shown = capsys.readouterr().err
    assert "out of order (1), such as" in shown and "16 of them are named in" in shown
    before = {e[:4] for split in SPLITS for e in clean[split]}
    after = {e[:4] for split in SPLITS for e in entries(tmp_path / "out", 10, split)}
    assert before <= after
    assert {e[0] for e in after - before} == {"1-1-0003"}


def foreign(folder, names, edit=lambda text: text):
    """A corpus of three words a file, whatever its name; ``edit`` changes the TextGrids' text."""
    words = [("yes", 0.2, 0.5), ("no", 0.5, 0.8), ("go", 0.8, 1.0)]
    for name in names:
        audio, grid = (folder / part / f"{name}{ending}" for part, ending in (("LibriSpeech", ".wav"),
                                                                             ("alignments", ".TextGrid")))
        record(audio, np.random.default_rng(0).normal(0, 1000, RATE).astype(np.int16), RATE)
        write_words(grid, words, 1.0)
        grid.write_text(edit(grid.read_text()))
    return folder


PLAIN = [f"{speaker}-1-0" for speaker in range(4)]


def test_a_tier_of_any_name_and_what_is_said_without_it(tmp_path, monkeypatch):
    source = foreign(tmp_path, PLAIN, lambda text: text.replace('"words"', '"ORT-MAU"'))
    with pytest.raises(UserError, match=r"most often: no words tier, such as .*'ORT-MAU'"):
        run(monkeypatch, source, tmp_path / "out", "--sizes", 3)
    rows = (tmp_path / "out" / "problems.tsv").read_text().splitlines()
    assert len(rows) == 4 and all("'ORT-MAU'" in row for row in rows)
    run(monkeypatch, source, tmp_path / "out", "--sizes", 3, "--tier", "ORT-MAU")
    assert set(table(tmp_path / "out", 3)) == {"yes", "no", "go"}


@pytest.mark.parametrize(("names", "flags", "speakers"), [
    ([f"{n}_1_000000_000000" for n in range(4)], [], set("0123")),
    ([f"anna{n}_0001" for n in range(4)], ["--speaker_regex", "^([a-z]+[0-9])"], {f"anna{n}" for n in range(4)}),
    ([f"{who}/0001" for who in ("al", "bo", "cy")], ["--speaker_regex", "^([^/]+)/"], {"al", "bo", "cy"})])
def test_names_of_other_corpora(tmp_path, monkeypatch, names, flags, speakers):
    source = foreign(tmp_path, names)
    if flags:
        with pytest.raises(UserError, match=r"no word .*tells no speaker, .*0*1\.wav .see --speaker_regex"):
            run(monkeypatch, source, tmp_path / "out", "--sizes", 3, "--speaker_regex", "^x(.)")
        assert len(problems_of(tmp_path / "out")) == len(names)
    run(monkeypatch, source, tmp_path / "out", "--sizes", 3, *flags)
    assert {e[-1] for split in SPLITS for e in entries(tmp_path / "out", 3, split)} == speakers
    assert sum(len(entries(tmp_path / "out", 3, split)) for split in SPLITS) == 3 * len(names)
    assert not (tmp_path / "out" / "problems.tsv").read_text()


def test_one_name_in_several_folders_is_paired_by_its_path_or_not_at_all(tmp_path, monkeypatch):
    """Another speaker's TextGrid of the same name would label what was never said."""
    who = [f"{name}/0001" for name in ("al", "bo", "cy")]
    source = foreign(tmp_path, who)
    foreign(tmp_path / "more", ["dee/0001", "di/0001"])
    (tmp_path / "more" / "LibriSpeech" / "dee").rename(source / "LibriSpeech" / "dee")  # without its TextGrid
    (tmp_path / "more" / "alignments" / "di").rename(source / "alignments" / "di")
    flags = "--sizes", 3, "--speaker_regex", "^([^/]+)/"
    run(monkeypatch, source, tmp_path / "out", *flags)
    assert {e[-1] for split in SPLITS for e in entries(tmp_path / "out", 3, split)} == {"al", "bo", "cy"}
    rows = problems_of(tmp_path / "out")
    assert [(kind, path.split("/")[-2]) for kind, path, _ in rows] == [
        ("TextGrid without audio", "di"), ("audio without TextGrid", "dee")]
    assert all("several files have its name" in detail for *_, detail in rows)
    for name in ("al", "bo", "cy"):  # nobody is at its own path any more
        (source / "alignments" / name).rename(source / "alignments" / f"{name}s")
    with pytest.raises(UserError, match=r"no word .*several files have its name"):
        run(monkeypatch, source, tmp_path / "out", *flags)


@pytest.mark.parametrize("where", ["zz_{}", "zz"])  # at other paths, at the same path in both folders
def test_second_files_of_one_utterance_are_named(tmp_path, monkeypatch, where):
    source = foreign(tmp_path, PLAIN)
    run(monkeypatch, source, tmp_path / "out", "--sizes", 3)
    foreign(tmp_path / "more", PLAIN[:1])
    for part in ("LibriSpeech", "alignments"):
        (tmp_path / "more" / part).rename(tmp_path / part / where.format(part))
    run(monkeypatch, source, tmp_path / "out2", "--sizes", 3)
    assert [kind for kind, *_ in problems_of(tmp_path / "out2")] == [
        "second TextGrid of one utterance", "second audio file of one utterance"]
    for split in SPLITS:
        assert entries(tmp_path / "out", 3, split) == entries(tmp_path / "out2", 3, split)


def test_words_of_other_scripts_and_unicode_forms_are_words(tmp_path, monkeypatch, capsys):
    marks = ["cafe\u0301", "CAF\u00c9", "\u0939\u093f\u0928\u094d\u0926\u0940", "don\u2019t", "don't", "ni\u200cst",
             "\u0301", "'", "x\u0301-y", "<unk>", "SIL", "x2"]
    for speaker in range(3):
        add_utterance(tmp_path, f"{speaker}-1-0", [(m, i / 10, (i + 1) / 10) for i, m in enumerate(marks)])
    run(monkeypatch, tmp_path, tmp_path / "out", "--sizes", 10)
    aligned = {word: int(row["aligned"]) for word, row in table(tmp_path / "out", 10).items()}
    assert aligned == {"caf\u00e9": 6, marks[2]: 3, "don't": 6, marks[5]: 3}
    assert "15 intervals whose mark is no word" in capsys.readouterr().out
    run(monkeypatch, tmp_path, tmp_path / "out", "--sizes", 10, "--name", "x", "--exclude_words", "CAFE\u0301",
        "DON\u2019T")
    assert {entry[1] for entry in entries(tmp_path / "out", "x-10", "train")} == {marks[2], marks[5]}
    assert "not in this corpus" not in capsys.readouterr().out


def test_words_of_no_length_and_textgrids_that_end_elsewhere_are_named(tmp_path, monkeypatch):
    """One word of a rounding error's length made a data set that no script could load."""
    for speaker in range(4):
        _, grid = add_utterance(tmp_path, f"{speaker}-1-0", [("yes", 0.1, 0.5), ("no", 0.5, 0.8), ("so", 0.8, 0.9)])
        grid.write_text(grid.read_text().replace("= 0.8\n", "= 0.8999999\n"))
    soundfile.write(tmp_path / "LibriSpeech" / "train-clean-5" / "3" / "1" / "3-1-0.flac", np.ones(2 * RATE) / 2, RATE)
    run(monkeypatch, tmp_path, tmp_path / "out", "--sizes", 2)
    assert load_corpus("2", registry=tmp_path / "out" / "registry.json").labels == ["no", "yes"]
    rows = problems_of(tmp_path / "out")
    assert Counter(kind for kind, *_ in rows) == {"word of no length": 4,
                                                 "odd: ends elsewhere than its audio, but read": 1}
    assert rows[0][2] == "at 1.15 s of 2 s"


def test_one_person_spelt_two_ways_is_one_speaker(tmp_path, monkeypatch, capsys):
    names = [f"{who}{n}/0001" for n in range(12) for who in ("M\u00fcller", "mu\u0308ller")]
    source = foreign(tmp_path, names)
    run(monkeypatch, source, tmp_path / "out", "--sizes", 3, "--speaker_regex", "^([^/]+)/")
    assert "joined 12 speakers whose names look the same" in capsys.readouterr().out
    home = defaultdict(set)
    for split in SPLITS:
        for *_, speaker in entries(tmp_path / "out", 3, split):
            home[folded(speaker)].add((split, speaker))
    assert len(home) == 12
    assert all(len(where) == 1 for where in home.values())
    run(monkeypatch, source, tmp_path / "out", "--sizes", 3, "--speaker_regex", "^([^/]+)/", "--name", "x",
        "--exclude_speakers", "M\u00fcller3", "mu\u0308ller5")
    assert len({s for split in SPLITS for *_, s in entries(tmp_path / "out", "x-3", split)}) == 10


def test_a_capped_word_keeps_a_clip_in_each_split():
    """A name out of a test speaker's book, without a training clip, made a data set that could not be loaded."""
    for (train, dev, test), cap in product([(1, 1, 20), (5, 1, 200), (1, 1, 8), (1, 200, 199)], (3, 4, 10)):
        quota = _quota(np.array([[train, dev, test], [8, 1, 1], [0, 5, 50], [2, 1, 0]]), cap)
        assert (quota[0] >= 1).all()
        assert quota[0].sum() == min(cap, train + dev + test) or quota[0, 0] == train
        assert (quota.sum(1) <= cap).all()
        assert quota[2, 0] == 0 and quota[3].tolist() == [2, 1, 0]


def test_split_is_close_to_the_shares_with_frequent_classes_everywhere():
    rng = np.random.default_rng(0)
    counts = rng.poisson(rng.gamma(3, 0.3, (28, 1)) * (60 / np.arange(1, 151)))
    names = [str(n) for n in rng.choice(9_000, 28, replace=False)]
    part = balanced_split(names, counts)
    shares = [counts[part == s].sum() / counts.sum() for s in range(3)]
    assert shares == pytest.approx(SHARES, abs=0.02)
    assert all((counts[part == s, :10] > 0).any(0).all() for s in range(3))
    assert np.array_equal(part, balanced_split(names, counts))
    order = rng.permutation(28)
    assert np.array_equal(part[order], balanced_split([names[i] for i in order], counts[order]))
    assert set(balanced_split(["a", "b", "c"], np.eye(3, dtype=int))) == {0, 1, 2}  # no class can be in all three


def test_bad_input_is_one_clear_error(corpus, tmp_path, monkeypatch):
    def refused(match, *flags, source=corpus):
        with pytest.raises(UserError, match=match) as error:
            run(monkeypatch, source, tmp_path / "out", *flags)
        assert "\n" not in str(error.value)
        assert not list((tmp_path / "out").glob("[0-9]*"))

    refused("--librispeech .*nowhere: no such folder", "--librispeech", tmp_path / "nowhere")
    refused("--alignments .*nowhere: no such folder.*data.align", "--alignments", tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    refused("no word .*most often: TextGrid without audio", "--librispeech", tmp_path / "empty")
    refused("no word .*most often: audio without TextGrid", "--alignments", tmp_path / "empty")
    add_utterance(tmp_path / "other", "999-1-0", [("a", 0.1, 0.2)])
    refused("is named like an audio file; most often", "--alignments", tmp_path / "other" / "alignments")
    refused("1 speaker .*too few", source=tmp_path / "other")
    refused("fewer than two words", "--min_count", 10_000)
    same = tmp_path / "out" / "registry.json"
    register("35", train=same, dev=same, test=same, made_by="python -m data.speech_commands", registry=same)
    refused("--sizes '35': .* another data set", "--sizes", 35)


@pytest.mark.parametrize("flags", [["--sizes", "1"], ["--sizes", "ten"], ["--max_per_word", "2"], ["--min_count", "0"],
                                   ["--min_seconds", "nan"], ["--download", "train-clean-5"], ["--speaker_regex", "("],
                                   ["--speaker_regex", "anna"]])
def test_senseless_flags_are_refused(monkeypatch, flags):
    monkeypatch.setattr(sys, "argv", ["libriwords", *flags])
    with pytest.raises(SystemExit) as error:
        parse_args()
    assert error.value.code == 2


def test_download_checks_then_unpacks_then_makes_the_manifests(corpus, tmp_path, monkeypatch):
    with tarfile.open(tmp_path / "dev-clean.tar.gz", "w:gz") as tar:
        tar.add(corpus / "LibriSpeech", "LibriSpeech")
    with zipfile.ZipFile(tmp_path / "grids.zip", "w") as zipped:
        for path in (corpus / "alignments").rglob("*.TextGrid"):
            zipped.write(path, path.relative_to(corpus))
    flags = ["--download", "dev-clean", "--mirror", tmp_path, "--download-alignments", "--alignments_url",
             tmp_path / "grids.zip", "--sizes", 5]
    source = tmp_path / "fetched"
    with pytest.raises(UserError, match=r"dev-clean.tar.gz: md5 is .* where 42e2234ba48799c1f50f24a7926300a1"):
        run(monkeypatch, source, tmp_path / "out", *flags)
    assert not (source / "LibriSpeech").exists()
    part, grids = (hashlib.md5((tmp_path / name).read_bytes()).hexdigest()
                   for name in ("dev-clean.tar.gz", "grids.zip"))
    monkeypatch.setitem(PARTS, "dev-clean", part)
    monkeypatch.setattr("data.libriwords.__main__.ALIGNMENTS", grids)
    run(monkeypatch, source, tmp_path / "out", *flags)
    run(monkeypatch, corpus, tmp_path / "direct", "--sizes", 5)
    for split in SPLITS:
        assert entries(tmp_path / "out", 5, split) == entries(tmp_path / "direct", 5, split)


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


def test_train_only_keeps_words_that_dev_and_test_lack(corpus, tmp_path, monkeypatch):
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


def test_context_reaches_into_the_recording(corpus, tmp_path, monkeypatch):
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


def test_excluded_words_and_speakers_are_nowhere(corpus, tmp_path, monkeypatch, capsys):
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


def test_new_words_are_said_by_dev_speakers_and_trained_on_nowhere(corpus, tmp_path, monkeypatch):
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
    # A refusal for want of them leaves the manifests that are there.
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
