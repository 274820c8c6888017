"""Class-balanced batches: which classes, and which of their clips, each training step sees."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from data.base.errors import UserError
from data.base.files import CACHE
from data.phonetics import nearest_words

# --data_probs: the shares of batches whose classes are drawn (uniformly, phonetically near, in proportion to counts),
# as the original numbers them.
MIXTURES = ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1 / 2, 1 / 2, 0), (1 / 2, 0, 1 / 2), (0, 1 / 2, 1 / 2),
            (1 / 3, 1 / 3, 1 / 3))
# The partner of a word in a "near" batch is one of so many words that sound most like it, as in the original.
PARTNERS = 3


class Deck:
    """Deals items in random order, each once before any comes again, and no item twice in one deal if it can."""

    def __init__(self, items: np.ndarray, rng: np.random.Generator):
        self.items, self.rng = items, rng
        self.rest = items[:0]

    def deal(self, count: int) -> np.ndarray:
        """``count`` items; when there are fewer, all of them as often as needed."""
        dealt = self.rest[:count]
        self.rest = self.rest[count:]
        while len(dealt) < count:
            shuffled = self.rng.permutation(self.items)
            # What this deal already has goes to the bottom of the new deck, so that it repeats as little as possible.
            shuffled = shuffled[np.argsort((shuffled[:, None] == dealt).sum(1), kind="stable")]
            missing = count - len(dealt)
            dealt, self.rest = np.concatenate([dealt, shuffled[:missing]]), shuffled[missing:]
        return dealt


class BalancedBatchSampler:
    """Batches of ``batch_classes`` classes with ``per_class`` clips each, for ``num_steps`` steps.

    Uniform draws take a class at most once. Near and proportional draws can take it several times, with other clips
    each time. An epoch is as many batches as the clips fill, at least one. Within it a class repeats no clip before all
    its clips were used. The batches of epoch e follow from ``(seed, e)`` alone, so a run can be continued at any step.
    Raises UserError for fewer than two classes, or a flag out of range.

    Args:
        labels: (N,) class of every clip.
        names: the classes' words, for phonetically near draws.
        data_probs: 0-6, an index into `MIXTURES`.
        num_steps: batches to yield in total, over as many epochs as that takes; None is one epoch.
        start: batches to skip at the beginning.
        tables: folder where the lists of near words are kept.
        groups: (C,) which of several joined sets each class, by number, comes from; with ``shares``.
        shares: what share of a uniform batch's classes each group gets, in any unit; None draws from all alike.
    """

    def __init__(self, labels: np.ndarray, names: Sequence[str], batch_classes: int, per_class: int,
                 data_probs: int = 0, seed: int = 0, num_steps: int | None = None, start: int = 0,
                 tables: str | Path = CACHE, groups: np.ndarray | None = None, shares: Sequence[float] | None = None):
        labels = np.asarray(labels)
        self.classes, counts = np.unique(labels, return_counts=True)
        if len(self.classes) < 2:
            raise UserError(f"the training manifest has one class ({names[int(self.classes[0])]!r}); "
                            "a triplet needs at least two")
        if per_class < 2:
            raise UserError(f"--per_class {per_class}: a positive pair needs at least 2 clips of a class in a batch")
        if batch_classes < 2:
            raise UserError(f"--batch_classes {batch_classes}: a negative needs at least 2 classes in a batch")
        self.batch_classes = min(batch_classes, len(self.classes))
        self.per_class, self.seed, self.start = per_class, seed, start
        self.batch_clips = self.batch_classes * per_class
        self.mixture = np.array(MIXTURES[data_probs])
        self.pools, self.quota = self._pools(groups, shares)
        self.share = counts / counts.sum()
        order = np.argsort(labels, kind="stable")
        self.clips = np.split(order, np.cumsum(counts)[:-1])  # of each class
        # Rows and entries are positions in self.classes, like every class number below.
        self.near = nearest_words([names[c] for c in self.classes], cache_dir=tables)[0] if self.mixture[1] else None
        self.epoch_steps = max(1, len(labels) // self.batch_clips)
        self.num_steps = self.epoch_steps if num_steps is None else num_steps

    def _pools(self, groups: np.ndarray | None, shares: Sequence[float] | None) -> tuple[list[np.ndarray], list[int]]:
        """The classes of each group, and how many of them a uniform batch has."""
        if shares is None:
            return [np.arange(len(self.classes))], [self.batch_classes]
        groups = np.zeros(self.classes.max() + 1, int) if groups is None else groups
        sets = int(groups.max()) + 1
        if len(shares) != sets:
            raise UserError(f"--shares gives {len(shares)} shares for {sets} data set{'s' * (sets > 1)} of --manifest "
                            "with labels that no earlier one has; give one for each")
        if not self.mixture[0]:
            raise UserError("--shares is about classes that are drawn uniformly, which these --data_probs never do; "
                            "leave one of the two out")
        pools = [np.flatnonzero(groups[self.classes] == g) for g in range(sets)]
        exact = np.array(shares) / sum(shares) * self.batch_classes
        quota = np.floor(exact).astype(int)
        quota[np.argsort(quota - exact, kind="stable")[:self.batch_classes - quota.sum()]] += 1  # largest remainders
        for g, (pool, wanted) in enumerate(zip(pools, quota, strict=True)):
            if wanted > len(pool) or (not wanted and shares[g] > 0 and len(pool)):
                raise UserError(f"--shares: {wanted} of a batch's {self.batch_classes} classes would come from data "
                                f"set {g + 1} of --manifest, which has {len(pool)} of its own; change its share or "
                                "--batch_classes")
        return pools, quota.tolist()

    def __len__(self) -> int:
        return max(0, self.num_steps - self.start)

    def __iter__(self) -> Iterator[np.ndarray]:
        """Clip indices of each batch, (batch_classes * per_class,), a class's clips side by side."""
        for step in range(self.start - self.start % self.epoch_steps, self.num_steps):
            if step % self.epoch_steps == 0:
                epoch = self._epoch(np.random.default_rng([self.seed, step // self.epoch_steps]))
            batch = next(epoch)
            if step >= self.start:
                yield batch

    def _epoch(self, rng: np.random.Generator) -> Iterator[np.ndarray]:
        class_decks = [Deck(pool, rng) for pool in self.pools]
        clip_decks = [Deck(clips, rng) for clips in self.clips]
        while True:
            draw = rng.choice(3, p=self.mixture)
            if draw == 0:
                chosen = np.concatenate([deck.deal(count) for deck, count in zip(class_decks, self.quota, strict=True)])
            elif draw == 1:
                chosen = self._near(rng)
            else:
                chosen = rng.choice(len(self.classes), self.batch_classes, p=self.share)
            # One deal for a class that was drawn several times, so that its clips differ.
            times = Counter(chosen.tolist())
            yield np.concatenate([clip_decks[c].deal(n * self.per_class) for c, n in times.items()])

    def _near(self, rng: np.random.Generator) -> np.ndarray:
        """Half of the classes at random, without repetition, and for each of them a partner that sounds like it.

        The partner is the word's nearest, second or third nearest, by a draw. Of an odd number of classes one has none.
        """
        words = rng.permutation(len(self.classes))[:self.batch_classes - self.batch_classes // 2]
        paired = words[:self.batch_classes // 2]
        place = rng.integers(min(PARTNERS, self.near.shape[1]), size=len(paired))
        return np.concatenate([words, self.near[paired, place]])


def spread(labels: np.ndarray, most: int) -> np.ndarray:
    """Ascending indices of at most ``most`` clips, as evenly over the classes as their counts allow."""
    count = len(labels)
    if count <= most:
        return np.arange(count)
    order = np.lexsort((np.random.default_rng(0).permutation(count), labels))  # by class, shuffled within
    per_class = np.bincount(labels)
    rank = np.empty(count, int)  # of a clip within its class
    rank[order] = np.arange(count) - np.repeat(np.cumsum(per_class) - per_class, per_class)
    return np.sort(np.lexsort((labels, rank))[:most])
