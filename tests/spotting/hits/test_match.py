"""Scores and hits against plain definitions of them."""

import itertools

import numpy as np
import pytest

from spotting.hits.match import Early, Hit, PeakPicker, Scorer, hit_of, reach
from spotting.words.words_file import Clip, Word

RNG = np.random.default_rng(1)
HOP, CLIP = 1600, 16_000


def unit(*shape):
    x = RNG.standard_normal(shape).astype(np.float32)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def word(windows=1, spacing=0.0, name="w", clips=3, d=8):
    return Word(name, [Clip(str(i), 0, 1, str(i), unit(windows, d)) for i in range(clips)], spacing, 0.2, 0.8, 0.5)


def by_definition(scores, near):
    """Windows that score higher than all within ``near`` before them, and no less than those after."""
    return [i for i, s in enumerate(scores) if np.isfinite(s) and all(s > t for t in scores[max(0, i - near):i])
            and all(s >= t for t in scores[i + 1:i + 1 + near])]


@pytest.mark.parametrize("near", [0, 1, 3, 9])
@pytest.mark.parametrize("chunk", [1, 7, 500])
def test_peaks_are_what_their_definition_says_whatever_the_blocks(near, chunk):
    scores = RNG.integers(0, 8, (200, 2)).astype(np.float32)  # with ties
    scores[50:60] = -np.inf
    picker = PeakPicker([near, 9])
    backs = np.zeros((200, 2), np.int64)
    found = [p for i in range(0, 200, chunk) for p in picker.push(scores[i:i + chunk], backs[i:i + chunk])]
    found += picker.finish()
    for w, r in ((0, near), (1, 9)):
        assert [p.last for p in found if p.word == w] == by_definition(scores[:, w], r)
    assert [p.last for p in found] == sorted(p.last for p in found)


def test_a_word_of_one_window_scores_by_its_similarity_and_silence_by_nothing():
    one, embeddings = word(), unit(20, 8)
    scores, backs = Scorer([one], HOP)(embeddings, np.arange(20) > 4)
    assert np.allclose(scores[5:, 0], embeddings[5:] @ one.template()[0])
    assert np.isinf(scores[:5]).all() and not backs.any()


@pytest.mark.parametrize("chunk", [1, 4, 60])
def test_a_longer_word_scores_by_its_best_sequence(chunk):
    long, embeddings = word(windows=3, spacing=0.4), unit(60, 8)  # 4 hops, from 2 to 6
    similar = embeddings @ long.template().T
    scorer = Scorer([long], HOP)
    parts = [scorer(embeddings[i:i + chunk], np.ones(len(embeddings[i:i + chunk]), bool)) for i in range(0, 60, chunk)]
    scores, backs = (np.concatenate(x)[:, 0] for x in zip(*parts, strict=True))
    for i in range(60):
        ways = {(a, b): (similar[i - a - b, 0] + similar[i - b, 1] + similar[i, 2]) / 3
                for a, b in itertools.product(range(2, 7), repeat=2) if i - a - b >= 0}
        if not ways:
            assert np.isinf(scores[i])
            continue
        best = max(ways, key=ways.get)
        assert np.isclose(scores[i], ways[best]) and backs[i] == sum(best)


def test_hits_of_one_word_never_overlap_and_lie_where_the_word_did():
    words = [word(name="a"), word(2, 0.3, "b")]
    embeddings = unit(300, 8)
    scorer, picker = Scorer(words, HOP), PeakPicker([reach(one, HOP, CLIP) for one in words])
    found = picker.push(*scorer(embeddings, np.ones(300, bool))) + picker.finish()
    for w, one in enumerate(words):
        last = [p.last for p in found if p.word == w]
        assert len(last) > 5 and np.diff(last).min() > reach(one, HOP, CLIP)
    hit = hit_of(next(p for p in found if p.word == 0), words[0], HOP)
    assert hit.end - hit.start == pytest.approx(0.6)


@pytest.mark.parametrize("seed", range(30))
def test_early_tells_one_hit_for_each_peak(seed):
    rng = np.random.default_rng(seed)
    scores = np.convolve(rng.standard_normal(400), np.ones(4) / 4, "same").round(1)
    near, patience, threshold = int(rng.integers(1, 10)), int(rng.integers(0, 4)), 0.3
    early, told = Early(0, near, patience, threshold), []
    for i, score in enumerate(scores):
        if peak := early.push(i, score, 0):
            assert i - peak.last <= max(min(patience, near), near // 2)
            told.append(peak)
    told += filter(None, [early.finish()])
    picker = PeakPicker([near])
    column = scores[:, None].astype(np.float32), np.zeros((400, 1), np.int64)
    wanted = [peak for peak in picker.push(*column) + picker.finish() if peak.score >= threshold]
    assert len(told) == len(wanted) > 5
    # Each is the same peak, its shift included, or one on the way up to it.
    for peak, top in zip(told, wanted, strict=True):
        assert peak == top or (peak.last < top.last and peak.score < top.score)
    assert sum(peak == top for peak, top in zip(told, wanted, strict=True)) > len(told) / 2


@pytest.mark.parametrize(("start", "end", "seconds", "wanted"), [
    (-0.3, 0.3, 2, (0, 0.6)), (1.6, 2.2, 2, (1.4, 2)), (0.5, 1.1, 2, (0.5, 1.1)), (-0.2, 0.4, 0.5, (0, 0.5))])
def test_a_hit_lies_within_its_recording(start, end, seconds, wanted):
    hit = Hit("a", start, end, 0.5).within(seconds)
    assert (hit.start, hit.end) == pytest.approx(wanted)
