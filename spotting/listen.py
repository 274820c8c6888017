"""Hear enrolled words at the microphone, each as soon as it is decided.

    python -m spotting.listen words.json
"""

import argparse
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from data.base.errors import UserError, exit_cleanly
from data.base.values import positive
from spotting.command import add_channel, add_hop, add_output, add_selection, open_words, warn
from spotting.encoders.load import add_encoder
from spotting.hits.match import Hit
from spotting.hits.search import paused
from spotting.sound.heard import Remarks
from spotting.sound.microphone import Microphone, devices
from spotting.stream import Recent, Spotter, as_json, wall_clock
from spotting.words.words_file import Words

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
    add_selection(parser)
    add_output(parser)
    add_hop(parser)
    add_encoder(parser, "the one that the words were enrolled with")
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> int:
    if args.devices:
        for line in devices():
            print(line)
        return 0
    if args.words is None:
        raise UserError("WORDS is missing: the file that spotting.enroll wrote")
    words, embedder, hop = open_words(args)

    recent = Recent(args.keep)
    with Microphone(args.device, args.channel, SILENCE, warn) as microphone:
        if not args.json:
            print(f"listening to {microphone.name} for {', '.join(words.names)}; end with Ctrl-C", flush=True)
        count, name = 0, time.strftime("%Y%m%d-%H%M%S")
        try:
            spotter = Spotter(embedder, words.words, hop, args.all_words)
            blocks = recent.passing(microphone.blocks(args.seconds))
            for hit in paused(heard_by(spotter, blocks, words, microphone), args.pause):
                if args.json:
                    print(as_json(hit, wall_clock(microphone.begun)), flush=True)
                else:
                    delay = time.monotonic() - microphone.begun - hit.end
                    print(f"{hit.end:8.2f} s  {hit.word}  {hit.score:.3f}  {delay:.2f} s after its end", flush=True)
                recent.keep(hit, name)
                count += 1
        finally:  # mostly by Ctrl-C
            warn(f"{count} hits in {microphone.heard:.1f} s of sound")
    return 0


def heard_by(spotter: Spotter, blocks: Iterable[np.ndarray], words: Words, microphone: Microphone) -> Iterator[Hit]:
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


if __name__ == "__main__":
    exit_cleanly(lambda: main(parse_args()))
