"""What data a result belongs to, and what comparisons do that meet other data, or one another."""

import json
import multiprocessing
import os
from dataclasses import replace

import pytest

from data.base.errors import UserError
from data.manifests import Utterance, load_corpus, register, write_manifest
from experiments import cells, chain, compare, summary
from experiments.belongs import Data, alone, augmented_with, data_of, hash_of_noise, make_room
from experiments.cells import Cell
from experiments.chain import run_chain
from experiments.results_file import Results
from experiments.setup import Setup

BASE = Cell("small", "Res8", "knn", 6, 0)


def small(folder, **changed):
    """A data set of two words, registered as "small"; ``changed`` are other utterances by split."""
    for split in ("train", "dev", "test"):
        own = [Utterance(str(folder / word / f"{split}{i}.wav"), word, 1.0)
               for word in ("bed", "cat") for i in range(3)]
        write_manifest(folder / f"{split}.json", changed.get(split, own))
    register("small", **{split: folder / f"{split}.json" for split in ("train", "dev", "test")},
             registry=folder / "manifests.json")
    return load_corpus("small", registry=folder / "manifests.json")


@pytest.mark.parametrize("split", ["train", "dev", "test"])
@pytest.mark.parametrize("change", [{"path": "other.wav"}, {"label": "cat"}, {"duration": 0.9}, {"offset": 0.1}, None])
def test_any_change_of_a_manifest_is_other_data(tmp_path, split, change):
    corpus = small(tmp_path)
    before = data_of(corpus)
    rows = [corpus.splits[split][i] for i in range(6)]
    assert data_of(small(tmp_path, **{split: list(rows)})) == before
    if change is None:
        rows = rows[:-1]
    else:
        rows[0] = replace(rows[0], **{key: str(tmp_path / value) if key == "path" else value
                                      for key, value in change.items()})
    after = data_of(small(tmp_path, **{split: rows}))
    assert after.content != before.content
    assert (after.test_set != before.test_set) == (split == "test" and "duration" not in (change or {}))


def test_moved_data_are_the_same(tmp_path):
    found = []
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        found.append(data_of(small(tmp_path / name)))
    assert found[0] == found[1]


def noisy(folder, content=b"hum", name="hum.wav"):
    """The set of `small` with a folder of noise, in which there is one file."""
    (folder / "noise").mkdir(exist_ok=True)
    for path in (folder / "noise").iterdir():
        path.unlink()
    (folder / "noise" / name).write_bytes(content)
    hash_of_noise.cache_clear()  # as in a later process
    return replace(data_of(small(folder)), noise=str(folder / "noise"))


def result(cell, of, right="1110", **more):
    return {"name": cell.name, "cell": cells.to_dict(cell), "accuracy": 0.75, "f1_macro": 0.7, "dev_accuracy": 0.5,
            "seconds": 2.0, "classes": {"bed": 0.5, "cat": 1.0}, "right": right, "test_set": of.test_set,
            "curve": [[6, 2.0, 0.5]], "k": {"5": 0.75}, **more}


OURS, OTHERS = Data("a", "t"), Data("b", "t")


def test_a_result_counts_for_its_own_data_and_an_old_one_by_its_test_set(tmp_path):
    seeds = [replace(BASE, seed=seed) for seed in range(5)]
    results = Results(tmp_path / "compare.json", OURS, "small")
    results.add([result(seeds[0], OURS, data="a"), result(seeds[1], OTHERS, data="b"), result(seeds[2], OURS),
                 result(seeds[3], Data("a", "u")), result(replace(seeds[4], manifest="big"), Data("c", "v"), data="c")])
    for read in (results, Results(tmp_path / "compare.json", OURS, "small")):
        assert set(read.known) == {seeds[0].name, seeds[2].name}
        assert set(read.stale) == {seeds[1].name, seeds[3].name}
    assert len(Results(tmp_path / "compare.json").known) == 5


