"""--cl: a softmax head on each checkpoint of an encoder, as the original trained one every 100 steps.

TripletClassifier.py does it in a process of its own, so that the encoder's training draws the same random numbers.
"""

import os
import re
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable

from tqdm import tqdm

from data.base.errors import UserError
from data.base.files import ROOT
from models.runs.checkpoints import HEAD, Run, encoder_digest
from models.runs.options.common import repeated

POLL = 0.2  # seconds between checks for a signal while a head is trained


def train_heads(args: Namespace, run: Run, stopped: Callable[[], bool]) -> None:
    """Train the runs ``NAME_classifierSTEP`` of all checkpoints that have none yet; go on with those cut short. If a
    signal came (``stopped``), the head under way saves and ends, and no other is begun. Raises UserError if a head
    could not be trained."""
    for step in run.steps(args.model):
        head = Run(args.runs_dir, f"{args.name}_classifier{step}", "--cl")
        config = head.config()
        if config.get("encoder_sha256") == encoder_digest(run.path(args.model, step)) and \
                config.get("arguments", {}).get("num_steps") in head.steps(HEAD):
            continue
        code, out = _run([f"--name={head.name}", f"--enc_name={args.name}", f"--enc_step={step}",
                          f"--manifest={args.manifest}", f"--model={args.model}", f"--seed={args.seed}",
                          f"--eval_clips={args.eval_clips}", "--resume", *repeated(args)], stopped)
        if stopped():
            return
        if code:
            raise UserError(f"--cl: no head of step {step} was trained ({out.strip().splitlines()[-1]}); go on by "
                            "--resume, with or without --cl")
        dev = re.findall(r"dev \d+\.\d+ %", out)
        tqdm.write(f"head of step {step}: {f'{dev[-1]}, ' if dev else ''}saved {head.path(HEAD, head.steps(HEAD)[-1])}",
                   file=sys.stdout)


def _run(flags: list[str], stopped: Callable[[], bool]) -> tuple[int, str]:
    """TripletClassifier.py's exit code and output. A signal to this process is passed on to it, once."""
    command = [sys.executable, str(ROOT / "TripletClassifier.py"), *flags]
    own = {name: value for name, value in os.environ.items() if not name.startswith("TORCHELASTIC")}  # not torchrun's
    with subprocess.Popen(command, env=own, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          start_new_session=True) as process:  # Ctrl-C reaches it by this process alone
        terminated = False  # a second signal would end it without saving
        while True:
            try:
                out = process.communicate(timeout=POLL)[0]
                return process.returncode, out
            except subprocess.TimeoutExpired:
                if stopped() and not terminated:
                    process.terminate()
                    terminated = True
