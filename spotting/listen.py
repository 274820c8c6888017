"""Hear enrolled words at the microphone, each as soon as it is decided.

    python -m spotting.listen words.json
"""

import argparse
import time
from pathlib import Path

from data.base.errors import UserError, exit_cleanly
from data.base.values import positive
from spotting.command import add_channel, add_hop, add_selection, open_words, warn
from spotting.encoders.load import add_encoder
from spotting.hits.match import Early, hit_of, reach
from spotting.hits.search import beaten, of_one_saying, paused, scored
from spotting.sound.heard import Heard, Remarks
from spotting.sound.microphone import Microphone, devices

PATIENCE = 2  # windows that must not score higher before a hit is given; those after them can only be the same hit
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

    with Microphone(args.device, args.channel, SILENCE, warn) as microphone:
        print(f"listening to {microphone.name} for {', '.join(words.names)}; end with Ctrl-C", flush=True)
        count = 0
        try:
            for hit in paused(hits(microphone.blocks(args.seconds), embedder, words.words, hop, microphone.behind,
                                   args.all_words), args.pause):
                delay = time.monotonic() - microphone.begun - hit.end
                print(f"{hit.end:8.2f} s  {hit.word}  {hit.score:.3f}  {delay:.2f} s after its end", flush=True)
                count += 1
        finally:  # mostly by Ctrl-C
            warn(f"{count} hits in {microphone.heard:.1f} s of sound")
    return 0


def hits(blocks, embedder, words, hop, behind=lambda: 0.0, all_words=False):
    """Hits as soon as they are decided: early, but one for each that spotting.find finds. If a later window scores
    higher after all, of this word (see `Early`) or of another in the same place, no more is given."""
    heard, warned, given = Heard(), set(), []
    early = [Early(i, reach(word, hop, embedder.facts.clip_samples), PATIENCE, word.threshold)
             for i, word in enumerate(words)]

    def decided(peaks):
        found = [hit_of(peak, words[peak.word], hop) for peak in peaks if peak]
        if found and not all_words:
            rivals = [hit_of(peak, words[peak.word], hop) for one in early if (peak := one.waiting)] + found
            found = [hit for hit in found
                     if not beaten(hit, rivals) and not any(of_one_saying(hit, other) for other in given)]
            given[:] = [*given, *found][-len(words):]
        yield from (hit.within(heard.seconds) for hit in found)

    for first, scores, backs in scored(blocks, embedder, words, hop, heard, 1):
        yield from decided([one.push(first, scores[0, i], int(backs[0, i])) for i, one in enumerate(early)])
        remarks = Remarks()
        if heard.seconds >= JUDGED:
            remarks.add("the microphone", heard)
        for line in remarks.lines(words) + [TOO_SLOW] * (behind() > BEHIND):
            if line not in warned:
                warn(line)
            warned.add(line)
    yield from decided([one.finish() for one in early])


if __name__ == "__main__":
    exit_cleanly(lambda: main(parse_args()))
