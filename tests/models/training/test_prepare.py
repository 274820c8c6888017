"""Names that are taken or free, runs that go on, are made longer or begin with another's weights."""

import json
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
import soundfile
import torch

from data.base.errors import UserError
from data.base.files import ROOT
from data.manifests.registry import register
from models.runs.checkpoints import TRAINER, Run, load_state
from models.training.prepare import commit, take_up
from tests.conftest import refused

TINY = ["--model=Res8", "--hidden_size=4", "--recipe=fast", "--per_class=2", "--num_steps=4", "--step_freq=2",
        "--eval_freq=100", "--eval_clips=6"]


@pytest.fixture(scope="module")
def made(words, tmp_path_factory):
    """A run "r" of four steps, with checkpoints of two and four."""
    import TripletEncoder

    runs_dir = tmp_path_factory.mktemp("begun")
    TripletEncoder.main(TripletEncoder.parse_args(["--name=r", f"--runs_dir={runs_dir}", *words.flags, *TINY]))
    return Run(runs_dir, "r")


@pytest.fixture
def copy(made, words, run, tmp_path):
    """A copy of that run to spoil, and its resuming: ``copy.resume(*flags)``."""
    shutil.copytree(made.folder, tmp_path / "r")
    copied = Run(tmp_path, "r")

    def config(change):
        found = copied.config()
        change(found)
        (copied.folder / "config.json").write_text(json.dumps(found))

    return SimpleNamespace(
        run=copied, config=config, flags=["--name=r", f"--runs_dir={tmp_path}", *words.flags, "--model=Res8"],
        resume=lambda *flags: run("TripletEncoder", "--name=r", f"--runs_dir={tmp_path}", *words.flags, "--model=Res8",
                                  "--resume", *flags))


def back_to_step_2(run: Run) -> dict:
    """Take the last step's files away, and return them by name."""
    whole = {path.name: load_state(path) for path in run.checkpoints.glob("*-STEP-4.pt")}
    for path in run.checkpoints.glob("*-STEP-4.pt"):
        path.unlink()
    return whole


def changed(key, value):
    return lambda config: config["arguments"].update({key: value})


@pytest.mark.parametrize("change, part", [
    (lambda c: c.update(script="other.py"), "begun by other.py"), (lambda c: c.clear(), "another program"),
    (lambda c: c.pop("labels"), "damaged in labels"), (lambda c: c.pop("arguments"), "damaged in arguments"),
    (changed("lr", "x"), "in --lr"), (changed("seed", None), "in --seed"), (changed("noise_snr", []), "in --noise_snr"),
    (changed("lr", float("nan")), "in --lr"),
    (lambda c: c.update(labels="x"), "'labels'")])
def test_a_configuration_that_no_run_of_this_script_has(copy, change, part):
    copy.config(change)
    refused(copy.resume(), part)


def of_weights(**entries):
    return lambda state: [values.update(entries) for values in state["optimizer"]["state"].values()]


@pytest.mark.parametrize("change", [
    lambda s: s.pop("optimizer"), lambda s: s.update(step=True), lambda s: s.update(seconds=float("nan")),
    lambda s: s["optimizer"].update(state={}), lambda s: s["optimizer"]["param_groups"][0].update(params=[0]),
    of_weights(exp_avg=torch.zeros(7)), lambda s: s["optimizer"]["state"][0]["exp_avg"].fill_(float("nan")),
    of_weights(step=torch.tensor(1j)),
    lambda s: [v.update(exp_avg=v["exp_avg"].to("meta")) for v in s["optimizer"]["state"].values()]])
def test_a_trainers_state_that_no_run_has(copy, change):
    back_to_step_2(copy.run)
    path = copy.run.path(TRAINER, 2)
    state = load_state(path)
    change(state)
    torch.save(state, path)
    before = sorted(copy.run.checkpoints.iterdir())
    refused(copy.resume(), "trainer-STEP-2.pt: not what a resume of step 2 needs", "remove it")
    assert sorted(copy.run.checkpoints.iterdir()) == before


def permuted(words, folder):
    """The data set with the labels of its training clips moved on: as many lines, of the same words."""
    lines = [json.loads(line) for line in (words.folder / "train.json").read_text().splitlines()]
    labels = [line["label"] for line in lines]
    for line, label in zip(lines, labels[5:] + labels[:5], strict=True):
        line |= {"label": label, "audio_filepath": str(words.folder / line["audio_filepath"])}
    (folder / "train.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    register("words", train=folder / "train.json", dev=words.folder / "dev.json", test=words.folder / "test.json",
             registry=folder / "manifests.json")
    return f"--registry={folder / 'manifests.json'}"


