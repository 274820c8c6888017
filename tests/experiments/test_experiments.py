"""The comparison: its cells' budgets, its figures against oracles, what belongs to which data, small grids, pairs."""

import importlib
import json
import multiprocessing
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
from data.base.files import ROOT
from data.manifests import corpus as corpora
from data.manifests.corpus import load_corpus
from data.manifests.manifest import Utterance, write_manifest
from data.manifests.registry import register, registered
from experiments import cells, compare, loop, paired, summary
from experiments.cells import Cell
from experiments.loop import Data
from models.runs.options.training import HEAD, LOSSES, resolve_loss, resolve_recipe
from tests.conftest import write_set

ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}
BASE = Cell("small", "Res8", "knn", 6, 0, batch_classes=2, per_class=10)
CLASSIFYING = ("ce", "knn", "head")
PROTOCOL = {"manifest": "wake", "enroll": ["alexa", "jarvis"], "unknown": ["unknown"], "shots": [1, 5], "repeats": 3,
            "cohort": None, "content": "content"}
SHOTS = replace(BASE, method="shots", words=loop.protocol_name(PROTOCOL))
PUBLISHED = sorted((ROOT / "experiments" / "results").glob("**/compare.json"))


def commands(cell):
    return ["python " + " ".join(cells.train_command(cell)), "python " + " ".join(cells.test_command(cell))]


def result(cell, right="1110", **more):
    accuracy = right.count("1") / len(right)
    return {"name": cell.name, "cell": cell.to_dict(), "accuracy": accuracy, "f1_macro": accuracy, "seconds": 2.0,
            "right": right, "test_set": "t", "data": "a", "classes": {"bed": accuracy, "cat": 1.0},
            "curve": [[3, 1.0, 0.5], [cell.steps, 2.0, accuracy]], "commands": commands(cell),
            **({"k": {"1": 0.5, "5": accuracy}} if cell.method == "knn" else {}), **more}


def shots(cell, accuracy=0.5, **more):
    found = [{"scores": scores, "shots": n, "accuracy": accuracy + n / 100, "auroc": 0.75}
             for scores in ("embedding", "embedding, another way", "embedding, t-norm") for n in (1, 5)]
    return {"name": cell.name, "cell": cell.to_dict(), "seconds": 2.0, "data": "a", "curve": [[6, 2.0, 0.625]],
            "looks": "new_words", "new_words_set": "n", "clips": [8, 5], "shots": found, "protocol": PROTOCOL,
            "commands": commands(cell), **more}


def grid(**axes):
    return cells.grid(axes.pop("methods", CLASSIFYING), steps=[120, 240], seed=[0, 1], model=["Res8", "Res15"],
                      manifest=["words"], **axes)


def test_cells_are_multiplied_only_by_what_their_method_and_loss_take():
    found = grid(margin=[None, 0.2], mining=["random", "hardest"], loss=["triplet", "supcon"], augment=[False, True],
                 extra=[("--scale=9", "--lr=0.01")])
    count = {method: sum(cell.method == method for cell in found) for method in CLASSIFYING}
    assert count == {"ce": 2 * 8, "knn": 2 * 8 * (4 + 1), "head": 2 * 8 * (4 + 1)}
    assert len({cell.name for cell in found}) == len(found)
    assert {(cell.method == "ce" or cell.loss == "triplet", cell.extra) for cell in found} == {
        (True, ("--lr=0.01",)), (False, ("--scale=9", "--lr=0.01"))}
    assert [cell.steps for cell in found] == sorted(cell.steps for cell in found)
    for cell in grid(methods=["head", "shots"], words=["wake-1"]):
        assert cell.encoder.method == "knn" and cell.encoder.of(cell.method) == replace(cell, words="")


@pytest.mark.parametrize("cell", [
    BASE, replace(BASE, augment=True, margin=0.2, mining="hardest", data_probs=2),
    replace(BASE, recipe="paper", width=64, extra=("--lr=0.002", "--no-shift")),
    replace(BASE, manifest="a+b", shares=(2.0, 1.0), model="Res15", augment=True, extra=("--spec_augment=light",)),
    *(replace(BASE, loss=loss, extra=("--scale=20",) if "scale" in LOSSES[loss] else ()) for loss in LOSSES)])
