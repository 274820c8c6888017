"""Finding words by the command: the same hits however they are read, in every format, and from bad recordings."""

import csv
import json
import os
import shutil
import subprocess
import sys
from datetime import datetime
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from data.base.files import ROOT
from tests.conftest import record, refused
from tests.spotting.conftest import RATE, scene, spoken

THRESHOLD = "--threshold=0.85"
SAID = [("bed", 1.0), ("cat", 3.23), ("bed", 5.2), ("cat", 9.4)]


@pytest.fixture(scope="session")
def recording(tmp_path_factory):
    """Ten seconds with `SAID`, and a sound that is neither."""
    path = tmp_path_factory.mktemp("recording") / "talk.wav"
    said = [(("bed", "cat").index(word), at) for word, at in SAID]
    return record(path, scene(np.random.default_rng(7), [*said, (5, 7.0)], 10.3), RATE, subtype="PCM_16")


def stdin(read1):
    return SimpleNamespace(isatty=lambda: False, buffer=SimpleNamespace(read1=read1))


def hits_of(path):
    return [hit for found in json.loads(path.read_text())["recordings"] for hit in found["hits"]]


@pytest.fixture(scope="session")
def wanted(words_file, recording, tmp_path_factory):
    """The hits of the recording, as JSON has them."""
    from spotting import find

    out = tmp_path_factory.mktemp("wanted") / "hits.json"
    assert find.main(find.parse_args([str(words_file), str(recording), THRESHOLD, "--out", str(out)])) == 0
    return hits_of(out)


def test_what_was_said_is_found_where_it_was_said(wanted):
    assert [hit["word"] for hit in wanted] == [word for word, _ in SAID]
    for hit, (_, at) in zip(wanted, SAID, strict=True):
        assert hit["start"] == pytest.approx(at, abs=0.12) and hit["end"] == pytest.approx(at + 0.6, abs=0.12)


def test_the_same_hits_by_stream_and_whatever_the_blocks(run, words_file, recording, wanted, tmp_path, monkeypatch):
    from spotting.sound import blocks

    data = soundfile.read(recording, dtype="int16")[0].tobytes()
    for size in (333, 5_000, 1 << 20):
        rest = [data[i:i + size] for i in range(0, len(data), size)]
        monkeypatch.setattr(sys, "stdin", stdin(lambda _, rest=rest: rest.pop(0) if rest else b""))
        assert run("spotting.find", words_file, "-", THRESHOLD, "--out", tmp_path / "s.json").code == 0
        for hit, same in zip(hits_of(tmp_path / "s.json"), wanted, strict=True):  # alone in a batch: to rounding
            assert hit["score"] == pytest.approx(same["score"], abs=2e-6)
            assert {**hit, "score": 0} == {**same, "score": 0}
    for block in (0.1, 7.7):
        monkeypatch.setattr(blocks.open_file, "__defaults__", (0.0, None, block, None))
        assert run("spotting.find", words_file, recording, THRESHOLD, "--out", tmp_path / "f.json").code == 0
        assert hits_of(tmp_path / "f.json") == wanted


def test_every_output_has_the_same_hits(run, words_file, recording, wanted, tmp_path):
    from textgrid import TextGrid

    for ending in ("csv", "txt", "TextGrid"):
        assert run("spotting.find", words_file, recording, THRESHOLD, "--out", tmp_path / f"h.{ending}").code == 0
    rows = list(csv.DictReader((tmp_path / "h.csv").open()))
    assert [(r["recording"], r["word"], float(r["start"])) for r in rows] == [
        (str(recording), h["word"], pytest.approx(h["start"], abs=0.006)) for h in wanted]
    labels = [line.split("\t") for line in (tmp_path / "h.txt").read_text().splitlines()]
    assert [(float(a), text.split()[0]) for a, _, text in labels] == [(pytest.approx(h["start"], abs=1e-3), h["word"])
                                                                     for h in wanted]
    grid = TextGrid.fromFile(str(tmp_path / "h.TextGrid"))
    assert [tier.name for tier in grid] == ["bed", "cat"]
    marked = sorted((i.minTime, tier.name) for tier in grid for i in tier if i.mark)
    assert marked == [(pytest.approx(h["start"], abs=1e-3), h["word"]) for h in wanted]


