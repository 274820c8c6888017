"""The comparison: its cells' budgets, its figures against oracles, and a small grid from end to end."""

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from math import comb
from types import SimpleNamespace

import numpy as np
import pytest

from data.base.errors import UserError
from data.manifests import ROOT, load_corpus
from experiments import cells, compare, summary
from experiments.cells import Cell
from experiments.pictures import draw_classes, draw_curves
from experiments.results_file import Results
from models.runs.options.loss import LOSSES, resolve_loss
from models.runs.options.recipe import HEAD, resolve_recipe

# Small operations of two threads wait long for one another where another program has a core.
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}
BASE = Cell("words", "Res8", "knn", 6, 0, batch_classes=4, per_class=3)
CLASSIFYING = ("ce", "knn", "head")


def grid(**axes):
    return cells.grid("words", ["Res8", "Res15"], axes.pop("methods", CLASSIFYING), [240, 120], [0, 1], **axes)


def test_cross_entropy_has_one_cell_whatever_the_triplets_are():
    found = grid(margin=[0.2, 0.5], mining=["random", "hardest"], augment=[False, True])
    counts = {method: sum(cell.method == method for cell in found) for method in CLASSIFYING}
    assert counts == {"ce": 2 * 2 * 2 * 2, "knn": 2 * 2 * 2 * 2 * 4, "head": 2 * 2 * 2 * 2 * 4}
    assert len({cell.name for cell in found}) == len(found)
    assert [cell.steps for cell in found] == sorted(cell.steps for cell in found)