def test_all_methods_get_the_same_budget_from_the_scripts_themselves(cell):
    budgets = []
    for method in CLASSIFYING:
        script, *flags = cells.train_command(cell.of(method), ["--runs_dir=somewhere"])
        args = importlib.import_module(script.removesuffix(".py")).parse_args(flags)
        resolve_recipe(args, HEAD if method == "head" else None)
        if method == "knn":
            resolve_loss(args)
            assert (args.loss, args.scale) == (cell.loss, 20 if "scale" in LOSSES[cell.loss] else None)
        budgets.append({name: getattr(args, name) for name in (
            "manifest", "model", "num_steps", "batch_classes", "per_class", "seed", "augment", "shift", "spec_augment",
            "optimizer", "schedule", "lr", "weight_decay", "warmup")})
        script, *flags = cells.test_command(cell.of(method))
        assert importlib.import_module(script.removesuffix(".py")).parse_args(flags).enc_step == cell.steps
    assert budgets[0] == budgets[1] == budgets[2]


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.parent.name)
def test_published_results_are_read_and_give_the_published_tables(path, tmp_path):
    read = loop.read(path)
    for run in read.values():  # a loss that is no longer here had a margin
        gone = [f"--margin={run['cell']['margin']:g}"] if run["cell"].get("loss", "triplet") not in LOSSES else []
        assert loop.other_arguments(cells.from_dict(run["cell"]), run, None) in ([], gone)
        loop.add(tmp_path / "compare.json", run)
    assert sorted((tmp_path / "compare.json").read_text().splitlines()) == sorted(path.read_text().splitlines())
    assert compare.tables(list(read.values())) == path.with_name("compare.md").read_text()


@pytest.mark.parametrize("only_a, only_b", [(3, 0), (9, 4), (1193, 37), (30, 1100), (500, 500)])
def test_mcnemar_against_whole_numbers(only_a, only_b):
    """Where a library's own sum of the split's tail is 0 long before a float is."""
    n, few = only_a + only_b, min(only_a, only_b)
    found = summary.mcnemar("1" * only_a + "0" * only_b + "01", "0" * only_a + "1" * only_b + "01")
    assert found[:2] == (only_a, only_b)
    assert found[2] == pytest.approx(min(1, 2 * sum(comb(n, k) for k in range(few + 1)) / 2 ** n), rel=1e-9, abs=0)
    assert summary.mcnemar("101", "101") == (0, 0, 1.0)


RUNS = [result(BASE, "1111111110"), result(replace(BASE, seed=1), "1111111100"),
        result(replace(BASE, margin=0.2), "1111100000"), result(BASE.of("ce"), "1111110000"),
        result(replace(BASE, seed=1).of("ce"), "1111000010"), result(replace(BASE, fraction=0.5), "1100000000")]


def test_a_row_is_held_against_cross_entropy_of_its_own_setting_and_seeds():
    grouped = summary.by_setting(RUNS)
    reduction, tests = summary.against_ce(BASE, grouped)
    assert reduction == pytest.approx(1 - (0.1 + 0.2) / (0.4 + 0.5)) and len(grouped) == 4
    assert [test[:2] for test in tests] == [(3, 0), (4, 1)]
    reduction, _ = summary.against_ce(replace(BASE, margin=0.2), grouped)
    assert reduction == pytest.approx(1 - 0.5 / 0.4)  # with seed 0 alone
    assert summary.against_ce(replace(BASE, fraction=0.5), grouped) == (None, [])
    table = summary.markdown(RUNS)
    assert "85.00 ± 7.07" in table and "| -67 % |" in table and "| +25 % |" in table and "0.25, 0.38" in table
    assert "| 50.00 | 75.00 |" in table and "k = 5" in table  # accuracy; the mean of 0.5 and 1, the words' recalls
    with pytest.raises(ValueError, match="different test sets"):
        summary.markdown([*RUNS, result(replace(BASE, seed=2), "111", test_set="y")])
    assert "| 1200 : 0 | below 1e-307 |" in summary.markdown([result(BASE, "1" * 1200),
                                                              result(BASE.of("ce"), "0" * 1200)])
    told = RUNS[0] | {"test_clips_trained_on": 7, "test_speakers_trained_on": 2, "commands": ["x --precision=bf16", ""]}
    for line in ("Up to 7 of the test clips and 2 of their speakers", "1 of 6 results were trained in bf16"):
        assert line not in table and line in summary.markdown([told, *RUNS[1:]])


