"""Train a softmax head with cross-entropy: on a frozen encoder, or together with one.

With --enc_step (or --enc_name) the encoder of that run is frozen and only the head learns. Without either, encoder
and head are trained together from scratch: the no-triplet baseline.
"""

from functools import partial

from data.base.errors import UserError, exit_cleanly
from data.base.values import count, whole
from models.runs.options import training
from models.runs.options.common import Parser, add_data, add_model, add_run, repeated


def parse_args(argv=None):
    parser = Parser(
        __doc__, "python TripletClassifier.py --name=test_classifier --manifest=demo --model=Res8 "
                 "--enc_name=test_encoder --enc_step=200")
    add_run(parser, "name of the run: runs/NAME gets its checkpoints and logs")
    add_data(parser)
    add_model(parser)
    training.add_init(parser, ", where encoder and head are trained together")
    frozen = parser.add_argument_group("frozen encoder")
    frozen.add_argument("--enc_name", help="run of the encoder (default: --name, where --enc_step is given)")
    frozen.add_argument("--enc_step", type=whole,
                        help="step of its checkpoint (default: the newest with --enc_name, else train from scratch)")
    batches = parser.add_argument_group("batches and head")
    batches.add_argument("--num_classes", type=count,
                         help="classes of the head; must be the manifest's number of labels (default: that)")
    batches.add_argument("--batch_size", type=count, default=128, help="clips in a batch (default: 128)")
    batches.add_argument("--batch_classes", type=count,
                         help="draw batches of so many classes x --per_class clips instead, as TripletEncoder.py does "
                              "(default: off, clips at random)")
    training.add_per_class(batches, ", with --batch_classes")
    training.add_recipe(parser, training.HEAD)
    training.add_augmentation(parser, training.HEAD)
    training.add_course(parser)
    return parser.parse(argv)


def resolve(args, run, before):
    """Fill in the flags that the recipe sets; the encoder to freeze or to begin with, if one is named."""
    from models.encoders.load import find_encoder, find_initial
    from models.runs.checkpoints import Run

    frozen = args.enc_step is not None or args.enc_name is not None
    training.resolve_recipe(args, training.HEAD if frozen else None)
    if not frozen:
        return find_initial(args) if not run.begun() else None
    encoder_run = Run(args.runs_dir, args.enc_name or args.name, "--enc_name")
    args.enc_name, args.enc_step = encoder_run.name, encoder_run.step(args.model, args.enc_step, "--enc_step")
    return encoder_run, args.enc_step, find_encoder(args, encoder_run, args.enc_step)


def check(args, corpus):
    """Raise UserError for a data set that a head cannot be trained on."""
    if args.num_classes not in (None, len(corpus.labels)):
        raise UserError(f"--num_classes {args.num_classes} contradicts --manifest {args.manifest}, which has "
                        f"{len(corpus.labels)} labels; leave --num_classes out")
    if len(corpus.labels) < 2:
        raise UserError(f"--manifest {args.manifest} has one class ({corpus.labels[0]!r}); a classifier needs at least "
                        "two")
    args.num_classes = len(corpus.labels)


def main(args) -> int:
    from models import parallel
    from models.runs import session
    from models.training.prepare import prepare

    # the run, its data, and the encoder
    ready = prepare(args, "TripletClassifier.py", session.own_run(args, args.name), partial(resolve, args),
                    partial(check, args))
    run, train, dev, frozen = ready.run, ready.train, ready.dev, args.enc_name is not None

    from data.audio.dataset import Shuffled
    from data.sampler import BalancedBatchSampler
    from models.encoders.build import ClassificationNet
    from models.runs.checkpoints import encoder_digest
    from models.training.loop import fit
    from models.training.tasks import ClassifierTask

    # batches: clips at random, or some classes with as many clips of each
    sampler = BalancedBatchSampler(train.manifest.label, ready.corpus.labels, args.batch_classes, args.per_class,
                                   seed=args.seed) if args.batch_classes else \
        Shuffled(len(train), args.batch_size, args.seed)
    ready.plan(sampler)

    # network: a softmax head on the encoder
    task = ClassifierTask(ready.encoder(), ClassificationNet(args.embedding_size, args.num_classes), args,
                          args.num_steps, ready.noise, frozen)
    digest = {"encoder_sha256": encoder_digest(ready.initial[0].path(args.model, args.enc_step))} if frozen else {}
    ready.begin(task, sampler, frozen_encoder=frozen, **digest)
    ready.tell(f"head on {args.enc_name}'s {args.model} of step {args.enc_step}" if frozen else
               f"{args.model} {args.embedding_size}-d and head from scratch", task, sampler)

    # training; a frozen encoder embeds clips once that are the same at every step
    data = train if training.varied(args) or not frozen else task.embedded_once(train, ready.device)
    loop = fit(task, run, data, sampler, ready.device, lambda: task.accuracy(dev))
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