def test_short_and_silent_recordings(run, words_file, tmp_path):
    short = record(tmp_path / "short.wav", spoken(0, np.random.default_rng(0)), RATE)
    assert run("spotting.find", words_file, short, "--out", tmp_path / "h.json", "--threshold=0.5").code == 0
    assert [hit["word"] for hit in hits_of(tmp_path / "h.json")] == ["bed"]
    silent = record(tmp_path / "silent.wav", np.zeros(3 * RATE), RATE)
    assert "0 hits" in run("spotting.find", words_file, silent, "--threshold", "-1").error


def test_silence_around_a_recording_bears_on_no_hit(run, words_file, tmp_path):
    sound = scene(np.random.default_rng(4), [(0, 0.0), (1, 1.4)], 2.0)  # words at both edges
    record(tmp_path / "tight.wav", sound, RATE)
    record(tmp_path / "padded.wav", np.pad(sound, RATE // 2), RATE)
    found = []
    for name in ("tight", "padded"):
        assert run("spotting.find", words_file, tmp_path / f"{name}.wav", "--threshold=0.6", "--out",
                   tmp_path / "h.json").code == 0
        found.append(hits_of(tmp_path / "h.json"))
    assert [hit["word"] for hit in found[0]] == ["bed", "cat"]
    for hit, same in zip(*found, strict=True):
        assert (hit["word"], hit["score"]) == (same["word"], pytest.approx(same["score"], abs=2e-6))
        assert 0 <= hit["start"] < hit["end"] <= 2
        assert hit["start"] == pytest.approx(same["start"] - 0.5, abs=0.2)


def test_which_hits_are_told(run, words_file, recording, tmp_path):
    def found(*flags):
        assert run("spotting.find", words_file, recording, *flags, "--out", tmp_path / "h.json").code == 0
        return [hit["word"] for hit in hits_of(tmp_path / "h.json")]

    assert found("--threshold=bed=2", THRESHOLD) == ["cat", "cat"]
    assert found(THRESHOLD, "--pause=3") == ["bed", "bed", "cat"]
    assert 0 < len(found("--threshold=-1")) < len(found("--threshold=-1", "--all_words"))
    refused(run("spotting.find", words_file, recording, "--threshold=dog=0.3"), "--threshold dog=0.3", "bed, cat")


def test_one_bad_recording_of_several_is_told_and_the_others_searched(run, words_file, recording, wanted, tmp_path):
    samples = scene(np.random.default_rng(7), [(0, 0.5)], 4.0)
    samples[3 * RATE] = np.nan
    bad = record(tmp_path / "bad.wav", samples, RATE, subtype="FLOAT")
    done = run("spotting.find", words_file, bad, recording, THRESHOLD, "--out", tmp_path / "h.json")
    assert done.code == 2 and "1 of 2 recordings" in done.error
    value = json.loads((tmp_path / "h.json").read_text())
    assert not value["complete"] and value["recordings"][1]["hits"] == wanted


def test_what_was_found_is_written_when_it_is_interrupted(run, words_file, recording, wanted, tmp_path, monkeypatch):
    parts = [soundfile.read(recording, dtype="int16")[0].tobytes()[:2 * 6 * RATE]]

    def read1(_):
        if not parts:
            raise KeyboardInterrupt
        return parts.pop()

    monkeypatch.setattr(sys, "stdin", stdin(read1))
    with pytest.raises(KeyboardInterrupt):
        run("spotting.find", words_file, "-", THRESHOLD, "--out", tmp_path / "h.json")
    value = json.loads((tmp_path / "h.json").read_text())
    assert not value["complete"]
    assert [hit["word"] for hit in value["recordings"][0]["hits"]] == ["bed", "cat"]


def test_outputs_that_cannot_be(run, words_file, recording, tmp_path):
    refused(run("spotting.find", words_file, recording, "--out", tmp_path / "h.xls"), "--out", ".csv")
    refused(run("spotting.find", words_file, recording, recording, "--out", tmp_path / "h.txt"), "one recording")
    refused(run("spotting.find", words_file, recording, "--hop", "1.5"), "--hop")
    refused(run("spotting.find", words_file, tmp_path / "no.wav"), "no.wav")


def test_an_export_is_used_with_neither_torch_nor_nemo(words_file, recording, exported):
    code = """if True:
        import sys
        from spotting import find
        assert find.main(find.parse_args(sys.argv[1:])) == 0
        loaded = sorted({"torch", "nemo", "lightning", "librosa", "scipy", "sklearn"} & set(sys.modules))
        assert not loaded, loaded
        """
    done = subprocess.run([sys.executable, "-c", code, words_file, recording, "--onnx", exported], cwd=ROOT,
                          capture_output=True, text=True)
    assert done.returncode == 0 and "bed" in done.stdout, done.stderr


def test_help_is_given_before_heavy_imports():
    code = """if True:
        import sys
        from spotting import cohort, enroll, export, find, listen, score
        for command in (cohort, enroll, export, find, listen, score):
            try:
                command.parse_args(["--help"])
            except SystemExit:
                pass
        assert not {"torch", "scipy", "librosa", "matplotlib", "onnxruntime"} & set(sys.modules)
        """
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_standard_input_that_cannot_be_read_and_a_named_pipe_are_refused(run, words_file, tmp_path, monkeypatch):
    for given, told in ((None, "pipe raw samples"), (SimpleNamespace(isatty=lambda: True), "pipe raw samples"),
                        (stdin(lambda _: b""), "no sound came")):
        monkeypatch.setattr(sys, "stdin", given)
        refused(run("spotting.find", words_file, "-"), told)
    os.mkfifo(tmp_path / "a.wav")
    refused(run("spotting.find", words_file, tmp_path / "a.wav"), "a.wav", "named pipe")
    refused(run("spotting.find", tmp_path / "a.wav", words_file), "a.wav", "named pipe")


def test_an_output_that_is_a_file_of_words_is_kept(run, words_file, recording, tmp_path):
    mine, other = (shutil.copy(words_file, tmp_path / name) for name in ("mine.json", "other.json"))
    for out in (mine, other):
        refused(run("spotting.find", mine, recording, "--out", out), str(out), "would be lost")
        assert out.read_bytes() == words_file.read_bytes()
    os.symlink(mine, tmp_path / "link.json")
    refused(run("spotting.find", mine, recording, "--out", tmp_path / "link.json"), "link.json", "would be lost")


def test_what_ends_early_is_not_complete(run, words_file, recording, tmp_path):
    path = record(tmp_path / "a.mp3", *soundfile.read(recording))
    path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])
    done = run("spotting.find", words_file, path, "--out", tmp_path / "h.json")
    assert done.code == 0 and "ends early" in done.error
    assert "not all was heard" in done.error and not json.loads((tmp_path / "h.json").read_text())["complete"]


