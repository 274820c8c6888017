"""Properties of class-balanced batches: what is in them, what an epoch covers, and how they repeat."""

import itertools

import numpy as np
import pytest

from data import phonetics, sampler
from data.base.errors import UserError
from data.sampler import MIXTURES, BalancedBatchSampler, Deck, spread

WORDS = ["backward", "bed", "bird", "cat", "dog", "down", "eight", "five", "follow", "forward", "four", "go", "happy",
         "house", "learn", "left", "marvin", "nine", "no", "off", "on", "one", "right", "seven", "sheila", "six",
         "stop", "three", "tree", "two", "up", "visual", "wow", "yes", "zero"]


@pytest.fixture(autouse=True)
def no_cache(monkeypatch):
    """Nearest words are computed, and nothing is written into the repository."""
    monkeypatch.setattr(sampler, "nearest_words", lambda names, top=20, **_: phonetics.neighbours(names, top)[0])


def names_of(count: int) -> list[str]:
    """``count`` distinct word-like names."""
    syllables = [a + b for a in "bdfgklmnprst" for b in "aeiou"]
    return (WORDS + ["".join(pair) for pair in itertools.product(syllables, repeat=2)])[:count]


def shuffled_labels(counts, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))


def batches(counts, *args, **kwargs) -> tuple[np.ndarray, np.ndarray, BalancedBatchSampler]:
    """Clip indices (steps, batch_classes, per_class), the labels of all clips, and the sampler."""
    labels = shuffled_labels(counts)
    made = BalancedBatchSampler(labels, names_of(len(counts)), *args, **kwargs)
    return np.array(list(made)).reshape(-1, made.batch_classes, made.per_class), labels, made


UNEVEN = [1, 2, 3, 5, 8, 13, 21, 34, 55, 89]


# What every batch must be.

@pytest.mark.parametrize("data_probs", range(7))
@pytest.mark.parametrize(("counts", "batch_classes", "per_class"), [
    ([4, 6], 2, 2), ([1, 1], 35, 10), (UNEVEN, 10, 4), (UNEVEN, 7, 10), ([12] * 35, 35, 10), ([12] * 35, 11, 3),
    (list(range(1, 1001)), 35, 10)])
def test_every_batch_is_full_and_of_distinct_classes(counts, batch_classes, per_class, data_probs):
    drawn, labels, _ = batches(counts, batch_classes, per_class, data_probs=data_probs, num_steps=40)
    assert drawn.shape == (40, min(batch_classes, len(counts)), per_class)
    for batch in drawn:
        classes = labels[batch]
        assert (classes == classes[:, :1]).all()  # a row holds clips of one class
        assert len(set(classes[:, 0])) == len(classes)
        for clips, (label, *_) in zip(batch, classes, strict=True):
            # No clip twice if the class has enough; else its own, evenly repeated.
            times = np.unique(clips, return_counts=True)[1]
            assert len(times) == min(per_class, counts[label])
            assert np.ptp(times) <= 1


def test_more_batch_classes_than_labels_takes_all():
    drawn, _, made = batches([5, 5, 5], 35, 2)
    assert made.batch_classes == 3 and drawn.shape[1] == 3


def test_a_label_without_clips_is_never_drawn():
    labels = shuffled_labels([3, 0, 4, 0, 5])
    for data_probs in range(7):
        made = BalancedBatchSampler(labels, WORDS[:5], 5, 2, data_probs=data_probs, num_steps=10)
        assert made.batch_classes == 3
        assert {int(label) for batch in made for label in labels[batch]} == {0, 2, 4}


# len() and epochs.

@pytest.mark.parametrize(("counts", "batch_classes", "per_class", "expected"), [
    ([200] * 15, 15, 20, 10), ([10] * 4, 3, 10, 1), ([30] * 4, 3, 10, 4), (UNEVEN, 10, 10, 2), ([2, 2], 2, 10, 1)])
def test_length_is_true(counts, batch_classes, per_class, expected):
    labels = shuffled_labels(counts)
    made = BalancedBatchSampler(labels, names_of(len(counts)), batch_classes, per_class)
    assert len(made) == len(list(made)) == len(list(made)) == expected
    for steps, start in ((7, 0), (7, 3), (7, 7), (7, 9), (0, 0)):
        made = BalancedBatchSampler(labels, names_of(len(counts)), batch_classes, per_class, num_steps=steps,
                                    start=start)
        assert len(made) == len(list(made)) == max(0, steps - start)