def test_words_never_heard_have_a_table_for_each_protocol_and_rows_for_what_varies():
    other = PROTOCOL | {"repeats": 9}
    runs = [shots(SHOTS, 0.5), shots(replace(SHOTS, seed=1), 0.25), shots(replace(SHOTS, loss="supcon"), 0.875),
            shots(replace(SHOTS, words=loop.protocol_name(other)), 0.125, protocol=other)]
    first, second = sorted(summary.words_markdown(runs).split("\nWords never heard"), key=len, reverse=True)
    assert "| loss | mining | margin | seeds | AUROC of new words held out | clips enrolled |" in first
    assert "| triplet | random | 0.5 | 2 | 62.50 ± 0.00 | 1 | plain | 38.50 ± 17.68 |" in first
    assert "| supcon |  |  | 1 | 62.50 | 5 | t-norm | 92.50 |" in first
    assert "1 | t-norm" not in first and "nearest" not in first  # of normalised scores some, with most clips
    assert "12.50" not in first and "| 13.50 |" in second and "9 draws" in second
    apart = [shots(SHOTS), shots(replace(SHOTS, seed=1), new_words_set="m"),
             shots(replace(SHOTS, seed=2), clips=[8, 4])]
    assert summary.words_markdown(apart).count("Words never heard") == 3
    with pytest.raises(UserError, match="different data"):
        summary.words_markdown([shots(SHOTS), shots(replace(SHOTS, seed=1), data="b")])


def small(folder, **changed):
    """A data set of two words, registered as "small"; ``changed`` are other utterances by split."""
    own = {split: [Utterance(str(folder / word / f"{split}{i}.wav"), word, 1.0)
                   for word in ("bed", "cat") for i in range(3)] for split in ("train", "dev", "test")}
    return load_corpus("small", registry=write_set(folder, "small", **own | changed))


def small_flags(folder, *flags):
    return compare.parse_args(["--manifest=small", f"--registry={folder / 'manifests.json'}", "--methods", "knn",
                               "--steps", "6", f"--runs_dir={folder / 'runs'}", f"--out={folder / 'out'}", *flags])


@pytest.mark.parametrize("split, change", [
    ("train", {"path": "other.wav"}), ("train", {"label": "cat"}), ("dev", {"duration": 0.9}),
    ("test", {"offset": 0.1}), ("test", None)])
def test_any_change_of_a_manifest_is_other_data_and_another_place_is_not(tmp_path, split, change):
    corpus = small(tmp_path / "here")
    before = Data.of(small_flags(tmp_path / "here"))
    rows = [corpus.splits[split][i] for i in range(6)]
    small(tmp_path / "there")
    assert Data.of(small_flags(tmp_path / "there")) == before
    rows[0] = replace(rows[0], **{key: str(tmp_path / value) if key == "path" else value
                                  for key, value in (change or {}).items()})
    small(tmp_path / "here", **{split: rows if change else rows[:-1]})
    after = Data.of(small_flags(tmp_path / "here"))
    assert after.content != before.content
    assert before.has(result(BASE, data=before.content)) and not after.has(result(BASE, data=before.content))


def test_a_result_made_with_noise_belongs_to_that_noise(tmp_path):
    hashes = set()
    for name, content in (("hum", b"hum"), ("hum", b"hiss"), ("hiss", b"hum")):
        folder = tmp_path / f"{name}{len(content)}{len(hashes)}"
        folder.mkdir()
        (folder / f"{name}.wav").write_bytes(content)
        data, cell = Data("a", noise=str(folder)), replace(BASE, augment=True)
        made = result(cell, noise_set=data.noise_of(cell))
        assert data.has(made) and data.has(result(BASE)) and not replace(data, noise=None).has(made)
        named = replace(cell, extra=(f"--noise_dir={folder}",))
        assert replace(data, noise=None).noise_of(named) == data.noise_of(cell) and data.noise_of(BASE) is None
        hashes.add(data.noise_of(cell))
    assert len(hashes) == 3
    assert Data("a", "n").has(shots(SHOTS)) and not Data("a", "m").has(shots(SHOTS))


