"""Properties of class-balanced batches: what is in them, what an epoch covers, and how they repeat."""

import itertools

import numpy as np
import pytest

from data import phonetics, sampler
from data.base.errors import UserError
from data.demo.synthesis import WORDS
from data.sampler import MIXTURES, BalancedBatchSampler, spread


@pytest.fixture(autouse=True)
def no_cache(monkeypatch):
    """Nearest words are computed, and nothing is written into the repository."""
    monkeypatch.setattr(sampler, "nearest_words", lambda names, top=20, **_: phonetics.neighbours(names, top))


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


@pytest.mark.parametrize("data_probs", [0, 1, 2, 6])
@pytest.mark.parametrize(("counts", "batch_classes", "per_class"), [
    ([1, 1], 35, 10), (UNEVEN, 7, 10), ([12] * 35, 11, 3), (list(range(1, 201)), 35, 10)])
def test_every_batch_is_full_and_of_as_different_clips_as_can_be(counts, batch_classes, per_class, data_probs):
    drawn, labels, _ = batches(counts, batch_classes, per_class, data_probs=data_probs, num_steps=40)
    assert drawn.shape == (40, min(batch_classes, len(counts)), per_class)
    for batch in drawn:
        classes = labels[batch]
        assert (classes == classes[:, :1]).all()  # a row holds clips of one class
        if data_probs == 0:
            assert len(set(classes[:, 0])) == len(classes)
        for label in set(classes[:, 0]):
            # No clip twice if the class has enough, however often it is drawn; else its own, evenly repeated.
            clips = batch[classes[:, 0] == label].ravel()
            times = np.unique(clips, return_counts=True)[1]
            assert len(times) == min(len(clips), counts[label])
            assert np.ptp(times) <= 1


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


@pytest.mark.parametrize("data_probs", [0, 1, 2, 6])
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


@pytest.mark.parametrize("data_probs", [0, 1, 2, 6])
def test_same_seed_same_batches_also_continued_at_any_step(data_probs):
    whole, _, made = batches(UNEVEN, 6, 3, data_probs=data_probs, num_steps=40)
    np.testing.assert_array_equal(np.array(list(made)).reshape(whole.shape), whole)  # iterated again
    assert (batches(UNEVEN, 6, 3, data_probs=data_probs, num_steps=40, seed=1)[0] != whole).any()
    assert made.epoch_steps == 12  # so that 40 steps are three epochs and a part
    for start in range(41):
        rest, _, _ = batches(UNEVEN, 6, 3, data_probs=data_probs, num_steps=40, start=start)
        np.testing.assert_array_equal(rest, whole[start:])


def test_proportional_draws_are_independent_and_follow_the_counts():
    counts = np.array([5, 10, 20, 40, 80, 160])
    drawn, labels, _ = batches(counts, 4, 2, data_probs=2, num_steps=4000)
    classes = labels[drawn[:, :, 0]]
    share = counts / counts.sum()
    frequency = np.bincount(classes.ravel(), minlength=6) / classes.size
    assert (np.abs(frequency - share) < 4 * np.sqrt(share * (1 - share) / classes.size)).all()
    # Of four draws with repetition all differ with this probability.
    distinct = sum(np.prod(share[list(four)]) for four in itertools.permutations(range(6), 4))
    found = np.mean([len(set(row)) == 4 for row in classes])
    assert abs(found - distinct) < 4 * np.sqrt(distinct * (1 - distinct) / 4000)


@pytest.mark.parametrize("data_probs", range(7))
def test_kinds_of_draw_come_in_the_stated_shares(monkeypatch, data_probs):
    near, steps = [], 3000
    original = BalancedBatchSampler._near
    monkeypatch.setattr(BalancedBatchSampler, "_near", lambda *args: near.append(1) or original(*args))
    # 30 small classes and a huge one: drawn in proportion, nearly all of a batch is of it; else at most half.
    counts = [2] * 30 + [60000]
    drawn, labels, _ = batches(counts, 4, 2, data_probs=data_probs, num_steps=steps)
    _, near_share, proportional_share = MIXTURES[data_probs]
    assert abs(len(near) / steps - near_share) < 0.04
    mostly_huge = ((labels[drawn[:, :, 0]] == 30).sum(1) > 2).mean()
    assert abs(mostly_huge - proportional_share) < 0.04


@pytest.mark.parametrize(("classes", "batch_classes"), [(35, 4), (35, 11), (35, 35), (1000, 35), (2, 2)])
def test_near_batches_are_words_and_a_partner_of_each_among_its_three_nearest(classes, batch_classes):
    labels = shuffled_labels([4] * classes)
    made = BalancedBatchSampler(labels, names_of(classes), batch_classes, 2, data_probs=1)
    half, rng, places, words = batch_classes // 2, np.random.default_rng(0), [], []
    for _ in range(400):
        chosen = made._near(rng)
        anchors, partners = chosen[:batch_classes - half], chosen[batch_classes - half:]
        assert len(chosen) == batch_classes and len(set(anchors)) == len(anchors)
        places += [list(made.near[a]).index(b) for a, b in zip(anchors, partners, strict=False)]
        words += anchors.tolist()
    for counts in (np.bincount(places, minlength=min(3, classes - 1)), np.bincount(words, minlength=classes)):
        expected = sum(counts) / len(counts)
        assert (np.abs(counts - expected) < 5 * np.sqrt(expected)).all()  # each place, and each word, as often


def test_nearest_words_are_not_looked_up_without_near_draws(monkeypatch):
    monkeypatch.setattr(sampler, "nearest_words", None)  # calling it would fail
    for data_probs, mixture in enumerate(MIXTURES):
        if not mixture[1]:
            batches([4] * 5, 3, 2, data_probs=data_probs)


@pytest.mark.parametrize(("counts", "batch_classes", "per_class", "message"), [
    ([5], 2, 2, "'backward'.*at least two"), ([5, 5], 2, 1, "--per_class 1"), ([5, 5], 1, 2, "--batch_classes 1")])
def test_bad_arguments(counts, batch_classes, per_class, message):
    with pytest.raises(UserError, match=message):
        batches(counts, batch_classes, per_class)


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
    with pytest.raises(UserError, match="2 shares for 1 data set of --manifest with labels that no earlier one has"):
        BalancedBatchSampler(labels, [], 4, 2, groups=np.zeros(6, int), shares=(1, 1))  # the second has the first's
    labels, groups = np.repeat(np.arange(40), 2), np.arange(40) // 36
    with pytest.raises(UserError, match="0 of a batch's 35 classes would come from data set 2"):
        BalancedBatchSampler(labels, [], 35, 2, groups=groups, shares=(100, 1))
    for data_probs in (1, 2, 5):
        with pytest.raises(UserError, match="--data_probs never do"):
            BalancedBatchSampler(labels, [str(i) for i in range(40)], 4, 2, data_probs, groups=groups, shares=(1, 1))


@pytest.mark.parametrize("names", [["_silence_", "_unknown_", "yes"], ["1", "2", "35"], ["да", "нет", "日本"]])
@pytest.mark.parametrize("data_probs", range(7))
def test_labels_that_are_no_words_and_those_without_clips(names, data_probs):
    labels = shuffled_labels([4, 0, 4, 0, 4])
    made = BalancedBatchSampler(labels, [names[0], "a", names[1], "b", names[2]], 5, 2, data_probs=data_probs,
                                num_steps=20)
    assert {len(batch) for batch in made} == {6}
    assert {int(label) for batch in made for label in labels[batch]} == {0, 2, 4}
