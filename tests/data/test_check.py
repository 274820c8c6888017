"""Every kind of defect is found, counted and named; a sound data set is OK; memory does not follow the audio."""

import json
import shutil
from collections import defaultdict

import numpy as np
import pytest
import soundfile

import data.check
from data.check import check, main, parse_args
from data.manifests.registry import SPLITS
from tests.conftest import record

LABELS = ("yes", "no")


@pytest.fixture
def corpus(tmp_path):
    """Three sound splits, by split a list of manifest entries to spoil, and a way to check them."""
    rng = np.random.default_rng(3)
    record(tmp_path / "noise" / "hum.wav", rng.uniform(-0.5, 0.5, 48_000))
    entries = {}
    for split, number in zip(SPLITS, (3, 1, 2), strict=True):
        entries[split] = []
        for label in LABELS:
            for i in range(number):
                path = f"{split}_{label}_{i}.wav"
                soundfile.write(tmp_path / path, rng.uniform(-0.5, 0.5, 16_000), 16_000)
                entries[split].append({"audio_filepath": path, "duration": 1.0, "label": label,
                                       "speaker": f"{split}{i}"})
    return Corpus(tmp_path, entries)


class Corpus:
    def __init__(self, folder, entries):
        self.folder, self.entries = folder, entries
        self.registered = {split: f"{split}.json" for split in SPLITS} | {"noise": "noise"}

    def write(self):
        for split, entries in self.entries.items():
            (self.folder / f"{split}.json").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
        (self.folder / "registry.json").write_text(json.dumps({"mine": self.registered}))
        return self.folder / "registry.json"

    def check(self, capsys):
        """(whether all was well, the lines printed)."""
        well = check("mine", self.write())
        return well, capsys.readouterr().out.splitlines()

    def sound(self, name, samples, **how):
        soundfile.write(self.folder / name, samples, 16_000, **how)


def test_a_sound_data_set_is_ok(corpus, capsys):
    well, lines = corpus.check(capsys)
    assert well
    assert lines[-1] == ("mine: OK, 6 train, 2 dev, 4 test clips of 2 classes; all readable, no known speaker and no "
                         "audio in two splits")
    assert lines[0].startswith("train:         6 clips of 2 classes (3 to 3 each, median 3), 3 speakers")


# One defect each, and what must be told of it. In the first clip of dev:
CHANGED = {
    "missing file": ({"audio_filepath": "nowhere.wav"}, ("missing files: 1", "dev: ", "no such audio file")),
    "duration": ({"duration": 1.03}, ("wrong durations: 1", "ends before the 1.03 s do that the manifest gives")),
    "offset past the end": ({"offset": 1.5}, ("unusable audio: 1", "offset 1.5 s is past its end")),
    "unknown label": ({"label": "maybe"}, ("unknown labels: 1",
                                           "dev.json: 'maybe' (1 clips) is not one of the 2 known labels")),
    "speaker": ({"speaker": "train1"}, ("speakers in two splits: 1", "speaker 'train1' is in train and in dev"))}
# In a clip more of train, otherwise its first:
ADDED = {
    "overlapping audio": ({"audio_filepath": "dev_yes_0.wav", "offset": 0.2, "duration": 0.3},
                          ("overlapping audio in two splits: 1", "0.2 s to 0.5 s in train, 0 s to 1 s in dev")),
    "two labels": ({"label": "no"}, ("one recording under two labels: 1",
                                     "train_yes_0.wav at 0 s, 'no' in train, has the same audio as"))}
# In the words held out as new:
NEW_WORDS = {
    "new words, trained on": ({"label": "YES"}, ("words held out as new that are trained on: 1", "words.json: YES")),
    "new words, a speaker": ({"speaker": "train0"}, ("speakers held out as new that are trained on: 1", ": train0")),
    "new words, a recording": ({"audio_filepath": "train_yes_0.wav"},
                               ("recordings held out as new that are trained on: 1", "train_yes_0.wav")),
    "new words, unusable": ({"audio_filepath": "nowhere.wav"}, ("missing files: 1", "nowhere.wav: no such audio file")),
    "new words, missing": (None, ("broken manifests: 1", "new_words.json: cannot read"))}


