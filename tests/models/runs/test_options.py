"""The flags: one default each, recipes, losses, augmentations and their ranges, and --help at once."""

import importlib
import re
import subprocess
import sys

import pytest

from data.base.errors import UserError
from data.base.files import ROOT
from models.runs.options.training import CHANCES, HEAD, LOSSES, resolve_loss, resolve_masks, resolve_recipe, varied

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


def test_help_states_every_default_and_an_example_that_parses_and_a_shared_flag_has_one_default(capsys):
    seen = {}
    for script in SCRIPTS:
        module = importlib.import_module(script)
        with pytest.raises(SystemExit) as stop:
            module.parse_args(["--help"])
        assert stop.value.code == 0
        text = capsys.readouterr().out
        for flag, about in re.findall(r"^  (--\w+)(.*?)(?=^  -|^\S|\Z)", text, re.M | re.S):
            assert "(default" in about or flag in ("--name", "--manifest", "--model", "--cl_name"), flag
            seen.setdefault(flag, {})[script] = re.findall(r"\(default: ([^;)]*)", " ".join(about.split()))
        example = text.split("example:\n")[1].split()
        assert example[:2] == ["python", f"{script}.py"]
        module.parse_args(example[2:])
        assert text.count("\n\n") >= 4  # groups
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


def test_recipes_fill_in_only_what_was_not_given():
    args = parsed("TripletEncoder", "--recipe=fast", "--lr=0.5")
    resolve_recipe(args)
    assert (args.optimizer, args.schedule, args.lr, args.shift) == ("adamw", "onecycle", 0.5, True)
    assert args.noise_snr == (5.0, 30.0)
    args = parsed("TripletEncoder", "--recipe=fast", "--no-shift", "--noise_snr", "1", "2")
    resolve_recipe(args)
    assert args.shift is False and tuple(args.noise_snr) == (1, 2)
    args = parsed("TripletEncoder", "--augment")
    resolve_recipe(args)
    assert (args.optimizer, args.shift) == ("novograd", True)


def test_the_papers_recipe_masks_speech_commands_always_and_nothing_else():
    for flags, speech_commands, wanted in (
            ([], True, "full"), (["--augment"], True, "full"), ([], False, "off"), (["--recipe=fast"], True, "off"),
            (["--spec_augment=off"], True, "off"), (["--recipe=fast", "--spec_augment"], False, "full")):
        args = parsed("TripletEncoder", *flags)
        resolve_recipe(args)
        resolve_masks(args, speech_commands)
        assert args.spec_augment == wanted


@pytest.mark.parametrize("flag", CHANCES)
def test_a_probability_is_a_flags_own_or_the_one_given(flag):
    for given, wanted in (([], 0), ([f"--{flag}"], None), ([f"--{flag}=0.25"], 0.25), ([f"--{flag}=0"], 0)):
        args = parsed("TripletEncoder", *given, "--no-shift")
        resolve_recipe(args)
        resolve_masks(args, False)
        found = getattr(args, flag)
        assert found == wanted if wanted is not None else 0 < found < 1
        assert varied(args) == (found > 0)


@pytest.mark.parametrize("flags, said", [(["--lr=1e-5"], "--lr_end 8e-05 is above --lr 1e-05"),
                                         (["--noise_snr", "30", "5"], "--noise_snr 30 5"),
                                         (["--babble", "--babble_snr", "9", "8"], "--babble_snr 9 8"),
                                         (["--loss=angular_prototypical", "--data_probs=1"],
                                          "--data_probs 1 can draw a class twice")])
def test_contradictions(flags, said):
    with pytest.raises(UserError, match=re.escape(said)):
        resolve_recipe(args := parsed("TripletEncoder", *flags))
        resolve_loss(args)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_loss_has_its_own_defaults_which_flags_replace(loss):
    takes = LOSSES[loss]
    for given, found in ((["--lr=0.5"], takes | ({"loss_lr": 0.5} if "loss_lr" in takes else {})),
                         (["--margin=0.25", "--scale=20", "--loss_lr=0.3"], takes | {"margin": 0.25, "scale": 20.0,
                                                                                      "loss_lr": 0.3})):
        args = parsed("TripletEncoder", f"--loss={loss}", *given)
        resolve_recipe(args)
        resolve_loss(args)
        assert {flag: getattr(args, flag) for flag in found} == found