def test_a_resume_refuses_other_labels_of_the_same_clips(copy, words, tmp_path):
    whole = back_to_step_2(copy.run)
    other = permuted(words, tmp_path)
    refused(copy.resume(other), "training clips or their labels", "restore what it was")
    assert copy.run.steps(TRAINER) == [2]
    assert copy.resume().code == 0
    assert all(torch.equal(value, load_state(copy.run.path("Res8", 4))[name])
               for name, value in whole["Res8-STEP-4.pt"].items())


def test_a_resume_refuses_recordings_that_changed(run, words, tmp_path):
    set_ = tmp_path / "set"
    shutil.copytree(words.folder, set_, ignore=shutil.ignore_patterns("cache"))
    flags = ["--name=r", f"--runs_dir={tmp_path}", "--manifest=words", f"--registry={set_ / 'manifests.json'}",
             f"--cache_dir={set_ / 'cache'}", "--model=Res8"]
    assert run("TripletEncoder", *flags, *TINY, "--num_steps=1").code == 0
    path = next((set_ / "bed").glob("train3*"))
    sound, rate = soundfile.read(path)
    soundfile.write(path, sound[::-1], rate, "PCM_16")
    refused(run("TripletEncoder", *flags, "--num_steps=2", "--resume"), "1 of the 72 training clips", "'r'", "restore",
            f"remove {tmp_path / 'r' / 'trained_on.npz'}")
    soundfile.write(path, sound, rate, "PCM_16")
    assert run("TripletEncoder", *flags, "--num_steps=2", "--resume").code == 0
    soundfile.write(path, sound[::-1], rate, "PCM_16")
    (tmp_path / "r" / "trained_on.npz").unlink()  # or of a run from before there was one
    assert run("TripletEncoder", *flags, "--num_steps=3", "--resume").code == 0


@pytest.mark.parametrize("script", ["TripletEncoder", "TripletClassifier"])
def test_a_resume_refuses_other_noise(run, words, tmp_path, script):
    own = tmp_path / "noise"
    shutil.copytree(words.folder / "noise", own)
    flags = [f"--name=n{script}", f"--runs_dir={tmp_path}", *words.flags, "--model=Res8"]
    noisy = [*TINY, "--augment", f"--noise_dir={own}"]
    assert run(script, *flags, *noisy, "--num_steps=1").code == 0
    assert run(script, *flags, *noisy, "--num_steps=2", "--resume").code == 0  # the same
    hiss, rate = soundfile.read(own / "hiss.wav")
    soundfile.write(own / "hiss.wav", hiss[::-1], rate, "PCM_16")
    refused(run(script, *flags, "--num_steps=3", "--resume"), "--augment", "restore", "another --name")
    soundfile.write(own / "hiss.wav", hiss, rate, "PCM_16")
    assert run(script, *flags, "--num_steps=3", "--resume").code == 0


def test_a_name_without_a_checkpoint_is_free(copy, run):
    shutil.rmtree(copy.run.checkpoints)
    again = run("TripletEncoder", *copy.flags, *TINY, "--hidden_size=3", "--num_steps=2")
    assert again.code == 0
    assert copy.run.config()["hidden_size"] == 3
    refused(run("TripletEncoder", *copy.flags, *TINY), "--name r", "--resume")


HOLD = ("import sys, pathlib; from models.training.prepare import claim; claim(pathlib.Path(sys.argv[1]), '--name');"
        "print('claimed', flush=True); sys.stdin.read()")


