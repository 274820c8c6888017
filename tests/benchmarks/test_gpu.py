"""`benchmarks.gpu` does on a CPU, at a small size, what it does on a GPU; and what it says when something is wrong."""

import importlib
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu import checks as gpu_checks
from benchmarks.gpu import figures as gpu_figures
from benchmarks.gpu import here as gpu_here
from benchmarks.gpu import rates as gpu_rates
from benchmarks.gpu import scripts as gpu_scripts
from benchmarks.gpu.here import Failed, Here, Skipped
from data import rooms
from models.encoders.build import make_encoder
from models.evaluation import knn
from models.losses import triplet
from models.losses.supcon import SupervisedContrastive
from models.training import masks


@pytest.fixture
def here(tmp_path):
    return Here(torch.device("cpu"), True, tmp_path)


@pytest.fixture
def report(monkeypatch, tmp_path):
    """Run the command with the given parts and flags: its exit code, and its report as read back from the files."""
    def call(*parts, flags=()):
        monkeypatch.setattr(gpu, "parts", lambda: [gpu.Part(*part) for part in parts])
        code = gpu.main(gpu.parse_args(["--quick", f"--out={tmp_path / 'report'}", *flags]))
        written = json.loads((tmp_path / "report.json").read_text())
        return SimpleNamespace(code=code, markdown=(tmp_path / "report.md").read_text(), json=written,
                               verdicts=[part["verdict"] for part in written["parts"]])
    return call


