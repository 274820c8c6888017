"""Test an encoder: embed the training and test clips, and let each test clip's nearest training clips vote.

With --shots, only a few training clips of each class are enrolled, as one would with words the encoder never saw.
"""

from data.base.errors import exit_cleanly
from models.runs import options


def parse_args(argv=None):
    parser = options.Parser(
        __doc__, "python infer_train.py --name=test_encoder --manifest=demo --model=Res8 --enc_step=200")
    options.add_run(parser, "run of the encoder")
    options.add_data(parser)
    options.add_model(parser, fixed=True)
    group = options.add_test(parser)
    options.add_plot(group)
    options.add_k(group, several=True)
    options.add_enrolment(parser)
    return parser.parse(argv)


def main(args) -> int:
    from models import parallel
    from models.encoders.load import build_encoder, find_encoder
    from models.evaluation.page.page import check_html
    from models.runs import session

    parallel.refuse("infer_train.py")
    options.check_enrolment(args)
    check_html(args)
    run = session.Run(args.runs_dir, args.name)
    step = run.step(args.model, args.enc_step, "--enc_step")
    corpus = session.open_corpus(args, ("train", "test"))
    words = words_to_enrol(args, corpus) if args.shots else None
    config = find_encoder(args, run, step)

    import numpy as np

    from models.encoders.device import pick_device, place
    from models.encoders.frontend import LogMel
    from models.runs.provenance import tell_changed, tell_seen

    device = pick_device(args.gpu)
    encoder = place(build_encoder(args, run, step, config), device)
    frontend = LogMel(args.compression).to(device)
    train, test = (session.open_clips(args, corpus, split) for split in ("train", "test"))
    out, name = session.own_run(args, args.name).folder, f"{args.manifest}-{args.model}-{step}"
    facts = {"encoder": str(run.path(args.model, step)), "manifest": args.manifest}
    facts |= tell_changed(run, config, args, corpus)
    rows = np.flatnonzero(np.isin(test.manifest.label, np.concatenate(words))) if words else None
    facts |= tell_seen([run], test, corpus, rows)
    if words:
        test_enrolled_words(args, words, encoder, frontend, train, test, out, name, facts, config)
    else:
        test_all_clips(args, encoder, frontend, train, test, out, f"knn-{name}", facts)
    return 0


def words_to_enrol(args, corpus):
    """The classes that --enroll and --unknown name, as `models.evaluation.enrol.choose_words` gives them."""
    from models.evaluation.enrol import check_clips, choose_words

    words = choose_words(corpus.labels, args.enroll, args.unknown, args.manifest)
    check_clips(corpus.splits["train"], corpus.splits["test"], *words, max(args.shots))
    return words


def test_all_clips(args, encoder, frontend, train, test, out, stem, facts) -> None:
    """All training clips vote on every test clip."""
    from models.encoders.embedding import embed_clips
    from models.evaluation.knn import check_finite, check_k, classify_each, few_clips
    from models.evaluation.pairs import count_pairs
    from models.evaluation.plots import map_of, plot
    from models.evaluation.report import report, save_arrays

    labels = train.manifest.labels
    ks = options.each_k(args)
    for k in ks:
        check_k(k, len(train))
    few = few_clips(train.manifest.counts(), labels, max(ks))
    if few:
        print(few)
    embedded = {split: embed_clips(encoder, frontend, clips, title=f"embedding {split}")
                for split, clips in (("train", train), ("test", test))}
    for split, clips in (("train", train), ("test", test)):
        check_finite(embedded[split], f"{split} set", clips.manifest)
    by_k = classify_each(embedded["train"], train.manifest.label, embedded["test"], ks, len(labels), ties=args.ties)
    found = by_k[ks[0]]

    pairs = count_pairs(embedded["test"], test.manifest.label) if args.plot else None
    facts |= {"k": ks[0], "ties": args.ties, "train_clips": len(train), "clip_seconds": args.clip_seconds}
    result = report(out, stem, labels, test.manifest.label, found.labels, test.manifest, distances=found.distances,
                    facts=facts, pairs=pairs and pairs.figures(),
                    by_k={k: prediction.labels for k, prediction in by_k.items()})
    if args.save:
        save_arrays(out, stem, train_embeddings=embedded["train"], train_labels=train.manifest.label,
                    test_embeddings=embedded["test"], test_labels=test.manifest.label, predictions=found.labels)
    drawn = plot(out, stem, embedded["test"], test.manifest, pairs, predicted=found.labels) if pairs else None
    if args.html:
        from models.evaluation.page.clips import page_of_clips, votes
        from models.evaluation.page.page import write_page
        from models.evaluation.page.parts import named

        write_page(args.html, page_of_clips(
            stem, result, test, found.labels, train, found.indices[:, 0], found.distances[:, 0],
            -found.distances[:, 0], {"votes": votes(train.manifest, found.indices)},
            named(drawn or {"map": map_of(stem, embedded["test"], test.manifest, found.labels)}),
            [few] if few else []), args.html_mb)