def test_another_hop_than_the_thresholds_were_set_with_is_told(run, words_file, recording):
    assert "--hop" not in run("spotting.find", words_file, recording).error
    done = run("spotting.find", words_file, recording, "--hop=0.2")
    assert done.code == 0, done.error
    assert "set with --hop 0.1; with --hop 0.2 there are fewer false alarms an hour" in done.error
    assert "--hop" not in run("spotting.find", words_file, recording, "--hop=0.2", "--threshold=0.9").error


def test_lines_of_json_and_the_clocks_time_of_a_stream_that_begins_late(run, words_file, recording, wanted, capsys,
                                                                        monkeypatch):
    done = run("spotting.find", words_file, recording, THRESHOLD, "--json")
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [{key: line[key] for key in wanted[0]} for line in lines] == wanted
    assert all(line["recording"] == str(recording) and "time" not in line for line in lines)
    rest = [soundfile.read(recording, dtype="int16")[0].tobytes()]

    def late(_):  # the clock stands at 5,000 s when the sound comes
        monkeypatch.setattr("spotting.stream.time.time", lambda: 5_000.0)
        return rest.pop() if rest else b""

    monkeypatch.setattr(sys, "stdin", stdin(late))
    monkeypatch.setattr("spotting.stream.time.time", lambda: 1_000.0)
    lines = [json.loads(line) for line in run("spotting.find", words_file, "-", THRESHOLD, "--json").out.splitlines()]
    assert [line["word"] for line in lines] == [hit["word"] for hit in wanted]
    begun = {round(datetime.fromisoformat(line["time"]).timestamp() - line["end"], 1) for line in lines}
    assert len(begun) == 1 and 4_980 < begun.pop() < 5_000
