"""Keep a cohort beside an encoder: what it makes of others' speech, which scores and thresholds are held against.

    python -m spotting.cohort --encoder runs/my_encoder --recordings LibriSpeech/train-clean-5 --alignments alignments
    python -m spotting.cohort --name my_encoder --manifest 1000

Windows of running speech, at random places. Where the words of a recording are known, from TextGrids or the manifest,
the windows of a word do not count against it once it is enrolled, and embeddings are whitened by what clips of one word
differ in, so that fewer words are missed. The cohort, cohort.npz, lies in the run's folder and goes into exports.
"""

import argparse
from pathlib import Path

from data.base.errors import UserError, exit_cleanly
from data.base.files import ROOT, check_output, write_atomically
from data.base.values import whole
from models.enrolment.kept_cohort import place_of
from models.runs.checkpoints import Run
from spotting.command import warn
from spotting.encoders.gather import aligned, gather, training_files
from spotting.encoders.load import add_encoder, load
from spotting.sound.blocks import files_of
from spotting.words.distinct import without_repeats


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m spotting.cohort", description=__doc__, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", help="a registered data set, whose training recordings are taken")
    parser.add_argument("--registry", type=Path, default=ROOT / "manifests.json",
                        help="the file that --manifest is looked up in (default: manifests.json beside the scripts)")
    parser.add_argument("--recordings", type=Path, nargs="+", metavar="PATH",
                        help="instead of --manifest: recordings of running speech, and folders of such")
    parser.add_argument("--alignments", type=Path, metavar="DIR",
                        help="TextGrids named as the recordings are, which tell what is said where")
    parser.add_argument("--centred", metavar="NAME",
                        help="first write the encoder as this run, beside its own, with the mean of what it makes of "
                             "these windows taken off: speech is then like no word, so that fewer errors are made by "
                             "plain cosine; the cohort is that run's (default: off)")
    parser.add_argument("--seed", type=whole, default=0, help="of the places (default: 0)")
    add_encoder(parser, "the shipped one", onnx=False)
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> int:
    if (args.manifest is None) == (args.recordings is None):
        raise UserError("--manifest and --recordings: give one of them, the speech to take windows of")
    if args.recordings:
        files, spoken = without_repeats(files_of(args.recordings, "--recordings", warn), "--recordings", warn), {}
    else:
        files, spoken = training_files(args.manifest, args.registry)
    if args.alignments:
        spoken |= aligned(files, args.alignments, warn)
    embedder, out = load(args), None
    path = place_of(Path(embedder.facts.path))
    if args.centred:
        out = Run(path.parent.parent, args.centred, "--centred")
        if out.begun():
            raise UserError(f"--centred {args.centred}: is a run already; choose another name")
        path = out.folder / path.name
    check_output(path)
    if path.exists():
        raise UserError(f"{path}: is there, and words may be enrolled with it; move it away to make another")
    cohort = gather(embedder, files, spoken, args.seed, warn, out)
    with write_atomically(path, "wb") as file:
        file.write(cohort.content)
    known = sum(map(bool, cohort.spoken))
    print(f"wrote {path}: {len(cohort.spoken):,} windows of {len(files):,} recordings, in {known:,} of which words are "
          f"known; {len(cohort.content) / 1e3:.0f} kB")
    if cohort.whitening is None:
        warn("embeddings are compared without whitening: too few places of words said several times are known")
    return 0


if __name__ == "__main__":
    exit_cleanly(lambda: main(parse_args()))
