"""How an encoder is tested on words that it never heard, as a dictionary.

``manifest`` has the words; ``enroll`` and ``unknown`` are labels; ``shots`` clips of each are enrolled, in ``repeats``
random draws; ``content`` is a hash of the clips. Scores are normalised by the encoder's own training, ``cohort`` None.
"""

import hashlib
from argparse import Namespace

from data.base.errors import UserError
from data.manifests.corpus import Corpus


def flags_of(protocol: dict) -> list[str]:
    """Those of infer_train.py, but for its ``--manifest``."""
    return ["--shots", *map(str, protocol["shots"]), f"--repeats={protocol['repeats']}", "--enroll",
            *protocol["enroll"], *(["--unknown", *protocol["unknown"]] if protocol["unknown"] else [])]


def protocol_of(args: Namespace, trained: Corpus) -> dict:
    """What the flags of `experiments.compare` ask for.

    Args:
        trained: what the encoders learn from.

    Raises:
        UserError: words that the set lacks or has too few clips of, or that the encoders are trained on.
    """
    from data.base.labels import folded
    from data.base.messages import first_few
    from data.manifests.corpus import load_corpus
    from experiments.results import content_of
    from models.enrolment.enrol import check_clips, choose_words

    corpus = load_corpus(args.shots_manifest, ("train", "test"), args.registry)
    chosen = choose_words(corpus.labels, args.enroll, args.unknown, args.shots_manifest)
    check_clips(corpus.splits["train"], corpus.splits["test"], *chosen, max(args.shots))
    enroll, unknown = ([corpus.labels[c] for c in classes] for classes in chosen)
    heard = {folded(label) for label in trained.labels}
    if known := [label for label in enroll if folded(label) in heard]:
        raise UserError(f"--enroll: the encoders hear {first_few(sorted(known))} in the training of --manifest "
                        f"{args.manifest}, and these figures are about words they never heard; enrol others, or train "
                        "on others")
    return {"manifest": args.shots_manifest, "enroll": enroll, "unknown": unknown, "shots": sorted({*args.shots}),
            "repeats": args.repeats, "cohort": None,
            "content": hashlib.sha1(content_of(corpus.splits).encode()).hexdigest()}
