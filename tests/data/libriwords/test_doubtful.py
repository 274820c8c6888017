"""Doubtful alignments: planted faults in real (machine-spoken) recordings are found, and what is sound stays."""

import os
import shutil

import numpy as np
import pytest
import soundfile

from data.align.aligner import Aligned, AlignmentError
from data.demo.espeak import Saying, speak
from data.demo.sound import trim
from data.libriwords import doubtful
from data.libriwords.doubtful import ELSEWHERE, LENGTH, NONE, REASONS, doubts, without_doubtful
from data.libriwords.wordscan import scan
from data.manifests import load_corpus
from data.sources.textgrids import write_words
from tests.data.libriwords.test_libriwords import corpus, run, table  # noqa: F401

VOICES = ("en-us+m3", "en-us+f2", "en-us+m1")
TEXT = ["children", "happy", "yellow", "window", "under", "water", "seven", "river", "picture", "number", "music",
        "mother", "little", "kitchen", "hundred", "garden", "finger", "evening", "doctor", "country"]
TAKES, GAP = 3, 0.05


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    """Twenty words by three voices, three times in another order, hardly apart; TextGrids that are right."""
    folder = tmp_path_factory.mktemp("spoken")
    for number, voice in enumerate(VOICES):
        rate, words = speak(voice, [Saying(word) for word in TEXT])
        for take in range(TAKES):
            rng = np.random.default_rng([number, take])
            now, grid, pieces = 0.3, [], [rng.normal(0, 8, round(0.3 * rate))]
            for i in rng.permutation(len(TEXT)):
                sound = trim(words[i].astype(float))
                pieces += [sound, rng.normal(0, 8, round(GAP * rate))]
                grid.append((TEXT[i], now, now + len(sound) / rate))
                now += len(sound) / rate + round(GAP * rate) / rate
            name = folder / "LibriSpeech" / f"{100 + number}-1-{take:04}.flac"
            name.parent.mkdir(exist_ok=True)
            samples = np.concatenate([*pieces, rng.normal(0, 8, round(0.3 * rate))])
            samples += rng.normal(0, 8, len(samples))  # nothing is silent to the bit
            soundfile.write(name, np.clip(samples, -32768, 32767).astype(np.int16), rate)
            grids = folder / "alignments"
            grids.mkdir(exist_ok=True)
            write_words(grids / f"{name.stem}.TextGrid", grid, len(samples) / rate)
    return folder


def read(folder, cache):
    return scan(folder / "LibriSpeech", folder / "alignments", cache / "scan")


def planted(spoken, folder, change):
    """A copy of the TextGrids with ``change`` made to the (word, start, end) of the first utterance of each voice."""
    (folder / "alignments").mkdir()
    (folder / "LibriSpeech").symlink_to(spoken / "LibriSpeech")
    for path in sorted((spoken / "alignments").glob("*.TextGrid")):
        import textgrid

        grid = textgrid.TextGrid.fromFile(str(path))
        words = [(i.mark, i.minTime, i.maxTime) for i in grid.getFirst("words") if i.mark]
        if path.stem.endswith("0000"):
            words = change(words)
        write_words(folder / "alignments" / path.name, words, grid.maxTime)
    return folder


def test_what_is_sound_stays(spoken, tmp_path):
    clips = read(spoken, tmp_path)
    keep, problems, said = without_doubtful(clips, tmp_path / "second", None)
    assert keep.mean() > 0.9  # twenty words, each always alike, are no speech: others stand out a little
    assert len(problems) == (~keep).sum()
    assert f"{len(problems)} of {len(clips)} words" in said


def test_words_that_were_not_said_are_found(spoken, tmp_path):
    """Two words of each first utterance change their names."""
    def change(words):
        names = [word for word, *_ in words]
        names[5], names[12] = "strawberry", "eloquence"
        return [(name, start, end) for name, (_, start, end) in zip(names, words, strict=True)]
    clips = read(planted(spoken, tmp_path, change), tmp_path)
    doubt, _, found = doubts(clips, tmp_path / "second")
    wrong = np.isin(clips.word, [clips.words.index(word) for word in ("strawberry", "eloquence")])
    assert wrong.sum() == 2 * len(VOICES)
    assert (doubt[wrong] >= 1).all()
    assert np.mean(doubt[wrong][:, None] > doubt[~wrong]) > 0.95
    assert np.median(found["unlike"][wrong]) > np.percentile(found["unlike"][~wrong], 95)


