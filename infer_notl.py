"""Test a head: classify the test clips by the softmax over an encoder's embedding."""

from data.base.errors import UserError, exit_cleanly
from data.base.values import whole
from models.runs.options.common import add_data, add_model, add_run
from models.runs.options.testing import add_k, add_test
from models.runs.parser import Parser


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
    from models.encoders.load import build_encoder, find_encoder
    from models.report.page.page import check_html
    from models.runs import session

    parallel.refuse("infer_notl.py")
    check_html(args)
    head_run, head_step, head_config = session.find_head(args)
    run, step = session.encoder_of_head(args, head_run, head_step, head_config)
    corpus = session.open_corpus(args, ("train", "test"))
    session.check_labels(args, corpus, head_config, head_run)
    if args.add_prior:
        check_balanced(head_config, head_run)
    config = find_encoder(args, run, step)

    import numpy as np

    from models.encoders.device import pick_device, place
    from models.encoders.embedding import embed_clips
    from models.encoders.frontend import LogMel
    from models.encoders.head import ClassificationNet, add_prior, head_scores
    from models.report.tables import report, save_arrays
    from models.runs.checkpoints import HEAD, load_module
    from models.runs.provenance import tell_changed, tell_seen

    device = pick_device(args.gpu)
    encoder = place(build_encoder(args, run, step, config), device)
    head = load_module(head_run.path(HEAD, head_step), ClassificationNet(args.embedding_size, len(corpus.labels)), HEAD)
    test = session.open_clips(args, corpus, "test")
    # Of bad clips that were left out, the head has not learnt, nor would they vote.
    wanted = args.html or (args.add_prior and args.skip_bad_audio)
    train = session.open_clips(args, corpus, "train") if wanted else None
    facts = tell_changed(head_run, head_config, args, corpus) | tell_seen([head_run, run], test, corpus)
    frontend = LogMel(args.compression).to(device)
    embeddings = embed_clips(encoder, frontend, test, title="embedding test",
                             normalise=head_config.get("frozen_encoder", True))
    scores = head_scores(head, embeddings)
    stem = f"head-{args.manifest}-{args.model}-{step}-{head_step}"
    if args.add_prior:
        scores = add_prior(scores, (corpus.splits["train"] if train is None else train.manifest).counts())
        stem += "-prior"
    predicted = scores.argmax(1)

    probability = np.exp(scores.max(1))
    result = report(head_run.folder, stem, corpus.labels, test.manifest.label, predicted, test.manifest,
                    scores=probability,
                    facts={"encoder": str(run.path(args.model, step)), "head": str(head_run.path(HEAD, head_step)),
                           "manifest": args.manifest, "clip_seconds": args.clip_seconds,
                           "add_prior": args.add_prior} | facts, command=args.command)
    if args.save:
        save_arrays(head_run.folder, stem, test_embeddings=embeddings, test_labels=test.manifest.label,
                    predictions=predicted)
    if args.html:
        write_html(args, stem, result, encoder, frontend, train, test, embeddings, predicted, probability)
    return 0


def check_balanced(config: dict, run) -> None:
    """Raise UserError unless a head was trained on batches of equally many clips a class, as far as is known."""
    if not config.get("arguments", {}).get("batch_classes"):
        raise UserError(f"--add_prior: the head of run {run.name!r} was " + (
            "trained on clips at random, so its scores have the words' frequencies already; leave --add_prior out"
            if "arguments" in config else "not trained by this program, which does not know what frequencies its "
                                          "scores have; leave --add_prior out"))


def write_html(args, stem, result, encoder, frontend, train, test, embeddings, predicted, probability) -> None:
    """The page of --html; the clips to listen to beside the mistakes are nearest by the cosine of embeddings."""
    from models.encoders.embedding import embed_clips
    from models.enrolment.enrol import unit
    from models.neighbours.knn import check_finite, classify
    from models.report.page.clips import page_of_clips
    from models.report.page.page import write_page
    from models.report.page.parts import named
    from models.report.plots import map_of

    templates, embeddings = embed_clips(encoder, frontend, train, title="embedding train"), unit(embeddings)
    check_finite(templates, "train set", train.manifest)
    check_finite(embeddings, "test set", test.manifest)
    nearest = classify(templates, train.manifest.label, embeddings, 1, len(train.manifest.labels))
    values = {"probability": lambda q: (float(probability[q]), f"{probability[q]:.3f}")}
    pictures = named({"map": map_of(stem, embeddings, test.manifest, predicted)})
    write_page(args.html, page_of_clips(stem, result, test, predicted, train, nearest.indices[:, 0],
                                        nearest.distances[:, 0], probability, values, pictures), args.html_mb)


if __name__ == "__main__":
    exit_cleanly(lambda: main(parse_args()))