def test_results_of_other_data_are_planned_again_and_neither_shown_nor_lost(tmp_path, capsys):
    small(tmp_path)
    data, path = Data.of(small_flags(tmp_path)), tmp_path / "out" / "compare.json"
    for seed, content in enumerate([data.content, "older"]):
        loop.add(path, result(replace(BASE, seed=seed), data=content))
    before = path.read_bytes()
    assert compare.main(small_flags(tmp_path, "--seeds", "0", "1", "--dry_run")) == 0
    printed = capsys.readouterr().out
    assert "1 results are of other data" in printed and "2 cells, 1 to run" in printed
    assert printed.splitlines()[-1] == replace(BASE, seed=1).name and not (tmp_path / "runs").exists()
    assert compare.main(small_flags(tmp_path, "--seeds", "0")) == 0
    assert "| 1 | 75.00 |" in capsys.readouterr().out and path.read_bytes() == before  # one seed, no deviation


@pytest.mark.parametrize("had, asked", [
    ("--lr=1e-3", ["--extra", "noise_dir=a_b"]), ("--precision=bf16", ["--precision", "32"]),
    ("", ["--precision=bf16"])])
def test_a_result_of_other_arguments_under_the_same_name_is_refused(tmp_path, had, asked):
    small(tmp_path)
    data = Data.of(small_flags(tmp_path))
    cell = replace(BASE, extra=("--noise_dir=a/b",) if "--extra" in asked else ())
    train, test = commands(cell)
    loop.add(tmp_path / "out" / "compare.json", result(cell, data=data.content, commands=[f"{train} {had}", test]))
    with pytest.raises(UserError, match=r"trained with other arguments \(--.*--out"):
        compare.main(small_flags(tmp_path, "--seeds", "0", "--dry_run", *asked))


def test_an_epoch_has_the_steps_that_a_training_by_epochs_takes(words, capsys):
    from data.sampler import BalancedBatchSampler

    train = load_corpus("words", registry=words.registry).splits["train"]
    sampler = BalancedBatchSampler(train.label, train.labels, 6, 4, tables=words.folder)
    args = compare.parse_args([*words.flags, "--methods", "knn", "--epochs", "1", "15", "--steps", "7", "--fractions",
                               "1", "1/6", "--batch_classes=35", "--per_class=4", "--seeds", "0", "--dry_run"])
    assert compare.main(args) == 0
    printed = capsys.readouterr().out
    assert sampler.epoch_steps == 3 and "6 cells, 6 to run" in printed
    for steps in (7, 3, 45):
        assert f"words-Res8-knn-{steps}x6x4-seed0\n" in printed
        assert f"words-Res8-knn-{steps}x6x4-fraction0.166667-seed0\n" in printed


@pytest.fixture(scope="module")
def sets(words, tmp_path_factory):
    """Registered: "one" and "two" with two words each to train on, "one" with a new word held out; "new" to enrol."""
    folder = tmp_path_factory.mktemp("sets")
    whole = load_corpus("words", registry=words.registry)

    def part(path, split, labels):
        manifest = whole.splits[split]
        write_manifest(path, (one for one in map(manifest.__getitem__, range(len(manifest))) if one.label in labels))
        return path

    for name, labels, held in (("one", ("bed", "cat"), ("five", "four")), ("two", ("dog", "tree"), ()),
                               ("new", ("bed", "five", "four", "tree"), ())):
        register(name, **{split: part(folder / f"{name}-{split}.json", split, labels) for split in whole.splits},
                 new_words=part(folder / f"{name}-new.json", "dev", held) if held else None,
                 registry=folder / "manifests.json")
    return SimpleNamespace(registry=folder / "manifests.json", cache=words.folder / "cache")


