"""spotting.score on made-up recordings: what it says is what was recorded."""

import json
import re
import shutil

import numpy as np
import pytest
import soundfile

from data.audio.dataset import Clips
from data.manifests.corpus import load_corpus
from models.runs.checkpoints import Run
from models.runs.provenance import Record
from tests.conftest import hiss, record, refused
from tests.spotting.conftest import RATE, scene

RNG = np.random.default_rng(2)


def score(run, words_file, spotter, *flags, said=None):
    return run("spotting.score", *filter(None, [words_file]), "--positives", said or spotter.said, "--negatives",
               spotter.background, *flags)


def with_threshold(words_file, threshold, folder):
    """A copy of the words, all with this threshold."""
    content = json.loads(words_file.read_text())
    for word in content["words"].values():
        word["threshold"] = threshold
    (folder / "w.json").write_text(json.dumps(content))
    return folder / "w.json"


def test_what_the_command_says_is_what_was_recorded(run, words_file, spotter, tmp_path):
    done = score(run, words_file, spotter, "--rates", "200", "0.5", "--out", tmp_path / "s")
    assert done.code == 0
    value = json.loads((tmp_path / "s.json").read_text())
    assert value["hours"] == pytest.approx(20 / 3600, rel=0.01)
    assert value["recordings"] == {"bed": 4, "cat": 4}
    by = {(r["word"], r["fa_per_hour_wanted"]): r for r in value["results"]}
    assert len(by) == 9
    assert by["bed", None]["missed"] == by["cat", None]["missed"] == 0 and by["(all words)", None]["recordings"] == 8
    assert by["bed", 200.0]["false_alarms"] <= 1 and not by["bed", 0.5]["claimed"]
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
    words = with_threshold(words_file, 0.85, tmp_path)
    assert score(run, words, spotter, "--out", tmp_path / "s", said=tmp_path / "m.json").code == 0
    by = {(r["word"], r["fa_per_hour_wanted"]): r for r in json.loads((tmp_path / "s.json").read_text())["results"]}
    assert by["bed", None]["missed"] == 0
    assert by["cat", None]["missed"] == 1  # there, "bed" was said


def test_draws_average_over_what_is_enrolled(run, spotter):
    flags = "--enroll_from", spotter.clips, "--rates", "200", *spotter.flags
    done = score(run, None, spotter, *flags, "--shots", "3", "--draws", "4")
    assert done.code == 0 and done.out.count("0.0 ± 0.0 %") == 3
    refused(score(run, None, spotter, *flags, "--shots", "9"), "--shots 9", "6 usable clips")
    done = score(run, None, spotter, *flags, "--shots", "6", "--draws", "2")
    assert done.code == 0 and "6 clips each of bed can be drawn in 1 way only" in done.error


def test_one_channel_scores_as_its_recordings_do(run, words_file, spotter, tmp_path):
    for folder in (spotter.said, spotter.background):
        for path in folder.rglob("*.*"):  # the first channel is noise
            samples, rate = soundfile.read(path)
            both = np.stack([hiss(len(samples) / rate), samples], 1)
            record(tmp_path / path.relative_to(spotter.folder), both, rate)
    found = []
    for folder, flags in ((spotter.folder, ()), (tmp_path, ("--channel=2",))):
        assert run("spotting.score", words_file, "--positives", folder / "said", "--negatives", folder / "background",
                   "--rates", "200", "--out", tmp_path / "s", *flags).code == 0
        found.append(json.loads((tmp_path / "s.json").read_text())["results"])
    assert found[0] == found[1]


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


def test_repeats_the_words_themselves_and_silence_are_no_negatives(run, words_file, spotter, tmp_path):
    _, *without = figures(run, words_file, spotter, tmp_path, spotter.background)
    shutil.copytree(spotter.background, tmp_path / "copies")
    shutil.copytree(spotter.said / "bed", tmp_path / "words")
    record(tmp_path / "silent" / "zeros.wav", np.zeros(30 * RATE), RATE)
    record(tmp_path / "silent" / "faint.wav", 2e-4 * RNG.standard_normal(30 * RATE), RATE)
    done, *found = figures(run, words_file, spotter, tmp_path, spotter.background, spotter.background / "0.flac",
                           spotter.clips, *(tmp_path / name for name in ("copies", "words", "silent")))
    assert found == without and "left out 3 of --negatives that repeat another" in done.error
    assert "left out 16 of --negatives that are recordings of the words" in done.error
    assert "0.02 h of --negatives are silent" in done.error
    refused(run("spotting.score", words_file, "--positives", spotter.said, "--negatives", tmp_path / "silent"),
            "-60 dB")