@pytest.mark.parametrize(("clips", "classes", "batch_classes", "per_class"), [
    (20, 5, 5, 4), (30, 4, 3, 10), (12, 35, 7, 4), (6, 9, 3, 2)])
def test_an_epoch_of_balanced_data_sees_every_clip_once(clips, classes, batch_classes, per_class):
    drawn, labels, made = batches([clips] * classes, batch_classes, per_class)
    assert sorted(drawn.ravel()) == list(range(len(labels)))
    twice = BalancedBatchSampler(labels, names_of(classes), batch_classes, per_class, num_steps=2 * len(made))
    assert sorted(np.concatenate(list(twice))) == sorted([*range(len(labels))] * 2)  # and so does every later one


@pytest.mark.parametrize("data_probs", range(7))
def test_no_clip_comes_again_before_its_class_is_through(data_probs):
    counts = [9, 12, 15, 40]
    drawn, labels, _ = batches(counts, 3, 3, data_probs=data_probs)
    for label, count in enumerate(counts):
        clips = [clip for batch in drawn for row in batch if labels[row[0]] == label for clip in row]
        for first in range(0, len(clips), count):
            dealt = clips[first:first + count]
            assert len(set(dealt)) == len(dealt)


@pytest.mark.parametrize(("classes", "batch_classes"), [(35, 35), (35, 10), (35, 11), (7, 4), (1000, 33)])
def test_uniform_draws_cover_every_class_before_repeating(classes, batch_classes):
    drawn, labels, made = batches([8 + i % 5 for i in range(classes)], batch_classes, 2)
    order = labels[drawn[:, :, 0]].ravel()
    assert len(made) * batch_classes >= 2 * classes
    for first in range(0, len(order) - classes + 1, classes):
        assert len(set(order[first:first + classes])) == classes


def test_deck_deals_each_item_once_a_round_and_never_twice_a_deal():
    for size, count in itertools.product(range(1, 12), range(1, 14)):
        deck = Deck(np.arange(100, 100 + size), np.random.default_rng(size * 100 + count))
        deals = [deck.deal(count) for _ in range(30)]
        assert all(len(deal) == count for deal in deals)
        times = np.array([np.bincount(deal - 100, minlength=size) for deal in deals])
        assert (np.ptp(times, axis=1) <= 1).all()
        assert (np.ptp(times.cumsum(0), axis=1) <= 1).all()  # dealt equally often, give or take one


# Reproducible, and to be continued.

@pytest.mark.parametrize("data_probs", range(7))
def test_same_seed_same_batches(data_probs):
    steps = {"num_steps": 12, "data_probs": data_probs}
    first, _, made = batches(UNEVEN, 6, 3, seed=3, **steps)
    np.testing.assert_array_equal(batches(UNEVEN, 6, 3, seed=3, **steps)[0], first)
    np.testing.assert_array_equal(np.array(list(made)).reshape(first.shape), first)  # iterated again
    assert (batches(UNEVEN, 6, 3, seed=4, **steps)[0] != first).any()


@pytest.mark.parametrize("data_probs", range(7))
def test_epochs_differ(data_probs):
    drawn, _, _ = batches([20] * 10, 10, 4, data_probs=data_probs, num_steps=15)
    epochs = drawn.reshape(3, 5, -1)
    for a, b in itertools.combinations(epochs, 2):
        assert (a != b).any()


@pytest.mark.parametrize("data_probs", range(7))
def test_continued_at_any_step(data_probs):
    whole, _, made = batches(UNEVEN, 6, 3, data_probs=data_probs, num_steps=40)
    assert made.epoch_steps == 12  # so that 40 steps are three epochs and a part
    for start in range(41):
        rest, _, _ = batches(UNEVEN, 6, 3, data_probs=data_probs, num_steps=40, start=start)
        np.testing.assert_array_equal(rest, whole[start:])


def test_more_steps_begin_with_the_same_ones():
    np.testing.assert_array_equal(batches(UNEVEN, 6, 3, data_probs=6, num_steps=50)[0][:20],
                                  batches(UNEVEN, 6, 3, data_probs=6, num_steps=20)[0])


# Which classes are drawn.

def test_mixtures_are_distributions_and_the_first_three_are_pure():
    assert len(MIXTURES) == 7 and len(set(MIXTURES)) == 7
    assert np.allclose(np.sum(MIXTURES, axis=1), 1) and (np.array(MIXTURES) >= 0).all()
    np.testing.assert_array_equal(MIXTURES[:3], np.eye(3))