def spoil(corpus, kind):
    """Put one defect into the corpus; what must be told of it."""
    dev, train = corpus.entries["dev"], corpus.entries["train"]
    change, told = (CHANGED | ADDED | NEW_WORDS).get(kind, (None, None))
    first = corpus.folder / dev[0]["audio_filepath"]
    if kind in CHANGED:
        dev[0] |= change
    elif kind in ADDED:
        train.append(train[0] | change)
    elif kind in NEW_WORDS:
        corpus.registered["new_words"] = "new_words.json"
        if change is not None:
            (corpus.folder / "new_words.json").write_text(json.dumps(dev[0] | {"label": "stop"} | change) + "\n")
    elif kind == "truncated":
        first.write_bytes(first.read_bytes()[:20_044])
        return "unusable audio: 1", "ends early: its header says 32,000 bytes of audio, but it has 20,000"
    elif kind == "label without training clips":
        corpus.registered["labels"] = ["yes", "no", "stop"]
        return "classes without training clips: 1", "no clip of label 'stop'"
    elif kind == "speaker, spelt another way":
        dev[0]["speaker"], train[0]["speaker"] = "M\u00fcller", "mu\u0308ller"
        return "speakers in two splits: 1", "is in train and as 'M\u00fcller' in dev"
    elif kind == "copied audio":
        samples, rate = soundfile.read(first, dtype="int16")
        soundfile.write(corpus.folder / "twin.flac", samples, rate)
        train.append(train[0] | {"audio_filepath": "twin.flac"})
        return "audio in two splits: 1", "in dev, has the same audio as", "twin.flac at 0 s, 'yes' in train"
    elif kind == "unusable noise":
        (corpus.folder / "noise" / "deep").mkdir()
        (corpus.folder / "noise" / "deep" / "rain.wav").write_bytes(b"no audio")
        return "noise folder: 1", "rain.wav: cannot be decoded"
    else:
        shutil.rmtree(corpus.folder / "noise")
        return "noise folder: 1", "has no audio files"
    return told


@pytest.mark.parametrize("kind", [
    "truncated", "label without training clips", "copied audio", "noise folder", "unusable noise",
    "speaker, spelt another way", *CHANGED, *ADDED, *NEW_WORDS])
def test_each_defect_is_found_and_is_the_only_one(corpus, capsys, kind):
    expected = spoil(corpus, kind)
    well, lines = corpus.check(capsys)
    assert not well
    assert lines[-1].startswith("mine: 1 problem (")
    told = "\n".join(lines)
    for part in expected:
        assert part in told
    assert ": OK" not in told


def test_what_is_no_defect(corpus, capsys):
    train, test = corpus.entries["train"], corpus.entries["test"]
    train[0]["duration"] = 1.015  # as aligners round
    train.append(train[1])  # the same audio within one split
    del test[0]["speaker"]
    corpus.sound("long.wav", np.random.default_rng(9).uniform(-0.5, 0.5, 96_000))
    for split, offset in (("train", 0.0), ("dev", 2.0), ("test", 4.0)):  # stretches side by side, as of noise
        corpus.entries[split].append({"audio_filepath": "long.wav", "offset": offset, "duration": 2.0, "label": "no"})
    corpus.registered["new_words"] = "new_words.json"
    (corpus.folder / "new_words.json").write_text(json.dumps(corpus.entries["dev"][0] | {"label": "stop"}) + "\n")
    well, lines = corpus.check(capsys)
    assert well, lines
    assert any("2 of them name no speaker" in line for line in lines)
    assert any(line.startswith("new_words:         1 clips of 1 classes") for line in lines)