def test_recordings_that_are_there_twice_or_of_other_words(run, words_file, spotter, tmp_path):
    _, *once = figures(run, words_file, spotter, tmp_path, spotter.background)
    shutil.copytree(spotter.said, tmp_path / "said")
    shutil.copy(spotter.said / "bed" / "1.wav", tmp_path / "said" / "bed" / "again.wav")
    samples, rate = soundfile.read(spotter.said / "cat" / "2.wav", dtype="int16")
    soundfile.write(tmp_path / "said" / "cat" / "again.flac", samples, rate)
    for name in ("dog", "Bed"):
        record(tmp_path / "said" / name / "a.wav", scene(RNG, [(4, 0.2)], 1.0), RATE)
    done, *found = figures(run, words_file, spotter, tmp_path, spotter.background, said=tmp_path / "said")
    assert found == once and "left out 2 recordings that repeat another" in done.error
    assert "left out 2 recordings of words that are not enrolled, such as" in done.error
    assert "differ only by case" in done.error


def test_misses_and_false_alarms_are_what_find_tells(run, words_file, spotter, tmp_path):
    words, found = with_threshold(words_file, 0.2, tmp_path), []  # so low that words have hits in the same places
    for folder, flags in ((spotter.said, ()), (spotter.background, ()), (spotter.background, ("--all_words",))):
        assert run("spotting.find", words, folder, *flags, "--out", tmp_path / "h.json").code == 0
        found.append(json.loads((tmp_path / "h.json").read_text())["recordings"])
    assert score(run, words, spotter, "--out", tmp_path / "s").code == 0
    results = json.loads((tmp_path / "s.json").read_text())["results"]
    for name in ("bed", "cat"):
        at = next(r for r in results if r["word"] == name and r["fa_per_hour_wanted"] is None)
        own = [r for r in found[0] if f"/{name}/" in r["recording"]]
        assert at["missed"] == sum(all(hit["word"] != name for hit in r["hits"]) for r in own)
        assert at["false_alarms"] == sum(hit["word"] == name for r in found[1] for hit in r["hits"]) > 0
    assert sum(len(r["hits"]) for r in found[1]) < sum(len(r["hits"]) for r in found[2])


@pytest.mark.parametrize("name", ["words.json", "said.json"])
def test_an_output_that_is_read_is_kept(run, words_file, spotter, tmp_path, name):
    words = shutil.copy(words_file, tmp_path / "words.json")
    line = {"audio_filepath": str(spotter.said / "bed" / "1.wav"), "offset": 0.5, "duration": 1.0, "label": "bed"}
    (tmp_path / "said.json").write_text(json.dumps(line) + "\n")
    before = (tmp_path / name).read_bytes()
    refused(score(run, words, spotter, "--out", tmp_path / name.removesuffix(".json"), said=tmp_path / "said.json"),
            name, "would be lost")
    assert (tmp_path / name).read_bytes() == before


def test_negatives_that_the_encoder_was_trained_on_are_told(run, words, spotter, tmp_path):
    """By the record that the run or, as here, the run that it began with has."""
    shutil.copytree(spotter.run, tmp_path / "seen")
    first, corpus = Run(tmp_path, "first"), load_corpus("words", ("train",), words.registry)
    Record.of(Clips.of(corpus.splits["train"], "train", 1.0, tmp_path / "cache"), corpus).write(first)
    trained = sorted((words.folder / "dog").glob("train*.wav"))[:3]
    flags = ["--positives", spotter.said, "--negatives", spotter.background, *trained]
    told = f"3 of the 5 negatives, such as {trained[0]}, are recordings that the encoder was trained on"
    assert run("spotting.enroll", "--clips", spotter.clips, "--out", tmp_path / "w.json",
               f"--encoder={tmp_path / 'seen'}").code == 0
    done = run("spotting.score", tmp_path / "w.json", *flags)
    assert "is not known (seen kept no record)" in done.error and told not in done.error
    about = json.loads((tmp_path / "seen" / "config.json").read_text())
    about["init_from"] = str(first.path("Res8", 1))
    (tmp_path / "seen" / "config.json").write_text(json.dumps(about))
    done = run("spotting.score", tmp_path / "w.json", *flags)
    assert told in done.error
    assert "of words, such as" not in done.error
    done = run("spotting.enroll", "--clips", spotter.clips, "--out", tmp_path / "b.json", "--background", *trained,
               f"--encoder={tmp_path / 'seen'}")
    assert "3 of the 3 files of --background" in done.error


def test_copies_of_enrolled_recordings_that_no_digest_tells(run, words_file, spotter, tmp_path):
    shutil.copytree(spotter.said / "cat", tmp_path / "said" / "cat")
    samples, rate = soundfile.read(spotter.clips / "bed" / "3.wav")
    record(tmp_path / "said" / "bed" / "copy.wav", 0.7 * samples[1234:], rate)
    done, *_ = figures(run, words_file, spotter, tmp_path, spotter.background, said=tmp_path / "said")
    assert re.search(r"of the recordings of words seem to be copies of enrolled ones, such as \S+copy.wav of "
                     r"\S+bed/\d.wav: misses look rarer", done.error)
