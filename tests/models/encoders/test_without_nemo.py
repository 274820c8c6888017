"""Testing, and embedding, need neither NeMo nor Lightning; training Res8 by --recipe=fast needs no NeMo."""

import subprocess
import sys

import pytest

from data.base.files import ROOT
from tests.conftest import TRAIN

# As where they are not installed: an import of a module that is None in here fails, and of its parts, too.
BLOCKED = """import sys
for name in {blocked}: sys.modules[name] = None
import {script}
code = {script}.main({script}.parse_args(sys.argv[1:]))
assert not any(name.split('.')[0] in {blocked} and module for name, module in sys.modules.items())
sys.exit(code)"""
BOTH = ("nemo", "lightning", "lightning_utilities", "pytorch_lightning")


def without(blocked: tuple, script: str, *flags) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", BLOCKED.format(blocked=blocked, script=script), *flags], cwd=ROOT,
                          capture_output=True, text=True)


@pytest.fixture(scope="module")
def head(encoder, words, runs):
    import TripletClassifier

    TripletClassifier.main(TripletClassifier.parse_args(
        ["--name=plain", "--enc_name=enc", f"--runs_dir={runs}", *words.flags, "--model=Res8", "--num_steps=2"]))
    return "plain"


def test_encoders_and_heads_are_tested_without_nemo_and_lightning(head, words, runs):
    flags = ["--name=enc", f"--runs_dir={runs}", *words.flags, "--model=Res8"]
    for script, more in (("infer_train", ["--enc_step=40"]), ("infer_train", ["--shots", "1", "--repeats=1"]),
                         ("infer_notl", [f"--cl_name={head}"])):
        done = without(BOTH, script, *flags, *more)
        assert done.returncode == 0, done.stderr
        assert "ccuracy" in done.stdout


def test_the_fast_recipe_trains_without_nemo(words, tmp_path):
    done = without(("nemo",), "TripletEncoder", "--name=a", f"--runs_dir={tmp_path}", *words.flags, *TRAIN,
                   "--num_steps=1")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a" / "checkpoints" / "Res8-STEP-1.pt").exists()
