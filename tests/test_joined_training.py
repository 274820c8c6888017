"""Training on joined sets, shares of a batch, and looks at words that are held out as new, by the scripts."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import soundfile

from data.manifests.corpus import load_corpus
from data.manifests.manifest import Utterance, read_manifest, write_manifest
from data.manifests.registry import register
from models.runs.checkpoints import Run
from tests.conftest import TRAIN, refused

PARTS = {"a": ["bed", "cat", "dog"], "b": ["five", "four"]}


@pytest.fixture
def parts(words, tmp_path):
    """The sets "a" and "b" of the words' clips; "a" holds out words as said by dev speakers, which ``hold`` changes."""
    registry, whole = tmp_path / "manifests.json", load_corpus("words", registry=words.registry)

    def rows(split, labels, most=100):
        return [u for u in map(whole.splits[split].__getitem__, range(len(whole.splits[split])))
                if u.label in labels][:most]

    def hold(labels, most=100, name="new"):
        write_manifest(tmp_path / f"{name}.json", rows("dev", labels, most))
        add("a", tmp_path / f"{name}.json")

    def add(name, new=None):
        paths = {split: tmp_path / name / f"{split}.json" for split in whole.splits}
        for split, path in paths.items():
            write_manifest(path, rows(split, PARTS[name]))
        register(name, **paths, new_words=new, registry=registry)

    add("b")
    hold(["tree", "five"])
    return SimpleNamespace(registry=registry, hold=hold, folder=tmp_path,
                           flags=[f"--registry={registry}", f"--cache_dir={tmp_path / 'cache'}",
                                  f"--runs_dir={tmp_path / 'runs'}", *TRAIN, "--num_steps=20"])


def train(run, parts, *flags, manifest="a+b"):
    return run("TripletEncoder", "--name=joined", f"--manifest={manifest}", *parts.flags, *flags)


def test_joined_sets_are_trained_on_and_tested_as_one(run, parts):
    done = train(run, parts, "--shares", "1", "1", "--batch_classes=4")
    assert done.code == 0, done.error
    config = Run(parts.folder / "runs", "joined").config()
    assert config["labels"] == sorted(PARTS["a"] + PARTS["b"])
    assert config["train_clips"] == 12 * 5
    assert config["arguments"]["shares"] == [1.0, 1.0]
    tested = run("infer_train", "--name=joined", "--manifest=a+b", "--model=Res8", "--k=3", *parts.flags[:3])
    assert tested.code == 0, tested.error
    report = json.loads(next((parts.folder / "runs" / "joined").glob("knn-*.json")).read_text())
    assert (report["clips"], report["labels"]) == (25, 5)
    assert report["accuracy"] > 0.5


@pytest.mark.parametrize(("labels", "most", "flags", "parts_of_message"), [
    (["tree"], 100, [], ["5 clips of 1 words"]),
    (["tree", "five"], 100, ["--eval_clips=2"], ["2 clips of 2 words", "--eval_clips"]),
    (["tree", "cat"], 100, [], ["held out as new", "cat"])])
def test_new_words_that_tell_nothing_or_are_trained_on(run, parts, labels, most, flags, parts_of_message):
    parts.hold(labels, most)
    refused(train(run, parts, "--eval=new_words", *flags, manifest="a"), *parts_of_message)
    assert not list((parts.folder / "runs").rglob("*.pt"))


def test_words_of_the_other_set_are_not_new(run, parts):
    refused(train(run, parts, "--eval=new_words"), "held out as new", "a+b", "five")
    refused(train(run, parts, "--eval=new_words", manifest="b"), "no words held out as new")


def test_words_that_the_encoder_to_begin_with_was_trained_on_are_not_new(run, parts):
    assert train(run, parts, "--num_steps=1", manifest="b").code == 0  # four and five
    further = ["--name=further", "--init_from=joined", "--manifest=a", *parts.flags, "--eval=new_words"]
    done = run("TripletEncoder", *further, "--num_steps=1")
    assert done.code == 0, done.error
    said = "1 of the 2 words held out as new were in the training of that encoder (five)"
    assert said in done.error
    assert said in run("TripletEncoder", *further, "--num_steps=2", "--resume").error
    assert said not in train(run, parts, "--name=own", "--eval=new_words", "--num_steps=1", manifest="a").error
    tested = run("infer_train", "--name=further", "--model=Res8", *parts.flags[:3], "--manifest=a", "--new_words")
    assert "the encoder was trained on 1 of the 2 unknown words (five)" in tested.out


def test_a_finished_run_reports_what_its_looks_at_new_words_saw(run, parts):
    done = train(run, parts, "--eval=new_words", manifest="a")
    looked = [float(line.split("AUROC of new words ")[1].split(" %")[0]) for line in done.out.splitlines()
              if "AUROC of new words" in line]
    flags = ["--name=joined", "--model=Res8", *parts.flags[:3], "--new_words"]
    tested = run("infer_train", *flags, "--manifest=a")
    assert tested.code == 0, tested.error
    assert "10 clips of 2 words held out as new, said by 5 speakers" in tested.out
    stored = json.loads((parts.folder / "runs" / "joined" / "new_words-a-Res8-20.json").read_text())
    assert 100 * stored["pairs"][0]["auroc"] == pytest.approx(looked[-1], abs=0.006)
    assert stored["pairs"][0]["same_word_pairs"] == 2 * 10 and stored["pairs"][2]["same_word_pairs"] == 2 * 10
    assert stored["facts"]["unknown_words_trained_on"] == [] and stored["facts"]["test_clips_trained_on"] == 0
    refused(run("infer_train", *flags, "--manifest=b"), "no words held out as new")


@pytest.mark.parametrize("other", ["new.json", None])
def test_a_copy_under_another_name_is_known_by_its_sound(run, parts, other):
    """One of the dev clips, or of the words held out, is a training clip under another name and in another format."""
    whole = load_corpus("b", registry=parts.registry).splits["train"]
    samples, rate = soundfile.read(whole[0].path, dtype="int16")
    soundfile.write(parts.folder / "copy.flac", samples, rate)
    if other:
        parts.hold(["tree"])
    path = parts.folder / (other or "a/dev.json")
    manifest = read_manifest(path)
    clips = [manifest[i] for i in range(len(manifest))]
    if other:  # two words that neither set has
        clips = [replace(clip, label=("oak", "tree")[i % 2]) for i, clip in enumerate(clips)]
    clips[1] = Utterance(str(parts.folder / "copy.flac"), clips[1].label, 1.0, speaker="another")
    write_manifest(path, clips)
    refused(train(run, parts, *(["--eval=new_words"] if other else [])), "copy.flac", "leave them out of one set",
            "1 of the 5 new_words clips are training clips" if other else "1 of the 25 dev clips are training")
