"""Test an encoder: embed the training and test clips, and let each test clip's nearest training clips vote."""

from data.errors import exit_cleanly
from models import options


def parse_args(argv=None):
    parser = options.Parser(
        __doc__, "python infer_train.py --name=test_encoder --manifest=demo --model=Res8 --enc_step=200")
    options.add_run(parser, "run of the encoder")
    options.add_data(parser)
    options.add_model(parser, fixed=True)
    options.add_k(options.add_test(parser))
    return parser.parse(argv)


def main(args) -> int:
    from models import parallel, session

    parallel.refuse("infer_train.py")
    run = session.Run(args.runs_dir, args.name)
    step = run.step(args.model, args.enc_step, "--enc_step")
    corpus = session.open_corpus(args, ("train", "test"))
    config = session.find_encoder(args, run, step)
    session.hush_libraries()

    from models.embedding import embed_clips, pick_device, place
    from models.frontend import LogMel
    from models.knn import check_k, classify
    from models.report import report, save_arrays

    device = pick_device(args.gpu)
    encoder = place(session.load_encoder(args, run, step, config), device)
    frontend = LogMel().to(device)
    train, test = (session.open_clips(args, corpus, split) for split in ("train", "test"))
    check_k(args.k, len(train))
    embedded = {split: embed_clips(encoder, frontend, clips, title=f"embedding {split}")
                for split, clips in (("train", train), ("test", test))}
    found = classify(embedded["train"], train.manifest.label, embedded["test"], args.k, len(corpus.labels))

    out, stem = session.own_run(args, args.name).folder, f"knn-{args.manifest}-{args.model}-{step}"
    report(out, stem, corpus.labels, test.manifest.label, found.labels, test.manifest,
           distances=found.distances,
           facts={"encoder": str(run.path(args.model, step)), "manifest": args.manifest, "k": args.k,
                  "train_clips": len(train), "clip_seconds": args.clip_seconds})
    if args.save:
        save_arrays(out, stem, train_embeddings=embedded["train"], train_labels=train.manifest.label,
                    test_embeddings=embedded["test"], test_labels=test.manifest.label, predictions=found.labels)
    return 0


if __name__ == "__main__":
    exit_cleanly(lambda: main(parse_args()))