def test_proportional_draws_follow_the_counts():
    counts = np.array([5, 10, 20, 40, 80, 160])
    drawn, labels, _ = batches(counts, 2, 2, data_probs=2, num_steps=4000)
    frequency = np.bincount(labels[drawn[:, :, 0]].ravel(), minlength=6) / len(drawn)
    # A class is the first of two with probability p, the second with p / (1 - p of the first).
    p = counts / counts.sum()
    expected = p + np.array([sum(p[j] * p[i] / (1 - p[j]) for j in range(6) if j != i) for i in range(6)])
    assert (np.abs(frequency - expected) < 4 * np.sqrt(expected * (1 - expected) / len(drawn))).all()
    uniform = np.bincount(labels[batches(counts, 2, 2, num_steps=4000)[0][:, :, 0]].ravel()) / 4000
    np.testing.assert_allclose(uniform, 1 / 3, atol=0.01)


@pytest.mark.parametrize("data_probs", range(7))
def test_kinds_of_draw_come_in_the_stated_shares(monkeypatch, data_probs):
    near, steps = [], 3000
    original = BalancedBatchSampler._near
    monkeypatch.setattr(BalancedBatchSampler, "_near", lambda *args: near.append(1) or original(*args))
    # 30 small classes and a huge one: drawn in proportion, it is in nearly every batch; else in few.
    counts = [2] * 30 + [6000]
    drawn, labels, _ = batches(counts, 2, 2, data_probs=data_probs, num_steps=steps)
    _, near_share, proportional_share = MIXTURES[data_probs]
    assert abs(len(near) / steps - near_share) < 0.04
    with_huge = (labels[drawn[:, :, 0]] == 30).any(1).mean()
    if proportional_share:
        assert with_huge > proportional_share - 0.04
    if proportional_share < 1:
        assert with_huge < proportional_share + (1 - proportional_share) * 0.25


def pair_distances(names: list[str]) -> np.ndarray:
    indices, distances = phonetics.neighbours(names, len(names) - 1)
    square = np.zeros((len(names), len(names)))
    np.put_along_axis(square, indices, distances, axis=1)
    return square


@pytest.mark.parametrize(("classes", "batch_classes"), [(35, 5), (35, 10), (35, 20), (1000, 35)])
def test_near_draws_are_nearer_than_uniform_ones(classes, batch_classes):
    square = pair_distances(names_of(classes))

    def nearest_other(data_probs: int) -> np.ndarray:
        """Of each word of a batch, the distance to the batch's word most like it; and the mean of all pairs."""
        drawn, labels, _ = batches([4] * classes, batch_classes, 2, data_probs=data_probs, num_steps=60)
        found = []
        for chosen in labels[drawn[:, :, 0]]:
            pairs = square[np.ix_(chosen, chosen)]
            off = pairs[~np.eye(len(pairs), dtype=bool)].reshape(len(pairs), -1)
            found.append((off.min(1).mean(), off.mean()))
        return np.mean(found, axis=0)

    assert (nearest_other(1) < nearest_other(0)).all()


def test_near_batches_are_words_with_their_nearest():
    names = names_of(35)
    square = pair_distances(names)
    drawn, labels, _ = batches([4] * 35, sampler.GROUP, 2, data_probs=1, num_steps=50)
    for anchor, *others in labels[drawn[:, :, 0]]:  # one group: the first is the word, the rest its nearest
        assert sorted(square[anchor, others]) == sorted(np.sort(square[anchor])[1:sampler.GROUP])


@pytest.mark.parametrize("data_probs", [1, 3, 5, 6])
def test_near_draws_leave_no_class_out(data_probs):
    drawn, labels, _ = batches([4] * 35, 10, 2, data_probs=data_probs, num_steps=200)
    assert set(labels[drawn[:, :, 0]].ravel()) == set(range(35))


@pytest.mark.parametrize("names", [["_silence_", "_unknown_", "yes"], ["1", "2", "35"], ["да", "нет", "日本"]])
def test_labels_that_are_no_words(names):
    labels = shuffled_labels([4, 4, 4])
    for data_probs in range(7):
        made = BalancedBatchSampler(labels, names, 2, 2, data_probs=data_probs, num_steps=20)
        assert {len(set(labels[batch])) for batch in made} == {2}