def test_enrolled_words(args, words, encoder, frontend, train, test, out, name, facts, config) -> None:
    """A few training clips of each enrolled word, drawn repeatedly, recognise test clips and reject unknown ones."""
    import numpy as np

    from models.encoders.embedding import embed_clips
    from models.evaluation.enrol import by_mean, check_clips, draw, evaluate, targets, untested
    from models.evaluation.enrol_report import draw_errors, report_enrolment
    from models.evaluation.knn import check_finite
    from models.evaluation.pairs import count_pairs
    from models.evaluation.plots import map_of, plot
    from models.evaluation.report import save_arrays

    enrolled, unknown = words
    labels, most = train.manifest.labels, max(args.shots)
    check_clips(train.manifest, test.manifest, enrolled, unknown, most)  # again: bad audio may have been left out
    drawn = draw(train.manifest.label, labels, enrolled, most, args.repeats, args.seed)  # (R, C, N)
    pool, rows = np.unique(drawn, return_inverse=True)  # only these are embedded
    tested = np.flatnonzero(np.isin(test.manifest.label, np.concatenate(words)))
    truth = targets(test.manifest.label[tested], enrolled)
    templates = embed_clips(encoder, frontend, train, pool, title="embedding train")
    queries = embed_clips(encoder, frontend, test, tested, title="embedding test")
    check_finite(templates, "train set", train.manifest.subset(pool))
    check_finite(queries, "test set", test.manifest.subset(tested))
    methods = {"embedding": by_mean(queries, templates)}
    if len(unknown):
        normalised, facts["cohort"] = by_cohort(args, words, encoder, frontend, labels, queries, templates, config)
        methods |= normalised
    if args.baselines:
        from models.evaluation.baselines import comparisons

        methods |= comparisons((test, tested), (train, pool))
    results = evaluate(methods, rows.reshape(drawn.shape), args.shots, truth)

    stem = f"shots-unknown-{name}" if len(unknown) else f"shots-{name}"
    facts |= {"clip_seconds": args.clip_seconds, "enrolled": [labels[c] for c in enrolled],
              "unknown": [labels[c] for c in unknown], "untested": untested(test.manifest, np.concatenate(words)),
              "seed": args.seed, "repeats": args.repeats}
    pairs = count_pairs(queries, test.manifest.label[tested]) if args.plot else None
    content = report_enrolment(out, stem, results, truth, facts, pairs and pairs.figures())
    if args.save:
        save_arrays(out, stem, train_embeddings=templates, train_labels=train.manifest.label[pool],
                    test_embeddings=queries, test_labels=test.manifest.label[tested], drawn=rows.reshape(drawn.shape),
                    predictions=enrolled[np.stack([r.best for r in results if r.method == "embedding"])],
                    scores=np.stack([r.score for r in results if r.method == "embedding"]))
    made = plot(out, stem, queries, test.manifest.subset(tested), pairs, unknown=unknown) if pairs else None
    if args.html:
        from models.evaluation.page.enrolled import page_of_enrolment
        from models.evaluation.page.page import write_page
        from models.evaluation.page.parts import named

        made = made or {"map": map_of(stem, queries, test.manifest.subset(tested), unknown=unknown)}
        if len(unknown):
            made = {"det": draw_errors(results, truth, stem)} | made
        write_page(args.html, page_of_enrolment(stem, content, results, truth, (test, tested, queries),
                                                (train, pool, templates), rows.reshape(drawn.shape), enrolled,
                                                named(made)), args.html_mb)


def by_cohort(args, words, encoder, frontend, labels, queries, templates, config) -> tuple[dict, dict | None]:
    """The methods whose scores are held against a cohort, and what that is; none and None where there is none."""
    import numpy as np

    from data.dataset import Clips
    from models.encoders.embedding import embed_clips
    from models.evaluation import cohort
    from models.evaluation.knn import check_finite

    found = cohort.find(args, config, [labels[c] for c in np.concatenate(words)])
    if isinstance(found, str):
        print(f"no cohort to normalise scores by: {found}")
        return {}, None
    name, chosen = found
    clips = Clips.of(chosen, f"{name}-cohort", args.clip_seconds, args.cache_dir, args.skip_bad_audio)
    embedded = embed_clips(encoder, frontend, clips, title="embedding cohort")
    check_finite(embedded, "cohort", clips.manifest)
    cohort.check_enough(name, len(clips))  # again: bad audio may have been left out
    used, others = min(cohort.TOP, len(clips)), len(np.unique(clips.manifest.label))
    print(f"cohort: {len(clips):,} clips of {others} other words of --manifest {name}; scores are also normalised "
          f"by the {used} most similar")
    return cohort.comparisons(queries, templates, embedded), {
        "manifest": name, "path": str(chosen.path), "clips": len(clips), "words": others, "most_similar": used}


if __name__ == "__main__":
    exit_cleanly(lambda: main(parse_args()))
