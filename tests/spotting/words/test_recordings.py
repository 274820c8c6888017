"""Where the word lies in a recording of it."""

import numpy as np
import pytest

from spotting.words.recordings import speech_span


def test_the_span_of_speech_is_where_it_was_put():
    rng = np.random.default_rng(0)
    sound = 3 * rng.standard_normal(32_000)
    sound[8_000:16_000] += 3000 * rng.standard_normal(8_000)
    sound[24_000:24_100] += 9000  # a click
    start, end = speech_span(sound.astype(np.int16))
    assert start == pytest.approx(0.5, abs=0.02) and end == pytest.approx(1.0, abs=0.02)
    assert speech_span(np.zeros(1600, np.int16)) == (0.0, 0.1)