def test_losses_are_multiplied_only_by_what_they_take():
    found = grid(methods=["ce", "knn"], loss=["triplet", "am_softmax", "supcon"], margin=[0.2, 0.5],
                 mining=["random", "hardest"], extra=[("--loss_lr=0.1", "--lr=0.01", "--sub_centres=2")])
    per = {loss: sum(cell.loss == loss and cell.method == "knn" for cell in found) for loss in LOSSES}
    assert {loss: count // 8 for loss, count in per.items() if count} == {"triplet": 4, "am_softmax": 2, "supcon": 1}
    assert sum(cell.method == "ce" for cell in found) == 8
    assert {cell.loss: cell.extra for cell in found} == {
        "triplet": ("--lr=0.01",), "supcon": ("--lr=0.01",), "am_softmax": ("--loss_lr=0.1", "--lr=0.01")}
    assert len({cell.name for cell in found}) == len(found)


def test_every_loss_has_its_own_margin_where_none_is_asked_for():
    found = grid(methods=["knn"], loss=list(LOSSES), margin=[None])
    assert {cell.loss: cell.margin for cell in found if "margin" in LOSSES[cell.loss]} == {
        loss: takes["margin"] for loss, takes in LOSSES.items() if "margin" in takes}
    assert not any("margin" in cell.name for cell in found)
    assert all(cell.name.count(cell.loss) == (cell.loss != "triplet") for cell in found)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("model, size", [("Res8", None), ("Res8", 64), ("BCRes1", None), ("BCRes3", 64)])
def test_every_loss_and_encoder_gets_flags_that_its_script_takes(loss, model, size):
    from models.runs import session

    extra = ("--scale=20", "--sub_centres=2", "--loss_lr=0.5", "--spec_augment=light")
    cell, = cells.grid("a+b", [model], ["knn"], [6], [0], loss=[loss], margin=[None], embedding_size=[size],
                       shares=[(3.0, 1.5)], extra=[extra])
    script, *flags = cells.train_command(cell, [])
    args = importlib.import_module(script.removesuffix(".py")).parse_args(flags)
    resolve_recipe(args)
    resolve_loss(args)
    session.resolve_sizes(args, {})
    assert (args.loss, args.shares, args.spec_augment) == (loss, [3.0, 1.5], "light")
    assert (args.hidden_size, args.embedding_size) == ((45 if model == "Res8" else size or 45), size or 45)
    for flag, value in (("scale", 20), ("sub_centres", 2), ("loss_lr", 0.5)):
        assert getattr(args, flag) == (value if flag in LOSSES[loss] else None)
    for method in ("ce", "head"):
        script, *flags = cells.train_command(cell.of(method), [])
        importlib.import_module(script.removesuffix(".py")).parse_args(flags)


def test_sizes_said_two_ways_are_one_cell():
    found = cells.grid("words", ["Res8", "BCRes1"], ["knn"], [6], [0], width=[45, 64], embedding_size=[None, 64])
    assert {(cell.model, cell.width, cell.embedding_size) for cell in found} == {
        ("Res8", 45, None), ("Res8", 45, 64), ("Res8", 64, None), ("BCRes1", 45, None), ("BCRes1", 64, None)}
    assert len({cell.name for cell in found}) == len(found) == 5


def test_words_are_enrolled_after_what_shares_their_encoder():
    found = grid(methods=["shots", "head", "ce"], words=["wake-1"])
    for chain in cells.chains(found):
        methods = [cell.method for cell in chain]
        assert methods in (["ce"], ["knn", "head", "shots"])
        assert len({cell.encoder for cell in chain}) == 1
    alone = list(cells.chains(grid(methods=["shots"], words=["wake-1", "wake-2"])))
    assert all([cell.method for cell in chain] == ["shots"] * 2 for chain in alone)
    assert {cell.run for chain in alone for cell in chain} == {chain[0].encoder.name for chain in alone}


def test_results_of_what_there_always_was_look_as_they_always_did():
    """Byte for byte: an older version reads them, and the files that lie in git do not change."""
    for path in sorted((ROOT / "experiments" / "results").glob("*/compare.json")):
        read = Results(path)
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("{\"name\""):
                run = json.loads(line.removesuffix(","))
                assert json.dumps(read.runs[run["name"]], ensure_ascii=False) == line.removesuffix(",")
                assert cells.from_dict(run["cell"]).name == run["name"]
                assert cells.from_dict(run["cell"]).loss == "triplet"
        assert read.runs


def test_a_head_follows_its_encoder_asked_for_or_not():
    for chain in cells.chains(grid(methods=["head"], margin=[0.2, 0.5])):
        encoder, head = chain
        assert (encoder.method, head.method) == ("knn", "head")
        assert replace(head, method="knn") == encoder


@pytest.mark.parametrize("cell", [BASE, replace(BASE, augment=True, margin=0.2, mining="hardest", data_probs=2),
                                  replace(BASE, recipe="paper", width=64, extra=("--lr=0.002", "--no-shift")),
                                  replace(BASE, loss="am_softmax", margin=0.3, extra=("--loss_lr=0.1", "--lr=0.002"),
                                          embedding_size=64),
                                  replace(BASE, manifest="a+b", shares=(2.0, 1.0), model="BCRes3", augment=True,
                                          extra=("--spec_augment=light",))])
def test_all_methods_get_the_same_budget_from_the_scripts_themselves(cell):
    budgets = []
    for method in CLASSIFYING:
        script, *flags = cells.train_command(cell.of(method), ["--runs_dir=somewhere"])
        args = importlib.import_module(script.removesuffix(".py")).parse_args(flags)
        resolve_recipe(args, HEAD if method == "head" else None)
        budgets.append({name: getattr(args, name) for name in (
            "manifest", "model", "num_steps", "batch_classes", "per_class", "seed", "augment", "shift", "spec_augment",
            "optimizer", "schedule", "lr", "weight_decay", "warmup")})
        script, *flags = cells.test_command(cell.of(method), [])
        assert importlib.import_module(script.removesuffix(".py")).parse_args(flags).enc_step == cell.steps
    assert budgets[0] == budgets[1] == budgets[2]


def test_a_cell_survives_json():
    for cell in (replace(BASE, extra=("--lr=0.002",), fraction=0.5), replace(
            BASE, method="shots", loss="ge2e", shares=(1.0, 2.0), embedding_size=64, words="wake-1")):
        assert cells.from_dict(json.loads(json.dumps(cells.to_dict(cell)))) == cell


@pytest.mark.parametrize("seed", range(4))
def test_mcnemar_against_all_splits(seed):
    rng = np.random.default_rng(seed)
    a, b = ("".join(rng.choice(["0", "1"], 30, p=[share, 1 - share])) for share in (0.2, 0.5))
    only_a, only_b, p = summary.mcnemar(a, b)
    n, seen = only_a + only_b, comb(only_a + only_b, only_a)
    assert (only_a, only_b) == (sum(x + y == "10" for x, y in zip(a, b, strict=True)),
                                sum(x + y == "01" for x, y in zip(a, b, strict=True)))
    assert p == pytest.approx(sum(comb(n, k) for k in range(n + 1) if comb(n, k) <= seen) / 2 ** n)
    assert summary.mcnemar(a, a) == (0, 0, 1.0)


def result(cell, right):
    accuracy = right.count("1") / len(right)
    return {"name": cell.name, "cell": cells.to_dict(cell), "accuracy": accuracy, "f1_macro": accuracy, "seconds": 2.0,
            "right": right, "test_set": "x", "classes": {"bed": accuracy, "cat": 1.0},
            "curve": [[3, 1.0, 0.5], [6, 2.0, accuracy]]} | ({"k": {"1": 0.5, "5": accuracy}} if cell.method == "knn"
                                                              else {})


RUNS = [result(BASE, "1111111110"), result(replace(BASE, seed=1), "1111111100"),
        result(replace(BASE, margin=0.2), "1111100000"), result(BASE.of("ce"), "1111110000"),
        result(replace(BASE, seed=1).of("ce"), "1111000010"), result(replace(BASE, fraction=0.5), "1100000000")]


def test_a_row_is_held_against_cross_entropy_of_its_own_setting_and_seeds():
    found = {row["cell"]: row for row in summary.rows(RUNS)}
    assert len(found) == 4
    assert found[BASE]["reduction"] == pytest.approx(1 - (0.1 + 0.2) / (0.4 + 0.5))
    assert [test[:2] for test in found[BASE]["tests"]] == [(3, 0), (4, 1)]
    assert found[replace(BASE, margin=0.2)]["reduction"] == pytest.approx(1 - 0.5 / 0.4)  # with seed 0 alone
    assert "reduction" not in found[replace(BASE, fraction=0.5)]
    table = summary.markdown(RUNS)
    assert "85.00 ± 7.07" in table and "| -67 % |" in table and "| +25 % |" in table and "k = 5" in table
    assert "0.25, 0.38" in table


def test_the_mean_of_the_words_recalls_stands_beside_the_accuracy():
    """Of which neighbours, who vote by frequency, get more where words are unequally frequent."""
    head, _, first = (line.split(" | ") for line in summary.markdown([RUNS[2]]).splitlines()[2:5])
    told = dict(zip(head, first, strict=True))
    assert told["accuracy %"] == "50.00" and told["recall, mean of words %"] == "75.00"  # of 0.5 and 1


def test_a_table_says_that_test_clips_were_trained_on():
    assert "were in the training" not in summary.markdown(RUNS)
    leaky = summary.markdown([RUNS[0] | {"test_clips_trained_on": 7}, RUNS[3] | {"test_speakers_trained_on": 2}])
    assert "Up to 7 of the test clips and 2 of their speakers were in the training" in leaky


@pytest.mark.parametrize("only_a, only_b", [(1193, 37), (30, 1100), (580, 87), (0, 9), (5000, 5000), (5300, 4900)])
def test_mcnemar_of_many_clips_against_whole_numbers(only_a, only_b):
    """Where a library's own sum of the split's tail is 0 long before a float is."""
    n, few = only_a + only_b, min(only_a, only_b)
    found = summary.mcnemar("1" * only_a + "0" * only_b, "0" * only_a + "1" * only_b)
    assert found[:2] == (only_a, only_b)
    assert found[2] == pytest.approx(min(1, 2 * sum(comb(n, k) for k in range(few + 1)) / 2 ** n), rel=1e-9, abs=0)


def test_a_probability_below_what_a_float_holds_is_not_called_zero():
    table = summary.markdown([result(BASE, "1" * 1200), result(BASE.of("ce"), "0" * 1200)])
    assert "| 1200 : 0 | below 1e-307 |" in table


def test_rows_of_other_batches_say_so_in_every_table():
    lines = summary.markdown([*RUNS, result(replace(BASE, per_class=2), "1111000000")]).splitlines()
    assert sum("4 x 2" in line for line in lines) == 2  # by method, and by neighbours
    heads = [i for i, line in enumerate(lines) if line.startswith("| model")]
    assert len(heads) == 2
    for start in heads:
        rows = [line.count("|") for line in lines[start:start + 4]]
        assert len(set(rows)) == 1 and "batch" in lines[start]


def test_results_on_different_test_sets_have_no_mean():
    with pytest.raises(ValueError, match="different test sets"):
        summary.rows([*RUNS, result(replace(BASE, seed=2), "111") | {"test_set": "y"}])


def test_results_by_both_rules_for_ties_say_so():
    assert "Ties" not in summary.markdown(RUNS)
    found = summary.markdown([*RUNS, result(replace(BASE, seed=2), "1111111110") | {"ties": "nearest"}])
    assert "lowest label in 4 of 5 kNN results" in found.splitlines()[0]


def test_pictures_show_one_setting():
    by_setting = summary.side_by_side(summary.rows(RUNS), "Res8")
    small = replace(BASE, margin=0.2)
    assert {name: {row["cell"] for row in shown} for name, shown in by_setting.items()} == {
        "4x3": {BASE, BASE.of("ce")}, "4x3-margin0.2": {small, BASE.of("ce")}}
    shown = by_setting["4x3"]
    for draw in (draw_curves, draw_classes):
        assert draw(shown)[:8] == b"\x89PNG\r\n\x1a\n"


def test_of_settings_with_one_method_each_the_largest_is_shown():
    alone = [result(replace(BASE, steps=steps, margin=margin), "10")
             for steps, margin in ((6, 0.5), (6, 0.2), (9, 0.2))]
    shown = summary.side_by_side(summary.rows(alone), "Res8")
    assert {name: len(rows) for name, rows in shown.items()} == {"4x3-margin0.2": 2}


def test_epochs_are_worth_the_steps_that_a_training_by_epochs_takes(words, capsys):
    from data.sampler import BalancedBatchSampler

    train = load_corpus("words", registry=words.registry).splits["train"]
    sampler = BalancedBatchSampler(train.label, train.labels, 6, 4, tables=words.folder)
    args = compare.parse_args([*words.flags, "--methods", "knn", "--epochs", "1", "15", "--steps", "7", "--fractions",
                               "1", "1/6", "--batch_classes=35", "--per_class=4", "--seeds", "0", "--dry_run"])
    assert compare.main(args) == 0
    printed = capsys.readouterr().out
    assert f"--epochs 1: {sampler.epoch_steps} steps, 15: {15 * sampler.epoch_steps} steps" in printed
    assert sampler.epoch_steps == 3 and "6 cells, 6 to run" in printed
    for steps in (7, 3, 45):
        assert f"words-Res8-knn-{steps}x6x4-seed0 " in printed
        assert f"words-Res8-knn-{steps}x6x4-fraction0.166667-seed0 " in printed


def test_how_sure_a_figure_is_follows_from_the_number_of_clips():
    """Wilson, 1927: the interval of p has the p for which the share seen is 1.96 standard errors off."""
    right = "1" * 2_302 + "0" * 71
    found = summary.markdown([result(BASE, right)]).splitlines()[0]
    share, z = 2_302 / 2_373, 1.959964
    low, high = (float(text) / 100 for text in found.split("interval of ")[1].split(" %")[0].split(" to "))
    for bound in (low, high):
        assert abs(share - bound) == pytest.approx(z * (bound * (1 - bound) / 2_373) ** 0.5, abs=2e-4)
    assert low < share < high and "A test clip is 0.04 %" in found and "97.01 %" in found


def test_results_in_half_precision_are_told():
    half = result(replace(BASE, seed=1), "1111") | {"commands": ["python TripletEncoder.py --precision=bf16", ""]}
    assert "1 of 2 results were trained in bf16" in summary.markdown([result(BASE, "1110"), half])
    assert "bf16" not in summary.markdown([result(BASE, "1110")])


def test_curves_of_new_words_are_not_beside_those_of_dev(monkeypatch):
    from experiments import pictures

    drawn = []
    monkeypatch.setattr(pictures, "png", drawn.append)
    knn = [result(replace(BASE, seed=seed), "1110") | {"looks": "new_words"} for seed in range(2)]
    pictures.draw_curves(summary.rows([*knn, result(BASE.of("ce"), "1111")]))
    pictures.draw_curves(summary.rows([knn[0], result(BASE.of("ce"), "1111")]))
    assert [figure.axes[0].get_ylabel() for figure in drawn] == ["AUROC of new words, %", "accuracy on dev, %"]
    assert [[line.get_label() for line in figure.axes[0].get_lines()] for figure in drawn] == [
        ["triplet + kNN, 6 steps"], ["cross-entropy, 6 steps"]]


def command(words, folder, *flags):
    return [sys.executable, "-m", "experiments.compare", *words.flags, f"--runs_dir={folder}", "--methods", "ce", "knn",
            "head", "--seeds", "0", "--steps", "12", "--batch_classes=6", "--per_class=4", "--widths", "12", *flags]


def ran(command):
    return subprocess.run(command, cwd=ROOT, env=ONE_THREAD, capture_output=True, text=True, timeout=500)


@pytest.fixture(scope="module")
def compared(words, tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare")
    line = command(words, folder, "--ks", "1", "3", "--precision", "32")
    done = ran(line)
    assert done.returncode == 0, done.stderr
    runs = Results(folder / "words" / "compare.json").runs
    return SimpleNamespace(folder=folder, command=line, out=done.stdout, runs=runs)


def test_a_grid_from_end_to_end(compared):
    assert sorted(one["cell"]["method"] for one in compared.runs.values()) == ["ce", "head", "knn"]
    for one in compared.runs.values():
        assert len(one["right"]) == 30
        assert one["right"].count("1") / 30 == pytest.approx(one["accuracy"])
        assert one["threads"] == 1
        assert "--precision=32" in one["commands"][0] and "--runs_dir" not in one["commands"][0]  # what bears on it
        steps, seconds, _ = zip(*one["curve"], strict=True)
        assert steps == (2, 4, 6, 8, 10, 12) and list(seconds) == sorted(seconds) and seconds[0] > 0
    assert len({one["test_set"] for one in compared.runs.values()}) == 1
    knn = next(one for one in compared.runs.values() if one["cell"]["method"] == "knn")
    assert set(knn["k"]) == {"1", "3"} and knn["dev_accuracy"] > 1 / 6
    assert (compared.folder / "words" / "compare.md").read_text() in compared.out
    assert {path.name for path in (compared.folder / "words").glob("*.png")} == {
        "compare-Res8-6x4-width12-curves.png", "compare-Res8-6x4-width12-classes.png"}


def test_what_is_known_is_not_run_again_and_what_is_lost_is(compared, words):
    path = compared.folder / "words" / "compare.json"
    before = path.read_bytes()
    logs = {name: (compared.folder / name / "log.txt").read_text() for name in compared.runs}
    head = next(name for name, one in compared.runs.items() if one["cell"]["method"] == "head")
    content = json.loads(before)
    content["runs"] = [one for one in content["runs"] if one["name"] != head]
    path.write_text(json.dumps(content))
    done = ran(compared.command)
    assert done.returncode == 0 and "3 cells, 1 to run" in done.stdout, done.stderr
    assert Results(path).runs == compared.runs
    for name, log in logs.items():
        new = (compared.folder / name / "log.txt").read_text()[len(log):]
        assert ("infer_notl.py" in new) == (name == head) and "step 2/12" not in new


def test_an_interrupted_grid_goes_on(words, tmp_path):
    flags = command(words, tmp_path, "--methods", "knn", "--steps", "60", "--seeds", "0", "1", "2", "3")
    process = subprocess.Popen(flags, cwd=ROOT, env=ONE_THREAD, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True)
    checkpoints = tmp_path / "words-Res8-knn-60x6x4-width12-seed0" / "checkpoints"
    give_up = time.monotonic() + 300
    while not list(checkpoints.glob("trainer-STEP-*.pt")) and process.poll() is None and time.monotonic() < give_up:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 130 and "interrupted" in error
    saved, = checkpoints.glob("trainer-STEP-*.pt")
    step = int(saved.stem.split("-")[-1])
    assert step < 60
    assert not list(tmp_path.glob("*seed[123]"))  # those that waited were not begun
    done = ran([*flags, "--seeds", "0"])
    assert done.returncode == 0, done.stderr
    one, = Results(tmp_path / "words" / "compare.json").runs.values()
    assert [look[0] for look in one["curve"]] == [10, 20, 30, 40, 50, 60]
    log = (checkpoints.parent / "log.txt").read_text()
    assert f"{step} of 60 steps done" in log


def test_dry_run_writes_nothing(words, tmp_path, capsys):
    args = command(words, tmp_path / "runs", "--dry_run")[3:]
    assert compare.main(compare.parse_args(args)) == 0
    printed = capsys.readouterr().out
    assert "3 cells, 3 to run, about" in printed and "words-Res8-head-12x6x4-width12-seed0" in printed
    assert not (tmp_path / "runs").exists()


def test_bad_input_is_one_line(words, tmp_path, capsys):
    (tmp_path / "compare.json").write_text('{"runs": [{"name": 1}]}')
    with pytest.raises(UserError, match=r"compare\.json: not what this command writes.*--out"):
        Results(tmp_path / "compare.json")
    for flags in (["--fractions", "0"], ["--fractions", "1.5"], ["--steps", "0"], ["--methods", "svm"]):
        with pytest.raises(SystemExit) as stop:
            compare.parse_args(["--manifest=words", *flags])
        assert stop.value.code == 2 and flags[0] in capsys.readouterr().err
    with pytest.raises(UserError, match="not registered"):
        compare.main(compare.parse_args([f"--registry={words.registry}", "--manifest=word"]))


def test_a_run_that_fails_is_named_and_the_others_are_done(words, tmp_path):
    flags = command(words, tmp_path, "--methods", "ce", "knn", "--steps", "2", "--extra", "lr_end=9")
    done = ran(flags)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: 2 of 2 runs failed, the first: words-Res8-ce-2x6x4-")
    assert "--lr_end 9 is above --lr" in done.stderr and "Traceback" not in done.stderr