def test_shares_of_the_clips_lie_within_one_another_also_of_joined_sets(sets, tmp_path):
    whole, kept = corpora.load_corpus("one+two", registry=sets.registry), {}
    for fraction in (0.1, 0.5):
        compare.make_fraction("one+two", fraction, sets.registry, tmp_path)
        part = corpora.load_corpus(replace(BASE, manifest="one+two", fraction=fraction).data,
                           registry=tmp_path / "manifests.json")
        assert part.splits["train"].counts().tolist() == [max(2, round(12 * fraction))] * 4
        assert part.splits["test"].files == whole.splits["test"].files and part.parts.tolist() == [0, 0, 1, 1]
        kept[fraction] = set(part.splits["train"].files)
    assert kept[0.1] < kept[0.5] < set(whole.splits["train"].files)
    assert "new_words" in registered("one-0.5", tmp_path / "manifests.json")


def command(folder, *flags):
    return [sys.executable, "-m", "experiments.compare", f"--runs_dir={folder}", "--seeds", "0", "--batch_classes=6",
            "--per_class=4", "--widths", "12", *flags]


def ran(command):
    return subprocess.run(command, cwd=ROOT, env=ONE_THREAD, capture_output=True, text=True)


def test_words_never_heard_from_end_to_end_on_joined_sets(sets, tmp_path):
    flags = command(tmp_path, "--manifest=one+two", f"--registry={sets.registry}", f"--cache_dir={sets.cache}",
                    "--steps", "4", "--methods", "shots", "--losses", "supcon", "--shares", "1", "1",
                    "--eval=new_words", "--extra", "scale=5", "--shots_manifest=new", "--shots", "1", "3",
                    "--repeats=2", "--enroll", "five", "four", "--unknown")
    done = ran(flags)
    assert done.returncode == 0, done.stderr
    path = tmp_path / "one+two" / "compare.json"
    run, = loop.read(path).values()
    assert run["clips"] == [10, 10] and run["looks"] == "new_words" and len(run["curve"]) == 4
    written, = (json.loads(file.read_text()) for file in tmp_path.glob("*/shots-unknown-new-Res8-4.json"))
    assert [round(one["auroc_mean"], 6) for one in written["results"]] == [one["auroc"] for one in run["shots"]]
    assert "--scale=5" in run["commands"][0] and "--shares 1 1" in run["commands"][0]
    assert "--enroll five four --unknown bed tree" in run["commands"][1]
    assert "AUROC of new words held out" in (path.parent / "compare.md").read_text() in done.stdout
    assert not any(str(place) in path.read_text() for place in (tmp_path, sets.registry.parent))  # to be published
    assert path.read_text().count('"enroll"') == 1  # a protocol is there once
    assert "1 cells, 0 to run" in ran([*flags, "--dry_run"]).stdout
    assert "1 cells, 1 to run" in ran([*flags, "tree", "--dry_run"]).stdout  # another protocol


@pytest.mark.parametrize("flags, message", [
    (["--enroll", "bed", "five", "--unknown"], "--enroll: the encoders hear bed in the training of --manifest one"),
    (["--enroll", "five", "--unknown", "--shots", "13"], "--shots 13: too few training clips of five"),
    (["--enroll", "five", "--unknown", "--manifest=two", "--eval=new_words"], "no words held out as new")])
def test_what_will_not_do_is_said_before_anything_is_trained(sets, tmp_path, flags, message):
    with pytest.raises(UserError, match=message):
        compare.main(compare.parse_args(["--manifest=one", f"--registry={sets.registry}", "--methods", "shots",
                                         f"--runs_dir={tmp_path / 'runs'}", "--shots_manifest=new", *flags]))
    assert not (tmp_path / "runs").exists()


