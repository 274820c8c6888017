"""Enrolling by the command: what it says, what it writes, what it refuses."""

import json
import shutil

import numpy as np
import pytest
import soundfile

from spotting.words.recordings import speech_span
from spotting.words.words_file import read_words
from tests.conftest import hiss, record, refused
from tests.spotting.conftest import RATE, scene, spoken


def enroll(run, spotter, out, *flags, clips=None):
    return run("spotting.enroll", "--clips", clips or spotter.clips, "--out", out, *spotter.flags, *flags)


@pytest.fixture
def clips(spotter, tmp_path):
    """A copy of the clips, to spoil."""
    shutil.copytree(spotter.clips, tmp_path / "clips")
    return tmp_path / "clips"


@pytest.mark.parametrize(("flags", "told"), [
    (["--hop=3.14"], ["--hop 3.14", "0.01 to 1"]), (["--hop=1e-6"], ["--hop 1e-06", "0.01 to 1"]),
    (["--word_seconds=1e9"], ["--word_seconds", "2.50 s"])])
def test_flags_that_no_search_takes_are_refused_before_anything_is_written(run, spotter, tmp_path, flags, told):
    refused(enroll(run, spotter, tmp_path / "w.json", *flags), *told)
    assert not list(tmp_path.iterdir())


def test_words_are_enrolled_and_what_they_rest_on_is_told(spotter, words_file):
    words = read_words(words_file)
    assert words.names == ["bed", "cat"]
    for word in words.words:
        assert len(word.clips) == 6 and word.calibrated
        assert word.end - word.start == pytest.approx(0.6, abs=0.06)
        for i, clip in enumerate(word.clips):  # the loudest second has the word at its centre
            assert clip.offset + word.start == pytest.approx(0.7 + 0.13 * i, abs=0.06)
    about = words.calibration
    assert about["hours"] == pytest.approx(20 / 3600, rel=1e-2) and not about["shown"]
    assert about["words"]["bed"]["false_alarms"] == 0


def test_words_of_one_channel_are_those_of_its_recordings(run, spotter, clips, tmp_path):
    for path in clips.glob("*/*.wav"):  # the first channel is noise louder than the word
        samples, rate = soundfile.read(path)
        record(path, np.stack([hiss(len(samples) / rate), samples], 1), rate)
    refused(enroll(run, spotter, tmp_path / "w.json", "--channel=3", clips=clips), "--channel 3", "has 2 channels")
    files = tmp_path / "one.json", tmp_path / "two.json"
    assert enroll(run, spotter, files[0], "--word_seconds=1.3").code == 0
    assert enroll(run, spotter, files[1], "--word_seconds=1.3", "--channel=2", clips=clips).code == 0
    one, two = ([clip for word in read_words(path).words for clip in word.clips] for path in files)
    assert [clip.sha1 for clip in one] == [clip.sha1 for clip in two]
    assert np.allclose([clip.embedding for clip in one], [clip.embedding for clip in two], atol=1e-5)
    assert [clip.channel for clip in two] == [2] * len(one)


def test_add_keeps_what_is_there(run, spotter, tmp_path, words_file):
    out = shutil.copy(words_file, tmp_path / "w.json")
    before = read_words(out)
    rng = np.random.default_rng(0)
    for i in range(3):
        record(tmp_path / "more" / "dog" / f"{i}.wav", scene(rng, [(5, 0.2)], 1.0), RATE)
    shutil.copytree(spotter.clips / "cat", tmp_path / "more" / "cat")
    record(tmp_path / "more" / "cat" / "new.wav", scene(rng, [(1, 0.3)], 1.2), RATE)
    done = enroll(run, spotter, out, "--add", clips=tmp_path / "more")
    assert done.code == 0
    after = read_words(out)
    assert [(w.name, len(w.clips)) for w in after.words] == [("bed", 6), ("cat", 7), ("dog", 3)]
    assert after.words[0].threshold == before.words[0].threshold
    assert "threshold 0.8 for cat, dog" in done.error
    assert done.error.count("the same sound as") == 6


def test_few_clips_are_warned_of(run, spotter, tmp_path, clips):
    for i in range(1, 6):
        (clips / "cat" / f"{i}.wav").unlink()
    done = enroll(run, spotter, tmp_path / "w.json", clips=clips)
    assert done.code == 0 and "fewer than 3 clips of cat" in done.error
    assert "nan" not in done.out
    done = enroll(run, spotter, tmp_path / "x.json", "--background", spotter.background, clips=clips)
    assert "none can be left out" in done.out


def test_the_same_sound_under_two_words(run, spotter, tmp_path, clips):
    shutil.copy(clips / "bed" / "0.wav", clips / "cat" / "x.wav")
    refused(enroll(run, spotter, tmp_path / "w.json", clips=clips), "bed/0.wav", "cat/x.wav", "two words")
    assert not (tmp_path / "w.json").exists()
    record(clips / "hush" / "a.wav", np.zeros(RATE), RATE)
    refused(enroll(run, spotter, tmp_path / "w.json", clips=clips), "'hush'", "silent")


