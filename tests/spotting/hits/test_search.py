"""One saying is one hit: against the plain definition, whatever comes at a time."""

import itertools

import numpy as np
import pytest

from spotting.hits.match import Hit, Peak, hit_of
from spotting.hits.search import Best, of_one_saying, paused
from spotting.words.words_file import Clip, Word

HOP, CLIP = 1600, 16_000
WORDS = [Word(name, [Clip("", 0, 1, "", np.eye(windows, 8, dtype=np.float32))], 0.35 * (windows > 1), start, end, 0.2)
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
