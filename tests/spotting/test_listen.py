"""The microphone, by a stand-in for sounddevice that gives all of a recording at once: no test hangs on time."""

import json
import sys
import time
from datetime import datetime
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from data.base.errors import UserError
from tests.conftest import refused
from tests.spotting.conftest import RATE, scene


class Device:
    """What the commands use of the module sounddevice: one microphone, which records ``samples`` and then stops."""

    class PortAudioError(Exception):
        pass

    def __init__(self, samples, rate=RATE, inputs=1, overflow=False, only=1):
        self.samples, self.rate, self.inputs, self.overflow, self.only = samples, rate, inputs, overflow, only

    def query_devices(self, device=None, kind=None):
        about = {"name": "stand-in", "max_input_channels": self.inputs, "default_samplerate": float(self.rate)}
        if kind is None:
            return [{"name": "loudspeaker", "max_input_channels": 0, "default_samplerate": 48_000.0}, about]
        if isinstance(device, int) and device >= 2**31:
            raise OverflowError("integer does not fit 'int'")  # as cffi says it
        if device not in (None, 1, "stand"):
            raise ValueError(f"No input device matching {device!r}")
        return about

    def check_input_settings(self, device, channels, samplerate, dtype):
        if samplerate != self.rate:
            raise self.PortAudioError("Invalid sample rate")
        if channels != self.only:
            raise self.PortAudioError("Invalid number of channels")

    def InputStream(self, device, channels, samplerate, dtype, blocksize, callback):
        self.check_input_settings(device, channels, samplerate, dtype)
        samples = self.samples if self.samples.ndim > 1 else np.stack([self.samples] * channels, 1)
        sound = np.clip(32768 * samples, -32768, 32767).astype(np.int16)

        def play():
            for at in range(0, len(sound), blocksize):
                block = sound[at:at + blocksize]
                callback(block, len(block), None, SimpleNamespace(input_overflow=self.overflow and at == 0))

        return SimpleNamespace(start=play, close=lambda: None)


@pytest.fixture
def device(monkeypatch):
    def install(*args, **how):
        monkeypatch.setitem(sys.modules, "sounddevice", Device(*args, **how))
    return install


SAID = scene(np.random.default_rng(7), [(0, 1.0), (1, 3.23), (5, 5.0)], 7.0)


@pytest.mark.parametrize("rate", [RATE, 48_000])
def test_words_are_heard_as_they_come(run, words_file, device, rate):
    import soxr

    device(soxr.resample(SAID, RATE, rate), rate)
    done = run("spotting.listen", words_file, "--seconds", "7", "--threshold", "0.85")
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0] == "listening to stand-in for bed, cat; end with Ctrl-C"
    assert [line.split()[2] for line in lines[1:]] == ["bed", "cat"]
    for line, end in zip(lines[1:], (1.6, 3.83), strict=True):
        assert float(line.split()[0]) == pytest.approx(end, abs=0.35)
        assert line.endswith("s after its end")
    assert "2 hits in 7.0 s" in done.error


@pytest.mark.parametrize(("count", "flags"), [(2, ()), (6, ("--channel=5",))])
def test_a_device_that_gives_all_its_channels_and_nothing_else(run, words_file, device, count, flags):
    samples = np.stack([SAID] * count, 1)
    if flags:  # the other channels have no word in them, or what cancels the word out
        samples *= [0, -1, 0, 0, 1, 0]
    device(samples, inputs=count, only=count)
    done = run("spotting.listen", words_file, "--seconds", "7", "--threshold", "0.85", *flags)
    assert [line.split()[2] for line in done.out.splitlines()[1:]] == ["bed", "cat"]
    refused(run("spotting.listen", words_file, "--channel=7"), "stand-in", "--channel 7", f"{count} channels")


def test_a_quiet_beginning_is_no_muted_microphone(run, words_file, device):
    device(np.concatenate([np.zeros(4 * RATE), SAID]))
    assert "-60 dB" not in run("spotting.listen", words_file, "--seconds", "8").error


def test_devices_are_listed_and_missing_ones_told(run, words_file, device, monkeypatch):
    device(SAID)
    assert run("spotting.listen", "--devices").out == "  1  stand-in  (1 channels, 16000 Hz)\n"
    for unknown in ("7", "²", "99999999999999999999"):
        refused(run("spotting.listen", words_file, "--device", unknown), f"--device {unknown}", "--devices")
    refused(run("spotting.listen"), "WORDS")
    device(SAID, inputs=0)
    for flags in (["--devices"], [words_file]):
        refused(SimpleNamespace(code=2, error=run("spotting.listen", *flags).error.splitlines()[-1]), "no microphone")
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    refused(run("spotting.listen", "--devices"), "requirements-spotting.txt")


def test_a_system_without_portaudio(run, monkeypatch, tmp_path):
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')\n")
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    refused(run("spotting.listen", "--devices"), "PortAudio", "libportaudio2")


def test_a_device_that_loses_sound_and_vanishes_and_a_machine_that_is_too_slow(run, words_file, device, monkeypatch,
                                                                               capsys):
    from spotting import listen

    monkeypatch.setattr(listen, "SILENCE", 0.3)
    device(SAID[:3 * RATE], overflow=True)
    with pytest.raises(UserError, match=r"stand-in: no sound has come for 0\.3 s"):
        listen.main(listen.parse_args([str(words_file), "--threshold", "0.85"]))
    printed = capsys.readouterr()
    assert "bed" in printed.out and printed.err.count("cannot keep up") == 1 and "dropped sound" in printed.err


def test_lines_of_json_with_the_clocks_time_and_the_sound_of_each_word(run, words_file, device, tmp_path):
    device(SAID)
    before = time.time()
    done = run("spotting.listen", words_file, "--seconds", "7", "--threshold", "0.85", "--json", "--keep", tmp_path)
    found = [json.loads(line) for line in done.out.splitlines()]
    assert [hit["word"] for hit in found] == ["bed", "cat"]
    for hit in found:  # the stand-in's first sample came just before it was asked for
        assert datetime.fromisoformat(hit["time"]).timestamp() - hit["end"] == pytest.approx(before, abs=60)
        path, = tmp_path.glob(f"*-{hit['word']}-{hit['start']:.2f}.flac")
        kept, rate = soundfile.read(path)
        low, high = (round(at * RATE) for at in (hit["start"] - 0.25, hit["end"] + 0.25))
        assert rate == RATE and len(kept) == pytest.approx(high - low, abs=RATE * 2e-3)
        assert min(np.abs(kept - SAID[low + d:low + d + len(kept)]).max() for d in range(-9, 10)) < 1e-4  # rounding
