"""Forced alignment: every word once, in order, where the sound is; and the folder of TextGrids that it fills."""

import os
import re
import shutil
import sys

import numpy as np
import pytest
import soundfile

from data import align as aligner
from data.align import AlignmentError, align, pronounce
from data.base.errors import UserError
from data.libriwords import wordscan
from data.sources.textgrids import read_word_tier, write_words

RATE = 16_000
PHONES = set(re.findall(r"\w+", "AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K L M N NG OW OY P R S SH T TH "
                                 "UH UW V W Y Z ZH"))


def buzz(*bursts, seconds, seed=0):
    """Faint noise with something like a vowel in (start, end) seconds, int16."""
    rng = np.random.default_rng(seed)
    samples = rng.normal(0, 20, round(seconds * RATE))
    for start, end in bursts:
        t = np.arange(round((end - start) * RATE)) / RATE
        voiced = sum(np.sin(2 * np.pi * 120 * k * t) / (1 + ((120 * k - 700) / 250) ** 2
                                                        * ((120 * k - 1150) / 300) ** 2) for k in range(1, 25))
        samples[round(start * RATE):][:len(t)] += 4000 * voiced
    return np.clip(samples, -32768, 32767).astype(np.int16)


def test_every_word_once_in_order_and_inside_the_audio():
    samples = buzz((0.3, 0.8), (1.1, 1.5), (1.9, 2.5), seconds=2.505)
    words = ["ah", "oarah", "hour"]  # the second is in no dictionary
    found = align(samples, words)
    assert [word for word, *_ in found] == words
    times = [t for _, *both in found for t in both]
    assert times == sorted(times) and times[0] >= 0 and times[-1] <= len(samples) / RATE
    assert all(end - start >= 0.03 for _, start, end in found)  # three states of 10 ms are a phone


def test_an_alignment_does_not_depend_on_what_went_before():
    one = buzz((0.3, 0.8), (1.1, 1.5), seconds=1.9, seed=1)
    other = (buzz((0.2, 0.9), (1.4, 1.9), seconds=2.2, seed=2) * 0.2).astype(np.int16)
    words = ["are", "our"]
    aligner._decoder.cache_clear()
    alone = align(one, words)
    for _ in range(3):
        align(other, ["oarah", "ah"])
    assert align(one, words) == alone


def test_what_the_usual_beam_loses_is_tried_with_a_wider_one(monkeypatch):
    samples, words = buzz((0.3, 0.8), (1.1, 1.5), seconds=1.9), ["ah", "our"]
    expected = align(samples, words)
    monkeypatch.setattr(aligner, "_BEAMS", ((0.9, 0.9),))
    with pytest.raises(AlignmentError, match="no alignment"):
        align(samples, words)
    monkeypatch.setattr(aligner, "_BEAMS", ((0.9, 0.9), (1e-48, 7e-29)))
    assert align(samples, words) == expected


def test_what_cannot_be_aligned_says_why_and_leaves_the_decoder_usable():
    samples = buzz((0.2, 0.9), seconds=1.3)
    expected = align(samples, ["hour"])
    for words, audio, kind in (([], samples, "empty transcript"), (["r2d2"], samples, "word that cannot"),
                               (["hour"] * 60, samples, "no alignment"), (["hour"], samples[:100], "no alignment")):
        with pytest.raises(AlignmentError, match=kind):
            align(audio, words)
        assert align(samples, ["hour"]) == expected