@pytest.mark.parametrize("change", [{"content": b"hiss"}, {"name": "hiss.wav"}, None])
def test_a_result_made_with_noise_counts_for_that_noise_alone(tmp_path, change):
    data = noisy(tmp_path)
    cell = replace(BASE, augment=True)
    made = result(cell, data, data=data.content, noise_set=data.noise_of(cell.augment, cell.extra))
    plain, before = result(BASE, data, data=data.content), result(replace(cell, seed=1), data, data=data.content)
    assert data.noise_of(False, ()) is None and all(map(data.has, (made, plain, before)))
    data = noisy(tmp_path, **change or {})
    assert data.has(made) == (change is None)
    assert data.has(plain) and data.has(before)  # the latter of when results did not say with which noise
    assert not replace(data, noise=None).has(made)


def test_a_folder_of_noise_that_a_cell_names_is_its_noise(tmp_path):
    data = noisy(tmp_path)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "hiss.wav").write_bytes(b"hiss")
    cell = replace(BASE, augment=True)
    named = replace(cell, extra=(f"--noise_dir={tmp_path / 'own'}",))
    assert len({data.noise_of(cell.augment, cell.extra), data.noise_of(True, named.extra)}) == 2
    assert data.noise_of(True, named.extra) == replace(data, noise=None).noise_of(True, named.extra)


def test_results_of_other_data_are_planned_again_and_neither_shown_nor_lost(tmp_path, capsys):
    corpus = small(tmp_path)
    data = data_of(corpus)
    one, two = BASE, replace(BASE, seed=1)
    one, two = (replace(cell, batch_classes=2, per_class=10) for cell in (one, two))
    Results(tmp_path / "out" / "compare.json").add(
        [result(one, data, data=data.content), result(two, data, data="older")])
    before = (tmp_path / "out" / "compare.json").read_bytes()
    flags = ["--manifest=small", f"--registry={tmp_path / 'manifests.json'}", "--methods", "knn", "--steps", "6",
             f"--runs_dir={tmp_path / 'runs'}", f"--out={tmp_path / 'out'}"]
    assert compare.main(compare.parse_args([*flags, "--seeds", "0", "1", "--dry_run"])) == 0
    printed = capsys.readouterr().out
    assert "1 results are of other data" in printed and "1 to run again, 0 left out" in printed
    assert "2 cells, 1 to run" in printed and two.name in printed and one.name not in printed
    assert compare.main(compare.parse_args([*flags, "--seeds", "0"])) == 0
    printed = capsys.readouterr().out
    assert "0 to run again, 1 left out" in printed and "| 1 | 75.00 |" in printed  # one seed, no deviation
    assert (tmp_path / "out" / "compare.json").read_bytes() == before


def test_flags_that_make_one_name_are_not_taken_for_one_another(tmp_path):
    data = data_of(small(tmp_path))
    cell = replace(BASE, batch_classes=2, per_class=10, extra=("--noise_dir=a/b",))
    Results(tmp_path / "out" / "compare.json").add([result(cell, data, data=data.content)])
    flags = ["--manifest=small", f"--registry={tmp_path / 'manifests.json'}", "--methods", "knn", "--steps", "6",
             f"--runs_dir={tmp_path / 'runs'}", f"--out={tmp_path / 'out'}", "--seeds", "0", "--dry_run", "--extra"]
    assert compare.main(compare.parse_args([*flags, "noise_dir=a/b"])) == 0
    with pytest.raises(UserError, match=r"--extra --noise_dir=a_b: .*--noise_dir=a/b; give it another --out"):
        compare.main(compare.parse_args([*flags, "noise_dir=a_b"]))


def test_tables_have_what_another_comparison_added_meanwhile(tmp_path, monkeypatch):
    from experiments import pool

    data = data_of(small(tmp_path))
    one, two = (replace(BASE, batch_classes=2, per_class=10, seed=seed) for seed in range(2))
    path = tmp_path / "out" / "compare.json"

    def run_all(todo, results, *_):
        results.add([result(one, data, data=data.content)])
        Results(path).add([result(two, data, data=data.content)])
        raise KeyboardInterrupt

    monkeypatch.setattr(pool, "run_all", run_all)
    monkeypatch.setattr(compare, "_open_once", lambda *_: None)
    with pytest.raises(KeyboardInterrupt):
        compare.main(compare.parse_args([
            "--manifest=small", f"--registry={tmp_path / 'manifests.json'}", "--methods", "knn", "--steps", "6",
            f"--runs_dir={tmp_path / 'runs'}", f"--out={path.parent}", "--seeds", "0"]))
    assert "| triplet + kNN | 2 |" in (path.parent / "compare.md").read_text(encoding="utf-8")