def test_checks_and_tables_come_out_as_markdown_and_json(report, capsys):
    done = report(("embeddings", lambda here: gpu_checks.embeddings(here, "Res8")), ("mining", gpu_checks.mining),
                  ("augmentation", gpu_checks.augmentation), ("rooms", gpu_checks.rooms_and_voices),
                  ("losses", gpu_checks.losses), ("kNN", gpu_checks.neighbours),
                  ("steps", lambda here: gpu_figures.steps(here, "Res8", 1), "A step"),
                  ("around", gpu_figures.variants, "Around"),
                  ("rates", lambda here: gpu_rates.embedding_rates(here, "Res8"), "Embedding"),
                  ("fifteen epochs", gpu_rates.epochs, "Epochs"))
    assert done.code == 0 and set(done.verdicts) == {"passed"}, done.markdown
    assert done.markdown.rstrip().endswith("checks: 6 passed, 0 failed, 0 skipped")
    assert done.markdown.strip() in capsys.readouterr().out
    steps, around, rates, epochs = (part["rows"] for part in done.json["parts"] if part["table"])
    assert [row["arithmetic"] for row in steps] == ["fp32", "bf16"]
    for row in steps:
        # 8 clips of 67.6 M multiply-adds, three times, as seconds at the machine's own rate.
        assert row["step"]["median"] > row["network"]["median"] * 0.5 and row["step / limit"] > 0
    assert {"audio resident", "audio copied"} < {row["step"] for row in around}
    assert all(row["clips/s"] == pytest.approx(row["clips"] / row["a pass"]["median"]) for row in rates)
    assert [row["steps"] for row in epochs] == [15 * (85_000 // 8)] * 2


def test_what_fails_or_lacks_a_package_stops_nothing_else(report, capsys):
    def missing(_):
        raise ModuleNotFoundError("No module named 'nowhere.collections'", name="nowhere.collections")

    def wrong(_):
        raise Failed("3 of 4 differ")

    def broken(_):
        raise RuntimeError("CUDA error: no\nmore lines")

    done = report(("a", missing), ("b", wrong), ("c", broken), ("d", lambda _: "well"), ("e", broken, "Figures"))
    assert done.code == 1 and done.verdicts == ["skipped", "failed", "failed", "passed", "failed"]
    for line in ("| a | skipped | nowhere is not installed |", "| b | failed | 3 of 4 differ |",
                 "| c | failed | RuntimeError: CUDA error: no |", "| d | passed | well |",
                 "e: failed, RuntimeError: CUDA error: no", "checks: 1 passed, 2 failed, 1 skipped",
                 "tables of figures that failed: 1"):
        assert line in done.markdown
    assert "b: failed: 3 of 4 differ" in capsys.readouterr().err


@pytest.mark.parametrize("module", ["models.nothing", "infer_train.nothing", "numpy.nothing"])
def test_a_part_of_what_is_there_that_lacks_is_a_fault(report, module):
    """As after a module was renamed, or in a broken package: skipped, it would pass for a machine that lacks it."""
    done = report(("a", lambda _: importlib.import_module(module)))
    assert done.code == 1 and done.verdicts == ["failed"] and module in done.markdown


def test_a_start_that_was_not_measured_takes_no_time_of_any_table(here):
    here.steps["Res8", "fp32"] = 0.01
    row, = gpu_rates.epochs(here)
    assert "with the start" not in row
    here.noted["start"] = 5.0
    assert "with the start" in gpu_rates.epochs(here)[0]


def test_nothing_begins_after_the_limit(report):
    done = report(("a", lambda _: "done"), ("b", lambda _: "done"), flags=["--limit=0"])
    assert done.code == 0 and done.verdicts == ["skipped", "skipped"]


def test_the_report_is_on_disk_after_every_part(report, tmp_path):
    seen = []
    report(("a", lambda _: "first"), ("b", lambda _: seen.append((tmp_path / "report.md").read_text()) or "second"))
    assert "| a | passed | first |" in seen[0] and "| b |" not in seen[0]


def test_traffic_is_what_the_convolutions_read_and_write(here):
    # Res8: one value in and 45 out at 112 x 64 positions, then six times 45 in and 45 out at 37 x 16.
    assert gpu_figures.traffic(make_encoder("Res8", 45)) == 112 * 64 * 46 + 6 * 37 * 16 * 90


def test_layouts_compare_with_what_is_done_today(here):
    rows = gpu_rates.layouts(here, "Res8")
    assert [(row["channels"], row["layout"]) for row in rows] == [
        (width, layout) for width in (45, 48) for layout in ("channels-last", "plain")]
    assert rows[0]["to today's"] == 1 and all(row["network"].median > 0 for row in rows)


def test_a_neighbour_that_is_none_fails(here, monkeypatch):
    search = knn._search_by_torch
    monkeypatch.setattr(knn, "_search_by_torch",
                        lambda *given: (lambda similarities, rows: (similarities, rows // 2))(*search(*given)))
    with pytest.raises(Failed, match="differ"):
        gpu_checks.neighbours(here)


def test_another_negative_fails(here, monkeypatch):
    mine, calls = triplet.mine, []

    def other(*given):
        negative, found = mine(*given)
        calls.append(0)
        return (negative.roll(1) if len(calls) == 3 else negative), found  # 2 are the CPU's

    monkeypatch.setattr(triplet, "mine", other)
    with pytest.raises(Failed, match="negatives differ"):
        gpu_checks.mining(here)


def test_another_mask_fails(here, monkeypatch):
    send, calls = masks.send, []

    def other(tensor, device):
        calls.append(0)
        return send(~tensor if len(calls) == 3 else tensor, device)

    monkeypatch.setattr(masks, "send", other)
    with pytest.raises(Failed, match="full masks"):
        gpu_checks.augmentation(here)


def test_another_room_fails(here, monkeypatch):
    send, calls = rooms.send, []

    def other(tensor, device):
        calls.append(0)
        return send(tensor.roll(1) if len(calls) == 2 else tensor, device)

    monkeypatch.setattr(rooms, "send", other)
    with pytest.raises(Failed, match=r"rooms by [0-9.]+e-01"):
        gpu_checks.rooms_and_voices(here)


def test_another_loss_fails(here, monkeypatch):
    forward, calls = SupervisedContrastive.forward, []

    def other(self, embeddings, labels):
        calls.append(0)
        return forward(self, embeddings * (1.01 if len(calls) == 2 else 1), labels)

    monkeypatch.setattr(SupervisedContrastive, "forward", other)
    with pytest.raises(Failed, match=r"supcon by [0-9.]+e-0[12]"):
        gpu_checks.losses(here)


@pytest.mark.parametrize("moved", [(3e-4, 0, 0), (0, 3e-5, 0), (0, 0, 5e-3)])
def test_an_embedding_that_moves_fails(here, monkeypatch, moved):
    right = np.linalg.qr(np.random.default_rng(0).standard_normal((45, 6)))[0].T.astype(np.float32)

    def given(encoder, here, device=None, batch=None, bf16=False):
        return right + (0 if device else moved[2] if bf16 else moved[1] if batch else moved[0])

    monkeypatch.setattr(gpu_checks, "embed_all", given)
    with pytest.raises(Failed):
        gpu_checks.embeddings(here, "Res8")


def test_published_encoders_are_skipped_without_their_folder(here, tmp_path):
    with pytest.raises(Skipped, match="--checkpoints"):
        gpu_checks.embeddings(here, "res15_35")
    here.checkpoints = tmp_path
    with pytest.raises(Skipped, match="no run res15_35"):
        gpu_checks.embeddings(here, "res15_35")


def test_without_lightning_the_network_is_timed_all_the_same(here, monkeypatch):
    monkeypatch.setitem(sys.modules, "lightning", None)
    monkeypatch.delitem(sys.modules, "models.training.tasks", raising=False)
    row, *_ = gpu_figures.steps(here, "Res8", 1)
    assert row["step"] == "needs lightning" and row["network"].median > 0 and row["step / limit"] > 0


def test_a_script_that_fails_says_its_last_line(tmp_path):
    (tmp_path / "wrong.py").write_text("import sys\nsys.exit('no such thing')\n")
    (tmp_path / "lacks.py").write_text("import nowhere.at_all\n")
    with pytest.raises(Failed, match=r"wrong.py ended with code 1: no such thing"):
        gpu_here.script(str(tmp_path / "wrong.py"))
    with pytest.raises(Skipped, match="nowhere is not installed"):
        gpu_here.script(str(tmp_path / "lacks.py"))
    with pytest.raises(Skipped, match="no demo set"):
        gpu_scripts.train_encoder(Here(torch.device("cpu"), True, tmp_path))


def test_the_scripts_train_resume_and_test_the_demo_set(here):
    assert "105 clips" in gpu_scripts.demo(here)
    assert "4 steps, --precision=32" in gpu_scripts.train_encoder(here)
    assert gpu_scripts.resumed(here) == "bitwise, 2 steps after step 2"
    assert "% right" in gpu_scripts.test_encoder(here) and here.noted["infer_train"] > 0
    assert gpu_scripts._apart(here, "enc", "enc", 2) == 0
    whole, *parts, test = (row["seconds"] for row in gpu_scripts.start(here))
    assert len(parts) >= 3 and sum(parts) == pytest.approx(whole) == pytest.approx(here.noted["start"])
    assert test == here.noted["infer_train"]


def test_unknown_parts_and_folders_are_refused(tmp_path):
    for flags, words in ((["--only", "nothing"], "mining"), (["--checkpoints", f"{tmp_path}/no"], "no such folder")):
        with pytest.raises(gpu.UserError, match=words):
            gpu.main(gpu.parse_args(flags))