def test_pronunciations_are_arpabet_and_agree_with_the_dictionary_on_most_phones():
    from pocketsphinx import get_model_path
    from rapidfuzz.distance import Levenshtein

    for word, phones in {"foot": "F UH T", "becky's": "B EH K IY Z", "'hop'": "HH AA P", "thrope": "TH R OW P"}.items():
        assert pronounce(word) == phones
    for word in ("", "a1", "x-ray", "naïve", "'", "two words", "Upper"):
        assert pronounce(word) is None
    rng = np.random.default_rng(0)
    for length in rng.integers(1, 14, 2_000):
        phones = pronounce("".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), length))).split()
        assert phones and set(phones) <= PHONES
    with open(get_model_path("en-us/cmudict-en-us.dict"), encoding="utf-8") as dictionary:
        lines = [line.split() for line in dictionary]
    sample = [line for line in lines[::61] if re.fullmatch("[a-z]{2,}", line[0])]
    wrong = sum(Levenshtein.distance(pronounce(word).split(), phones) for word, *phones in sample)
    assert len(sample) > 1000
    assert wrong / sum(len(phones) for _, *phones in sample) < 0.13


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    for speaker in (1, 2):
        chapter = folder / "LibriSpeech" / "dev-clean" / str(speaker) / "7"
        chapter.mkdir(parents=True)
        lines = []
        for number, text in enumerate(("AH AH", "OUR HOUR", "ARE OARAH")):
            soundfile.write(chapter / f"{speaker}-7-{number:04}.flac",
                            buzz((0.3, 0.9), (1.2, 1.7), seconds=2, seed=number), RATE)
            lines.append(f"{speaker}-7-{number:04} {text}\n")
        (chapter / f"{speaker}-7.trans.txt").write_text("".join(lines))
    return folder


def run(monkeypatch, source, out):
    monkeypatch.setattr(sys, "argv", ["align", "--librispeech", str(source), "--out", str(out)])
    aligner.main(aligner.parse_args())


def skipped(out):
    rows = [line.split("\t") for line in (out / "skipped.tsv").read_text().splitlines()]
    assert len(set(map(tuple, rows))) == len(rows)
    return {(kind, path.rpartition("/")[2]) for kind, path, *_ in rows}


def contents(out):
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*.TextGrid")}


def test_writes_the_public_layout_and_resumes_to_the_same_bytes(corpus, tmp_path, monkeypatch, capsys):
    run(monkeypatch, corpus, tmp_path / "one")
    whole = contents(tmp_path / "one")
    assert set(whole) == {f"dev-clean/{s}/7/{s}-7-{n:04}.TextGrid" for s in (1, 2) for n in range(3)}
    tier = read_word_tier(tmp_path / "one" / "dev-clean" / "1" / "7" / "1-7-0001.TextGrid")
    assert [word for word, *_ in tier.words()] == ["our", "hour"] and tier.xmax == 2.0
    clips = wordscan.scan(corpus, tmp_path / "one")  # feed data.libriwords
    assert not clips.problems and (clips.end <= 2.0).all() and (clips.end > clips.start).all()
    assert sorted(clips.words[w] for w in clips.word) == sorted(["ah", "ah", "our", "hour", "are", "oarah"] * 2)
    gone = sorted((tmp_path / "one").rglob("*.TextGrid"))[1::2]
    for path in gone:
        path.unlink()
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "one").rglob("*.TextGrid")}
    run(monkeypatch, corpus, tmp_path / "one")
    assert contents(tmp_path / "one") == whole
    assert all(path.stat().st_mtime_ns == when for path, when in kept.items())
    assert f"{len(gone)} utterances to align, {len(kept)} are done" in capsys.readouterr().out


def test_what_changed_since_it_was_aligned_is_told(corpus, tmp_path, monkeypatch, capsys):
    shutil.copytree(corpus, tmp_path / "c")
    for entry in (tmp_path / "c").rglob("*.flac"):
        write_words(tmp_path / "out" / entry.relative_to(tmp_path / "c" / "LibriSpeech").with_suffix(".TextGrid"),
                    [("ah", 0.3, 0.9)], 2.0)
    run(monkeypatch, tmp_path / "c", tmp_path / "out")
    said = capsys.readouterr()
    assert "0 utterances to align, 6 are done" in said.out and "changed" not in said.err
    a, b = sorted((tmp_path / "c").rglob("1-7-*.flac"))[:2]
    os.rename(a, tmp_path / "a")  # exchanged: their dates are as they were
    os.rename(b, a)
    os.rename(tmp_path / "a", b)
    run(monkeypatch, tmp_path / "c", tmp_path / "out")
    assert "warning: of 2 that are done the recording or transcript has changed since" in capsys.readouterr().err
    (text,) = (tmp_path / "c").rglob("2-7.trans.txt")
    text.write_text(text.read_text().replace("AH AH", "AH"))
    run(monkeypatch, tmp_path / "c", tmp_path / "out")
    assert "warning: of 5 that are done the recording or transcript has changed since" in capsys.readouterr().err