def test_a_run_of_other_data_makes_room_and_is_kept(tmp_path, capsys):
    folder = tmp_path / "cell"
    make_room(folder, OURS, stale=False)
    (folder / "config.json").write_text("ours")
    make_room(folder, OURS, stale=True)  # its mark knows better: it was begun after the data had changed
    assert (folder / "config.json").read_text() == "ours" and capsys.readouterr().out == ""
    make_room(folder, OTHERS, stale=False)
    assert not (folder / "config.json").exists()
    assert (tmp_path / "cell.other-data-1" / "config.json").read_text() == "ours"
    assert "cell.other-data-1" in capsys.readouterr().out
    (folder / "config.json").write_text("others'")
    make_room(folder, OURS, stale=False)
    assert (tmp_path / "cell.other-data-2" / "config.json").read_text() == "others'"


def test_a_run_that_was_begun_with_other_noise_makes_room_one_that_needs_none_does_not(tmp_path):
    folder = tmp_path / "cell"
    make_room(folder, OURS, stale=False, noise="hum")
    (folder / "config.json").write_text("hum")
    for noise in ("hum", None):
        make_room(folder, OURS, stale=False, noise=noise)
        assert (folder / "config.json").exists()
    make_room(folder, OURS, stale=False, noise="hiss")
    assert (tmp_path / "cell.other-data-1" / "config.json").read_text() == "hum" and not list(folder.glob("config*"))
    (tmp_path / "old").mkdir()
    make_room(tmp_path / "old", OURS, stale=False)
    make_room(tmp_path / "old", OURS, stale=False, noise="hum")  # begun when runs did not say
    assert augmented_with(tmp_path / "old") == "hum" and not (tmp_path / "old.other-data-1").exists()


@pytest.mark.parametrize("stale", [False, True])
def test_a_run_from_before_there_were_marks_goes_by_its_result(tmp_path, stale):
    (tmp_path / "cell").mkdir()
    (tmp_path / "cell" / "config.json").write_text("{}")
    make_room(tmp_path / "cell", OURS, stale)
    assert (tmp_path / "cell" / "config.json").exists() != stale


@pytest.fixture
def scripts(monkeypatch):
    """In place of the scripts: what was called, and runs that only say what they were trained with."""
    called = []

    def call(cell, command, setup):
        called.append(command)
        if command[0].startswith("Triplet"):
            checkpoints = setup.runs_dir / cell.run / "checkpoints"
            checkpoints.mkdir(exist_ok=True)
            (checkpoints / f"trainer-STEP-{cell.steps}.pt").touch()
            (checkpoints.parent / "config.json").write_text(json.dumps({"arguments": {"precision": "bf16"}}))

    monkeypatch.setattr(chain, "call", call)
    monkeypatch.setattr(chain, "collect", lambda cell, setup: result(cell, setup.data, data=setup.data.content))
    return called


@pytest.mark.parametrize("theirs", [False, True])
def test_a_head_is_not_trained_on_an_encoder_of_other_data(tmp_path, scripts, theirs):
    """Whose own result, of these data, is known: the run that bears its name may be of others all the same."""
    head = BASE.of("head")
    run_chain([BASE], set(), Setup(tmp_path, tmp_path / "manifests.json", OTHERS if theirs else OURS))
    scripts.clear()
    found = run_chain([BASE, head], {BASE.name}, Setup(tmp_path, tmp_path / "manifests.json", OURS))
    assert [one["name"] for one in found] == [head.name]
    assert [command[0] for command in scripts] == [
        *["TripletEncoder.py"] * theirs, "TripletClassifier.py", "infer_notl.py"]
    assert not any("--resume" in command for command in scripts)
    assert (tmp_path / f"{BASE.name}.other-data-1").exists() == theirs


