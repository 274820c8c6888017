"""The benchmarks run, on next to nothing, and print what they promise. Nothing here asserts how long anything took.

`benchmarks.gpu` does on a CPU what it does on a GPU; and each check fails where it should.
"""

import importlib
import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu import checks, figures
from benchmarks.gpu.figures import Here
from benchmarks.measure import Failed, Skipped, Timing, script, table
from data import augment
from data.base.files import ROOT
from models import neighbours
from models.runs.options.training import LOSSES
from models.training import masks


@pytest.fixture
def here(tmp_path):
    return Here(torch.device("cpu"), True, tmp_path)


@pytest.fixture
def report(monkeypatch, tmp_path, capsys):
    """Run the command with the given parts: its exit code, its report and the parts in its JSON."""
    def call(*parts):
        monkeypatch.setattr(gpu, "parts", lambda: [gpu.Part(*part) for part in parts])
        code = gpu.main(gpu.parse_args(["--quick", f"--json={tmp_path / 'gpu.json'}"]))
        return code, capsys.readouterr().out, json.loads((tmp_path / "gpu.json").read_text())["parts"]
    return call


def test_every_line_runs_on_a_cpu_and_comes_out_as_markdown_and_json(report, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda module, dynamic: lambda x: module(x))  # a minute of a CPU's time
    last = "bf16, padded, compiled, graph"
    compiled = {last: figures.COMPILED[last]}
    few = {name: figures.DATA[name] for name in ("plain", "masks", "--augment")}
    monkeypatch.setattr(figures, "DATA", few)
    code, printed, parts = report(
        ("embeddings", lambda here: checks.embeddings(here, "Res8")), ("mining", checks.mining),
        ("augmentation", checks.augmentation), ("kNN", checks.neighbours), ("TF32", checks.places),
        ("agreement", lambda here: figures.agreement(here, compiled)),
        ("steps", lambda here: figures.compared(here, "Res8", {"fp32": figures.WAYS["fp32"]} | compiled), "A step"),
        ("data", figures.data, "Augmentation"), ("losses", figures.losses, "Losses"),
        ("rates", lambda here: figures.embedding(here, "Res8"), "Embedding"), ("spotting", checks.spotting))
    assert code == 0 and printed.rstrip().endswith("parts: 11 passed, 0 failed, 0 skipped"), printed
    steps, data, losses, rates = (part["rows"] for part in parts if part["table"])
    assert [row["way"] for row in steps] == ["fp32", f"{last} (NOT RECORDED)"]
    for row in steps:
        assert row["step"]["median"] > 0.3 * row["front end and on"]["median"] > 0
        assert row["front end and on / limit"] > 0 and row["clips"] == 8
    assert [row["way"] for row in data] == [f"{name} (NOT RECORDED)" for name in few] and data[0]["step / plain"] == 1
    assert len(losses) == len(LOSSES)
    assert all(row["clips/s"] == pytest.approx(row["clips"] / row["a pass"]["median"]) for row in rates)
    assert all(f"## {heading}" in printed for heading in ("A step", "Augmentation", "Losses", "Embedding"))


def test_every_part_has_a_name_of_its_own_and_none_is_begun_too_late(monkeypatch, capsys):
    assert len({part.name for part in gpu.parts()}) == len(gpu.parts()) > 20
    monkeypatch.setattr(gpu, "parts", lambda: [gpu.Part("late", raising(AssertionError))])
    assert gpu.main(gpu.parse_args(["--minutes=0"])) == 0
    assert "late: skipped: --minutes 0 were over" in capsys.readouterr().err


def test_a_kill_in_the_middle_leaves_what_was_done(report, tmp_path, capsys):
    with pytest.raises(KeyboardInterrupt):
        report(("a", lambda _: "well"), ("b", lambda _: [{"way": "plain", "ms": 3}], "Steps"),
               ("c", raising(KeyboardInterrupt)), ("d", lambda _: "never"))
    parts = json.loads((tmp_path / "gpu.json").read_text())["parts"]
    assert [part["part"] for part in parts] == ["a", "b"] and parts[1]["rows"] == [{"way": "plain", "ms": 3}]
    told = capsys.readouterr().err
    assert "a: passed: well" in told and "| plain | 3    |" in told


def test_steps_that_change_the_weights_otherwise_fail(here, monkeypatch):
    def wrong(here, model, way):
        task, once, learn = right(here, model, way)
        return task, once if way.padded is False and not way.flags else lambda: None, learn

    right = figures.steps_of
    monkeypatch.setattr(figures, "steps_of", wrong)
    with pytest.raises(Failed, match=r"padded 1.0e\+00"):
        figures.agreement(here, {"bf16, padded": figures.WAYS["bf16, padded"]})


