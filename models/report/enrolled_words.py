"""The test of words enrolled from a few clips: embed, score in several ways, choose one on dev, report."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data.base.errors import UserError
from data.dataset import Clips
from data.manifests.corpus import Corpus
from models.encoders.embedding import embed_clips
from models.enrolment import choice, cohort, enrol
from models.enrolment.kept_cohort import place_of, read_kept, tell_learnt
from models.neighbours.knn import check_finite
from models.neighbours.pairs import count_pairs
from models.report.enrol_report import draw_errors, report_enrolment, tell_trained
from models.report.plots import map_of, plot
from models.report.tables import save_arrays
from models.runs.checkpoints import encoder_digest
from models.runs.provenance import Record, tell_shared

if TYPE_CHECKING:
    from torch import nn

    from models.encoders.frontend import LogMel

Words = tuple[np.ndarray, np.ndarray]  # classes that are enrolled, and that are unknown


def test_enrolled_words(args: Namespace, words: Words, encoder: nn.Module, frontend: LogMel, corpus: Corpus,
                        clips: dict[str, Clips], out: Path, name: str, facts: dict, config: dict) -> None:
    """A few training clips of each enrolled word, drawn repeatedly, recognise test clips and reject unknown ones.

    Args:
        args: of infer_train.py.
        clips: by split; with dev, a way of scoring is chosen on it.
        out, name: folder of the files, and the ending of their names.
        facts, config: what is known so far for the JSON; the configuration of the encoder's run.
    """
    def embedded(split, rows):
        vectors = embed_clips(encoder, frontend, clips[split], rows, title=f"embedding {split}")
        check_finite(vectors, f"{split} set", clips[split].manifest.subset(rows))
        return vectors

    def methods(queries):
        """Ways to score (Q, D) embeddings: against a class's mean or nearest clips, as they are or normalised."""
        plain = {"embedding": enrol.by_mean(queries, templates),
                 f"embedding{enrol.NEAREST}": enrol.by_clip(queries, templates)}
        if held is None:
            return plain
        return plain | cohort.comparisons(queries, templates, held.vectors) | cohort.whitened(queries, templates, held)

    (enrolled, unknown), train, test = words, clips["train"], clips["test"]
    labels, most = train.manifest.labels, max(args.shots)
    enrol.check_clips(train.manifest, test.manifest, enrolled, unknown, most)  # again: bad audio may have been left out
    drawn = enrol.draw(train.manifest.label, labels, enrolled, most, args.repeats, args.seed)  # (R, C, N)
    pool, rows = np.unique(drawn, return_inverse=True)  # only these are embedded
    tested = np.flatnonzero(np.isin(test.manifest.label, np.concatenate(words)))
    truth = enrol.targets(test.manifest.label[tested], enrolled)
    for line in enrol.few_draws(train.manifest.counts(), labels, enrolled, args.shots, args.repeats):
        print(f"warning: {line}", file=sys.stderr)
    facts |= tell_shared(train, test, corpus, "test", "clips to enrol from", tested)
    templates, queries = embedded("train", pool), embedded("test", tested)
    held = None
    if len(unknown):
        taken = [labels[c] for c in np.concatenate(words)]
        held, facts["cohort"] = (args.cohort is None and kept_cohort(Path(facts["encoder"]), args.embedding_size, taken)
                                 ) or embed_cohort(args, taken, recordings_of(words, corpus, clips), encoder, frontend,
                                                   config)
    tried, drawn = methods(queries), rows.reshape(drawn.shape)
    if args.baselines:
        from models.enrolment.baselines import comparisons

        tried |= comparisons((test, tested), (train, pool))
    results = enrol.evaluate(tried, drawn, args.shots, truth)

    stem = f"{args.protocol or ('shots-unknown' if len(unknown) else 'shots')}-{name}"
    facts |= {"clip_seconds": args.clip_seconds, "enrolled": [labels[c] for c in enrolled],
              "unknown": [labels[c] for c in unknown], "untested": enrol.untested(test.manifest, np.concatenate(words)),
              "seed": args.seed, "repeats": args.repeats, "protocol": args.protocol}
    facts |= tell_trained(facts["enrolled"], facts["unknown"], config)
    facts["chosen_on_dev"] = choose_on_dev(words, corpus, clips, embedded, methods, drawn, args.shots)
    pairs = count_pairs(queries, test.manifest.label[tested]) if args.plot else None
    content = report_enrolment(out, stem, results, truth, facts, pairs and pairs.figures(), args.command)
    if args.save:
        save_arrays(out, stem, train_embeddings=templates, train_labels=train.manifest.label[pool],
                    test_embeddings=queries, test_labels=test.manifest.label[tested], drawn=drawn,
                    predictions=enrolled[np.stack([r.best for r in results if r.method == "embedding"])],
                    scores=np.stack([r.score for r in results if r.method == "embedding"]))
    made = plot(out, stem, queries, test.manifest.subset(tested), pairs, unknown=unknown) if pairs else None
    if args.html:
        from models.report.page.enrolled import page_of_enrolment
        from models.report.page.page import write_page
        from models.report.page.parts import named

        made = made or {"map": map_of(stem, queries, test.manifest.subset(tested), unknown=unknown)}
        if len(unknown):
            made = {"det": draw_errors(results, truth, stem)} | made
        write_page(args.html, page_of_enrolment(stem, content, results, truth, (test, tested, queries),
                                                (train, pool, templates), drawn, enrolled, named(made)), args.html_mb)


