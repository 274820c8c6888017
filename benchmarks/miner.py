"""The triplet miner on whole matrices against Python loops over the anchor-positive pairs, as miners usually are.

All obey one rule: a negative is of another class and nearer to the anchor than the positive's distance plus the
margin. That they do is checked on what they choose. One thread. The distances are computed once for all pairs.

The original-style loop does what the loop that the miner replaces did: for each pair it computes the losses of all
negatives as a tensor, finds in numpy those above 0 and draws one; it has random mining only. The other two loops are
leaner: one looks up the distances in a torch tensor, the other in a numpy array, which costs far less a call.

All are timed in turn, so that the miner finds the caches as another's work left them; in training that work is the
network's. "in a row" is the miner after itself. "training" is distances, mining, loss and gradient together. "peak" is
what mining needs beside its arguments.
"""

import argparse
import functools
import itertools

import numpy as np

from benchmarks import measure, memory

WIDTH, MARGIN = 45, 0.5
IN_A_ROW = 5  # runs of the miner after itself for every one in turn


def batch(classes: int, per_class: int):
    """Embeddings (B, D) of length 1 in overlapping clusters, as half-way through training, and labels (B,)."""
    import torch
    from torch.nn import functional

    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(classes).repeat_interleave(per_class)
    centres = functional.normalize(torch.randn(classes, WIDTH, generator=generator))
    noise = torch.randn(len(labels), WIDTH, generator=generator) / WIDTH ** 0.5
    return functional.normalize(centres[labels] + 1.2 * noise), labels


def allowed(to_others: np.ndarray, to_positive: np.float32, mining: str) -> np.ndarray:
    """Which of the clips of other classes may be the negative, as positions in ``to_others``."""
    usable = to_others < to_positive + np.float32(MARGIN)
    if mining == "semihard":
        usable &= to_others > to_positive
    return np.flatnonzero(usable)


def loop(distances, labels, pairs, mining: str, rng: np.random.Generator) -> np.ndarray:
    """The negative of every pair, -1 where there is none. Arguments are all numpy's or all torch's."""
    import torch

    convert = torch.from_numpy if isinstance(distances, torch.Tensor) else np.asarray
    classes, chosen = labels.tolist(), np.full(len(pairs), -1)
    others = {label: np.flatnonzero(np.asarray(labels) != label) for label in set(classes)}
    rows = {label: convert(found) for label, found in others.items()}
    for i, (anchor, positive) in enumerate(pairs.tolist()):
        to_others = np.asarray(distances[anchor, rows[classes[anchor]]])
        found = allowed(to_others, np.float32(distances[anchor, positive]), mining)
        if len(found):
            place = found[to_others[found].argmin()] if mining == "hardest" else rng.choice(found)
            chosen[i] = others[classes[anchor]][place]
    return chosen


def original_style(distances, labels, rng: np.random.Generator):
    """The triplets (T, 3), a tensor, of the pairs for which there is a negative with positive loss."""
    import torch

    classes, triplets = labels.numpy(), []
    for label in np.unique(classes):
        clips, others = np.flatnonzero(classes == label), np.flatnonzero(classes != label)
        for anchor, positive in itertools.combinations(clips.tolist(), 2):
            # In this order rounding leaves the sign right: all loops choose among the same.
            losses = distances[anchor, positive] + MARGIN - distances[anchor, torch.from_numpy(others)]
            found = np.where(losses.numpy() > 0)[0]
            if len(found):
                triplets.append([anchor, positive, others[rng.choice(found)]])
    return torch.from_numpy(np.array(triplets, np.int64).reshape(-1, 3))


def negatives(triplets, pairs) -> np.ndarray:
    """Triplets (T, 3) to the negative of every pair, -1 where there is none."""
    chosen = {(anchor, positive): negative for anchor, positive, negative in triplets.tolist()}
    return np.array([chosen.get((anchor, positive), -1) for anchor, positive in pairs.tolist()])


def check(chosen: np.ndarray, distances: np.ndarray, labels: np.ndarray, pairs: np.ndarray, mining: str) -> None:
    """Stop unless every choice, -1 for none, is one that the rule allows."""
    for (anchor, positive), negative in zip(pairs, chosen, strict=True):
        others = np.flatnonzero(labels != labels[anchor])
        right = others[allowed(distances[anchor, others], distances[anchor, positive], mining)]
        if mining == "hardest":
            right = right[distances[anchor, right] == distances[anchor, right].min(initial=np.inf)]
        if not (negative in right if len(right) else negative == -1):
            raise SystemExit(f"{mining}: {negative} must not be the negative of the pair {anchor}, {positive}")