def test_bad_recordings_are_named_and_left_out(run, spotter, tmp_path, clips):
    rng = np.random.default_rng(2)
    spoilt = scene(rng, [(0, 0.2)], 1.0)
    spoilt[5000] = np.nan
    record(clips / "bed" / "nan.wav", spoilt, RATE, subtype="FLOAT")
    record(clips / "bed" / "silent.wav", np.zeros(RATE), RATE)
    (clips / "bed" / "empty.wav").touch()
    (clips / "bed" / "notes.txt").write_text("x")
    record(clips / "bed" / "rate.wav", np.stack([spoken(0, rng)[::2]] * 6, 1), 8_000)  # 8 kHz, 6 channels, short
    done = enroll(run, spotter, tmp_path / "w.json", clips=clips)
    assert done.code == 0
    for name in ("nan.wav", "silent.wav", "empty.wav", "notes.txt"):
        assert f"left out {clips / 'bed' / name}" in done.error
    assert len(read_words(tmp_path / "w.json").words[0].clips) == 7


def test_a_silent_background_and_a_file_that_is_there(run, spotter, words_file, tmp_path):
    record(tmp_path / "b" / "0.wav", np.zeros(5 * RATE), RATE)
    refused(enroll(run, spotter, tmp_path / "w.json", "--background", tmp_path / "b"), "-60 dB")
    assert not (tmp_path / "w.json").exists()
    before = words_file.read_bytes()
    refused(enroll(run, spotter, words_file), str(words_file), "--add")
    assert words_file.read_bytes() == before


def test_encoders_that_cannot_be(run, spotter, tmp_path):
    for flags, named in ((["--enc_step=3"], "step 3"), (["--name=none"], "none"), (["--encoder=none"], "none")):
        refused(run("spotting.enroll", "--clips", spotter.clips, "--out", tmp_path / "w.json", *flags), named)


def test_without_a_flag_the_shipped_encoder_is_taken(run, spotter, tmp_path):
    done = run("spotting.enroll", "--clips", spotter.clips, "--out", tmp_path / "w.json")
    assert done.code == 0, done.error
    assert "run 'words', Res8, step 1200" in done.out


def test_a_longer_word_is_enrolled_as_a_sequence(run, spotter, tmp_path):
    rng = np.random.default_rng(4)
    for i in range(4):
        record(tmp_path / "clips" / "long" / f"{i}.wav", scene(rng, [(0, 0.6), (1, 1.25 + 0.02 * i)], 3.0), RATE)
    done = enroll(run, spotter, tmp_path / "w.json", clips=tmp_path / "clips")
    assert done.code == 0 and "longer than the encoder's clip of 1 s" in done.error
    word = read_words(tmp_path / "w.json").words[0]
    assert word.windows >= 2 and word.end - word.start == pytest.approx(1.28, abs=0.1)
    assert json.loads((tmp_path / "w.json").read_text())["words"]["long"]["spacing"] > 0.1
    # In order it is found, the other way round not.
    said = record(tmp_path / "said.wav", scene(rng, [(0, 1.0), (1, 1.66), (1, 5.0), (0, 5.66)], 8.0), RATE)
    done = run("spotting.find", tmp_path / "w.json", said, "--out", tmp_path / "hits.json", "--threshold", "0.8")
    hits = json.loads((tmp_path / "hits.json").read_text())["recordings"][0]["hits"]
    assert len(hits) == 1 and hits[0]["start"] == pytest.approx(1.0, abs=0.2)
    assert hits[0]["end"] == pytest.approx(2.26, abs=0.2)


def test_what_is_odd_about_recordings_is_told(run, spotter, tmp_path, clips):
    samples, rate = soundfile.read(clips / "bed" / "2.wav")
    record(clips / "bed" / "loud.wav", 20 * samples[::-1], rate, subtype="FLOAT")
    record(clips / "Bed" / "a.wav", samples[3000:-3000], rate)
    done = enroll(run, spotter, tmp_path / "w.json", clips=clips)
    assert "warning: 1 clips reach beyond full scale" in done.error
    assert "differ only by case or blanks count as different words: 'Bed' and 'bed'" in done.error


def test_background_that_is_there_twice_or_enrolled(run, spotter, tmp_path):
    shutil.copytree(spotter.background, tmp_path / "copies")
    done = [enroll(run, spotter, tmp_path / f"{i}.json", "--background", spotter.background, *more)
            for i, more in enumerate(([], [tmp_path / "copies", spotter.clips]))]
    one, two = (read_words(tmp_path / f"{i}.json") for i in range(2))
    assert two.calibration == one.calibration
    assert [word.threshold for word in two.words] == [word.threshold for word in one.words]
    assert "left out 2 of --background that repeat another" in done[1].error
    assert "left out 12 of --background that are enrolled recordings" in done[1].error


@pytest.mark.parametrize("add", [True, False])
def test_what_another_process_wrote_meanwhile_is_kept(run, spotter, tmp_path, words_file, monkeypatch, add):
    from spotting import enroll as command

    out, enrol = tmp_path / "w.json", command.enrol
    if add:
        shutil.copy(words_file, out)

    def slowly(*args):
        made = enrol(*args)
        out.write_text("what another wrote")
        return made

    monkeypatch.setattr(command, "enrol", slowly)
    refused(enroll(run, spotter, out, *["--add"] * add, clips=spotter.said), str(out), "another process")
    assert out.read_text() == "what another wrote"


def test_the_span_of_speech_is_where_it_was_put():
    rng = np.random.default_rng(0)
    sound = 3 * rng.standard_normal(32_000)
    sound[8_000:16_000] += 3000 * rng.standard_normal(8_000)
    sound[24_000:24_100] += 9000  # a click
    start, end = speech_span(sound.astype(np.int16))
    assert start == pytest.approx(0.5, abs=0.02) and end == pytest.approx(1.0, abs=0.02)
    assert speech_span(np.zeros(1600, np.int16)) == (0.0, 0.1)
