"""The four scripts on the demo set, as a user starts them. Later parts use what earlier ones made."""

import importlib.util
import json
import re
import shutil
from functools import partial

import numpy as np

from benchmarks import measure
from benchmarks.gpu.here import Here, Skipped, stopwatch
from benchmarks.measure import Failed


def script(*command: str) -> tuple[float, str]:
    """Run ``python *command``: seconds, and what it printed."""
    seconds, done = measure.script(*command, timeout=150)
    return seconds, done.stdout


def demo(here: Here) -> str:
    """Make the data set that eSpeak NG speaks."""
    voices, takes = (3, 1) if here.quick else (16, 2)
    seconds, _ = script("-m", "data.demo", f"--voices={voices}", f"--takes={takes}", f"--out={here.folder / 'demo'}",
                        f"--registry={here.folder / 'manifests.json'}")
    return f"{35 * voices * takes:,} clips made in {seconds:.1f} s"


def run(here: Here, name: str, *flags: str) -> tuple[float, str]:
    """Run a script on the demo set: seconds, and what it printed."""
    if not (here.folder / "demo" / "train.json").exists():
        raise Skipped("there is no demo set")
    return script(name, "--manifest=demo", "--model=Res8", f"--registry={here.folder / 'manifests.json'}",
                  f"--cache_dir={here.folder / 'cache'}", f"--runs_dir={here.folder / 'runs'}", *flags)


def steps(here: Here) -> int:
    return 4 if here.quick else 200


def train_encoder(here: Here, name: str = "enc", *flags: str) -> str:
    seconds, printed = run(here, "TripletEncoder.py", f"--name={name}", "--recipe=fast", f"--num_steps={steps(here)}",
                           f"--step_freq={steps(here) // 2}", f"--eval_freq={steps(here)}",
                           f"--eval_clips={50 if here.quick else 2000}", *flags)
    config = json.loads((here.folder / "runs" / name / "config.json").read_text())
    return (f"{steps(here)} steps, --precision={config['arguments']['precision']}, "
            f"dev {_figure(printed, r'dev ([0-9.]+) %')} %, in {seconds:.1f} s")


def start(here: Here) -> str:
    """How long a training takes to the end of its first step, and its imports, each in a process of its own."""
    imports, printed = script("-c", "import sys, models.training.prepare, models.training.loop, models.training.tasks\n"
                              "print(len(sys.modules))")
    first, _ = run(here, "TripletEncoder.py", "--name=start", "--recipe=fast", "--num_steps=1", "--eval_clips=10")
    return f"imports {imports:.1f} s ({printed.strip()} modules), to the end of the first step {first:.1f} s"


def teacher(here: Here) -> str:
    """How many clips a second a teacher hears, of those that are installed."""
    from models.teachers.models import PACKAGES, open_teacher

    installed = [name for name, (module, _) in PACKAGES.items() if importlib.util.find_spec(module)]
    if not installed:
        raise Skipped(f"no teacher is installed ({', '.join(PACKAGES)})")
    clips, _ = here.sounds[np.arange(min(32, len(here.sounds)))]
    timed = {name: stopwatch(here, partial(open_teacher(name).embed, clips.numpy()), 0) for name in installed}
    return ", ".join(f"{name} {len(clips) / timing.median:.0f} clips/s" for name, timing in timed.items())


def spotting(here: Here) -> str:
    """How fast long recordings are searched, which is done on the CPU: times real time, one thread and two."""
    path = here.folder / "spotting.json"
    size = ("--seconds=3", "--threads=1", "--repeats=1") if here.quick else ("--seconds=60", "--repeats=3")
    script("-m", "benchmarks.spotting", "--models=Res8+constant", f"--json={path}", *size)
    return "; ".join(", ".join(f"{key} {value}" for key, value in row.items())
                     for row in json.loads(path.read_text())["rows"])


def test_encoder(here: Here) -> str:
    return _accuracy(here, *run(here, "infer_train.py", "--name=enc"))


def train_head(here: Here) -> str:
    """On the encoder's frozen embeddings; and, with noise and masks, together with a new encoder."""
    flags = ["--recipe=fast", "--batch_size=64", *(f"--{name}={steps(here)}" for name in (
        "num_steps", "eval_freq", "step_freq"))]
    once, _ = run(here, "TripletClassifier.py", "--name=head", "--enc_name=enc", *flags)
    anew, _ = run(here, "TripletClassifier.py", "--name=both", *flags, "--augment", "--spec_augment=light")
    return f"frozen in {once:.1f} s; from scratch with noise and masks in {anew:.1f} s"


def test_head(here: Here) -> str:
    return _accuracy(here, *run(here, "infer_notl.py", "--name=enc", "--cl_name=head"))


def resumed(here: Here) -> str:
    """How far a run that goes on from its middle comes from the weights of the one that was not interrupted."""
    from models.runs.checkpoints import Run, load_state

    runs, last = here.folder / "runs", steps(here)
    if not (runs / "enc").is_dir():
        raise Skipped("no encoder was trained")
    shutil.copytree(runs / "enc", runs / "resumed")
    for path in (runs / "resumed" / "checkpoints").glob(f"*-STEP-{last}.pt"):
        path.unlink()
    train_encoder(here, "resumed", "--resume")
    states = [load_state(Run(runs, name).path("Res8", last)) for name in ("enc", "resumed")]
    one, other = (np.concatenate([tensor.double().numpy().ravel() for key, tensor in state.items() if "conv" in key])
                  for state in states)
    if not np.isfinite([one, other]).all():
        raise Failed("weights that are no numbers")
    apart = np.abs(one - other).max() / np.abs(one).max()
    found = "bitwise" if apart == 0 else f"not bitwise (weights differ by {apart:.1e} of the largest)"
    return f"{found}, {last - last // 2} steps after step {last // 2}"


def _accuracy(here: Here, seconds: float, printed: str) -> str:
    accuracy = _figure(printed, r"Accuracy: ([\d.]+)")
    if not here.quick and float(accuracy) < 30:  # chance is 3 %
        raise Failed(f"{accuracy} % right after {steps(here)} steps of training")
    return f"{accuracy} % right, in {seconds:.1f} s"


def _figure(printed: str, pattern: str) -> str:
    found = re.search(pattern, printed)
    if found is None:
        raise Failed(f"it printed no {pattern.split()[0]}")
    return found[1]