def compare(per_class: int, mining: str, args: argparse.Namespace) -> list[dict[str, object]]:
    import torch

    from models.losses.triplet import mine, own_class, positive_pairs, squared_distances, triplet_loss

    embeddings, labels = batch(args.classes, per_class)
    embeddings.requires_grad_()
    pairs, rng, generator = positive_pairs(labels), np.random.default_rng(0), torch.Generator().manual_seed(0)
    with torch.no_grad():
        tensors = squared_distances(embeddings), labels, pairs
    arrays = tuple(each.numpy() for each in tensors)
    own = own_class(labels)  # once for all batches, like the pairs, as in training

    def triplets(negative: np.ndarray) -> torch.Tensor:
        return torch.cat([pairs, torch.from_numpy(negative)[:, None]], 1)[negative >= 0]

    loops = {"numpy loop": lambda distances: triplets(loop(distances.numpy(), *arrays[1:], mining, rng)),
             "torch loop": lambda distances: triplets(loop(distances, labels, pairs, mining, rng))}
    if mining == "random":
        loops = {"original-style loop": lambda distances: original_style(distances, labels, rng)} | loops

    def train(mine_by_loop) -> None:
        with torch.no_grad():
            distances = squared_distances(embeddings)
        a, p, n = (embeddings[i] for i in mine_by_loop(distances).T)
        ((a - p).square().sum(1) - (a - n).square().sum(1) + MARGIN).relu().mean().backward()

    tasks = {
        "mining": {"miner": lambda: mine(*tensors, MARGIN, mining, generator, own)},
        "training": {"miner": lambda: triplet_loss(embeddings, labels, MARGIN, mining, generator, pairs,
                                                   own).loss.backward()}}
    for kind, by_loop in loops.items():
        tasks["mining"][kind] = functools.partial(by_loop, tensors[0])
        tasks["training"][kind] = functools.partial(train, by_loop)
    negative, found = tasks["mining"]["miner"]()
    for chosen in (negative.masked_fill(~found, -1).numpy(),
                   *(negatives(tasks["mining"][kind](), pairs) for kind in loops)):
        check(chosen, *arrays, mining)
    peak = memory.in_own_process(prepare, args.classes, per_class, mining).extra
    rows = []
    for task, functions in tasks.items():
        times = measure.in_turn(functions, args.repeats)
        in_a_row = measure.in_turn({"in a row": functions["miner"]}, IN_A_ROW * args.repeats, IN_A_ROW)
        rows.append({"B": len(labels), "pairs": len(pairs), "with a negative": f"{found.float().mean():.0%}",
                     "mining": mining, "task": task, "miner": times["miner"]} | in_a_row | times)
        for kind in loops:
            rows[-1][f"{kind} / miner"] = times[kind].over(times["miner"])
    rows[0] |= {"peak MB": peak, "bytes a pair and clip": peak * 1e6 / len(pairs) / len(labels)}
    return rows


def prepare(classes: int, per_class: int, mining: str):
    """The miner on such a batch, once on a small one: what it loads at first is not what it needs."""
    import torch

    from models.losses.triplet import mine, positive_pairs, squared_distances

    torch.set_num_threads(1)
    for size in (2, per_class):
        embeddings, labels = batch(classes, size)
        arguments = squared_distances(embeddings), labels, positive_pairs(labels), MARGIN, mining
        if size == 2:
            mine(*arguments)
    return lambda: mine(*arguments) and None


def main() -> None:
    from models.losses.triplet import MINING

    parser = measure.parser("miner", __doc__)
    parser.add_argument("--classes", type=int, default=35, help="classes in a batch (default: 35)")
    parser.add_argument("--per_class", type=int, nargs="+", default=[10, 40],
                        help="clips of each class, for each size of batch; with all but the first, only random "
                             "mining is measured (default: 10 40)")
    args = parser.parse_args()
    if args.classes < 2 or min(args.per_class) < 2 or args.repeats < 1:
        parser.error("at least 2 classes, 2 clips of each and 1 repeat")
    import torch

    from models.encoders.device import reuse_memory

    torch.set_num_threads(1)
    reuse_memory()  # as the training scripts do
    rows = []
    for number, per_class in enumerate(args.per_class):
        for mining in MINING if number == 0 else MINING[:1]:
            rows += compare(per_class, mining, args)
    measure.show("miner", rows, args, threads=1, width=WIDTH, margin=MARGIN)


if __name__ == "__main__":
    main()
