"""Hear enrolled words at the microphone, each as soon as it is decided.

    python -m spotting.listen words.json
"""

import argparse
import itertools
import queue
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import numpy as np

from data.audio.decoding import SAMPLE_RATE, check_channel, chosen
from data.base.errors import UserError, exit_cleanly
from data.base.values import positive
from spotting.command import add_channel, add_hits, add_hop, open_words, warn
from spotting.encoders.load import add_encoder
from spotting.hits import Hit, paused
from spotting.sound.blocks import at_16_khz
from spotting.sound.heard import Remarks
from spotting.stream import Recent, Spotter, as_json
from spotting.words.words_file import Words

BLOCK = 0.05  # seconds that the device gives at a time
SILENCE = 3.0  # seconds without a sample, after which the device is taken for gone
JUDGED = 5.0  # seconds after which it is judged whether words can be found in the sound
BEHIND = 2.0  # seconds of sound not looked at yet that are too many
TOO_SLOW = f"cannot keep up: {BEHIND:g} s behind the microphone; take a longer --hop, a smaller encoder, or --onnx"


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m spotting.listen", description=__doc__, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", type=Path, nargs="?", metavar="WORDS", help="the file that spotting.enroll wrote")
    parser.add_argument("--device", help="number of the microphone, or part of its name (default: the system's)")
    parser.add_argument("--devices", action="store_true", help="list the microphones and end")
    parser.add_argument("--seconds", type=positive, help="listen for so long (default: until Ctrl-C)")
    add_channel(parser)
    add_hits(parser)
    add_hop(parser)
    add_encoder(parser, "the one that the words were enrolled with")
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> int:
    if args.devices:
        print(*devices(driver()), sep="\n")
        return 0
    if args.words is None:
        raise UserError("WORDS is missing: the file that spotting.enroll wrote")
    words, embedder, hop = open_words(args)

    recent = Recent(args.keep)
    with closing(Microphone(args.device, args.channel)) as microphone:
        if not args.json:
            print(f"listening to {microphone.name} for {', '.join(words.names)}; end with Ctrl-C", flush=True)
        count, name = 0, time.strftime("%Y%m%d-%H%M%S")
        try:
            spotter = Spotter(embedder, words.words, hop, args.all_words)
            blocks = recent.passing(microphone.blocks(args.seconds))
            for hit in paused(heard_by(spotter, blocks, words, microphone), args.pause):
                since = time.monotonic() - microphone.begun  # the first sample
                if args.json:
                    print(as_json(hit, time.time() - since), flush=True)
                else:
                    print(f"{hit.end:8.2f} s  {hit.word}  {hit.score:.3f}  {since - hit.end:.2f} s after its end",
                          flush=True)
                recent.keep(hit, name)
                count += 1
        finally:  # mostly by Ctrl-C
            warn(f"{count} hits in {microphone.heard:.1f} s of sound")
    return 0


def heard_by(spotter: Spotter, blocks: Iterable[np.ndarray], words: Words, microphone: "Microphone") -> Iterator[Hit]:
    """The hits in blocks, as soon as they are decided; what is wrong with the sound goes to stderr, once."""
    warned = set()
    for block in blocks:
        yield from spotter.feed(block)
        remarks = Remarks()
        if spotter.heard.seconds >= JUDGED:
            remarks.add("the microphone", spotter.heard)
        for line in remarks.lines(words.words) + [TOO_SLOW] * (microphone.behind() > BEHIND):
            if line not in warned:
                warn(line)
            warned.add(line)
    yield from spotter.finish()


def driver():
    """The module sounddevice. Raises UserError where it, or the system's PortAudio, is not installed or not working."""
    try:
        import sounddevice
    except Exception as error:  # its own PortAudioError, too, which there is no module yet to name by
        raise UserError(f"sounddevice cannot be used ({' '.join(str(error).split())}): pip install -r requirements-"
                        "spotting.txt, and PortAudio (Debian, Ubuntu: apt install libportaudio2)") from None
    return sounddevice


def devices(sounddevice) -> list[str]:
    """The devices that record, a line each. Raises UserError where there is none."""
    found = [f"{i:3d}  {device['name']}  ({device['max_input_channels']} channels, "
             f"{device['default_samplerate']:.0f} Hz)"
             for i, device in enumerate(sounddevice.query_devices()) if device["max_input_channels"] > 0]
    if not found:
        raise UserError("no microphone is here; plug one in, or search recordings with spotting.find")
    return found


class Microphone:
    """A recording device, by number or part of its name, open until it is closed; None takes the system's.

    ``begun`` is when its first sample was recorded, by `time.monotonic`. Raises UserError: no such device, it has no
    such channel, or it cannot be opened.
    """

    def __init__(self, device: str | None, channel: int | None):
        self._driver, self._channel, self._queue = driver(), channel, queue.Queue()
        # Frames recorded and given out: each is written by one thread only.
        self._taken, self._given, self.begun, self.lost = 0, 0, time.monotonic(), 0
        devices(self._driver)
        self._device = int(device) if device is not None and device.isdecimal() else device
        try:
            about = self._driver.query_devices(self._device, "input")
            self.name, most = about["name"], about["max_input_channels"]
            check_channel(self.name, channel, most)
            channels, self._rate = self._settings(most if channel else 1, most, int(about["default_samplerate"]))
            self._stream = self._driver.InputStream(device=self._device, channels=channels, samplerate=self._rate,
                                                    dtype="int16", blocksize=round(BLOCK * self._rate),
                                                    callback=self._take)
            self._stream.start()
        except (self._driver.PortAudioError, ValueError, OverflowError) as error:
            raise UserError(f"--device {device or '(none)'}: cannot be opened ({' '.join(str(error).split())}); "
                            "--devices lists what there is") from None

    def _settings(self, fewest: int, most: int, own_rate: int) -> tuple[int, int]:
        """Channels and rate to open the device with: one channel at 16 kHz, else what it has, as sound cards want."""
        for channels, rate in itertools.product((fewest, most), (SAMPLE_RATE, own_rate)):
            with suppress(self._driver.PortAudioError):
                self._driver.check_input_settings(self._device, channels=channels, samplerate=rate, dtype="int16")
                return channels, rate
        raise ValueError(f"it takes neither {fewest} nor {most} channels at {SAMPLE_RATE} or {own_rate} Hz")

    def close(self) -> None:
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
                block = self._queue.get(timeout=SILENCE)
            except queue.Empty:
                raise UserError(f"{self.name}: no sound has come for {SILENCE:g} s; was it unplugged? --devices "
                                "lists what there is") from None
            if self.lost > lost:
                lost = self.lost
                warn(f"{self.name}: the system dropped sound {lost} times; what was said then is not heard")
            self._given += len(block)
            yield chosen(block, self._channel)


if __name__ == "__main__":
    exit_cleanly(lambda: main(parse_args()))
