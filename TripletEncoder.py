"""Train an encoder with the triplet loss, or with another to compare it with.

Clips of a batch's classes become embeddings; the loss pulls those of a class together and pushes others beyond a
margin. Vygon & Mikhaylovskiy, "Learning Efficient Representations for Keyword Spotting with Triplet Loss", 2021.
"""

from functools import partial

from data.base.errors import exit_cleanly
from data.base.values import count, positive, whole
from models.runs.options import training
from models.runs.options.common import Parser, add_data, add_model, add_run, repeated
from models.runs.options.testing import add_k


def parse_args(argv=None):
    parser = Parser(
        __doc__, "python TripletEncoder.py --name=test_encoder --manifest=demo --model=Res8 --recipe=fast")
    add_run(parser, "name of the run: runs/NAME gets its checkpoints and logs")
    add_data(parser)
    add_model(parser)
    training.add_init(parser)
    batches = parser.add_argument_group("batches and loss")
    batches.add_argument("--batch_classes", type=count, default=35,
                         help="classes in a batch, all of them if there are fewer (default: 35)")
    training.add_per_class(batches)
    batches.add_argument("--data_probs", type=int, choices=range(7), default=0,
                         help="how a batch's classes are drawn: 0 uniformly, 1 phonetically near, 2 in proportion to "
                              "their clips, 3 batches of 0 and 1 in turn at random, 4 of 0 and 2, 5 of 1 and 2, 6 of "
                              "all three (default: 0)")
    batches.add_argument("--shares", type=positive, nargs="+", metavar="SHARE",
                         help="with --manifest a+b: what share of a batch's classes comes from each set, in any unit, "
                              "where they are drawn uniformly; a word of several sets counts to the first (default: "
                              "all words alike)")
    training.add_loss(parser, batches)
    training.add_recipe(parser)
    training.add_augmentation(parser)
    training.add_course(parser, chooses=True)
    after = parser.add_argument_group("classification")
    add_k(after)
    after.add_argument("--cl", action="store_true",
                       help="train a softmax head on each checkpoint, by TripletClassifier.py with its defaults, as "
                            "run NAME_classifierSTEP; with --resume on those that have none yet, too (default: off)")
    after.add_argument("--save_emb", action="store_true",
                       help="at each checkpoint, save the embeddings of dev for TensorBoard's projector, by its curves "
                            "(default: off)")
    after.add_argument("--classify_gpu", type=whole, nargs="?", const=True, default=False, metavar="N",
                       help="search neighbours on GPU number N, if there is one, instead of by FAISS on the CPU; "
                            "without N, on the GPU that trains (default: off)")
    return parser.parse(argv)


def resolve(args, run, before):
    """Fill in the flags that recipe and loss set; the encoder to begin with, if --init_from names one."""
    from models.encoders.load import find_initial

    training.resolve_recipe(args)
    training.resolve_loss(args)
    return find_initial(args) if not run.begun() else None


def main(args) -> int:
    from models import parallel
    from models.runs.checkpoints import Run
    from models.training.prepare import prepare

    # the run and its data
    ready = prepare(args, "TripletEncoder.py", Run(args.runs_dir, args.name), partial(resolve, args))
    run, train, dev = ready.run, ready.train, ready.dev

    from models.encoders.device import search_device
    from models.losses import make_loss
    from models.runs import session
    from models.teachers.lessons import attend
    from models.training.loop import fit
    from models.training.tasks import TripletTask

    # batches of some classes, with as many clips of each
    with parallel.first():
        sampler = session.encoder_batches(args, train, ready.corpus)
    ready.plan(sampler)

    # network, loss and teacher
    lessons = attend(args, ready.corpus.name, train, dev) if args.teacher else None
    task = TripletTask(ready.encoder(), args, args.num_steps, ready.noise, make_loss(args),
                       lessons and lessons.distillation)
    ready.begin(task, sampler, **({"teacher_sha256": lessons.digest} if lessons else {}))
    if lessons and not task.done:
        lessons.begin(task, train, ready.initial is not None, ready.projects_anew, ready.device)
    ready.tell(f"{args.model} {args.embedding_size}-d", task, sampler)

    # training and evaluations: neighbours among the training clips vote, or pairs of new words are told apart
    if ready.new_words is not None:
        what, look = training.NEW_WORDS, partial(task.auroc, ready.new_words)
    elif args.loss == training.NONE:
        what, look = training.LIKE_TEACHER, partial(task.agreement, dev, lessons.dev)
    else:
        what, look = "dev", partial(task.accuracy, train, dev, search_device(ready.device, args.classify_gpu))
    then = partial(after_checkpoint, args, run, task, dev)
    loop = fit(task, run, train, sampler, ready.device, look, what, then, lessons and lessons.train)
    first = parallel.leave()
    if loop.stopped_by is not None:
        return loop.say_stopped(task.done)
    if first:
        if not loop.begun:  # a finished run was resumed
            then(loop)
        print("saved", " and ".join(map(str, run.paths(args.model, task.done))))
        print(f"test it with: python infer_train.py --name={args.name} --manifest={args.manifest} "
              f"--model={args.model} --enc_step={task.done}", *repeated(args))
    return 0


def after_checkpoint(args, run, task, dev, loop):
    """Write dev embeddings for TensorBoard's projector (--save_emb), and train heads on the checkpoints (--cl)."""
    from models.encoders.build import embed_clips
    from models.report.plots import list_for_projector, write_projector
    from models.training.loop import train_heads

    if args.save_emb:
        folder = run.folder / "tensorboard"
        write_projector(folder, f"dev-{task.done:06}", embed_clips(task.encoder, task.frontend, dev), dev.manifest)
        list_for_projector(folder)
    if args.cl:
        train_heads(args, run, lambda: loop.stopped_by is not None)


if __name__ == "__main__":
    exit_cleanly(lambda: main(parse_args()))
