"""The flags: one default each, recipes, and --help at once."""

import importlib
import re
import subprocess
import sys

import pytest

from data.base.files import ROOT
from models.runs.options.loss import resolve_loss
from models.runs.options.recipe import HEAD, resolve_recipe

SCRIPTS = ("TripletEncoder", "TripletClassifier", "infer_train", "infer_notl")
# What the original's scripts took, with its defaults; None: required, or read from elsewhere.
ORIGINAL = {
    "TripletEncoder": {"lr": 1e-3, "lr_end": 8e-5, "batch_classes": 35, "per_class": 10, "num_epochs": 15,
                       "margin": 0.5, "mining": "random", "loss": "triplet", "hidden_size": 45,
                       "embedding_size": 45, "augment": False, "save_emb": False, "cl": False, "gpu": 0,
                       "classify_gpu": False, "manifest": "12", "model": "Res8", "data_probs": 0, "name": "a"},
    "TripletClassifier": {"gpu": 0, "name": "a", "enc_name": None, "enc_step": 3, "num_classes": None,
                          "hidden_size": 45, "manifest": "12", "model": "Res8", "lr": 1e-3, "lr_end": 1e-4,
                          "num_epochs": 2, "batch_size": 128},
    "infer_train": {"gpu": 0, "name": "a", "enc_step": None, "manifest": "12", "hidden_size": None, "model": "Res8",
                    "k": [5], "save": False},
    "infer_notl": {"gpu": 0, "name": "a", "enc_step": None, "manifest": "12", "hidden_size": None, "model": "Res8",
                   "save": False, "cl_name": "b", "cl_step": None},
}
REQUIRED = {"TripletEncoder": [], "TripletClassifier": ["--enc_step=3"], "infer_train": [],
            "infer_notl": ["--cl_name=b"]}


def parsed(script: str, *flags: str):
    return importlib.import_module(script).parse_args(["--name=a", "--manifest=12", "--model=Res8", *flags])


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_originals_flags_and_defaults(script):
    args = parsed(script, *REQUIRED[script])
    if "lr" in ORIGINAL[script]:
        resolve_recipe(args, HEAD if script == "TripletClassifier" else None)
        from models.runs.session import resolve_sizes
        resolve_sizes(args, {})
        if script == "TripletEncoder":
            resolve_loss(args)
    assert {flag: getattr(args, flag) for flag in ORIGINAL[script]} == ORIGINAL[script]


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_states_every_default_and_an_example_that_parses(script, capsys):
    module = importlib.import_module(script)
    with pytest.raises(SystemExit) as stop:
        module.parse_args(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for flag, about in re.findall(r"^  (--\w+)(.*?)(?=^  -|^\S|\Z)", text, re.M | re.S):
        required = flag in ("--name", "--manifest", "--model", "--cl_name")
        assert required or "(default" in about, flag
    example = text.split("example:\n")[1].split()
    assert example[:2] == ["python", f"{script}.py"]
    module.parse_args(example[2:])
    assert text.count("\n\n") >= 4  # groups


def test_a_shared_flag_has_one_default_and_one_text(capsys):
    seen = {}
    for script in SCRIPTS:
        with pytest.raises(SystemExit):
            importlib.import_module(script).parse_args(["--help"])
        for flag, about in re.findall(r"^  (--\w+)(.*?)(?=^  -|^\S|\Z)", capsys.readouterr().out, re.M | re.S):
            seen.setdefault(flag, {})[script] = re.findall(r"\(default: ([^;)]*)", " ".join(about.split()))
    for flag, defaults in seen.items():
        # The head's are its own: they were fixed values of the original's head script.
        if flag in ("--lr_end", "--num_epochs", "--batch_classes", "--enc_step", "--hidden_size", "--shift", "--speed"):
            continue
        assert len({tuple(d) for d in defaults.values()}) == 1, (flag, defaults)


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_imports_nothing_heavy(script):
    code = (f"import sys, {script}\ntry: {script}.parse_args(['--help'])\nexcept SystemExit: pass\n"
            "print(*({'torch', 'nemo', 'lightning', 'faiss', 'librosa', 'sklearn', 'numpy'} & set(sys.modules)), "
            "file=sys.stderr)")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stderr.strip() == ""


@pytest.mark.parametrize("flags, said", [
    (["--model=Res9"], "--model: invalid choice: 'Res9'"), (["--lr=-1"], "--lr: '-1' is not a number above 0"),
    (["--per_class=0"], "--per_class: '0' is not a whole number from 1 up"),
    (["--batch_class=3"], "unrecognized arguments")])
def test_bad_values_exit_2_naming_the_flag(flags, said, capsys):
    with pytest.raises(SystemExit) as stop:
        parsed("TripletEncoder", *flags)
    assert stop.value.code == 2
    assert said in capsys.readouterr().err