def test_what_is_odd_but_may_be_meant_is_a_warning(corpus, capsys):
    rng = np.random.default_rng(4)
    dev, test = corpus.entries["dev"], corpus.entries["test"]
    corpus.sound(dev[0]["audio_filepath"], rng.integers(-3, 4, 16_000).astype(np.int16))
    corpus.sound(dev[1]["audio_filepath"], rng.uniform(-0.5, 0.5, 700))
    dev[1]["duration"] = 700 / 16_000
    corpus.sound(test[1]["audio_filepath"], 12_000 * rng.uniform(-1, 1, 16_000), subtype="FLOAT")
    corpus.entries["train"].append(corpus.entries["train"][0] | {"label": "Yes", "audio_filepath": "Yes.wav"})
    corpus.sound("Yes.wav", rng.uniform(-0.5, 0.5, 16_000))
    (corpus.folder / "noise" / "._hum.wav").write_bytes(b"a Mac's")
    # The first two words of a recording, with context, begin where it begins; others may by chance, or by a mistake.
    corpus.entries["train"].append(corpus.entries["train"][0] | {"label": "no", "duration": 0.8})
    well, lines = corpus.check(capsys)
    assert well
    warned = [line for line in lines if line.startswith("warning: ")]
    for kind in ("have fewer than 16 levels", "shorter than 50 ms",
                 "reach beyond full scale", "labels that look alike"):
        assert sum(kind in line and line.endswith(": 1") for line in warned) == 1, kind
    assert len(warned) == 4
    assert any("'Yes' and 'yes'" in line for line in lines)
    assert lines[-1].startswith("mine: OK but for 4 warnings, 8 train, 2 dev, 4 test clips")
    assert any(line.startswith("dev:") and line.endswith("none of: Yes") for line in lines)


def test_broken_and_missing_manifests_do_not_stop_the_rest(corpus, capsys):
    corpus.registered["made_by"] = "make it"
    registry = corpus.write()
    (corpus.folder / "dev.json").write_text("{\n")
    (corpus.folder / "test.json").unlink()
    for entry in corpus.entries["train"]:
        (corpus.folder / entry["audio_filepath"]).unlink()
    assert not check("mine", registry)
    told = capsys.readouterr().out
    assert "dev.json, line 1: not JSON" in told
    assert "test.json: cannot read this manifest (No such file or directory); make it with: make it" in told
    assert "missing files: 6\n" in told and told.count("no such audio file") == 5  # the first of a kind are printed
    assert told.splitlines()[-1] == "mine: 8 problems (broken manifests, missing files) in 6 train clips"


def test_overlaps_against_brute_force(tmp_path):
    rng = np.random.default_rng(1)
    for trial in range(200):
        n = 12
        file, split = np.sort(rng.integers(0, 3, n)), rng.integers(0, 3, n)
        file = np.unique(file, return_inverse=True)[1]
        offset, duration = rng.integers(0, 40, n) / 4, rng.integers(1, 12, n) / 4
        order = np.lexsort((offset, file))
        file, split, offset, duration = file[order], split[order], offset[order], duration[order]
        clash = any(file[i] == file[j] and split[i] != split[j] and offset[j] < offset[i] + duration[i]
                    and offset[i] < offset[j] + duration[j] and (offset[i], duration[i]) != (offset[j], duration[j])
                    for i in range(n) for j in range(i))
        problems = defaultdict(list)
        clips = data.check.Clips(["a", "b", "c"], list(SPLITS), [], file, split, split, offset, duration)
        data.check._check_overlaps(clips, problems)
        assert bool(problems) == clash, trial


def test_exit_codes_and_flags(corpus, capsys):
    for duration, code in ((1, 0), (5, 1)):
        corpus.entries["dev"][0]["duration"] = duration
        assert main(parse_args(["mine", "--registry", str(corpus.write())])) == code
    with pytest.raises(SystemExit):
        parse_args(["mine", "--clip_seconds", "-1"])


def test_processes_find_what_one_process_finds(corpus, capsys, monkeypatch):
    spoil(corpus, "copied audio"), spoil(corpus, "truncated"), spoil(corpus, "speaker")
    alone = corpus.check(capsys)
    monkeypatch.setattr(data.check, "_CHUNK", 2)
    monkeypatch.setattr("data.base.cores.cores", lambda: 2)
    assert corpus.check(capsys) == alone
    assert not alone[0]
