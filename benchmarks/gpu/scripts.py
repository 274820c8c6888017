"""The four scripts on the demo set, each in a process of its own, as a user starts them; and what starting takes.

Each part takes a `Here`; they follow one another, since the later ones use what the earlier ones made.
"""

import json
import re
import shutil

import numpy as np

from benchmarks.gpu.here import Failed, Here, Skipped, script

AGAIN = 10  # a resumed run may be apart from an uninterrupted one by as many times what two of those are


def _flags(here: Here, model: bool = True) -> list[str]:
    if not (here.folder / "demo" / "train.json").exists():
        raise Skipped("there is no demo set")
    return ["--manifest=demo", f"--registry={here.folder / 'manifests.json'}", f"--cache_dir={here.folder / 'cache'}",
            f"--runs_dir={here.folder / 'runs'}"] + ["--model=Res8"] * model


def _steps(here: Here) -> int:
    return 4 if here.quick else 200


def _train(here: Here, name: str, *flags: str) -> tuple[float, str]:
    return script("TripletEncoder.py", f"--name={name}", *_flags(here), "--gpu=0", "--recipe=fast",
                  f"--num_steps={_steps(here)}", f"--step_freq={_steps(here) // 2}", f"--eval_freq={_steps(here)}",
                  f"--eval_clips={50 if here.quick else 2000}", *flags)


def _config(here: Here, name: str) -> dict:
    return json.loads((here.folder / "runs" / name / "config.json").read_text())


def demo(here: Here) -> str:
    """The data set that eSpeak NG speaks."""
    voices, takes = (3, 1) if here.quick else (16, 2)
    seconds, _ = script("-m", "data.demo", f"--voices={voices}", f"--takes={takes}", f"--out={here.folder / 'demo'}",
                        f"--registry={here.folder / 'manifests.json'}")
    return f"{35 * voices * takes:,} clips made in {seconds:.1f} s"


def train_encoder(here: Here) -> str:
    """TripletEncoder.py."""
    seconds, printed = _train(here, "enc")
    dev = re.search(r"dev ([\d.]+) %", printed)
    if dev is None:
        raise Failed("it looked at no dev set")
    precision = _config(here, "enc")["arguments"]["precision"]
    return f"{_steps(here)} steps, --precision={precision}, dev {dev[1]} %, in {seconds:.1f} s"


def test_encoder(here: Here) -> str:
    """infer_train.py."""
    seconds, printed = script("infer_train.py", "--name=enc", *_flags(here), "--gpu=0")
    here.noted["infer_train"] = seconds
    return _accuracy(here, printed, seconds)


def train_head(here: Here) -> str:
    """TripletClassifier.py, on the encoder's frozen embeddings and, with noise and masks, on what it makes anew."""
    steps = ["--gpu=0", f"--num_steps={_steps(here)}", f"--eval_freq={_steps(here)}", f"--step_freq={_steps(here)}",
             "--recipe=fast", "--batch_size=64"]
    once, _ = script("TripletClassifier.py", "--name=head", "--enc_name=enc", *_flags(here), *steps)
    anew, _ = script("TripletClassifier.py", "--name=both", *_flags(here), *steps, "--augment", "--spec_augment=light")
    return f"frozen in {once:.1f} s; from scratch with noise and masks in {anew:.1f} s"


def test_head(here: Here) -> str:
    """infer_notl.py."""
    seconds, printed = script("infer_notl.py", "--name=enc", "--cl_name=head", *_flags(here), "--gpu=0")
    return _accuracy(here, printed, seconds)


def resumed(here: Here) -> str:
    """A run that goes on from its middle reaches the weights of the one that was not interrupted."""
    runs, half, last = here.folder / "runs", _steps(here) // 2, _steps(here)
    if not (runs / "enc").is_dir():
        raise Skipped("no encoder was trained")
    shutil.copytree(runs / "enc", runs / "resumed")
    for path in (runs / "resumed" / "checkpoints").glob(f"*-STEP-{last}.pt"):
        path.unlink()
    _train(here, "resumed", "--resume")
    apart = _apart(here, "enc", "resumed", last)
    if apart == 0:
        return f"bitwise, {last - half} steps after step {half}"
    _train(here, "again")
    repeat = _apart(here, "enc", "again", last)
    found = (f"not bitwise: weights differ by {apart:.1e} of the largest, those of two uninterrupted runs by "
             f"{repeat:.1e}")
    if apart > AGAIN * repeat:
        raise Failed(found)
    return found


def _apart(here: Here, one: str, other: str, step: int) -> float:
    """Largest difference of two runs' encoders at a step, as a share of the largest weight."""
    from models.runs.checkpoints import Run, load_state

    states = [load_state(Run(here.folder / "runs", name).path("Res8", step)) for name in (one, other)]
    weights = [np.concatenate([tensor.double().numpy().ravel() for key, tensor in state.items() if "conv" in key])
               for state in states]
    if not np.isfinite(weights).all():
        raise Failed("weights that are no numbers")
    return float(np.abs(weights[0] - weights[1]).max() / np.abs(weights[0]).max())


def compiled(here: Here) -> str:
    """--compile trains."""
    if here.quick:
        raise Skipped("--quick")
    seconds, printed = _train(here, "compiled", "--compile")
    return f"{_steps(here)} steps in {seconds:.1f} s, dev {re.search(r'dev ([0-9.]+) %', printed)[1]} %"


def several(here: Here) -> str:
    """torchrun: two processes, or on a machine with one GPU a single one, which joins a group all the same."""
    import torch

    processes = 1 if torch.cuda.device_count() == 1 else 2
    _, printed = script("-m", "torch.distributed.run", "--standalone", "--local_addr=127.0.0.1",
                        f"--nproc_per_node={processes}", "TripletEncoder.py", "--name=several", *_flags(here),
                        "--recipe=fast", f"--num_steps={_steps(here)}", f"--eval_freq={_steps(here)}")
    dev = re.search(r"dev ([\d.]+) %", printed)
    if dev is None or printed.count("saved ") != 1:
        raise Failed(f"not one process spoke, and once: {printed[-200:]!r}")
    return f"{processes} process{'es' * (processes > 1)}, dev {dev[1]} %" + (
        "; there is one GPU, so two processes were not tried" if processes == 1 else "")


def start(here: Here) -> list[dict[str, object]]:
    """Seconds from `python TripletEncoder.py` to its first step, by parts, and of the whole of infer_train.py."""
    from benchmarks.startup import phases

    flags = [*_flags(here), "--gpu=0", "--recipe=fast", f"--num_steps={_steps(here)}"]
    found = [phases("TripletEncoder", [f"--name=start{n}", *flags]) for n in range(1 if here.quick else 2)][-1]
    here.noted["start"] = next(iter(found.values()))
    return [{"what": f"TripletEncoder.py, {part}", "seconds": seconds} for part, seconds in found.items()] + [
        {"what": "infer_train.py, from start to end", "seconds": here.noted[key]}
        for key in ("infer_train",) if key in here.noted]


def _accuracy(here: Here, printed: str, seconds: float) -> str:
    found = re.search(r"Accuracy: ([\d.]+)", printed)
    if found is None:
        raise Failed("it printed no accuracy")
    if not here.quick and float(found[1]) < 30:  # chance is 3 %
        raise Failed(f"{found[1]} % right after {_steps(here)} steps of training")
    return f"{found[1]} % right, in {seconds:.1f} s"