def test_words_that_lie_elsewhere_are_found(spoken, tmp_path):
    """All words of each first utterance lie a quarter of a second too late, as where an aligner lost its way."""
    def change(words):
        return [(word, start + 0.25, end + 0.25) for word, start, end in words]
    clips = read(planted(spoken, tmp_path, change), tmp_path)
    doubt, reason, found = doubts(clips, tmp_path / "second")
    late = np.array([clips.files[f].endswith("0000.flac") for f in clips.file])
    assert late.sum() == len(TEXT) * len(VOICES)
    assert (doubt[late] >= 1).mean() > 0.95
    assert (doubt[~late] >= 1).mean() < 0.1
    assert sum(REASONS[r] == ELSEWHERE for r in reason[late]) > 0.95 * late.sum()
    assert np.median(found["moved"][late]) == pytest.approx(0.25, abs=0.06)


def by_hand(monkeypatch, answer):
    """Recordings are aligned by ``answer(words, starts)`` instead, and not read."""
    monkeypatch.setattr("data.decoding.decode", lambda path: np.zeros(16_000, np.int16))
    monkeypatch.setattr("data.align.aligner.align_scored", lambda samples, words: answer(words))


@pytest.fixture
def clips(corpus, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(doubtful, "ordered_map", map)  # in this process, where the aligner is another
    return scan(corpus / "LibriSpeech", corpus / "alignments", tmp_path / "scan")


def test_scores_are_held_against_the_speaker_and_words_as_long(clips, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    score = {word: rng.normal(-3, 0.5) for word in clips.words}
    by_hand(monkeypatch, lambda words: [Aligned(word, 0.0, 9.0, score[word] + rng.normal(0, 0.1), 2 + len(word) % 3,
                                                False) for word in words])
    doubt, _, found = doubts(clips, tmp_path / "second")
    speaker, phones = clips.speakers[clips.file], np.clip(found["phones"], 2, 8)
    less = found["score"].copy()
    for name in set(speaker):
        less[speaker == name] -= np.median(found["score"][speaker == name])
    for number in set(phones):
        own = less[phones == number]
        wanted = -(own - np.median(own)) / (1.4826 * np.median(abs(own - np.median(own))))
        np.testing.assert_allclose(found["unlike"][phones == number], wanted, atol=1e-9)
    assert (doubt >= 1).all()  # all lie elsewhere: the second alignment has them at 0 to 9 s


def test_recordings_that_cannot_be_aligned_again(clips, tmp_path, monkeypatch, capsys):
    """Where no alignment is found, the transcript is doubtful; where a word has no pronunciation, nothing is known."""
    state = {"n": 0}
    rows = np.split(np.arange(len(clips)), np.searchsorted(clips.file, np.arange(1, len(clips.files))))

    def answer(words):
        state["n"] += 1
        i = state["n"] - 1
        if i < 2:
            raise AlignmentError(("no alignment found", "word that cannot be pronounced")[i], "")
        return [Aligned(w, clips.start[r], clips.end[r], -3.0 + 0.01 * r % 1, 3, False)
                for w, r in zip(words, rows[i], strict=True)]
    by_hand(monkeypatch, answer)
    keep, problems, said = without_doubtful(clips, tmp_path / "second", None)
    assert not keep[rows[0]].any()
    assert sum(kind == f"doubtful: {NONE}" for kind, *_ in problems) == len(rows[0])
    assert f"{len(rows[1]):,} words are in recordings that cannot be aligned again" in said
    again = without_doubtful(clips, tmp_path / "second", None)
    assert state["n"] == len(rows)  # read back, not aligned again
    np.testing.assert_array_equal(again[0], keep)
    assert "going on from an earlier second alignment" in capsys.readouterr().out


def test_a_word_much_longer_than_others_of_as_many_phones(clips, tmp_path, monkeypatch):
    """Lengths are all that is known where no recording can be aligned again; letters stand for phones."""
    def never(words):
        raise AlignmentError("word that cannot be pronounced", "")
    by_hand(monkeypatch, never)
    clips.end[40] = clips.start[40] + 60
    doubt, reason, _ = doubts(clips, tmp_path / "second")
    assert np.argmax(doubt) == 40 and doubt[40] >= 1
    assert REASONS[reason[40]] == LENGTH
    assert np.mean(doubt >= 1) < 0.02


def test_a_share_of_all_words_is_the_most_doubtful(clips, tmp_path, monkeypatch):
    rng = np.random.default_rng(1)
    by_hand(monkeypatch, lambda words: [Aligned(w, 0.0, 0.1, rng.normal(-3, 1), 3, True) for w in words])
    doubt, *_ = doubts(clips, tmp_path / "second")
    keep, problems, said = without_doubtful(clips, tmp_path / "second", 5.0)
    assert (~keep).sum() == round(0.05 * len(clips))
    assert doubt[~keep].min() >= doubt[keep].max()
    assert all("pronounced by rule" in detail for *_, detail in problems)
    assert "(5.0%) left out" in said
    keep, problems, said = without_doubtful(clips, tmp_path / "second", 0.0)
    assert keep.all() and not problems and "0 of" in said


def test_damaged_measurements_are_made_again(clips, tmp_path, monkeypatch):
    by_hand(monkeypatch, lambda words: [Aligned(w, 0.0, 0.1, -3.0, 3, False) for w in words])
    first = doubts(clips, tmp_path / "second")[0]
    files = sorted((tmp_path / "second").glob("*.npz"))
    assert len(files) > 1
    files[0].write_bytes(files[0].read_bytes()[:100])
    (tmp_path / "second" / "old.npz").write_bytes(b"")
    np.testing.assert_array_equal(doubts(clips, tmp_path / "second")[0], first)
    assert sorted((tmp_path / "second").glob("*.npz")) == files


def test_a_replaced_recording_is_aligned_again_and_older_chunks_are_taken(clips, tmp_path, monkeypatch):
    tried = []
    by_hand(monkeypatch, lambda words: tried.append(words) or [Aligned(w, 0.0, 0.1, -3.0, 3, False) for w in words])
    doubts(clips, tmp_path / "second")
    first, path = len(tried), clips.files[0]
    state = os.stat(path)
    shutil.copy(path, tmp_path / "other")
    os.utime(tmp_path / "other", ns=(state.st_atime_ns, state.st_mtime_ns))
    os.replace(tmp_path / "other", path)  # another of the same size and date
    doubts(clips, tmp_path / "second")
    assert first < len(tried) < 2 * first  # its chunk alone
    for file in (tmp_path / "second").glob("*.npz"):  # as they were before they had the recordings' states
        with np.load(file) as arrays:
            rest = {name: arrays[name] for name in arrays if name != "states"}
        np.savez(file, **rest)
    again = len(tried)
    doubts(clips, tmp_path / "second")
    assert len(tried) == again


def test_the_command_leaves_them_out_lists_them_and_keeps_the_speakers_split(corpus, tmp_path, monkeypatch, capsys):  # noqa: F811
    monkeypatch.setattr(doubtful, "ordered_map", map)
    rng = np.random.default_rng(2)
    by_hand(monkeypatch, lambda words: [Aligned(w, 0.0, 0.1, -30.0 if w == "fox" else rng.normal(-3, 1), 3, False)
                                        for w in words])
    monkeypatch.setitem(doubtful.LIMITS, ELSEWHERE, 1e9)
    run(monkeypatch, corpus, tmp_path / "a", "--name", "all", "--sizes", 15)
    run(monkeypatch, corpus, tmp_path / "b", "--name", "some", "--sizes", 15, "--drop_doubtful", "--exclude_words",
        "the", "--exclude_speakers", "100")
    printed = capsys.readouterr()
    assert "doubtful: does not sound like its word" in printed.err
    assert "doubtful alignments: " in printed.out
    listed = (tmp_path / "b" / "problems.tsv").read_text().splitlines()
    assert any("\t'fox' at " in line for line in listed) and not any("/100-" in line for line in listed)
    assert "fox" not in {word for word, row in table(tmp_path / "b", "some-15").items() if row["verdict"] == "kept"}
    whole, thin = (load_corpus(f"{name}-15", registry=tmp_path / folder / "registry.json")
                   for folder, name in (("a", "all"), ("b", "some")))
    assert not {"fox", "the"} & set(thin.labels) and {"fox", "the"} <= set(whole.labels)
    with pytest.raises(doubtful.UserError, match="--drop_doubtful make other data than the paper's"):
        run(monkeypatch, corpus, tmp_path / "c", "--sizes", 15, "--drop_doubtful")