def test_nearest_words_are_not_looked_up_without_near_draws(monkeypatch):
    monkeypatch.setattr(sampler, "nearest_words", None)  # calling it would fail
    for data_probs, mixture in enumerate(MIXTURES):
        if not mixture[1]:
            batches([4] * 5, 3, 2, data_probs=data_probs)


# Bad arguments.

@pytest.mark.parametrize(("counts", "kwargs", "message"), [
    ([5], {}, "'backward'.*at least two"),
    ([5, 5], {"per_class": 1}, "--per_class 1"),
    ([5, 5], {"per_class": 0}, "--per_class 0"),
    ([5, 5], {"batch_classes": 1}, "--batch_classes 1"),
    ([5, 5], {"batch_classes": -3}, "--batch_classes -3"),
    ([5, 5], {"data_probs": 7}, "--data_probs 7"),
    ([5, 5], {"data_probs": -1}, "--data_probs -1"),
])
def test_bad_arguments(counts, kwargs, message):
    with pytest.raises(UserError, match=message):
        batches(counts, **({"batch_classes": 2, "per_class": 2} | kwargs))


@pytest.mark.parametrize("most", [1, 7, 30, 62, 63, 1000])
def test_spread_takes_classes_evenly(most):
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 3], [3, 20, 40]))
    rows = spread(labels, most)
    assert len(rows) == len(set(rows)) == min(most, 63)
    assert np.all(np.diff(rows) > 0)
    counts = np.bincount(labels[rows], minlength=4)
    short = counts < [3, 20, 0, 40]  # a class not used up has as many as any other, but for one
    assert all(counts[short] >= counts.max() - 1)


def test_shares_divide_a_batch_between_joined_sets():
    labels = np.repeat(np.arange(12), 5)
    groups = np.array([0, 1, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1])  # of 2 and 10 classes
    sampler = BalancedBatchSampler(labels, [], 6, 2, groups=groups, shares=(1, 2), num_steps=40)
    drawn = np.array([labels[batch].reshape(6, 2)[:, 0] for batch in sampler])
    assert all(len(set(row)) == 6 for row in drawn)
    assert ((groups[drawn] == 0).sum(1) == 2).all()
    seen = np.bincount(drawn[groups[drawn] == 1], minlength=12)[groups == 1]
    assert seen.min() >= 0.8 * seen.max()  # each as often as the others
    plain = [batch.tolist() for batch in BalancedBatchSampler(labels, [], 6, 2, num_steps=9)]
    assert [batch.tolist() for batch in BalancedBatchSampler(labels, [], 6, 2, groups=groups, num_steps=9)] == plain
    assert [batch.tolist() for batch in BalancedBatchSampler(labels, [], 6, 2, shares=(3,), num_steps=9)] == plain


@pytest.mark.parametrize(("shares", "counts"), [
    ((1, 1), (3, 2)), ((2, 3), (2, 3)), ((1, 0), (5, 0)), ((0.9, 1.1), (2, 3))])
def test_shares_are_rounded_by_their_remainders(shares, counts):
    sampler = BalancedBatchSampler(np.repeat(np.arange(20), 2), [], 5, 2, groups=np.arange(20) % 2, shares=shares)
    assert tuple(sampler.quota) == counts


def test_shares_that_cannot_be():
    labels, groups = np.repeat(np.arange(6), 2), np.array([0, 1, 1, 1, 1, 1])
    for shares, message in (((1,), "2 data sets"), ((1, 1, 1), "3 shares"), ((1, 1), "has 1 of its own")):
        with pytest.raises(UserError, match=message):
            BalancedBatchSampler(labels, [], 4, 2, groups=groups, shares=shares)
    with pytest.raises(UserError, match="2 shares, --manifest names 1 data set with labels that no earlier one has"):
        BalancedBatchSampler(labels, [], 4, 2, groups=np.zeros(6, int), shares=(1, 1))  # the second has the first's
    labels, groups = np.repeat(np.arange(40), 2), np.arange(40) // 36
    with pytest.raises(UserError, match="none of a batch's 35 classes would come from data set 2"):
        BalancedBatchSampler(labels, [], 35, 2, groups=groups, shares=(100, 1))
    for data_probs in (1, 2, 5):
        with pytest.raises(UserError, match="--data_probs never do"):
            BalancedBatchSampler(labels, [str(i) for i in range(40)], 4, 2, data_probs, groups=groups, shares=(1, 1))
