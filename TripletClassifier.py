"""Train a softmax head with cross-entropy: on a frozen encoder, or together with one.

With --enc_step (or --enc_name) the encoder of that run is frozen and only the head learns. Without either, encoder
and head are trained together from scratch: the no-triplet baseline.
"""

from data.base.errors import UserError, exit_cleanly
from models.runs.options.common import add_data, add_model, add_run, repeated, tell_idle
from models.runs.options.recipe import (
    HEAD,
    add_augmentation,
    add_per_class,
    add_recipe,
    best_precision,
    resolve_masks,
    resolve_recipe,
    varied,
)
from models.runs.options.training import add_checkpoints, add_init, add_parallel
from models.runs.parser import Parser
from models.runs.values import count, whole


def parse_args(argv=None):
    parser = Parser(
        __doc__, "python TripletClassifier.py --name=test_classifier --manifest=demo --model=Res8 "
                 "--enc_name=test_encoder --enc_step=200")
    add_run(parser, "name of the run: runs/NAME gets its checkpoints and logs")
    add_data(parser)
    add_model(parser)
    add_init(parser, ", where encoder and head are trained together")
    frozen = parser.add_argument_group("frozen encoder")
    frozen.add_argument("--enc_name", help="run of the encoder (default: --name, where --enc_step is given)")
    frozen.add_argument("--enc_step", type=whole,
                        help="step of its checkpoint (default: the newest with --enc_name, else train from scratch)")
    training = parser.add_argument_group("batches and head")
    training.add_argument("--num_classes", type=count,
                          help="classes of the head; must be the manifest's number of labels (default: that)")
    training.add_argument("--batch_size", type=count, default=128, help="clips in a batch (default: 128)")
    training.add_argument("--batch_classes", type=count,
                          help="draw batches of so many classes x --per_class clips instead, as TripletEncoder.py does "
                               "(default: off, clips at random)")
    add_per_class(training, ", with --batch_classes")
    add_recipe(parser, HEAD)
    add_augmentation(parser, HEAD)
    add_checkpoints(parser)
    add_parallel(parser)
    return parser.parse(argv)


def main(args) -> int:
    from models import parallel
    from models.encoders.load import build_encoder, find_encoder, find_initial
    from models.runs import begin, session

    run = session.own_run(args, args.name)
    before = begin.begin(args, run, "TripletClassifier.py")
    frozen = args.enc_step is not None or args.enc_name is not None
    resolve_recipe(args, HEAD if frozen else None)
    if args.batch_classes:
        tell_idle(args, ["batch_size"], "with --batch_classes: a batch is of so many x --per_class clips")
    else:
        tell_idle(args, ["per_class"], "without --batch_classes")
    parallel.join(args)
    with parallel.first():
        corpus = session.open_corpus(args, ("train", "dev"))
    resolve_masks(args, corpus.speech_commands)
    if frozen:
        tell_idle(args, ["compile"], "on a frozen encoder")
        if not varied(args):
            tell_idle(args, ["precision"], "on a frozen encoder whose clips are the same at every step")
    if args.num_classes is not None and args.num_classes != len(corpus.labels):
        raise UserError(f"--num_classes {args.num_classes} contradicts --manifest {args.manifest}, which has "
                        f"{len(corpus.labels)} labels; leave --num_classes out")
    if len(corpus.labels) < 2:
        raise UserError(f"--manifest {args.manifest} has one class ({corpus.labels[0]!r}); a classifier needs at least "
                        "two")
    args.num_classes = len(corpus.labels)
    initial = None
    if frozen:
        if args.init_from:
            raise UserError("--init_from is where encoder and head are trained together; leave it out, or --enc_name "
                            "and --enc_step")
        encoder_run = session.Run(args.runs_dir, args.enc_name or args.name, "--enc_name")
        args.enc_name, args.enc_step = encoder_run.name, encoder_run.step(args.model, args.enc_step, "--enc_step")
        initial = encoder_run, args.enc_step, find_encoder(args, encoder_run, args.enc_step)
    elif not run.begun():
        initial = find_initial(args)
    args.clip_seconds = args.clip_seconds or session.CLIP_SECONDS
    args.compression = args.compression or "log"
    session.resolve_sizes(args, before)

    import torch

    from models.encoders.build import encoder_of
    from models.encoders.device import pick_device
    from models.encoders.frontend import settings
    from models.encoders.head import ClassificationNet
    from models.runs.checkpoints import encoder_digest
    from models.runs.provenance import check_apart
    from models.training.loop import fit
    from models.training.tasks import ClassifierTask

    device = pick_device(args.gpu)
    args.precision = args.precision or best_precision(device)
    with parallel.first():
        train, dev = (session.open_clips(args, corpus, split) for split in ("train", "dev"))
        check_apart(train, {"dev": dev}, corpus)
    sampler = session.classifier_batches(args, train, corpus)
    session.check_memory(sampler.batch_clips, args.clip_seconds)
    sampler.num_steps = args.num_steps = args.num_steps or args.num_epochs * sampler.epoch_steps

    noise = session.open_noise(args, corpus)
    torch.manual_seed(args.seed % 2**63)
    encoder = build_encoder(args, *initial) if initial else encoder_of(args)
    task = ClassifierTask(encoder, ClassificationNet(args.embedding_size, args.num_classes), args, args.num_steps,
                          noise, frozen)
    begin.go_on(run, task, args)
    config = begin.describe(args, "TripletClassifier.py", corpus, len(train), frontend=settings(args.compression),
                            frozen_encoder=frozen, noise=noise, initial=initial,
                            **({"encoder_sha256": encoder_digest(initial[0].path(args.model, args.enc_step))} if frozen
                               else {}))
    begin.commit(run, config, before, train, corpus, initial[:1] if initial else ())
    sampler.start = task.done
    print(f"head on {args.enc_name}'s {args.model} of step {args.enc_step}" if frozen else
          f"{args.model} {args.embedding_size}-d and head from scratch", f"on {args.manifest}: {len(train):,} train "
          f"and {len(dev):,} dev clips of {len(corpus.labels)} classes; {task.done} of {args.num_steps} steps done, "
          f"{sampler.epoch_steps} steps an epoch")

    data = train if varied(args) or not frozen else task.embedded_once(train, device)
    loop = fit(task, run, data, sampler, device, lambda: task.accuracy(dev))
    parallel.leave()
    if loop.stopped_by is not None:
        return loop.say_stopped(task.done)
    print(f"saved {run.path('ClassificationNet', task.done)}")
    print(f"test it with: python infer_notl.py --name={args.enc_name if frozen else args.name} --cl_name={args.name} "
          f"--manifest={args.manifest} --model={args.model} --enc_step={args.enc_step if frozen else task.done} "
          f"--cl_step={task.done}", *repeated(args))
    return 0


if __name__ == "__main__":
    exit_cleanly(lambda: main(parse_args()))
