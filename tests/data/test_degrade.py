"""Test clips in rooms, noise and bands: all changed, as loud as asked, the others untouched; bad input in one line."""

import numpy as np
import pytest
import soundfile
from scipy.signal import fftconvolve

from data import degrade
from data.audio.dataset import Clips
from data.audio.decoding import SAMPLE_RATE, decode
from data.augment import Reverb
from data.base.errors import UserError
from data.manifests.corpus import load_corpus
from data.manifests.manifest import Utterance
from data.manifests.registry import SPLITS, registered
from tests.conftest import record, write_set


@pytest.fixture
def source(tmp_path):
    """A registered set "plain" of two words: tones of 0.3 s in the middle of a second; its folder."""
    rng = np.random.default_rng(1)
    time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    splits = {}
    for split, count in zip(SPLITS, (3, 2, 6), strict=True):
        splits[split] = []
        for label, pitch in (("low", 300), ("high", 3_000)):
            for i in range(count):
                tone = 0.3 * np.sin(2 * np.pi * (pitch + 20 * rng.random()) * time) * (abs(time - 0.5) < 0.15)
                tone += 1e-4 * rng.standard_normal(len(tone))
                path = record(tmp_path / "plain" / f"{split}_{label}_{i}.wav", tone)
                splits[split].append(Utterance(str(path), label, 1.0, speaker=f"{split}{i}"))
    write_set(tmp_path / "plain", "plain", tmp_path / "registry.json", **splits)
    return tmp_path


def make(folder, *flags, name="other"):
    """The corpus that the command makes."""
    registry = folder / "registry.json"
    degrade.main(degrade.parse_args(["--manifest", "plain", "--name", name, "--out", str(folder / name), "--registry",
                                     str(registry), "--cache_dir", str(folder / "cache"), *flags]))
    return load_corpus(name, registry=registry)


def sounds(corpus, split="test"):
    """By the speaker and label of a clip its samples, (S,) in full scales."""
    return {(u.speaker, u.label): decode(u.path, u.offset, u.duration) / 32768.0
            for u in corpus.splits[split]}


def test_only_test_clips_change_and_all_of_them(source):
    before, after = load_corpus("plain", registry=source / "registry.json"), make(source, "--reverb")
    for split in ("train", "dev"):
        assert sorted(after.splits[split].files) == sorted(before.splits[split].files)
    old, new = sounds(before), sounds(after)
    assert old.keys() == new.keys()
    for key in old:
        # The word stays where it is and as loud as it was, and is heard a while longer.
        assert np.sum(new[key] ** 2) == pytest.approx(np.sum(old[key] ** 2), rel=0.02)
        onset = int(0.35 * SAMPLE_RATE)
        assert abs(new[key][:onset - 40]).max() < 0.01 < abs(new[key][onset + 80:onset + 400]).max()
        late = slice(int(0.66 * SAMPLE_RATE), int(0.7 * SAMPLE_RATE))
        assert np.std(new[key][late]) > 5 * np.std(old[key][late])
    assert registered("other", source / "registry.json")["made_by"].startswith(degrade.PROGRAM + " --manifest plain")


def test_rooms_are_not_those_of_a_training_with_the_same_seed(source):
    after = sounds(make(source, "--reverb", "--seed", "3"))
    rooms = Reverb(SAMPLE_RATE, 1.0, 3).responses
    clean = sounds(load_corpus("plain", registry=source / "registry.json"))
    for key, heard in list(after.items())[:2]:
        for room in rooms[:50].numpy():
            wet = fftconvolve(clean[key], room)[:SAMPLE_RATE]
            wet *= np.sqrt(np.sum(heard**2) / np.sum(wet**2))
            assert abs(wet - heard).max() > 1e-3


def test_noise_is_added_at_the_ratio_asked_for(source):
    hum = np.sin(2 * np.pi * 1_000 * np.arange(3 * SAMPLE_RATE) / SAMPLE_RATE)
    record(source / "hums" / "hum.wav", 0.5 * hum)
    before = sounds(load_corpus("plain", registry=source / "registry.json"))
    after = sounds(make(source, "--noise_dir", str(source / "hums"), "--noise_snr", "6", "6"))
    for key in before:
        added = after[key] - before[key]
        assert 10 * np.log10(np.mean(before[key] ** 2) / np.mean(added**2)) == pytest.approx(6, abs=0.1)
        assert np.argmax(abs(np.fft.rfft(added))) == 1_000


