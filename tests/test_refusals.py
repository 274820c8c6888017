"""What a user of the four scripts may get wrong: one line with the way out, and exit code 2."""

import json

import pytest

from data.base.files import ROOT
from data.manifests.manifest import Utterance
from data.manifests.registry import read_registry, register
from tests.conftest import TRAIN, refused, write_set


def test_the_tracked_registry_tells_how_to_make_what_is_missing(run, runs):
    for name, entry in read_registry().items():
        assert entry["made_by"].startswith("python -m data."), name
    refused(run("TripletEncoder", "--name=new", f"--runs_dir={runs}", "--model=Res8", "--manifest=10000"),
            "data.libriwords")


@pytest.mark.parametrize(("script", "flags", "parts"), [
    ("infer_train", ["--name=enc", "--hidden_size=45"], ["--hidden_size 45", "12", "enc"]),
    ("infer_train", ["--name=enc", "--model=Res15"], ["no checkpoint of Res15"]),
    ("TripletClassifier", ["--num_classes=7"], ["--num_classes 7", "6"]),
    ("TripletEncoder", ["--augment", f"--noise_dir={ROOT / 'docs'}"], [str(ROOT / "docs"), "--noise_dir"]),
    ("TripletEncoder", ["--loss=angular_prototypical", "--per_class=1"], ["--per_class 1"]),
    ("TripletEncoder", ["--loss=supcon", "--batch_classes=1"], ["--batch_classes 1"]),
    ("TripletEncoder", ["--loss=none"], ["--loss none", "--teacher"]),
    *(("TripletEncoder", ["--loss=none", "--teacher=x.onnx", *more], ["--loss none", "--shares"])
      for more in (["--shares", "1", "2"], ["--data_probs=2"])),
    ("TripletEncoder", ["--compression=constant", "--clip_seconds=0.4"], ["--clip_seconds 0.4", "context"]),
    *(("TripletEncoder", ["--model=Res15", mode], ["modes of Res8", "Res15"])
      for mode in ("--parts=2", "--compression=constant")),
    ("TripletEncoder", ["--model=Quartz", "--hidden_size=6", "--embedding_size=7"],
     ["--hidden_size 6 contradicts --embedding_size: "])])
def test_flags_that_contradict_what_there_is_or_one_another(script, flags, parts, encoder, run, words, runs):
    before = sorted(runs.iterdir())
    refused(run(script, "--name=new", f"--runs_dir={runs}", *words.flags, "--model=Res8", *flags), *parts)
    assert sorted(runs.iterdir()) == before


def test_a_runs_folder_that_cannot_be_written(run, words, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    refused(run("TripletEncoder", "--name=new", f"--runs_dir={tmp_path / 'file'}", *words.flags, *TRAIN),
            str(tmp_path / "file"))


def test_bad_clips_that_are_left_out_count_for_nothing_in_a_prior(run, words, tmp_path):
    manifests = words.folder / "gaps.json", words.folder / "whole.json"  # beside the others, whose paths they have
    lines = (words.folder / "train.json").read_text().splitlines()
    gone = [line.replace("/train", "/gone") for line in lines if '"cat"' in line]
    assert len(gone) == 12 and not set(gone) & set(lines)
    whole = [line for line in lines if '"bed"' not in line] + [line for line in lines if '"bed"' in line][:3]
    for path, rows in zip(manifests, (whole + gone, whole), strict=True):
        path.write_text("".join(f"{row}\n" for row in rows))
        register(path.stem, train=path, dev=words.folder / "dev.json", test=words.folder / "test.json",
                 registry=tmp_path / "manifests.json")
    flags = [f"--runs_dir={tmp_path / 'runs'}", f"--registry={tmp_path / 'manifests.json'}", words.flags[2],
             "--model=Res8"]
    assert run("TripletClassifier", "--name=h", *flags, "--manifest=gaps", "--hidden_size=6", "--num_steps=2",
               "--batch_classes=6", "--per_class=3", "--eval_clips=6", "--skip_bad_audio").code == 0
    for name in ("gaps", "whole"):
        done = run("infer_notl", "--name=h", "--cl_name=h", *flags, f"--manifest={name}", "--add_prior",
                   "--skip_bad_audio")
        assert done.code == 0, done.error
    gaps, same = ((tmp_path / "runs" / "h" / f"head-{name}-Res8-2-2-prior.csv").read_text() for name in
                  ("gaps", "whole"))
    assert gaps == same


def test_a_head_is_tested_on_the_labels_it_knows(encoder, run, words, tmp_path, runs):
    run("TripletClassifier", "--name=head2", "--enc_name=enc", f"--runs_dir={runs}", *words.flags, "--model=Res8",
        "--num_steps=2")
    few = [u for u in (words.folder / "train.json").read_text().splitlines() if '"tree"' not in u]
    utterances = [Utterance(str(words.folder / u["audio_filepath"]), u["label"], 1.0) for u in map(json.loads, few)]
    registry = write_set(tmp_path, "few", train=utterances, dev=utterances, test=utterances)
    refused(run("infer_notl", "--name=enc", "--cl_name=head2", f"--runs_dir={runs}", "--model=Res8", "--manifest=few",
                f"--registry={registry}"), "few has other labels", "head2")
