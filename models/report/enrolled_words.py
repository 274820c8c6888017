"""The test of words enrolled from a few clips: embed, score in several ways, choose one on dev, report."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import reduce
from pathlib import Path

import numpy as np

from data.audio.dataset import Clips
from data.base.errors import UserError
from data.manifests.corpus import Corpus
from data.sampler import spread
from models.encoders.build import embed_clips
from models.enrolment import cohort, enrol
from models.enrolment.kept_cohort import KEPT, place_of, read_kept, tell_learnt
from models.neighbours import check_finite, count_pairs
from models.report.new_words import draw_errors, report_enrolment, tell_trained
from models.report.outcome import Embedded, Enrolment, Subject
from models.report.plots import map_of, plot
from models.report.tables import save_arrays
from models.runs import session
from models.runs.checkpoints import Run, encoder_digest
from models.runs.provenance import Record, tell_seen, tell_shared

DEV_CLIPS = 2000  # that a way of scoring is chosen by, at most
Words = tuple[np.ndarray, np.ndarray]  # classes that are enrolled, and that are unknown


def test_enrolled_words(subject: Subject, run: Run, words: Words) -> None:
    """A few training clips of each enrolled word, drawn repeatedly, recognise test clips and reject unknown ones. On
    clips of dev, a way of scoring is chosen. ``run`` is the encoder's."""
    args, (enrolled, unknown), train, test = subject.args, words, subject.clips["train"], subject.clips["test"]
    labels, most, facts = train.manifest.labels, max(args.shots), subject.facts

    # the clips to enrol and to test
    enrol.check_clips(train.manifest, test.manifest, enrolled, unknown, most)  # again: bad audio may have been left out
    drawn = enrol.draw(train.manifest.label, enrolled, most, args.repeats, args.seed)  # (R, C, N)
    pool, rows = np.unique(drawn, return_inverse=True)  # only these are embedded
    tested, drawn = np.flatnonzero(np.isin(test.manifest.label, np.concatenate(words))), rows.reshape(drawn.shape)
    counts = {labels[c]: int(n) for c, n in enumerate(train.manifest.counts()) if c in enrolled}
    for shots in args.shots:
        if line := enrol.few_draws(counts, shots, args.repeats):
            print(f"warning: {line}", file=sys.stderr)
    facts |= tell_seen([run], test, subject.corpus, tested)
    facts |= tell_shared(train, test, subject.corpus, "test", "clips to enrol from", tested)
    templates = Embedded(train, pool, subject.embed("train", pool))
    queries = Embedded(test, tested, subject.embed("test", tested))

    # a cohort, and the scores of every way
    reference = None
    if len(unknown):
        reference, facts["cohort"] = choose_cohort(subject, words)
    truth = enrol.targets(queries.labels, enrolled)
    results = enrol.evaluate(ways_to_score(queries.vectors, templates.vectors, reference), drawn, args.shots, truth)

    # what is known of them
    facts |= {"enrolled": [labels[c] for c in enrolled], "unknown": [labels[c] for c in unknown],
              "untested": [labels[c] for c in np.concatenate(words) if not test.manifest.counts()[c]],
              "seed": args.seed, "repeats": args.repeats, "protocol": args.protocol}
    facts |= tell_trained(facts["enrolled"], facts["unknown"], subject.config)
    facts["chosen_on_dev"] = choose_on_dev(subject, words, templates, drawn, reference)
    stem = f"{args.protocol or ('shots-unknown' if len(unknown) else 'shots')}-{subject.name}"
    write_outcome(args, subject.out, Enrolment(stem, results, truth, queries, templates, drawn, enrolled, facts,
                                               args.command), unknown)


def ways_to_score(queries: np.ndarray, templates: np.ndarray,
                  reference: cohort.Reference | None) -> dict[str, enrol.Comparison]:
    """Ways to score (Q, D) embeddings: against a class's mean, also its nearest clips, as they are or normalised."""
    plain = {"embedding": enrol.by_mean(queries, templates)}
    if reference is None:
        return plain
    return plain | cohort.comparisons(queries, templates, reference.vectors) | cohort.whitened(queries, templates,
                                                                                                reference)


def write_outcome(args, out: Path, outcome: Enrolment, unknown: np.ndarray) -> None:
    """Print and write what --save, --plot and --html ask for; ``unknown`` are classes."""
    queries, manifest = outcome.test, outcome.test.clips.manifest.subset(outcome.test.rows)
    pairs = count_pairs(queries.vectors, queries.labels) if args.plot else None
    outcome.pairs = pairs and pairs.figures()
    content = report_enrolment(out, outcome)
    if args.save:
        first = [r for r in outcome.results if r.method == "embedding"]
        save_arrays(out, outcome.stem, train_embeddings=outcome.train.vectors, train_labels=outcome.train.labels,
                    test_embeddings=queries.vectors, test_labels=queries.labels, drawn=outcome.drawn,
                    predictions=outcome.enrolled[np.stack([r.best for r in first])],
                    scores=np.stack([r.score for r in first]))
    made = plot(out, outcome.stem, queries.vectors, manifest, pairs, unknown=unknown) if pairs else None
    if args.html:
        from models.report.page.content import page_of_enrolment
        from models.report.page.page import write_page

        made = made or {"map": map_of(outcome.stem, queries.vectors, manifest, unknown=unknown)}
        made = ({"det": draw_errors(outcome)} if len(unknown) else {}) | made
        write_page(args.html, page_of_enrolment(outcome, content, made), args.html_mb)


