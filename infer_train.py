"""Test an encoder: embed the training and test clips, and let each test clip's nearest training clips vote.

With --shots, only a few training clips of each class are enrolled, as one would with words the encoder never saw.
"""

from data.base.errors import exit_cleanly
from models.runs.options.common import Parser, add_data, add_model, add_run
from models.runs.options.testing import add_enrolment, add_k, add_test, check_enrolment


def parse_args(argv=None):
    parser = Parser(
        __doc__, "python infer_train.py --name=test_encoder --manifest=demo --model=Res8 --enc_step=200")
    add_run(parser, "run of the encoder")
    add_data(parser)
    add_model(parser, fixed=True)
    group = add_test(parser)
    group.add_argument("--plot", action="store_true",
                       help="also draw a map of the test clips' embeddings and how far apart clips of the same and of "
                            "different words lie, and write TSV files for TensorBoard's projector (default: off)")
    add_k(group, several=True)
    add_enrolment(parser)
    return parser.parse(argv)


def main(args) -> int:
    from models import parallel
    from models.encoders.load import find_encoder
    from models.report.page.page import check_html
    from models.runs import session

    # the run, its data, and the words to enrol
    parallel.refuse("infer_train.py")
    check_enrolment(args)
    check_html(args)
    run = session.Run(args.runs_dir, args.name)
    step = run.step(args.model, args.enc_step, "--enc_step")
    splits = ("train", "dev", "test") if args.shots and session.has_split(args, "dev") else ("train", "test")
    corpus = session.open_corpus(args, splits)
    words = words_to_enrol(args, corpus) if args.shots and not args.new_words else None
    config = find_encoder(args, run, step)

    # the encoder, and clips to embed
    from models.report.outcome import Subject
    from models.runs.provenance import tell_changed, tell_seen, tell_shared

    clips = {"new words": session.open_new_words(args, corpus)} if args.new_words else \
        {split: session.open_clips(args, corpus, split) for split in splits}
    subject = Subject.open(args, run, step, config, corpus, clips)

    # one of three tests
    if args.new_words:
        test_new_words(subject, run)
        return 0
    subject.facts |= tell_changed(run, config, args, corpus)
    if words:
        from models.report.enrolled_words import test_enrolled_words

        test_enrolled_words(subject, run, words)
        return 0
    subject.facts |= tell_seen([run], clips["test"], corpus)
    subject.facts |= tell_shared(clips["train"], clips["test"], corpus, "test", "training clips that vote")
    test_all_clips(subject)
    return 0


def words_to_enrol(args, corpus):
    """The classes that --enroll and --unknown name, as `models.enrolment.enrol.choose_words` gives them."""
    from models.enrolment.enrol import check_clips, check_protocol, choose_words

    if args.protocol:
        check_protocol(args.protocol, corpus)
    words = choose_words(corpus.labels, args.enroll, args.unknown, args.manifest)
    check_clips(corpus.splits["train"], corpus.splits["test"], *words, max(args.shots))
    return words


def test_new_words(subject, run) -> None:
    """How well distances tell words apart that the data set holds out, as --eval new_words measures while training."""
    from data.sampler import spread
    from models.report import new_words
    from models.report.new_words import tell_trained
    from models.runs.provenance import tell_seen

    args, clips = subject.args, subject.clips["new words"]
    rows = spread(clips.manifest.label, args.eval_clips)
    tested = clips.manifest.subset(rows)
    embedded = subject.embed("new words", rows)
    facts = subject.facts | tell_trained([], tested.labels, subject.config, all_words=True)
    facts |= tell_seen([run], clips, subject.corpus, rows)
    new_words.report_new_words(subject.out, f"new_words-{subject.name}", new_words.measure(embedded, tested), tested,
                               facts, args.command)


def test_all_clips(subject) -> None:
    """All training clips vote on every test clip."""
    from models.neighbours import check_k, classify_each, count_pairs, few_clips
    from models.report.outcome import Outcome
    from models.report.plots import map_of, plot
    from models.report.tables import report, save_arrays

    args, out, train, test = subject.args, subject.out, subject.clips["train"], subject.clips["test"]
    labels, ks = train.manifest.labels, list(dict.fromkeys(args.k))
    for k in ks:
        check_k(k, len(train))
    few = few_clips(train.manifest.counts(), labels, max(ks))
    if few:
        print(few)
    embedded = {split: subject.embed(split) for split in ("train", "test")}
    by_k = classify_each(embedded["train"], train.manifest.label, embedded["test"], ks, ties=args.ties)
    found = by_k[ks[0]]

    pairs = count_pairs(embedded["test"], test.manifest.label) if args.plot else None
    outcome = Outcome(f"knn-{subject.name}", test.manifest, found.labels,
                      subject.facts | {"k": ks[0], "ties": args.ties, "train_clips": len(train)}, args.command,
                      distances=found.distances, pairs=pairs and pairs.figures(),
                      by_k={k: prediction.labels for k, prediction in by_k.items()})
    result = report(out, outcome)
    if args.save:
        save_arrays(out, outcome.stem, train_embeddings=embedded["train"], train_labels=train.manifest.label,
                    test_embeddings=embedded["test"], test_labels=test.manifest.label, predictions=found.labels)
    drawn = plot(out, outcome.stem, embedded["test"], test.manifest, pairs, predicted=found.labels) if pairs else None
    if args.html:
        from models.report.page.content import page_of_clips
        from models.report.page.page import write_page

        drawn = drawn or {"map": map_of(outcome.stem, embedded["test"], test.manifest, found.labels)}
        write_page(args.html, page_of_clips(outcome, result, test, train, found, drawn, [few] if few else []),
                   args.html_mb)


if __name__ == "__main__":
    exit_cleanly(lambda: main(parse_args()))