def test_one_process_at_a_time_trains_a_run(made, run, tmp_path, words):
    folder = tmp_path / "r"
    shutil.copytree(made.folder, folder)
    holder = subprocess.Popen([sys.executable, "-c", HOLD, folder], cwd=ROOT, stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "claimed\n"
    flags = ["--name=r", f"--runs_dir={tmp_path}", *words.flags, "--model=Res8", "--resume"]
    before = sorted(folder.rglob("*"))
    refused(run("TripletEncoder", *flags), "--name r", "right now")
    assert sorted(folder.rglob("*")) == before
    holder.kill()  # whatever ends it, its claim ends with it
    holder.communicate()
    assert run("TripletEncoder", *flags).code == 0


def test_a_name_that_another_run_took_meanwhile(made, copy, words):
    shutil.rmtree(copy.run.folder)
    from TripletEncoder import parse_args

    assert take_up(parse_args([*copy.flags, *TINY]), copy.run, "TripletEncoder.py") == {}
    shutil.copytree(made.folder, copy.run.folder)
    with pytest.raises(UserError, match="exists"):
        commit(copy.run, {}, {}, None, None, ())
    assert copy.run.config() == made.config()


def test_a_run_that_goes_on_with_more_threads_or_processes_says_that_it_will_be_another(copy):
    back_to_step_2(copy.run)
    threads = copy.run.config()["threads"]
    assert copy.run.config()["processes"] == 1
    copy.config(lambda config: config.update(threads=threads + 1, processes=2))
    done = copy.resume()
    assert done.code == 0
    for what in ("2 processes and goes on with 1", f"{threads + 1} threads and goes on with {threads}"):
        assert f"run 'r' was begun with {what}: " in done.out


@pytest.mark.parametrize("flags", [["--num_steps=7"], ["--num_epochs=2"]])  # of six steps: 72 clips by twelve
def test_a_longer_run_goes_on_and_says_so(copy, flags):
    done = copy.resume(*flags)
    steps = 7 if "steps" in flags[0] else 12
    assert done.code == 0
    assert f"4 steps were planned, {steps} are now" in done.out and f"4 of {steps} steps done" in done.out
    assert copy.run.steps("Res8")[-1] == steps
    assert copy.run.config()["arguments"]["num_steps"] == steps
    assert "lr 6.00e-06" in done.out  # the schedule ends with it
    assert f"{steps} of {steps} steps done" in copy.resume().out
    refused(copy.resume("--num_steps=3"), "--num_steps 3", f"has done {steps} steps")
    assert copy.run.steps("Res8")[-1] == steps


def test_the_first_step_of_a_longer_run_has_the_longer_schedules_rate(copy, run, tmp_path):
    copy.resume("--num_steps=8", "--step_freq=1")
    assert run("TripletEncoder", "--name=whole", *copy.flags[1:], *TINY, "--num_steps=8", "--step_freq=1").code == 0
    for step in (5, 6, 7):
        found, whole = (load_state(Run(tmp_path, name).path(TRAINER, step))["optimizer"]["param_groups"][0]
                        for name in ("r", "whole"))
        assert {key: found[key] for key in ("lr", "betas")} == {key: whole[key] for key in ("lr", "betas")}


@pytest.mark.parametrize("script, more", [("TripletEncoder", []), ("TripletClassifier", ["--batch_size=12"])])
def test_an_encoder_is_trained_further_under_a_new_name(made, run, words, script, more):
    flags = [f"--runs_dir={made.folder.parent}", *words.flags, "--model=Res8"]
    tiny = [flag for flag in TINY if not flag.startswith(("--model", "--hidden", "--num_steps", "--step_freq"))]
    start = load_state(made.path("Res8", 2))
    found = []
    for i, source in enumerate(("r:2", str(made.path("Res8", 2)), f"{made.folder}:2")):
        name = f"fine-{script}-{i}"
        done = run(script, f"--name={name}", f"--init_from={source}", *flags, *tiny, *more, "--num_steps=1",
                   "--lr=1e-9", "--lr_end=1e-10")
        assert done.code == 0, done.error
        fine = Run(made.folder.parent, name)
        config = fine.config()
        assert (config["hidden_size"], config["arguments"]["init_from"]) == (4, source)
        assert config["init_from"] == str(made.path("Res8", 2).absolute()) or i == 0
        found.append(load_state(fine.path("Res8", 1)))
        assert all(torch.allclose(start[key], found[-1][key], atol=1e-6) for key in start if "conv" in key)
    assert all(torch.equal(found[0][key], other[key]) for other in found for key in start)
    resumed = run(script, f"--name={name}", *flags, "--resume", "--num_steps=2")
    assert resumed.code == 0 and "1 of 2 steps done" in resumed.out


@pytest.mark.parametrize("flags, parts", [
    (["--init_from=nothing"], ["nothing", "check the name"]), (["--init_from=r:3"], ["--init_from 3", "2, 4"]),
    (["--init_from=r", "--hidden_size=9"], ["--hidden_size 9", "4"]),
    (["--init_from=r", "--clip_seconds=2"], ["--clip_seconds 2.0", "1.0"]),
    (["--init_from=r", "--model=Res15"], ["no checkpoint of Res15"]), (["--init_from=r:x"], ["r:x"]),
    (["--init_from=" + "a" * 300], ["--init_from", "300 bytes"])])
def test_an_encoder_that_cannot_be_trained_further(made, run, words, flags, parts):
    refused(run("TripletEncoder", "--name=new", f"--runs_dir={made.folder.parent}", *words.flags, "--model=Res8",
                "--recipe=fast", *flags), *parts)
    assert not (made.folder.parent / "new").exists()
