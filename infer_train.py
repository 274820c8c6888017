"""Test an encoder: embed the training and test clips, and let each test clip's nearest training clips vote.

With --shots, only a few training clips of each class are enrolled, as one would with words the encoder never saw.
"""

from data.base.errors import exit_cleanly
from models.runs.options.common import add_data, add_model, add_run
from models.runs.options.enrolment import add_enrolment, check_enrolment
from models.runs.options.testing import add_k, add_plot, add_test, each_k
from models.runs.parser import Parser


def parse_args(argv=None):
    parser = Parser(
        __doc__, "python infer_train.py --name=test_encoder --manifest=demo --model=Res8 --enc_step=200")
    add_run(parser, "run of the encoder")
    add_data(parser)
    add_model(parser, fixed=True)
    group = add_test(parser)
    add_plot(group)
    add_k(group, several=True)
    add_enrolment(parser)
    return parser.parse(argv)


def main(args) -> int:
    from models import parallel
    from models.encoders.load import build_encoder, find_encoder
    from models.report.page.page import check_html
    from models.runs import session

    parallel.refuse("infer_train.py")
    check_enrolment(args)
    check_html(args)
    run = session.Run(args.runs_dir, args.name)
    step = run.step(args.model, args.enc_step, "--enc_step")
    splits = ("train", "dev", "test") if args.shots and session.has_split(args, "dev") else ("train", "test")
    corpus = session.open_corpus(args, splits)
    words = words_to_enrol(args, corpus) if args.shots else None
    config = find_encoder(args, run, step)
    if args.new_words:
        return test_new_words(args, run, step, config, corpus)

    import numpy as np

    from models.encoders.device import pick_device, place
    from models.encoders.frontend import LogMel
    from models.runs.provenance import tell_changed, tell_seen, tell_shared

    device = pick_device(args.gpu)
    encoder = place(build_encoder(args, run, step, config), device)
    frontend = LogMel(args.compression).to(device)
    clips = {split: session.open_clips(args, corpus, split) for split in splits}
    train, test = clips["train"], clips["test"]
    out, name = session.own_run(args, args.name).folder, f"{args.manifest}-{args.model}-{step}"
    facts = {"encoder": str(run.path(args.model, step)), "manifest": args.manifest}
    facts |= tell_changed(run, config, args, corpus)
    rows = np.flatnonzero(np.isin(test.manifest.label, np.concatenate(words))) if words else None
    facts |= tell_seen([run], test, corpus, rows)
    if words:
        from models.report.enrolled_words import test_enrolled_words

        test_enrolled_words(args, words, encoder, frontend, corpus, clips, out, name, facts, config)
    else:
        facts |= tell_shared(train, test, corpus, "test", "training clips that vote")
        test_all_clips(args, encoder, frontend, train, test, out, f"knn-{name}", facts)
    return 0


def words_to_enrol(args, corpus):
    """The classes that --enroll and --unknown name, as `models.enrolment.enrol.choose_words` gives them."""
    from models.enrolment.enrol import check_clips, check_protocol, choose_words

    if args.protocol:
        check_protocol(args.protocol, corpus)
    words = choose_words(corpus.labels, args.enroll, args.unknown, args.manifest)
    check_clips(corpus.splits["train"], corpus.splits["test"], *words, max(args.shots))
    return words


def test_new_words(args, run, step, config, corpus) -> int:
    """How well distances tell the words that the data set holds out, as --eval new_words looked at while training."""
    from data.sampler import spread
    from models.encoders.device import pick_device, place
    from models.encoders.embedding import embed_clips
    from models.encoders.frontend import LogMel
    from models.encoders.load import build_encoder
    from models.neighbours.knn import check_finite
    from models.report import new_words
    from models.report.enrol_report import tell_trained
    from models.runs import session
    from models.runs.provenance import tell_seen

    clips = session.open_new_words(args, corpus)
    rows = spread(clips.manifest.label, args.eval_clips)
    held = clips.manifest.subset(rows)
    device = pick_device(args.gpu)
    encoder = place(build_encoder(args, run, step, config), device)
    embedded = embed_clips(encoder, LogMel(args.compression).to(device), clips, rows, title="embedding new words")
    check_finite(embedded, "new words", held)
    facts = {"encoder": str(run.path(args.model, step)), "manifest": args.manifest, "clip_seconds": args.clip_seconds}
    facts |= tell_trained([], held.labels, config, all_words=True) | tell_seen([run], clips, corpus, rows)
    out = session.own_run(args, args.name).folder
    new_words.report_new_words(out, f"new_words-{args.manifest}-{args.model}-{step}",
                               new_words.measure(embedded, held), held, facts, args.command)
    return 0


def test_all_clips(args, encoder, frontend, train, test, out, stem, facts) -> None:
    """All training clips vote on every test clip."""
    from models.encoders.embedding import embed_clips
    from models.neighbours.knn import check_finite, check_k, classify_each, few_clips
    from models.neighbours.pairs import count_pairs
    from models.report.plots import map_of, plot
    from models.report.tables import report, save_arrays

    labels = train.manifest.labels
    ks = each_k(args)
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
                    by_k={k: prediction.labels for k, prediction in by_k.items()}, command=args.command)
    if args.save:
        save_arrays(out, stem, train_embeddings=embedded["train"], train_labels=train.manifest.label,
                    test_embeddings=embedded["test"], test_labels=test.manifest.label, predictions=found.labels)
    drawn = plot(out, stem, embedded["test"], test.manifest, pairs, predicted=found.labels) if pairs else None
    if args.html:
        from models.report.page.clips import page_of_clips, votes
        from models.report.page.page import write_page
        from models.report.page.parts import named

        write_page(args.html, page_of_clips(
            stem, result, test, found.labels, train, found.indices[:, 0], found.distances[:, 0],
            -found.distances[:, 0], {"votes": votes(train.manifest, found.indices)},
            named(drawn or {"map": map_of(stem, embedded["test"], test.manifest, found.labels)}),
            [few] if few else []), args.html_mb)


if __name__ == "__main__":
    exit_cleanly(lambda: main(parse_args()))
