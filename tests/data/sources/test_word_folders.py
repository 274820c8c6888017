"""Folders of splits, folds or speakers are not taken for words; words that are called so are."""

import re
from pathlib import Path

import pytest

from data.base.errors import UserError
from data.sources.word_folders import doubt_words

ROOT = Path("/r")


def files(*folders):
    """Ten files in each folder."""
    return [(folder.split("/")[0], f"/r/{folder}/{i}.wav") for folder in folders for i in range(10)]


@pytest.mark.parametrize("folders", [
    ("train/alfa", "train/bravo", "dev/alfa", "dev/bravo", "test/alfa"), ("fold1/alfa", "fold2/alfa", "fold1/bravo"),
    ("Training/a", "Validation/a", "Testing/b"), ("train", "test"), ("train-clean-100/1034", "dev_clean/84"),
    ("wake-word", "not-wake-word", "test/wake-word", "test/not-wake-word"), ("cv_0/a", "cv_1/a"), ("test/a", "test/b"),
    ("train/a", "valid/a", "a")])
def test_splits_are_refused(folders):
    with pytest.raises(UserError, match="splits of the data"):
        doubt_words(files(*folders), ROOT)


@pytest.mark.parametrize("folders", [
    ("alfa", "bravo"), ("alfa/anna", "bravo/ben"), ("part", "whole"), ("one", "two", "three"),
    ("alfa", "bravo", "alfa/anna", "bravo/anna")])
def test_words_are_words(folders):
    assert doubt_words(files(*folders), ROOT) is None


@pytest.mark.parametrize(("folders", "part"), [
    (("a/anna", "a/ben", "b/anna", "b/ben"), "'anna', 'ben'.*--speaker_regex"),
    (("test", "train", "car"), "'test', 'train'"),
    (("test/anna", "test/ben", "train/anna", "train/ben", "car/anna", "car/ben"), "'anna', 'ben'.*--speaker_regex")])
def test_what_may_be_speakers_or_splits_is_said_but_taken(folders, part):
    assert re.search(part, doubt_words(files(*folders), ROOT))