def choose_on_dev(words: Words, corpus: Corpus, clips: dict[str, Clips],
                  embedded: Callable[[str, np.ndarray], np.ndarray],
                  methods: Callable[[np.ndarray], dict[str, enrol.Comparison]], drawn: np.ndarray,
                  shots: list[int]) -> dict | None:
    """The way of scoring that does best on dev clips, by the same enrolled clips; None where there are no such."""
    if "dev" not in clips:
        return None
    dev = clips["dev"]
    rows = choice.dev_clips(dev, corpus, words, (clips["train"], clips["test"]))
    if isinstance(rows, str):
        print(f"no way of scoring is chosen on dev: {rows}")
        return None
    truth = enrol.targets(dev.manifest.label[rows], words[0])
    results = enrol.evaluate(methods(embedded("dev", rows)), drawn, shots, truth)
    figure, chosen = choice.choose(results)
    return {"clips": len(rows), "unknown_clips": int((truth == enrol.UNKNOWN).sum()), "figure": figure,
            "chosen": [{"shots": n, "method": method, figure: value} for n, (method, value) in chosen.items()],
            "results": [{"method": r.method, "shots": r.shots} | {
                key: float(np.mean(values)) for key, values in r.figures.items()} for r in results]}


def kept_cohort(checkpoint: Path, width: int, taken: list[str]) -> tuple[cohort.Held, dict] | None:
    """The cohort that is kept beside an encoder, and what it is; None if there is none that can be used."""
    try:
        kept = read_kept(checkpoint, encoder_digest(checkpoint), width, checkpoint)
        if kept is None:
            return None
        held = cohort.Held.of_kept(kept, taken)
    except UserError as error:  # another step's, perhaps, which is no reason not to test this one
        print(f"the cohort beside the encoder is not used: {error}")
        return None
    used, count = min(cohort.TOP, len(held.vectors)), len(held.vectors)
    path = place_of(checkpoint)
    print(f"cohort: {count:,} windows of running speech kept in {path}; scores are also normalised by the {used} most "
          "similar of them, and embeddings whitened by " + ("it" if held.whitening else "none: it has no whitening"))
    for line in tell_learnt(seen := kept.learnt_from(taken)):
        print(line)
    return held, {"file": str(path), "sha1": kept.digest, "windows": count, "held_against": count,
                  "most_similar": used, "whitening_learnt_from": seen}


def recordings_of(words: Words, corpus: Corpus, clips: dict[str, Clips]) -> Record:
    """Of the enrolled and the unknown words, in all splits."""
    rows = {split: np.flatnonzero(np.isin(part.manifest.label, np.concatenate(words))) for split, part in clips.items()}
    return reduce(Record.__or__, (Record.of(clips[split].subset(of), corpus) for split, of in rows.items() if len(of)))


def embed_cohort(args: Namespace, taken: list[str], recorded: Record, encoder: nn.Module, frontend: LogMel,
                 config: dict) -> tuple[cohort.Held, dict] | tuple[None, None]:
    """A data set's clips as a cohort to normalise scores by, and what that is; None, None without one.

    Args:
        taken, recorded: the enrolled and the unknown words, and their clips, which it must have under no label, as
            that of "all other words" is one.
    """
    found = cohort.find(args, config, taken)
    if isinstance(found, str):
        print(f"no cohort to normalise scores by: {found}")
        return None, None
    name, chosen = found
    clips = Clips.of(chosen, f"{name}-cohort", args.clip_seconds, args.cache_dir, args.skip_bad_audio)
    if (known := recorded.known(clips)).any():
        print(f"{known.sum():,} of the cohort's {len(clips):,} clips, whose labels are other words, are clips of "
              "enrolled or unknown words in what is tested, and left out")
        clips = clips.subset(np.flatnonzero(~known))
    try:
        cohort.check_enough(name, len(clips))  # again: bad audio may have been left out
    except UserError as error:
        if args.cohort:
            raise
        print(f"no cohort to normalise scores by: of what this encoder was trained on: {error}")
        return None, None
    embedded = embed_clips(encoder, frontend, clips, title="embedding cohort")
    check_finite(embedded, "cohort", clips.manifest)
    held, others = cohort.Held.of_clips(embedded, clips.manifest.label), len(np.unique(clips.manifest.label))
    count = len(held.vectors)
    used = min(cohort.TOP, count)
    print(f"cohort: {len(clips):,} clips of {others} other words of --manifest {name}; scores are also normalised "
          f"by the {used} most similar of {count:,}, and embeddings whitened by "
          + ("all" if held.whitening else "none: too few clips of a word"))
    return held, {"manifest": name, "path": str(chosen.path), "clips": len(clips), "words": others,
                  "held_against": count, "most_similar": used}
