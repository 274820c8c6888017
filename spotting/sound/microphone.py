"""The microphone, by sounddevice: blocks of 16 kHz int16 as they come, whatever rate and channels the device has."""

import queue
import time
from collections.abc import Callable, Iterator

import numpy as np

from data.audio.decoding import SAMPLE_RATE, check_channel, chosen
from data.base.errors import UserError
from spotting.sound.blocks import at_16_khz

BLOCK = 0.05  # seconds that the device gives at a time


def driver():
    """The module sounddevice. Raises UserError where it, or the system's PortAudio, is not installed or not working."""
    try:
        import sounddevice
    except ImportError:
        raise UserError("spotting.listen needs sounddevice: pip install -r requirements-spotting.txt") from None
    except Exception as error:  # its own PortAudioError, which there is no module yet to name by
        raise UserError(f"sounddevice cannot be used ({' '.join(str(error).split())}); install PortAudio (Debian, "
                        "Ubuntu: apt install libportaudio2), and see that the sound system runs") from None
    return sounddevice


def devices() -> list[str]:
    """The devices that record, a line each. Raises UserError where there is none."""
    found = [f"{i:3d}  {device['name']}  ({device['max_input_channels']} channels, "
             f"{device['default_samplerate']:.0f} Hz)"
             for i, device in enumerate(driver().query_devices()) if device["max_input_channels"] > 0]
    if not found:
        raise UserError("no microphone is here; plug one in, or search recordings with spotting.find")
    return found


class Microphone:
    """A recording device, by number or part of its name, open while the context lasts; None takes the system's. Raises
    UserError: no such device, it has no such channel, or it cannot be opened.

    After ``patience`` seconds without a sample it is taken for gone. ``begun`` is when its first sample was recorded,
    by `time.monotonic`.
    """

    def __init__(self, device: str | None, channel: int | None, patience: float, warn: Callable[[str], None]):
        self._driver, self._patience, self._warn, self._channel = driver(), patience, warn, channel
        self._queue: queue.Queue[np.ndarray] = queue.Queue()
        # Frames recorded and given out: each is written by one thread only.
        self._taken, self._given, self.begun, self.lost = 0, 0, time.monotonic(), 0
        devices()
        self._device = int(device) if device is not None and device.isdecimal() else device
        try:
            about = self._driver.query_devices(self._device, "input")
            self.name, most = about["name"], about["max_input_channels"]
            check_channel(self.name, channel, most)
            channels, self._rate = self._settings(most if channel else 1, most, int(about["default_samplerate"]))
            self._stream = self._driver.InputStream(device=self._device, channels=channels, samplerate=self._rate,
                                                    dtype="int16", blocksize=round(BLOCK * self._rate),
                                                    callback=self._take)
        except (self._driver.PortAudioError, ValueError, OverflowError) as error:
            raise UserError(f"--device {device or '(none)'}: cannot be opened ({' '.join(str(error).split())}); "
                            "--devices lists what there is") from None

    def _settings(self, fewest: int, most: int, own_rate: int) -> tuple[int, int]:
        """Channels and rate to open the device with: one channel at 16 kHz, else what it has, as sound cards want."""
        for channels in (fewest, most):
            for rate in (SAMPLE_RATE, own_rate):
                try:
                    self._driver.check_input_settings(self._device, channels=channels, samplerate=rate, dtype="int16")
                    return channels, rate
                except self._driver.PortAudioError as error:
                    refused = error
        raise refused

    def __enter__(self):
        try:
            self._stream.start()
        except self._driver.PortAudioError as error:
            raise UserError(f"{self.name}: cannot be started ({' '.join(str(error).split())}); --devices lists what "
                            "there is") from None
        return self

    def __exit__(self, *_):
        self._stream.close()

    def _take(self, data, frames, _, status) -> None:
        """Called by the driver's thread: nothing here may wait."""
        if not self._taken:
            self.begun = time.monotonic() - frames / self._rate
        self.lost += bool(status.input_overflow)
        self._taken += frames
        self._queue.put(np.array(data))

    def behind(self) -> float:
        """Seconds recorded, but not given out."""
        return (self._taken - self._given) / self._rate

    @property
    def heard(self) -> float:
        return self._given / self._rate

    def blocks(self, seconds: float | None = None) -> Iterator[np.ndarray]:
        """(n,) int16 at 16 kHz, as they come. Raises UserError when the device has stopped."""
        return at_16_khz(self._recorded(seconds), self._rate, self.name)

    def _recorded(self, seconds: float | None) -> Iterator[np.ndarray]:
        lost = 0
        while seconds is None or self.heard < seconds:
            try:
                block = self._queue.get(timeout=self._patience)
            except queue.Empty:
                raise UserError(f"{self.name}: no sound has come for {self._patience:g} s; was it unplugged? --devices "
                                "lists what there is") from None
            if self.lost > lost:
                lost = self.lost
                self._warn(f"{self.name}: the system dropped sound {lost} times; what was said then is not heard")
            self._given += len(block)
            yield chosen(block, self._channel)
