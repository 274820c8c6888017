"""Clips by index, and the orders they are read in."""

import itertools

import numpy as np
import pytest
import soundfile
import torch

from data.audio.dataset import Clips, InOrder, ResidentClips, Shuffled, loader
from data.base.errors import UserError
from data.manifests.manifest import Utterance, read_manifest, write_manifest
from data.sampler import BalancedBatchSampler

SECONDS = 0.05
SAMPLES = 800


@pytest.fixture
def manifest_file(tmp_path):
    """Twelve clips of three words; clip i holds the value 100 (i + 1) for 300 + 100 i samples."""
    for i in range(12):
        soundfile.write(tmp_path / f"{i}.wav", np.full(300 + 100 * i, 100 * (i + 1), np.int16), 16000)
    write_manifest(tmp_path / "train.json", [
        Utterance(str(tmp_path / f"{i}.wav"), "abc"[i % 3], (300 + 100 * i) / 16000) for i in range(12)])
    return tmp_path / "train.json"


@pytest.fixture
def clips(manifest_file, tmp_path):
    return Clips.of(read_manifest(manifest_file), "test", SECONDS, tmp_path / "cache")


def expected_clip(i: int) -> np.ndarray:
    clip = np.zeros(SAMPLES, np.int16)
    clip[:300 + 100 * i] = 100 * (i + 1)
    return clip


def test_a_batch_holds_the_clips_and_classes_asked_for(clips):
    assert len(clips) == 12
    for indices in ([0], [11, 0, 5], np.array([3, 3, 7]), range(12)):
        waveforms, labels = clips[indices]
        assert waveforms.dtype == torch.int16 and waveforms.shape == (len(indices), SAMPLES)
        assert labels.dtype == torch.int64 and labels.tolist() == [i % 3 for i in indices]
        for waveform, i in zip(waveforms.numpy(), indices, strict=True):
            np.testing.assert_array_equal(waveform, expected_clip(i))


@pytest.mark.parametrize("bad", [set(), {2, 3, 11}])
def test_clips_on_a_device_are_the_same_clips(manifest_file, tmp_path, monkeypatch, bad):
    monkeypatch.setattr("data.audio.dataset._COPIED", 700)  # in several parts
    for i in bad:
        soundfile.write(tmp_path / f"{i}.wav", np.zeros(500, np.int16), 16000)
    mapped = Clips.of(read_manifest(manifest_file), "test", SECONDS, tmp_path / "cache", skip_bad_audio=True)
    resident = ResidentClips(mapped, "cpu")
    assert len(resident) == len(mapped) == 12 - len(bad)
    for indices in (np.arange(len(mapped)), [0], [8, 0, 5, 5]):
        for found, expected in zip(resident[indices], mapped[indices], strict=True):
            assert found.dtype == expected.dtype and torch.equal(found, expected)
    assert ResidentClips.if_they_fit(mapped, torch.device("cpu")) is mapped


@pytest.mark.parametrize("bad", [{0}, {11}, {2, 3, 7}])
def test_left_out_clips_shift_no_label(manifest_file, tmp_path, bad):
    for i in bad:
        soundfile.write(tmp_path / f"{i}.wav", np.zeros(500, np.int16), 16000)  # silent to the bit
    manifest = read_manifest(manifest_file)
    with pytest.raises(UserError, match="silent"):
        Clips.of(manifest, "test", SECONDS, tmp_path / "cache")
    clips = Clips.of(manifest, "test", SECONDS, tmp_path / "cache", skip_bad_audio=True)
    good = [i for i in range(12) if i not in bad]
    assert len(clips) == len(clips.manifest) == len(good)
    waveforms, labels = clips[np.arange(len(good))]
    assert labels.tolist() == [i % 3 for i in good]
    for row, i in enumerate(good):
        np.testing.assert_array_equal(waveforms[row], expected_clip(i))
        assert clips.manifest[row] == manifest[i]


def test_loader_gives_the_batches_of_its_sampler(clips):
    balanced = BalancedBatchSampler(clips.manifest.label, "abc", 2, 3, num_steps=7)
    for sampler in (balanced, InOrder(12, 5), Shuffled(12, 5, num_steps=6)):
        batches = list(loader(clips, sampler))
        assert len(batches) == len(loader(clips, sampler)) == len(sampler)
        for (waveforms, labels), indices in zip(batches, sampler, strict=True):
            expected = clips[indices]
            assert torch.equal(waveforms, expected[0]) and torch.equal(labels, expected[1])


@pytest.mark.parametrize(("count", "batch_size"), itertools.product([1, 2, 7, 12], [1, 3, 4, 12, 50]))
def test_every_clip_comes_once_in_order_and_once_an_epoch_in_full_shuffled_batches(count, batch_size):
    batches = list(InOrder(count, batch_size))
    assert np.concatenate(batches).tolist() == list(range(count)) and len(batches) == len(InOrder(count, batch_size))
    assert {len(batch) for batch in batches[:-1]} <= {batch_size} and len(batches[-1]) <= batch_size
    made = Shuffled(count, batch_size, seed=1, num_steps=30)
    batches = list(made)
    assert len(made) == 30 and {len(batch) for batch in batches} == {batch_size}
    stream = np.concatenate(batches)
    for first in range(0, len(stream) - count + 1, count):
        assert sorted(stream[first:first + count]) == list(range(count))
    assert len(list(Shuffled(count, batch_size))) == len(Shuffled(count, batch_size)) == max(1, count // batch_size)


@pytest.mark.parametrize("batch_size", [1, 4, 5, 13, 40])
def test_shuffled_is_continued_at_any_step(batch_size):
    whole = list(Shuffled(13, batch_size, seed=2, num_steps=15))
    np.testing.assert_array_equal(list(Shuffled(13, batch_size, seed=2, num_steps=15)), whole)
    for start in range(17):
        made = Shuffled(13, batch_size, seed=2, num_steps=15, start=start)
        rest = list(made)
        assert len(rest) == len(made) == max(0, 15 - start)
        np.testing.assert_array_equal(np.reshape(rest, (-1, batch_size)), np.reshape(whole[start:], (-1, batch_size)))