def test_an_encoder_is_trained_again_with_the_noise_that_there_is_now(tmp_path, scripts):
    cell = replace(BASE, augment=True)
    for content, trains in ((b"hum", True), (b"hum", False), (b"hiss", True)):
        setup = Setup(tmp_path, tmp_path / "manifests.json", noisy(tmp_path, content))
        scripts.clear()
        run_chain([cell, cell.of("head")], {cell.name}, setup)
        assert ["TripletEncoder.py" in command for command in scripts].count(True) == trains
        assert augmented_with(tmp_path / cell.name) == setup.data.noise_of(cell.augment, cell.extra)


@pytest.mark.parametrize("asked", [(), ("--precision=bf16",)])
def test_a_result_says_what_its_run_was_trained_in_asked_for_or_not(tmp_path, scripts, asked):
    """As where the device's best is taken, or a run goes on that was begun with it."""
    found, = run_chain([BASE], set(), Setup(tmp_path, tmp_path / "manifests.json", OURS, training=asked))
    assert found["commands"][0].split().count("--precision=bf16") == 1
    assert "1 of 1 results were trained in bf16" in summary.markdown([found])


def _add(path, seed):
    results = Results(path)
    for step in range(1, 9):
        results.add([result(replace(BASE, seed=seed, steps=step), OURS)])


def test_two_comparisons_that_add_to_one_file_lose_nothing(tmp_path):
    path = tmp_path / "compare.json"
    workers = [multiprocessing.get_context("spawn").Process(target=_add, args=(path, seed)) for seed in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert len(Results(path).runs) == 16


def test_a_cell_is_run_by_one_comparison_at_a_time(tmp_path):
    pytest.importorskip("fcntl")
    with alone(tmp_path, BASE.name), alone(tmp_path, "another"), \
            pytest.raises(UserError, match=rf"^{BASE.name}: another comparison is running it"):
        run_chain([BASE], set(), Setup(tmp_path, tmp_path / "manifests.json", OURS))
    assert not (tmp_path / BASE.name).exists()
    with pytest.raises(ZeroDivisionError), alone(tmp_path, BASE.name):
        raise ZeroDivisionError
    with alone(tmp_path, BASE.name):
        pass
    assert os.listdir(tmp_path / ".running") == []


GOOD = result(BASE, OURS)


@pytest.mark.parametrize("broken", [
    {"accuracy": "0.9"}, {"accuracy": float("nan")}, {"accuracy": 1.5}, {"accuracy": True}, {"f1_macro": None},
    {"right": ""}, {"right": "012"}, {"right": [1, 0]}, {"curve": []}, {"curve": [[1, 2]]}, {"curve": {"1": 2}},
    {"classes": {"bed": "x"}}, {"classes": []}, {"k": {"five": 0.5}}, {"k": {"5": 7}}, {"test_set": 3},
    {"test_set": ""}, {"seconds": -1}, {"seconds": "1"}, {"name": 5}, {"cell": []},
    {"cell": GOOD["cell"] | {"steps": "6"}},
    {"cell": GOOD["cell"] | {"steps": 0}}, {"cell": GOOD["cell"] | {"method": "svm"}},
    {"cell": GOOD["cell"] | {"wings": 2}}, {"cell": GOOD["cell"] | {"extra": [1]}}, {"data": 1}])
def test_values_of_other_kinds_in_a_file_of_results_are_one_line(tmp_path, broken):
    path = tmp_path / "compare.json"
    path.write_text(json.dumps({"runs": [GOOD]}))
    assert Results(path).runs
    path.write_text(json.dumps({"runs": [GOOD | broken]}))
    with pytest.raises(UserError, match=r"compare\.json: not what this command writes.*--out") as raised:
        Results(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("missing", ["name", "cell", "accuracy", "right", "test_set", "curve", "classes", "seconds"])
def test_a_result_without_a_part_is_one_line(tmp_path, missing):
    path = tmp_path / "compare.json"
    path.write_text(json.dumps({"runs": [{key: value for key, value in GOOD.items() if key != missing}]}))
    with pytest.raises(UserError, match=rf"compare\.json: not what.*{missing}"):
        Results(path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"runs": 3}', '{"runs": [3]}', "[" * 100_000])
def test_a_file_that_holds_no_results_is_one_line(tmp_path, text):
    (tmp_path / "compare.json").write_text(text)
    with pytest.raises(UserError, match=r"compare\.json: not what"):
        Results(tmp_path / "compare.json")
