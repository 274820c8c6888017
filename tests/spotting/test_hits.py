"""Scores and hits against plain definitions of them, whatever comes at a time."""

import itertools

import numpy as np
import pytest

from models.enrolment.enrol import SECOND
from spotting.hits import Best, Hit, Peak, PeakPicker, Scorer, hit_of, of_one_saying, paused, reach
from spotting.words.words_file import Clip, Word
from tests.conftest import unit

RNG = np.random.default_rng(1)
HOP, CLIP = 1600, 16_000


def word(windows=1, spacing=0.0, name="w", clips=3, d=8):
    made = [Clip(str(i), 0, 1, str(i), *unit(RNG, 3, windows, d)) for i in range(clips)]
    return Word(name, made, spacing, 0.2, 0.8, 0.5)


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


def alike(one, embedding, k):
    """Half to the mean of the clips, half to the three most similar; in halls a little less."""
    models = []
    for length, name in ((1, "model"), (SECOND, "halls")):
        clips = np.array([getattr(clip, name)[k] for clip in one.clips])
        mean, each = clips.mean(0), sorted(clips @ embedding)
        models.append(length * (embedding @ mean / np.linalg.norm(mean) + np.mean(each[-3:])) / 2)
    return max(models)


@pytest.mark.parametrize(("hop", "count"), [(800, 5), (1600, 3), (2000, 1)])
def test_a_word_of_one_window_scores_by_how_alike_those_around_are_and_silence_by_nothing(hop, count):
    one, embeddings = word(clips=5), unit(RNG, 20, 8)
    scores, backs = Scorer([one], hop)(embeddings, np.arange(20) > 4)
    alone = [alike(one, embedding, 0) for embedding in embeddings]
    assert np.allclose(scores[4 + count:, 0], [np.mean(alone[i - count + 1:i + 1]) for i in range(4 + count, 20)])
    assert np.isinf(scores[:4 + count]).all() and not backs.any()
    assert hit_of(Peak(0, 9, 9, 1.0), one, hop).start == pytest.approx((9 - count // 2) * hop / 16_000 + 0.2)


@pytest.mark.parametrize("chunk", [1, 4, 60])
def test_a_longer_word_scores_by_its_best_sequence(chunk):
    long, embeddings = word(windows=3, spacing=0.4), unit(RNG, 60, 8)  # 4 hops, from 2 to 6
    similar = np.array([[alike(long, embedding, k) for k in range(3)] for embedding in embeddings])
    scorer = Scorer([long], HOP)
    parts = [scorer(embeddings[i:i + chunk], np.ones(len(embeddings[i:i + chunk]), bool)) for i in range(0, 60, chunk)]
    scores, backs = (np.concatenate(x)[:, 0] for x in zip(*parts, strict=True))
    alone = []
    for i in range(60):
        ways = {(a, b): (similar[i - a - b, 0] + similar[i - b, 1] + similar[i, 2]) / 3
                for a, b in itertools.product(range(2, 7), repeat=2) if i - a - b >= 0}
        best = max(ways, key=ways.get, default=())
        alone.append(ways.get(best, -np.inf))
        assert not ways or backs[i] == sum(best)
        assert np.isclose(scores[i], np.mean(alone[-3:]) if i > 1 else -np.inf)


def test_hits_of_one_word_never_overlap_and_lie_where_the_word_did():
    words = [word(name="a"), word(2, 0.3, "b")]
    embeddings = unit(RNG, 300, 8)
    scorer, picker = Scorer(words, HOP), PeakPicker([reach(one, HOP, CLIP) for one in words])
    found = picker.push(*scorer(embeddings, np.ones(300, bool))) + picker.finish()
    for w, one in enumerate(words):
        last = [p.last for p in found if p.word == w]
        assert len(last) > 5 and np.diff(last).min() > reach(one, HOP, CLIP)
    hit = hit_of(next(p for p in found if p.word == 0), words[0], HOP)
    assert hit.end - hit.start == pytest.approx(0.6)


@pytest.mark.parametrize(("start", "end", "seconds", "wanted"), [
    (-0.3, 0.3, 2, (0, 0.6)), (1.6, 2.2, 2, (1.4, 2)), (0.5, 1.1, 2, (0.5, 1.1)), (-0.2, 0.4, 0.5, (0, 0.5))])
def test_a_hit_lies_within_its_recording(start, end, seconds, wanted):
    hit = Hit("a", start, end, 0.5).within(seconds)
    assert (hit.start, hit.end) == pytest.approx(wanted)


WORDS = [Word(name, [Clip("", 0, 1, "", *3 * [np.eye(windows, 8, dtype="f4")])], 0.35 * (windows > 1), start, end, 0.2)
         for name, windows, start, end in (("a", 1, 0.2, 0.8), ("b", 1, 0.4, 0.7), ("c", 2, 0.1, 1.2))]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("step", [1, 7, 1000])
def test_a_hit_is_kept_if_no_other_word_is_better_in_its_place(seed, step):
    rng = np.random.default_rng(seed)
    peaks = [Peak(w, last - (w == 2) * int(rng.integers(2, 6)), last, int(rng.integers(10)) / 10,
                  int(rng.integers(-8, 9)) / 2)
             for last in range(-5, 200) for w in range(3) if rng.random() < 0.1]
    hits = [(peak.word, hit_of(peak, WORDS[peak.word], HOP)) for peak in peaks]
    best, kept = Best(WORDS, HOP, CLIP), []
    for at in range(-5, 200, step):
        kept += best.push([pair for pair, peak in zip(hits, peaks, strict=True) if at <= peak.last < at + step],
                          at + step)
    kept += best.push([], np.inf)
    wanted = [(w, hit) for w, hit in hits
              if all(other.above < hit.above or (other.above == hit.above and other.word > hit.word)
                     for _, other in hits if of_one_saying(hit, other))]
    assert [(w, hit.start) for w, hit in kept] == [(w, hit.start) for w, hit in hits]
    kept = [(w, hit) for w, hit in kept if np.isfinite(hit.above)]
    assert kept == wanted and 10 < len(kept) < len(hits)
    assert len(best.waiting) == 0


def test_what_is_decided_is_given_out_without_waiting_for_more():
    best = Best(WORDS, HOP, CLIP)
    hit = (0, Hit("a", 1.0, 1.6, 0.5, 0.3))
    given = [best.push([hit] if window == 9 else [], window) for window in range(60)]
    assert list(itertools.chain(*given)) == [hit]


def test_hits_of_one_saying_share_more_than_half():
    a = Hit("a", 1.0, 1.6, 0.5)
    for start, end, same in ((1.1, 1.3, True), (1.35, 1.95, False), (1.25, 1.85, True), (1.6, 2.0, False)):
        assert of_one_saying(a, Hit("b", start, end, 0.5)) is same
    assert not of_one_saying(a, Hit("a", 1.1, 1.7, 0.5))


def test_a_pause_begins_with_a_hit_that_is_told():
    hits = [Hit("a", at, at + 0.5, 0.5) for at in (0, 0.4, 1.0, 1.6, 3.0)]
    assert list(paused(hits, 0)) == hits
    assert [hit.start for hit in paused(hits, 0.5)] == [0, 1.0, 3.0]
    assert [hit.start for hit in paused(hits, 2.5)] == [0, 3.0]
