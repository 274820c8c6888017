"""spotting.score on made-up recordings: what it says is what was recorded."""

import json
import shutil

import numpy as np
import pytest

from tests.conftest import refused
from tests.sounds import record
from tests.spotting.conftest import RATE, scene

RNG = np.random.default_rng(2)


def score(run, words_file, spotter, *flags, said=None):
    return run("spotting.score", words_file, "--positives", said or spotter.said, "--negatives", spotter.background,
               *flags)


def test_what_the_command_says_is_what_was_recorded(run, words_file, spotter, tmp_path):
    done = score(run, words_file, spotter, "--rates", "200", "0.5", "--out", tmp_path / "s")
    assert done.code == 0
    value = json.loads((tmp_path / "s.json").read_text())
    assert value["hours"] == pytest.approx(20 / 3600, rel=0.01)
    assert value["recordings"] == {"bed": 4, "cat": 4}
    by = {(r["word"], r["fa_per_hour_wanted"]): r for r in value["results"]}
    assert len(by) == 9
    assert by["bed", None]["missed"] == by["cat", None]["missed"] == 0
    assert by["bed", 200.0]["false_alarms"] <= 1
    assert not by["bed", 0.5]["claimed"]
    assert by["(all words)", None]["recordings"] == 8
    assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")
    assert "set the thresholds" in done.error  # the background is tested again


def test_recordings_that_are_enrolled_are_left_out(run, words_file, spotter, tmp_path):
    shutil.copytree(spotter.said, tmp_path / "said")
    for word in ("bed", "cat"):
        shutil.copy(spotter.clips / word / "0.wav", tmp_path / "said" / word / "copy.wav")
    done = score(run, words_file, spotter, said=tmp_path / "said")
    assert "left out 2 recordings that are enrolled" in done.error
    assert "8 recordings of 2 words" in done.out
    refused(score(run, words_file, spotter, said=spotter.clips), "'bed', 'cat'", "--positives")


def test_a_manifest_names_stretches(run, words_file, spotter, tmp_path):
    path = record(tmp_path / "long.wav", scene(np.random.default_rng(0), [(0, 1.0), (1, 4.0)], 7.0), RATE)
    lines = [{"audio_filepath": str(path), "offset": at, "duration": 0.6, "label": word}
             for word, at in (("bed", 1.0), ("cat", 4.0), ("cat", 1.0))]
    (tmp_path / "m.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    words = json.loads(words_file.read_text())
    for word in words["words"].values():
        word["threshold"] = 0.85
    (tmp_path / "w.json").write_text(json.dumps(words))
    assert score(run, tmp_path / "w.json", spotter, "--out", tmp_path / "s", said=tmp_path / "m.json").code == 0
    by = {(r["word"], r["fa_per_hour_wanted"]): r for r in json.loads((tmp_path / "s.json").read_text())["results"]}
    assert by["bed", None]["missed"] == 0
    assert by["cat", None]["missed"] == 1  # there, "bed" was said


def test_draws_average_over_what_is_enrolled(run, spotter):
    done = run("spotting.score", "--enroll_from", spotter.clips, "--shots", "3", "--draws", "4", "--positives",
               spotter.said, "--negatives", spotter.background, "--rates", "200", *spotter.flags)
    assert done.code == 0
    assert done.out.count("0.0 ± 0.0 %") == 3
    refused(run("spotting.score", "--enroll_from", spotter.clips, "--shots", "9", "--positives", spotter.said,
                "--negatives", spotter.background, *spotter.flags), "--shots 9", "6 usable clips")


def test_flags_that_do_not_fit(run, words_file, spotter, tmp_path):
    refused(score(run, words_file, spotter, "--snr", "10"), "--noise")
    refused(score(run, words_file, spotter, "--enroll_from", spotter.clips), "--enroll_from")
    refused(score(run, words_file, spotter, said=tmp_path / "no.json"), "no.json")
    record(tmp_path / "x" / "other" / "a.wav")
    refused(score(run, words_file, spotter, said=tmp_path / "x"), "no recording of 'bed', 'cat'")


def figures(run, words_file, spotter, tmp_path, *negatives, said=None):
    done = run("spotting.score", words_file, "--positives", said or spotter.said, "--negatives", *negatives, "--rates",
               "200", "--out", tmp_path / "s")
    assert done.code == 0, done.error
    value = json.loads((tmp_path / "s.json").read_text())
    return done, value["hours"], value["results"]


def test_negatives_that_are_there_twice_count_once(run, words_file, spotter, tmp_path):
    _, *once = figures(run, words_file, spotter, tmp_path, spotter.background)
    shutil.copytree(spotter.background, tmp_path / "copies")
    done, *twice = figures(run, words_file, spotter, tmp_path, spotter.background, spotter.background / "0.flac",
                           tmp_path / "copies")
    assert twice == once
    assert "left out 3 of --negatives that repeat another" in done.error


def test_negatives_that_are_the_words_themselves(run, words_file, spotter, tmp_path):
    _, *without = figures(run, words_file, spotter, tmp_path, spotter.background)
    shutil.copytree(spotter.said / "bed", tmp_path / "copies")
    done, *found = figures(run, words_file, spotter, tmp_path, spotter.background, tmp_path / "copies", spotter.clips)
    assert found == without
    assert "left out 16 of --negatives that are recordings of the words" in done.error


def test_silence_among_the_negatives_is_no_hour_without_false_alarms(run, words_file, spotter, tmp_path):
    _, *without = figures(run, words_file, spotter, tmp_path, spotter.background)
    record(tmp_path / "zeros.wav", np.zeros(30 * RATE), RATE)
    record(tmp_path / "faint.wav", 2e-4 * RNG.standard_normal(30 * RATE), RATE)
    done, hours, results = figures(run, words_file, spotter, tmp_path, spotter.background, tmp_path / "zeros.wav",
                                   tmp_path / "faint.wav")
    assert [hours, results] == without
    assert "0.02 h of --negatives are silent" in done.error
    refused(run("spotting.score", words_file, "--positives", spotter.said, "--negatives", tmp_path / "faint.wav"),
            "faint.wav", "-60 dB")
