"""Words in sound that comes piece by piece: the hits of `spotting.find`, whatever the pieces."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from data.base.errors import UserError
from models.context import SHARED
from spotting import load_words
from spotting.encoders.load import load_torch
from spotting.hits import Hit, PeakPicker, search
from spotting.sound.blocks import Sound
from spotting.stream import Early, Recent
from spotting.words.words_file import read_words
from tests.spotting.conftest import RATE, scene, untrained


@pytest.fixture(scope="module")
def sound():
    rng = np.random.default_rng(11)
    made = scene(rng, [(i % 2, at) for i, at in enumerate(np.arange(0, 28, 1.8))], 27.6)  # words at both edges
    return (32768 * made).astype(np.int16)


def low(words):
    for word in words:
        word.threshold = 0.85
    return words


@pytest.mark.parametrize("all_words", [False, True])
def test_hits_are_those_that_find_finds_whatever_the_pieces(words_file, sound, all_words, monkeypatch):
    monkeypatch.setattr("spotting.stream.read_words", lambda path: (words := read_words(path), low(words.words))[0])
    words = read_words(words_file)
    embedder = load_torch(Path(words.encoder.path), None, None, 0)
    wanted = [hit for _, hit in search(Sound("x", iter([sound])), embedder, low(words.words), 1600,
                                       together=1 if all_words else 2) if hit.above >= 0]
    assert len(wanted) > 8
    key = lambda hit: (hit.word, hit.start)  # noqa: E731
    pieces = [np.array_split(sound, 70), [sound], np.split(sound, [1, 1, 15_999, 16_000, 16_001, 200_000]),
              [part / 32768 for part in np.array_split(sound, 9)]]
    for parts in pieces:
        spotter, found = load_words(words_file, all_words=all_words), []
        for part in parts:
            found += spotter.feed(part)
            assert all(hit.end <= spotter.heard.seconds for hit in found)
        found += spotter.finish()
        for hit, same in zip(sorted(found, key=key), sorted(wanted, key=key), strict=True):
            assert (hit.word, hit.start, hit.end) == (same.word, pytest.approx(same.start), pytest.approx(same.end))
            assert hit.score == pytest.approx(same.score, abs=2e-6) and 0 <= hit.start < hit.end <= 27.6


def test_a_hit_is_given_soon_after_the_word(words_file, sound):
    """As soon as what follows a word has been fed, and not only at the end."""
    spotter = load_words(words_file, hop=0.1)
    told = {}
    for i, part in enumerate(np.array_split(sound, 276)):
        for hit in spotter.feed(part):
            told[hit.word, round(hit.start, 2)] = 0.1 * (i + 1) - hit.end
    assert len(told) > 5 and max(told.values()) < 1.5 and np.median(list(told.values())) < 0.9


def test_what_is_no_sound_is_refused(words_file):
    spotter = load_words(words_file)
    for wrong in (np.zeros((2, 100), np.int16), np.zeros(100, np.int32), np.zeros(100, bool)):
        with pytest.raises(TypeError, match="int16 or floating"):
            spotter.feed(wrong)
    with pytest.raises(UserError, match="not numbers"):
        spotter.feed(np.full(100, np.nan))
    with pytest.raises(UserError, match="times full scale"):
        spotter.feed(np.full(100, 3000.0))


def test_the_last_half_minute_is_remembered(tmp_path):
    sound = np.arange(60 * RATE) % 30_000
    recent = Recent(tmp_path / "kept", most=5.0)
    for i, block in enumerate(recent.passing(np.split(sound.astype(np.int16), 60))):
        assert len(block) == RATE
        if i == 40:
            recent.keep(Hit("bed", 38.5, 39.25, 1.0), "here")
    kept, _ = soundfile.read(tmp_path / "kept" / "here-bed-38.50.flac", dtype="int16")
    assert np.array_equal(kept, sound[round(38.25 * RATE):round(39.5 * RATE)])
    assert len(recent._last) <= 6 * RATE
    recent.keep(Hit("bed", 56.0, 57.0, 1.0), "here")
    recent.keep(Hit("bed", 56.001, 58.0, 1.0), "here")  # of the same name, as of another folder's recording
    lengths = [soundfile.info(tmp_path / "kept" / f"here-bed-56.00{more}.flac").frames for more in ("", "-2")]
    assert lengths == [round(1.5 * RATE), pytest.approx(2.5 * RATE, abs=20)]


@pytest.mark.parametrize("seed", range(30))
def test_early_tells_one_hit_for_each_peak(seed):
    rng = np.random.default_rng(seed)
    scores = np.convolve(rng.standard_normal(400), np.ones(4) / 4, "same").round(1)
    near, patience, threshold = int(rng.integers(1, 10)), int(rng.integers(0, 4)), 0.3
    early, told = Early(0, near, patience, threshold), []
    for i, score in enumerate(scores):
        if peak := early.push(i, score, 0):
            assert i - peak.last <= max(min(patience, near), near // 2)
            told.append(peak)
    told += filter(None, [early.finish()])
    picker = PeakPicker([near])
    column = scores[:, None].astype(np.float32), np.zeros((400, 1), np.int64)
    wanted = [peak for peak in picker.push(*column) + picker.finish() if peak.score >= threshold]
    assert len(told) == len(wanted) > 5
    # Each is the same peak, its shift included, or one on the way up to it.
    for peak, top in zip(told, wanted, strict=True):
        assert peak == top or (peak.last < top.last and peak.score < top.score)
    assert sum(peak == top for peak, top in zip(told, wanted, strict=True)) > len(told) / 2


def test_find_and_streams_give_the_same_where_windows_share_their_work(run, spotter, tmp_path):
    """Window by window: tests/models/encoders/test_context.py."""
    enrolled = tmp_path / "words.json"
    assert run("spotting.enroll", "--clips", spotter.clips, "--out", enrolled, "--background", spotter.background,
               "--encoder", untrained(tmp_path, "context", SHARED, 0.2)).code == 0
    made = scene(np.random.default_rng(5), [(i % 3, at) for i, at in enumerate(np.arange(0.3, 20, 1.9))], 20.0)
    sound = (32768 * made).astype(np.int16)
    soundfile.write(tmp_path / "sound.wav", sound, RATE)
    done = run("spotting.find", enrolled, tmp_path / "sound.wav", "--json", "--all_words")
    assert done.code == 0, done.error
    expected = [json.loads(line) for line in done.out.splitlines()]
    listener, found = load_words(enrolled, all_words=True), []
    for part in np.array_split(sound, 77):
        found += listener.feed(part)
    found += listener.finish()
    for at in np.arange(0.3, 20, 3 * 1.9):  # bed is the first of three sounds, 0.6 s long
        assert any(same["word"] == "bed" and abs((same["start"] + same["end"]) / 2 - at - 0.3) < 0.25
                   for same in expected), at
    for hit, same in zip(sorted(found, key=lambda hit: (hit.start, hit.word)),
                         sorted(expected, key=lambda same: (same["start"], same["word"])), strict=True):
        assert (hit.word, hit.start) == (same["word"], pytest.approx(same["start"], abs=1e-3))
        assert hit.score == pytest.approx(same["score"], abs=1e-4)