@pytest.fixture(scope="module")
def compared(words, tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare")
    line = command(folder, *words.flags, "--methods", "ce", "knn", "head", "--steps", "12", "--ks", "1", "3",
                   "--precision", "32")
    done = ran(line)
    assert done.returncode == 0, done.stderr
    return SimpleNamespace(folder=folder, command=line, out=done.stdout, path=folder / "words" / "compare.json")


def test_a_grid_from_end_to_end(compared):
    runs = loop.read(compared.path)
    assert sorted(one["cell"]["method"] for one in runs.values()) == ["ce", "head", "knn"]
    for one in runs.values():
        assert len(one["right"]) == 30 and one["threads"] == 1
        assert "--precision=32" in one["commands"][0] and "--runs_dir" not in one["commands"][0]  # what bears on it
        steps, seconds, _ = zip(*one["curve"], strict=True)
        assert steps == (2, 4, 6, 8, 10, 12) and list(seconds) == sorted(seconds) and seconds[0] > 0
    knn = next(one for one in runs.values() if one["cell"]["method"] == "knn")
    assert set(knn["k"]) == {"1", "3"} and knn["dev_accuracy"] > 1 / 6
    assert (compared.path.parent / "compare.md").read_text() in compared.out


def test_what_is_known_is_not_run_again_and_what_is_lost_is(compared):
    before = compared.path.read_bytes()
    content = json.loads(before)
    logs = {path: path.read_text() for path in compared.folder.glob("*/log.txt")}
    content["runs"] = [one for one in content["runs"] if one["cell"]["method"] != "head"]
    compared.path.write_text(json.dumps(content))
    done = ran(compared.command)
    assert done.returncode == 0 and "3 cells, 1 to run" in done.stdout, done.stderr
    assert compared.path.read_bytes() == before and len(logs) == 3
    for path, log in logs.items():
        new = path.read_text()[len(log):]
        assert ("infer_notl.py" in new) == ("-head-" in path.parent.name) and "step 2/12" not in new


def test_an_interrupted_grid_goes_on(words, tmp_path):
    flags = command(tmp_path, *words.flags, "--methods", "knn", "--steps", "30", "--seeds", "0", "1")
    process = subprocess.Popen(flags, cwd=ROOT, env=ONE_THREAD, stdout=subprocess.PIPE, text=True)
    while process.poll() is None and not list(tmp_path.glob("*/checkpoints/trainer-STEP-*.pt")):
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 143
    folder, = tmp_path.glob("*seed0-*")  # those that waited were not begun
    step = max(int(path.stem.split("-")[-1]) for path in folder.glob("checkpoints/trainer-STEP-*.pt"))
    done = ran([*flags, "--seeds", "0"])
    assert done.returncode == 0, done.stderr
    one, = loop.read(tmp_path / "words" / "compare.json").values()
    assert [look[0] for look in one["curve"]] == [5, 10, 15, 20, 25, 30]
    assert step < 30 and f"{step} of 30 steps done" in (folder / "log.txt").read_text()


def test_a_run_that_fails_is_named_and_the_others_are_tried(words, tmp_path):
    done = ran(command(tmp_path, *words.flags, "--methods", "ce", "knn", "--steps", "2", "--extra", "lr_end=9"))
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: 2 of 2 cells failed, the first: words-Res8-ce-2x6x4-")
    assert "--lr_end 9 is above --lr" in done.stderr and "Traceback" not in done.stderr


def _add(path, seed):
    for step in range(1, 9):
        loop.add(path, result(replace(BASE, seed=seed, steps=step), curve=[[step, 1.0, 0.5]]))


def test_two_comparisons_that_add_to_one_file_lose_nothing(tmp_path):
    path = tmp_path / "compare.json"
    workers = [multiprocessing.get_context("spawn").Process(target=_add, args=(path, seed)) for seed in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0, 0] and len(loop.read(path)) == 16


@pytest.mark.parametrize("good, broken", [
    *((result(BASE), broken) for broken in (
        {"accuracy": 0.5}, {"curve": [[6, 2.0, 0.5], [6, 2.0, 0.5]]}, {"curve": [[3, 1.0, 0.5]]}, {"commands": [1]},
        {"commands": []}, {"commands": "x"}, {"name": "another"}, {"cell": BASE.to_dict() | {"wings": 2}})),
    *((shots(SHOTS), broken) for broken in ({"shots": [["scores", "shots"], ["plain"]]},
                                            {"cell": SHOTS.to_dict() | {"words": "wake-00000000"}})),
    *((result(BASE), text) for text in ("", "[]", '{"runs": 3}'))])
def test_damaged_results_are_one_line(tmp_path, good, broken):
    path = tmp_path / "compare.json"
    loop.add(path, good)
    assert loop.read(path) == json.loads(json.dumps({good["name"]: good}))
    if isinstance(broken, dict):
        content = json.loads(path.read_text())
        broken = json.dumps(content | {"runs": [content["runs"][0] | broken]})
    path.write_text(broken)
    with pytest.raises(UserError, match=r"compare\.json: not what this command writes.*--out") as raised:
        loop.read(path)
    assert "\n" not in str(raised.value)


def write(path, rows, header=("path", "label", "prediction", "probability")):
    path.write_text("\n".join(",".join(row) for row in [header, *rows]) + "\n")
    return path


@pytest.fixture
def made(tmp_path):
    """Sixty clips of three words of 40, 15 and 5 clips, and two tests that err where chance says."""
    rng = np.random.default_rng(0)
    labels = ["yes"] * 40 + ["no"] * 15 + ["up"] * 5
    tests = [[(f"{label}/{i}.wav", label, label if rng.random() > error else "down", "0.5")
              for i, label in enumerate(labels)] for error in (0.2, 0.5)]
    return write(tmp_path / "a.csv", tests[0]), write(tmp_path / "b.csv", tests[1][::-1]), tests


def said(capsys, *paths):
    assert paired.main(paired.parse_args([str(path) for path in paths])) == 0
    return capsys.readouterr().out


def test_figures_are_those_of_a_count_by_hand_whatever_the_clips_order(made, capsys):
    from scipy.stats import binomtest

    a, b, tests = made
    right = [[row[1] == row[2] for row in rows] for rows in tests]
    only = [sum(x and not y for x, y in zip(*pair, strict=True)) for pair in (right, right[::-1])]
    lines = said(capsys, a, b).splitlines()
    for line, name, of, alone in zip(lines[2:4], ("a.csv", "b.csv"), right, only, strict=True):
        recalls = [np.mean(of[start:end]) for start, end in ((0, 40), (40, 55), (55, 60))]
        assert line == (f"| {name} | {100 * np.mean(of):.2f} | {100 * np.mean(recalls):.2f} | {sum(of)} of 60 "
                        f"| {alone} |")
    assert lines[4] == f"McNemar p {binomtest(only[0], sum(only)).pvalue:.2g}"
    assert min(only) > 0
    assert said(capsys, a, a).endswith("McNemar p 1\n")


def test_words_cut_from_one_recording_are_told_apart_by_their_offset(tmp_path, capsys):
    header = ("path", "offset", "label", "prediction")
    a = write(tmp_path / "a.csv", [("x.wav", "0.1", "a", "a"), ("x.wav", "0.5", "b", "a")], header)
    b = write(tmp_path / "b.csv", [("x.wav", "0.5", "b", "b"), ("x.wav", "0.1", "a", "b")], header)
    assert "| a.csv | 50.00 | 50.00 | 1 of 2 | 1 |\n| b.csv | 50.00 | 50.00 | 1 of 2 | 1 |" in said(capsys, a, b)


@pytest.mark.parametrize(("change", "message"), [
    (lambda rows: rows[1:], r"a\.csv and .*b\.csv differ in 1 clips or labels, such as yes/0\.wav"),
    (lambda rows: [(rows[0][0], "no", "no", "1"), *rows[1:]], r"differ in 2 clips or labels"),
    (lambda rows: [*rows, rows[0]], r"b\.csv: not the \.csv.*twice"), (lambda rows: [], r"b\.csv.*no clips"),
    (lambda rows: [*rows[:3], rows[3][:2]], "half a line"),
    (lambda rows: [('"open', "b", "c", "d")], r"b\.csv: not the \.csv"),
])
def test_tests_of_other_clips_are_refused(made, change, message):
    a, b, tests = made
    write(b, change(tests[1]))
    with pytest.raises(UserError, match=message):
        paired.main(paired.parse_args([str(a), str(b)]))


def test_what_is_no_table_of_clips_is_refused_in_one_line(made, tmp_path):
    other = write(tmp_path / "other.csv", [("1", "2")], ("step", "loss"))
    for path, named in ((other, "'path'"), (tmp_path / "none.csv", "cannot read"), (tmp_path, "cannot read")):
        with pytest.raises(UserError, match=named) as raised:
            paired.main(paired.parse_args([str(made[0]), str(path)]))
        assert str(path) in str(raised.value) and "\n" not in str(raised.value)
