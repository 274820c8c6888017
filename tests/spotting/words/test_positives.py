"""Which recordings of words are tested: labels of one saying count once, those of two sayings twice."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from spotting.words.positives import find_positives, heard_with, leave_out_enrolled
from tests.sounds import record

WORDS = [SimpleNamespace(words=[SimpleNamespace(name=name, clips=[]) for name in ("bed", "cat")])]


def kept(tmp_path, *labels):
    """(word, offset, duration) of those that are tested of as many labels in one recording, and what was said."""
    record(tmp_path / "long.wav", np.zeros(10 * 16_000), 16_000)
    (tmp_path / "link.wav").unlink(missing_ok=True)
    (tmp_path / "link.wav").symlink_to(tmp_path / "long.wav")
    lines = [{"audio_filepath": ("long.wav", "link.wav")[i % 2], "label": word, "offset": at, "duration": duration}
             for i, (word, at, duration) in enumerate((*labels, ("bed", 9.0, 0.5), ("cat", 9.0, 0.5)))]
    (tmp_path / "said.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    said = []
    found, stretches = leave_out_enrolled(find_positives(tmp_path / "said.json"), WORDS, 1.0, said.append)
    assert not stretches
    return [(word, start, pytest.approx(end - start)) for word, _, start, end in found[:-2]], said


@pytest.mark.parametrize("again", [(2.0, 0.6), (2.001, 0.6), (1.95, 0.7), (2.1, 0.3), (1.5, 2.0), (2.25, 0.5)])
def test_labels_of_one_saying_that_do_not_agree_to_the_sample_count_once(tmp_path, again):
    assert kept(tmp_path, ("bed", 2.0, 0.6), ("bed", *again))[0] == [("bed", 2.0, 0.6)]
    found, said = kept(tmp_path, ("bed", *again), ("bed", 2.0, 0.6))
    assert found == [("bed", *again)]
    assert any("left out 1 recordings that repeat another, such as" in line and "at 2 s" in line for line in said)


@pytest.mark.parametrize("other", [("bed", 2.6, 0.6), ("bed", 2.55, 0.6), ("bed", 1.5, 0.6), ("cat", 2.0, 0.6),
                                   ("bed", 7.0, 0.6)])
def test_two_sayings_count_twice_and_two_words_as_well(tmp_path, other):
    found, said = kept(tmp_path, ("bed", 2.0, 0.6), other)
    assert found == [("bed", 2.0, 0.6), other] and not said


def test_half_a_second_beside_a_stretch_is_heard_with_it():
    assert heard_with(("bed", "a.wav", 2.0, 2.5)) == ("a.wav", 1.5, 3.0)
    assert heard_with(("bed", "a.wav", 0.25, 0.5)) == ("a.wav", 0.0, 1.0)
    assert heard_with(("bed", "a.wav", 0.0, None)) == ("a.wav", 0.0, None)