def test_what_would_pass_full_scale_is_made_quieter_not_clipped(source):
    record(source / "hums" / "hum.wav", np.sin(2 * np.pi * 1_000 * np.arange(SAMPLE_RATE) / SAMPLE_RATE))
    for heard in sounds(make(source, "--noise_dir", str(source / "hums"), "--noise_snr", "-20", "-20")).values():
        assert abs(heard).max() == pytest.approx(1, abs=1e-3)
        spectrum = abs(np.fft.rfft(heard))
        assert spectrum[3_000] < 0.15 * spectrum[1_000]  # a clipped hum of 1 kHz has a third overtone


def test_bands_take_from_words_what_lies_outside(source):
    before = sounds(load_corpus("plain", registry=source / "registry.json"))
    after = sounds(make(source, "--band_limit"))
    loss = {label: [10 * np.log10(np.sum(before[key] ** 2) / np.sum(after[key] ** 2)) for key in before
                    if key[1] == label] for label in ("low", "high")}
    assert max(loss["low"]) > 3 and min(loss["low"]) > -0.1  # high-passes from 100 to 500 Hz against 300 Hz
    assert all(np.any(before[key] != after[key]) for key in before)


def test_a_seed_makes_the_same_bytes_again_and_another_makes_others(source):
    first = make(source, "--reverb", "--band_limit")
    files = {path: path.read_bytes() for path in (source / "other").rglob("*") if path.is_file()}
    make(source, "--reverb", "--band_limit")
    assert {path: path.read_bytes() for path in (source / "other").rglob("*") if path.is_file()} == files
    second = make(source, "--reverb", "--band_limit", "--seed", "1", name="third")
    one, other = sounds(first), sounds(second)
    assert all(np.any(one[key] != other[key]) for key in one)


def test_dev_clips_that_are_tested_are_the_changed_ones_there(source):
    (source / "plain" / "dev.json").write_text((source / "plain" / "test.json").read_text())
    after = make(source, "--reverb")
    assert after.splits["dev"].files == after.splits["test"].files  # so a choice on dev is refused, as it was before


def test_a_clip_that_is_there_twice_or_under_two_labels_stays_so(source):
    test, train = (source / "plain" / f"{split}.json" for split in ("test", "train"))
    first = test.read_text().split("\n")[0]
    train.write_text(train.read_text() + first.replace('"low"', '"high"') + "\n")
    test.write_text(test.read_text() + first + "\n")
    after = make(source, "--reverb")
    assert len(after.splits["test"]) == 13
    tested = set(after.splits["test"].files)
    [again] = [u for u in after.splits["train"] if u.path in tested]
    assert again.label == "high" and again.speaker == "test0"


def test_a_run_that_fails_leaves_the_set_that_was_there(source, monkeypatch):
    make(source, "--reverb")
    before = {path: path.read_bytes() for path in source.rglob("*") if path.is_file()}
    (source / "other" / "unfinished-1").mkdir()  # what a killed one leaves
    count = iter(range(5))
    write = soundfile.write
    monkeypatch.setattr(soundfile, "write", lambda *args, **how: (next(count), write(*args, **how)))
    with pytest.raises(StopIteration):
        make(source, "--reverb", "--seed", "1")
    assert {path: path.read_bytes() for path in source.rglob("*") if path.is_file()} == before
    assert not list((source / "other").glob("unfinished*"))


def test_clips_are_of_the_length_that_a_test_takes(source):
    after = make(source, "--reverb", "--clip_seconds", "0.5")
    assert set(after.splits["test"].duration) == {0.5}
    before = Clips.of(load_corpus("plain", registry=source / "registry.json").splits["test"], "x", 0.5,
                      source / "cache")
    assert len(before) == len(after.splits["test"])


@pytest.mark.parametrize("flags, said", [
    ([], "give --reverb, --rooms, --noise_dir or --band_limit"), (["--noise_dir", "DIR"], "no such folder"),
    (["--noise_dir", "DIR", "--noise_snr", "9", "3"], "--noise_snr 9 3"),
    (["--reverb", "--name", "plain"], "is the data set that is read"),
    (["--reverb", "--name", "plain", "--manifest", "more+plain"], "--name plain: is the data set that is read"),
    (["--reverb", "--name", "a/b"], "a/b"), (["--reverb", "--manifest", "nowhere"], "'nowhere' is not registered")])
def test_bad_input_is_one_line(source, flags, said):
    before = sorted(source.rglob("*"))
    with pytest.raises(UserError) as error:
        make(source, *flags)
    assert said in str(error.value) and "\n" not in str(error.value)
    assert [path for path in sorted(source.rglob("*")) if "cache" not in path.parts] == before