def raising(error):
    def part(_):
        raise error
    return part


def test_what_fails_or_lacks_a_package_stops_nothing_else(report):
    code, printed, parts = report(
        ("a", raising(ModuleNotFoundError("No module named 'nowhere.collections'"))), ("b", raising(Failed("3 off"))),
        ("c", raising(RuntimeError("CUDA error: no\nmore lines"))), ("d", lambda _: "well"),
        ("e", lambda _: importlib.import_module("models.nothing")))  # a fault of ours, not a missing package
    assert code == 1 and [part["verdict"] for part in parts] == ["skipped", "failed", "failed", "passed", "failed"]
    for found in ("nowhere is not installed", "3 off", "RuntimeError: CUDA error: no", "well", "models.nothing",
                  "parts: 1 passed, 3 failed, 1 skipped"):
        assert found in printed


def second_call(module, name, change, at, monkeypatch):
    """Change what a function gives at its call number ``at``, which is the device's and not the CPU's."""
    right, calls = getattr(module, name), []

    def other(*given):
        calls.append(0)
        return change(right(*given)) if len(calls) == at else right(*given)

    monkeypatch.setattr(module, name, other)


@pytest.mark.parametrize(("module", "name", "change", "at", "check", "message"), [
    (neighbours, "_search_by_torch", lambda found: (found[0], found[1] // 2), 1, checks.neighbours, "differ"),
    (checks, "mine", lambda found: (found[0].roll(1), found[1]), 2, checks.mining, "negatives differ"),
    (masks, "send", lambda tensor: tensor + 1, 3, checks.augmentation, "full masks"),
    (augment.Reverb, "_heard", lambda wet: wet.roll(1), 2, checks.augmentation, r"rooms by [0-9.]+e-01")])
def test_another_result_on_the_device_fails(here, monkeypatch, module, name, change, at, check, message):
    second_call(module, name, change, at, monkeypatch)
    with pytest.raises((Failed, SystemExit), match=message):
        check(here)


@pytest.mark.parametrize("moved", [(3e-4, 0, 0), (0, 3e-5, 0), (0, 0, 5e-3)])
def test_an_embedding_that_moves_fails(here, monkeypatch, moved):
    right = np.linalg.qr(np.random.default_rng(0).standard_normal((45, 6)))[0].T.astype(np.float32)

    def given(encoder, here, device=None, batch=None, bf16=False):
        return right + (0 if device else moved[2] if bf16 else moved[1] if batch else moved[0])

    monkeypatch.setattr(checks, "embed_all", given)
    with pytest.raises(Failed):
        checks.embeddings(here, "Res8")


def test_a_script_that_fails_gives_its_last_line(tmp_path):
    (tmp_path / "wrong.py").write_text("import sys\nsys.exit('no such thing')\n")
    with pytest.raises(Failed, match=r"wrong.py ended with code 1: no such thing"):
        script(str(tmp_path / "wrong.py"))


def test_the_scripts_train_resume_and_test_the_demo_set(here):
    with pytest.raises(Skipped, match="no demo set"):
        checks.train_encoder(here)
    assert "105 clips" in checks.demo(here)
    assert "4 steps, --precision=32" in checks.train_encoder(here)
    assert checks.resumed(here) == "bitwise, 2 steps after step 2"
    assert "% right" in checks.accuracy(here, "infer_train.py")


@pytest.mark.parametrize(("command", "columns"), [
    (["step", "--models=Res8", "--per_class=2", "--repeats=2"], {"step", "step / limit", "plain / ours"}),
    (["knn", "--train", "300", "--queries=20", "--repeats=2"], {"time", "scikit-learn / this"}),
    (["spotting", "--models", "Res8", "Res8+constant", "--widths=8", "--threads=1", "--seconds=2", "--repeats=1"],
     {"times real time"})])
def test_a_table_and_its_json(command, columns, tmp_path):
    path = tmp_path / "table.json"
    done = subprocess.run([sys.executable, "-m", f"benchmarks.{command[0]}", *command[1:], f"--json={path}"], cwd=ROOT,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = json.loads(path.read_text())["rows"]
    assert rows and columns <= set(rows[0]) and all(column in done.stdout for column in columns)


def test_a_row_may_lack_columns_and_a_timing_is_median_and_spread():
    lines = table([{"what": "a", "time": Timing([1.0, 2.0, 4.0])}, {"what": "b", "size": 12_345}])
    assert [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[::2]] == [
        ["what", "time", "size"], ["a", "2.00 s ± 75 %", ""]]
    assert "12,345" in lines[3]