def test_what_is_skipped_is_named(tmp_path, monkeypatch, capsys):
    source = tmp_path / "source" / "1" / "7"
    source.mkdir(parents=True)
    for number in range(5):
        soundfile.write(source / f"1-7-{number}.wav", buzz((0.3, 0.9), seconds=1.2), RATE)
    soundfile.write(source / "1-7-1.wav", np.zeros(8_000, np.int16), RATE)
    (source / "1-7.trans.txt").write_text("1-7-0 AH\n1-7-1 AH\n1-7-2 R2D2\n1-7-3\n\n1-7-9 AH\n")
    (source / "2-7.trans.txt").write_bytes(b"2-7-0 \xff\xff\n")
    (source / "3-7-0.flac").symlink_to("nowhere")
    (source / os.fsdecode(b"M\xfcller-1-1.flac")).touch()
    for name in ("3-7-1.flac", "3-7.trans.txt"):
        os.mkfifo(source / name)
    run(monkeypatch, tmp_path / "source", tmp_path / "out")
    assert skipped(tmp_path / "out") == {
        ("audio cannot be used", "1-7-1.wav"), ("word that cannot be pronounced", "1-7-2.wav"),
        ("empty transcript", "1-7-3.wav"), ("audio without transcript", "1-7-4.wav"),
        ("transcript without audio", "1-7-9"), ("transcript file unreadable", "2-7.trans.txt"),
        ("entries that are no files", "3-7-1.flac"), ("entries that are no files", "3-7.trans.txt"),
        ("entries that cannot be reached", "3-7-0.flac"), ("names that are not UTF-8", r"M\udcfcller-1-1.flac")}
    assert list(contents(tmp_path / "out")) == ["1/7/1-7-0.TextGrid"]
    assert "word that cannot be pronounced (1)" in (shown := capsys.readouterr().err) and "r2d2" in shown


@pytest.mark.parametrize(("transcript", "words"), [
    ("AH OUR", "ah our"), ('"Well-known," she said \u2014 (twice)...', "well known she said twice"),
    ("'TIS OTHERS' O'CLOCK", "'tis others' o'clock"), ("'hello,' he\u2019d say: don\u2018t!", "hello he'd say don't"),
    (" -- ? ", ""), ("_so_ *very* x-ray/ray", "so very x ray ray"), ("r2d2, 3.5", "r2d2 3.5")])
def test_transcripts_lose_their_punctuation(transcript, words):
    assert aligner.words_of(transcript) == words.split()


def test_bad_folders_and_when_nothing_was_aligned_are_one_clear_error(tmp_path, monkeypatch):
    source = tmp_path / "source"
    source.mkdir()
    soundfile.write(source / "1-7-0.wav", buzz((0.3, 0.9), seconds=1.2), RATE)
    (source / "1-7.trans.txt").write_text("1-7-0 R2D2\n")
    with pytest.raises(UserError, match=r"no utterance could be aligned; .*skipped.tsv says why"):
        run(monkeypatch, source, tmp_path / "out")
    assert "r2d2" in (tmp_path / "out" / "skipped.tsv").read_text()
    (source / "1-7.trans.txt").write_text("1-7-0 AH\n", encoding="utf-16")
    with pytest.raises(UserError, match=r"no \*.trans.txt that can be read in it; .*1-7.trans.txt: not a text file"):
        run(monkeypatch, source, tmp_path / "out")
    (tmp_path / "empty").mkdir()
    for match, source in (("--librispeech .*nowhere: no such folder", "nowhere"),
                          ("--librispeech .*empty: no audio file that", "empty")):
        with pytest.raises(UserError, match=match):
            run(monkeypatch, tmp_path / source, tmp_path / "none")
    assert not (tmp_path / "none").exists()