def choose_on_dev(subject: Subject, words: Words, templates: Embedded, drawn: np.ndarray,
                  reference: cohort.Reference | None) -> dict | None:
    """The way of scoring that does best on dev clips, by the same enrolled clips, for each number of them: that with
    the least equal-error rate or, where no word is unknown, the highest accuracy. None where there are no such clips.
    """
    dev = subject.clips.get("dev")
    if dev is None:
        return None
    rows = dev_clips(dev, subject.corpus, words, (subject.clips["train"], subject.clips["test"]))
    if isinstance(rows, str):
        print(f"no way of scoring is chosen on dev: {rows}")
        return None
    truth = enrol.targets(dev.manifest.label[rows], words[0])
    results = enrol.evaluate(ways_to_score(subject.embed("dev", rows), templates.vectors, reference), drawn,
                             subject.args.shots, truth)
    means = [{"method": r.method, "shots": r.shots} | {key: float(np.mean(values)) for key, values in r.figures.items()}
             for r in results]
    return {"clips": len(rows), "unknown_clips": int((truth == enrol.UNKNOWN).sum()), **choose(means)}


def dev_clips(dev: Clips, corpus: Corpus, words: Words, others: Sequence[Clips]) -> np.ndarray | str:
    """At most 2,000 dev clips of the words, classes that are enrolled and classes that are unknown; or why there are
    none. They must not be among ``others``: the clips that are enrolled from, and the test clips."""
    chosen = [np.flatnonzero(np.isin(dev.manifest.label, classes)) for classes in words]
    if any(len(classes) and not len(rows) for rows, classes in zip(chosen, words, strict=True)):
        return "the dev set has no clip of an enrolled, or of an unknown word"
    rows = np.concatenate([part[spread(dev.manifest.label[part], DEV_CLIPS // 2)] for part in chosen])
    known = reduce(Record.__or__, (Record.of(clips, corpus) for clips in others))
    if same := known.seen(dev, corpus, rows)[0]:
        return f"{same:,} of its {len(rows):,} clips are test or training clips, too"
    return np.sort(rows)


def choose(results: Sequence[dict]) -> dict:
    """The name of the figure that decides, the best of the results by it for each number of clips, and all results."""
    figure, best = ("equal_error_rate", min) if "equal_error_rate" in results[0] else ("accuracy", max)
    chosen = [best((r for r in results if r["shots"] == shots), key=lambda one: one[figure])
              for shots in sorted({r["shots"] for r in results})]
    return {"figure": figure, "chosen": [{key: r[key] for key in ("shots", "method", figure)} for r in chosen],
            "results": results}


def choose_cohort(subject: Subject, words: Words) -> tuple[cohort.Reference, dict] | tuple[None, None]:
    """The cohort that --cohort names, the one kept beside the encoder, or the encoder's training set; and its facts."""
    args, taken = subject.args, [subject.clips["train"].manifest.labels[c] for c in np.concatenate(words)]
    try:
        found = (args.cohort is None and kept_cohort(Path(subject.facts["encoder"]), args.embedding_size, taken)) or \
            open_cohort(subject, taken, words)
    except UserError as error:
        if args.cohort:
            raise
        print(f"no cohort to normalise scores by: {error}")
        return None, None
    reference, facts = found
    count = len(reference.vectors)
    used = min(cohort.TOP, count)
    what = f"{facts['clips']:,} clips of {facts['words']} other words of --manifest {facts['manifest']}" \
        if "clips" in facts else f"{facts['windows']:,} windows of running speech kept in {facts['file']}"
    print(f"cohort: {what}; scores are also normalised by the {used} most similar of {count:,}"
          + ", and embeddings whitened" * bool(reference.whitening))
    return reference, facts | {"held_against": count, "most_similar": used}


def kept_cohort(checkpoint: Path, width: int, taken: list[str]) -> tuple[cohort.Reference, dict] | None:
    """The cohort that is kept beside an encoder, and what it is; None if there is none that can be used."""
    try:
        kept = read_kept(checkpoint, encoder_digest(checkpoint), width, checkpoint)
        if kept is None:
            return None
        rows = kept.without(taken)
        cohort.check_enough(KEPT, len(rows), "windows")
    except UserError as error:  # another step's, perhaps, which is no reason not to test this one
        print(f"the cohort beside the encoder is not used: {error}")
        return None
    for line in tell_learnt(seen := kept.learnt_from(taken)):
        print(line)
    return cohort.Reference(kept.plain[rows], kept.whitening), {
        "file": str(place_of(checkpoint)), "sha1": kept.digest, "windows": len(rows), "whitening_learnt_from": seen}


def open_cohort(subject: Subject, taken: list[str], words: Words) -> tuple[cohort.Reference, dict]:
    """A cohort of a data set's clips, and what it is. It has none of the ``taken`` words, nor clips of them under
    another label, such as "other words". Raises UserError if there is none, or one of too few clips."""
    args = subject.args
    name, chosen = cohort.find(args, subject.config, taken)
    clips = session.clips_of(args, chosen, f"{name}-cohort")
    parts = [part.subset(np.flatnonzero(np.isin(part.manifest.label, np.concatenate(words))))
             for part in subject.clips.values()]
    tested = reduce(Record.__or__, (Record.of(part, subject.corpus) for part in parts if len(part)))
    clips = clips.subset(np.flatnonzero(~tested.known(clips)))
    cohort.check_enough(name, len(clips))  # again: bad audio may have been left out
    embedded = embed_clips(subject.encoder, subject.frontend, clips, title="embedding cohort")
    check_finite(embedded, "cohort", clips.manifest)
    return cohort.Reference.of_clips(embedded, clips.manifest.label), {
        "manifest": name, "path": str(clips.manifest.path), "clips": len(clips),
        "words": len(np.unique(clips.manifest.label))}
