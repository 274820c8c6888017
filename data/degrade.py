"""Make the test clips of a data set again as they are heard in rooms, beside noise or voices, or by a cheap microphone.

The new data set has the old one's training and dev clips, so its test asks how well what was learnt, or enrolled, in
quiet is known elsewhere. All test clips are changed, each in its own way, by the same methods as training's
augmentations, those of `data.augment`.
"""

import argparse
import hashlib
import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from data.audio.decoding import SAMPLE_RATE, to_int16
from data.audio.files import write_sound
from data.base import values
from data.base.errors import UserError, exit_cleanly
from data.base.files import CACHE, ROOT, locked
from data.manifests.corpus import load_corpus
from data.manifests.registry import REGISTRY, SPLITS, claim_name
from data.sources.splits import write_corpus

PROGRAM = "python -m data.degrade"
_BATCH = 256  # clips at a time
_UNFINISHED = "unfinished-"
_ROOMS = 10**6  # added to the seed of rooms, so that no training's bank has the same


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description=__doc__.split("\n")[0], allow_abbrev=False,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        epilog=f"example: {PROGRAM} --manifest demo --name demo-rooms --reverb")
    source = parser.add_argument_group("data")
    source.add_argument("--manifest", required=True, help="registered data set, or several joined by +")
    source.add_argument("--clip_seconds", type=values.clip_seconds, default=1.0, metavar="S",
                        help="length of a clip: longer ones are cut around their centre, shorter ones zero-padded")
    source.add_argument("--cache_dir", type=Path, default=CACHE, help="where decoded audio is kept")
    source.add_argument("--skip_bad_audio", action="store_true", help="leave out clips that cannot be decoded or are "
                        "silent")
    how = parser.add_argument_group("what happens to a clip", "in this order; at least one")
    how.add_argument("--reverb", action="store_true", help="it is heard in one of 200 simulated rooms, other ones than "
                     "in training")
    how.add_argument("--rooms", type=Path, metavar="DIR", help="recordings of room responses: each clip is heard in "
                     "one of them, in place of a simulated room")
    how.add_argument("--noise_dir", type=Path, metavar="DIR", help="a random stretch of a recording in this folder, "
                     "noise or speech, is added")
    how.add_argument("--noise_snr", type=values.decibels, nargs=2, default=[5.0, 5.0], metavar=("LOW", "HIGH"),
                     help="range of signal-to-noise ratios, dB")
    how.add_argument("--band_limit", action="store_true", help="it loses low frequencies, high ones or both")
    how.add_argument("--seed", type=values.seed, default=0, help="of rooms, noise and bands")
    output = parser.add_argument_group("output")
    output.add_argument("--name", required=True, help="name to register, for --manifest")
    output.add_argument("--out", type=Path, metavar="DIR", help="folder of the clips and manifests (default: "
                        "datasets/<name>)")
    output.add_argument("--registry", type=Path, default=REGISTRY, metavar="FILE", help="registry of data sets")
    args = values.parse(parser, argv)
    if not (args.reverb or args.rooms or args.noise_dir or args.band_limit):
        raise UserError("nothing would happen to the clips: give --reverb, --rooms, --noise_dir or --band_limit")
    low, high = args.noise_snr
    if low > high:
        raise UserError(f"--noise_snr {low:g} {high:g}: give the lower number first")
    if args.name in (args.manifest, *args.manifest.split("+")):
        raise UserError(f"--name {args.name}: is the data set that is read; give the new one another name")
    return args


def main(args: argparse.Namespace) -> None:
    from data.audio.dataset import Clips
    from data.augment import NoiseBank, Reverb, band_limit

    out = (args.out or ROOT / "datasets" / args.name).absolute()
    claim_name(args.name, out, args.registry, PROGRAM)
    corpus = load_corpus(args.manifest, registry=args.registry)
    clips = Clips.of(corpus.splits["test"], f"{args.manifest}-test", args.clip_seconds, args.cache_dir,
                     args.skip_bad_audio)
    samples, steps = clips.packed.clip_samples, []
    if args.reverb or args.rooms:
        steps.append(Reverb(samples, 1.0, args.seed + _ROOMS, args.rooms))
    if args.noise_dir:
        steps.append(NoiseBank(args.noise_dir, samples, tuple(args.noise_snr), 1.0))
    if args.band_limit:
        steps.append(lambda x, generator: band_limit(x, generator, 1.0))
    splits = {split: list(corpus.splits[split]) for split in SPLITS}
    splits["test"] = degrade(clips, out, steps, args.seed)
    changed = {_place(clips.manifest[i]): {"path": u.path, "offset": u.offset, "duration": u.duration}
               for i, u in enumerate(splits["test"])}
    for split in ("train", "dev"):  # where a clip of these is tested, too, whoever looks for such must still find it
        splits[split] = [replace(u, **changed.get(_place(u), {})) for u in splits[split]]
    write_corpus(args.name, splits, out, noise=corpus.noise and Path(corpus.noise), made_by=args.command,
                 registry=args.registry)


def _place(u) -> tuple[str, float, float]:
    return os.path.realpath(u.path), u.offset, u.duration


def degrade(clips, out: Path, steps: list, seed: int) -> list:
    """Write all clips as they are after the steps, as FLAC files of 16 bits; returns their utterances.

    A clip that would pass full scale is made quieter as a whole, never clipped. The files lie in a folder of ``out``
    that is named by what is in them, so that a data set that was there before stays whole.
    """
    import torch

    from data.audio.dataset import InOrder, scale

    generator = torch.Generator().manual_seed(seed)
    digest, names = hashlib.sha1(), []
    out.mkdir(parents=True, exist_ok=True)
    with locked(out):
        for left in out.glob(f"{_UNFINISHED}*"):  # by a run that was killed
            shutil.rmtree(left)
        with tempfile.TemporaryDirectory(prefix=_UNFINISHED, dir=out) as unfinished:
            for rows in InOrder(len(clips), _BATCH):
                x = scale(clips[rows][0])  # (B, S)
                for step in steps:
                    x = step(x, generator)
                x = x / x.abs().amax(1, keepdim=True).clamp_min(1)
                for row, one in zip(rows, to_int16(x.numpy()), strict=True):
                    names.append(f"{row:06d}.flac")
                    write_sound(Path(unfinished, names[-1]), one)
                    digest.update(one.tobytes())
            folder = out / f"clips-{digest.hexdigest()[:12]}"
            folder.mkdir(exist_ok=True)
            for name in names:
                Path(unfinished, name).replace(folder / name)
    return [replace(clips.manifest[i], path=str(folder / name), duration=clips.packed.clip_samples / SAMPLE_RATE,
                    offset=0.0) for i, name in enumerate(names)]


if __name__ == "__main__":
    exit_cleanly(lambda: main(parse_args()))
