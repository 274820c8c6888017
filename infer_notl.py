"""Test a head: classify the test clips by the softmax over an encoder's embedding."""

from data.base.errors import UserError, exit_cleanly
from data.base.values import whole
from models.runs.options.common import Parser, add_data, add_model, add_run
from models.runs.options.testing import add_k, add_test


def parse_args(argv=None):
    parser = Parser(
        __doc__, "python infer_notl.py --name=test_encoder --cl_name=test_classifier --manifest=demo --model=Res8 "
                 "--enc_step=200 --cl_step=30")
    add_run(parser, "run of the encoder")
    add_data(parser)
    add_model(parser, fixed=True)
    group = add_test(parser, "the one that the head was trained on or with")
    group.add_argument("--cl_name", required=True, help="run of the head")
    group.add_argument("--cl_step", type=whole, help="step of the head's checkpoint (default: the newest)")
    group.add_argument("--add_prior", action="store_true",
                       help="add the logarithm of each word's share of the training clips to the scores, which a head "
                            "trained on equally many clips a word (--batch_classes) knows nothing of, while "
                            "neighbours vote by it (default: off)")
    add_k(parser.add_argument_group("ignored", "The original's command lines have it."))
    return parser.parse(argv)


def main(args) -> int:
    from models import parallel
    from models.encoders.load import find_encoder
    from models.report.page.page import check_html
    from models.runs import session
    from models.runs.checkpoints import HEAD

    parallel.refuse("infer_notl.py")
    check_html(args)
    head_run = session.own_run(args, args.cl_name, "--cl_name")
    head_step, head_config = head_run.step(HEAD, args.cl_step, "--cl_step"), head_run.config()
    run, step = session.encoder_of_head(args, head_run, head_step, head_config)
    corpus = session.open_corpus(args, ("train", "test"))
    check_head(args, corpus, head_config, head_run)
    config = find_encoder(args, run, step)

    # encoder, head and clips
    from models.encoders.build import ClassificationNet
    from models.report.outcome import Subject
    from models.runs.checkpoints import load_module
    from models.runs.provenance import tell_changed, tell_seen

    # Of bad clips that were left out, the head has not learnt, nor would they vote.
    wanted = args.html or (args.add_prior and args.skip_bad_audio)
    clips = {split: session.open_clips(args, corpus, split) for split in ("test", *["train"] * bool(wanted))}
    subject = Subject.open(args, run, step, config, corpus, clips)
    head = load_module(head_run.path(HEAD, head_step), ClassificationNet(args.embedding_size, len(corpus.labels)), HEAD)
    subject.out, subject.name = head_run.folder, f"{subject.name}-{head_step}" + "-prior" * args.add_prior
    subject.facts |= {"head": str(head_run.path(HEAD, head_step)), "add_prior": args.add_prior}
    subject.facts |= tell_changed(head_run, head_config, args, corpus) | tell_seen([head_run, run], clips["test"],
                                                                                  corpus)
    test_head(subject, head, head_config.get("frozen_encoder", True))
    return 0


def test_head(subject, head, normalise: bool) -> None:
    """Classify the test clips by the head; ``normalise`` their embeddings as in its training."""
    import numpy as np

    from models.encoders.build import add_prior, head_scores
    from models.report.outcome import Outcome
    from models.report.tables import report, save_arrays

    args, test = subject.args, subject.clips["test"]
    embeddings = subject.embed("test", normalise=normalise)
    scores = head_scores(head, embeddings)
    if args.add_prior:
        train = subject.clips["train"].manifest if "train" in subject.clips else subject.corpus.splits["train"]
        scores = add_prior(scores, train.counts())
    outcome = Outcome(f"head-{subject.name}", test.manifest, scores.argmax(1), subject.facts, args.command,
                      scores=np.exp(scores.max(1)))
    result = report(subject.out, outcome)
    if args.save:
        save_arrays(subject.out, outcome.stem, test_embeddings=embeddings, test_labels=test.manifest.label,
                    predictions=outcome.predicted)
    if args.html:  # the clips to listen to beside the mistakes are nearest by the cosine of embeddings
        from models.enrolment.enrol import unit
        from models.neighbours import classify
        from models.report.page.content import page_of_clips
        from models.report.page.page import write_page
        from models.report.plots import map_of

        train, embeddings = subject.clips["train"], unit(embeddings)
        nearest = classify(subject.embed("train"), train.manifest.label, embeddings, 1)
        pictures = {"map": map_of(outcome.stem, embeddings, test.manifest, outcome.predicted)}
        write_page(args.html, page_of_clips(outcome, result, test, train, nearest, pictures), args.html_mb)


def check_head(args, corpus, config: dict, run) -> None:
    """Raise UserError unless a data set's labels are those that a head was trained on and, for --add_prior, its batches
    were of equally many clips a class, as far as is known."""
    if config.get("labels", corpus.labels) != corpus.labels:
        raise UserError(f"--manifest {args.manifest} has other labels than the head of run {run.name!r}; test it on "
                        "the data it was trained on")
    if args.add_prior and not config.get("arguments", {}).get("batch_classes"):
        raise UserError(f"--add_prior: the head of run {run.name!r} was " + (
            "trained on clips at random, so its scores have the words' frequencies already; leave --add_prior out"
            if "arguments" in config else "not trained by this program, which does not know what frequencies its "
                                          "scores have; leave --add_prior out"))


if __name__ == "__main__":
    exit_cleanly(lambda: main(parse_args()))
