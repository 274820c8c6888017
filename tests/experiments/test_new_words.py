"""Words never heard: what the protocol is, the tables of several encoders, and a comparison from end to end."""

import json
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import pytest
from torch import nn

from data import joined
from data.base.errors import UserError
from data.manifests import Corpus, load_corpus, register, write_manifest
from experiments import cells, compare, new_words
from experiments.belongs import Data, data_of, make_room
from experiments.cells import Cell
from experiments.protocol import Protocol, from_dict, protocol_of
from experiments.results_file import Results
from models.runs.checkpoints import Run

PROTOCOL = Protocol("wake", ("alexa", "jarvis"), ("unknown",), (1, 5), 3, None, "content")
BASE = Cell("heard", "Res8", "shots", 6, 0, batch_classes=4, per_class=3, words=PROTOCOL.name)
OURS = Data("a", "t", "n")


def result(cell, accuracy=0.5, **more):
    shots = [{"scores": scores, "shots": n, "accuracy": accuracy + n / 100, "accuracy_std": 0.1, "auroc": 0.75}
             for scores in ("embedding", "embedding, nearest clip", "embedding, t-norm") for n in (1, 5)]
    return {"name": cell.name, "cell": cells.to_dict(cell), "seconds": 2.0, "data": "a", "curve": [[6, 2.0, 0.625]],
            "looks": "new_words", "new_words_set": "n", "clips": [8, 5], "shots": shots, "versions": {}, "threads": 1,
            "protocol": PROTOCOL.to_dict(), **more}


@pytest.mark.parametrize("change", [
    {"manifest": "other"}, {"enroll": ("jarvis",)}, {"unknown": ()}, {"shots": (1,)}, {"repeats": 4},
    {"cohort": "heard"}, {"content": "changed"}])
def test_results_of_two_protocols_have_two_names(change):
    other = replace(PROTOCOL, **change)
    assert other.name != PROTOCOL.name
    assert replace(BASE, words=other.name).name != BASE.name
    assert from_dict(json.loads(json.dumps(other.to_dict()))) == other


def test_a_protocol_is_once_in_a_file_of_results_and_read_back(tmp_path):
    results = Results(tmp_path / "compare.json", OURS, "heard")
    results.add(result(replace(BASE, seed=seed)) for seed in range(3))
    text = (tmp_path / "compare.json").read_text()
    assert text.count('"alexa"') == 1 and text.count('"accuracy_std"') == 3  # a result's figures are named once
    read = Results(tmp_path / "compare.json", OURS, "heard")
    assert read.known == results.known and len(read.known) == 3
    assert all(run["protocol"] == PROTOCOL.to_dict() for run in read.known.values())
    spelt = [{key: value for key, value in run.items() if key != "protocol"} for run in read.runs.values()]
    (tmp_path / "spelt.json").write_text(json.dumps({"runs": spelt, "protocols": {PROTOCOL.name: PROTOCOL.to_dict()}}))
    assert Results(tmp_path / "spelt.json").runs == read.runs
    assert Results(tmp_path / "compare.json", replace(OURS, content="b"), "heard").known == {}
    assert Results(tmp_path / "compare.json", replace(OURS, new_words="m"), "heard").known == {}


@pytest.mark.parametrize("broken", [
    {"shots": []}, {"shots": [{"scores": "embedding", "shots": 1, "accuracy": 1.5}]}, {"clips": [3]}, {"data": ""},
    {"shots": [{"scores": "embedding", "shots": 2, "accuracy": 0.5}]}, {"shots": [["scores", "shots"], ["embedding"]]},
    {"cell": cells.to_dict(BASE) | {"loss": "svm"}},
    {"name": "another"}, {"cell": cells.to_dict(replace(BASE, words="wake-00000000"))}])
def test_broken_results_of_enrolled_words_are_one_line(tmp_path, broken):
    path = tmp_path / "compare.json"
    good = {key: value for key, value in result(BASE).items() if key != "protocol"}
    once = {PROTOCOL.name: PROTOCOL.to_dict()}
    path.write_text(json.dumps({"runs": [good], "protocols": once}))
    assert Results(path).runs
    path.write_text(json.dumps({"runs": [good | broken], "protocols": once}))
    with pytest.raises(UserError, match=r"compare\.json: not what this command writes.*--out"):
        Results(path)


def test_tables_keep_protocols_apart_and_name_what_varies():
    other = replace(PROTOCOL, repeats=9)
    runs = [result(BASE, 0.5), result(replace(BASE, seed=1), 0.25), result(replace(BASE, loss="supcon"), 0.875),
            result(replace(BASE, words=other.name), 0.125, protocol=other.to_dict())]
    text = new_words.markdown(runs)
    first, second = sorted(text.split("\nWords never heard"), key=len, reverse=True)
    lines = [line for line in first.splitlines() if line.startswith("|")]
    assert lines[0].startswith("| loss | mining | margin | seeds | AUROC of new words held out | clips enrolled |")
    assert "| triplet | random | 0.5 | 2 | 62.50 ± 0.00 | 1 | plain | 38.50 ± 17.68 |" in first
    assert "| supcon |  |  | 1 | 62.50 | 5 | t-norm | 92.50 |" in first
    assert "1 | t-norm" not in first and "nearest" not in first  # of normalised scores some, with most clips
    assert "12.50" not in first and "| 13.50 |" in second and "9 draws" in second


def test_encoders_of_other_new_words_or_clips_are_in_no_table_with_these():
    others = [result(BASE), result(replace(BASE, seed=1), new_words_set="m"),
              result(replace(BASE, seed=2), clips=[8, 4])]
    assert new_words.markdown(others).count("Words never heard") == 3


def test_one_name_for_two_sets_of_data_makes_two_rows_that_say_so():
    text = new_words.markdown([result(BASE), result(replace(BASE, seed=1), data="bbbbbbbbbb")])
    assert "| a | 1 | 62.50 | 1 |" in text and "| bbbbbbbb | 1 | 62.50 | 1 |" in text


def test_seeds_with_other_cohorts_have_no_mean_and_a_line_counts_the_seeds_that_it_has():
    cohort = {"manifest": "heard", "clips": 1000, "words": 67, "most_similar": 300}
    text = new_words.markdown([result(BASE, cohort=cohort),
                               result(replace(BASE, seed=1), cohort=cohort | {"clips": 4000, "held_against": 1000})])
    assert "| a 1000/67/300 | 1 |" in text and "| a 4000/67/1000/300 | 1 |" in text and "±" not in text.split("|", 1)[1]
    bare = result(replace(BASE, seed=1))
    bare["shots"] = [one for one in bare["shots"] if one["scores"] == "embedding"]
    lines = [line for line in new_words.markdown([result(BASE), bare]).splitlines() if "plain |" in line
             or "t-norm |" in line]
    assert [line.split("|")[1].strip() for line in lines] == ["2", "2", "1"]


def test_what_was_trained_on_is_told():
    assert "Up to 7 of the test clips and 2 of their speakers" in new_words.markdown(
        [result(BASE, test_clips_trained_on=7, test_speakers_trained_on=2)])
    assert "Up to" not in new_words.markdown([result(BASE)])


def test_a_knn_run_has_its_look_at_new_words_where_no_words_were_enrolled():
    knn = {**result(BASE.encoder), "accuracy": 0.5}
    for key in ("shots", "clips", "protocol"):
        del knn[key]
    assert "AUROC of pairs" in new_words.markdown([knn])
    assert "AUROC of pairs" not in new_words.markdown([knn, result(BASE)])  # the same encoder, once
    assert new_words.markdown([{key: value for key, value in knn.items() if key != "looks"}]) == ""


def test_files_of_results_that_contradict_are_refused(tmp_path, capsys):
    for name, accuracy in (("a", 0.5), ("b", 0.5), ("c", 0.25)):
        Results(tmp_path / name / "compare.json").add([result(BASE, accuracy)])
    paths = [str(tmp_path / name / "compare.json") for name in "abc"]
    assert new_words.main(new_words.parse_args([*paths[:2], "--out", str(tmp_path / "t.md")])) == 0
    assert (tmp_path / "t.md").read_text() in capsys.readouterr().out
    with pytest.raises(UserError, match=r"c/compare\.json: has another result of heard-"):
        new_words.main(new_words.parse_args(paths))
    with pytest.raises(UserError, match="no such file"):
        new_words.main(new_words.parse_args([str(tmp_path / "d.json")]))


def test_a_run_looked_at_with_other_new_words_makes_room_and_one_looked_at_with_dev_does_not(tmp_path):
    folder = tmp_path / "cell"
    make_room(folder, OURS, stale=False)
    (folder / "config.json").write_text("{}")
    make_room(folder, OURS, stale=False, new_words=True)
    make_room(folder, replace(OURS, new_words="m"), stale=False)
    assert (folder / "config.json").exists()
    make_room(folder, replace(OURS, new_words="m"), stale=False, new_words=True)
    assert not (folder / "config.json").exists() and (tmp_path / "cell.other-data-1" / "config.json").exists()


@pytest.fixture(scope="module")
def sets(words, tmp_path_factory):
    """Registered: "one" and "two" with two words each to train on, "one" with a new word held out; "new" to enrol."""
    folder = tmp_path_factory.mktemp("sets")
    whole = load_corpus("words", registry=words.registry)

    def make(name, labels, held=()):
        paths = {}
        for split, manifest in whole.splits.items():
            paths[split] = folder / f"{name}-{split}.json"
            write_manifest(paths[split], (one for one in map(manifest.__getitem__, range(len(manifest)))
                                          if one.label in labels))
        if held:
            dev = whole.splits["dev"]
            paths["new_words"] = folder / f"{name}-new.json"
            write_manifest(paths["new_words"], (one for one in map(dev.__getitem__, range(len(dev)))
                                                if one.label in held))
        register(name, **paths, registry=folder / "manifests.json")
    make("one", ("bed", "cat"), ("five", "four"))
    make("two", ("dog", "tree"))
    make("new", ("bed", "five", "four", "tree"))
    return SimpleNamespace(registry=folder / "manifests.json", cache=words.folder / "cache")


def command(sets, folder, *flags):
    return ["--manifest=one+two", f"--registry={sets.registry}", f"--cache_dir={sets.cache}", f"--runs_dir={folder}",
            "--seeds", "0", "--steps", "4", "--batch_classes=4", "--per_class=4", "--widths", "12",
            "--shots_manifest=new", "--shots", "1", "3", "--repeats=2", *flags]


def test_words_never_heard_from_end_to_end_on_joined_sets(sets, tmp_path, capsys):
    flags = command(sets, tmp_path, "--methods", "shots", "--losses", "triplet", "am_softmax", "--shares", "1", "1",
                    "--eval=new_words", "--extra", "loss_lr=0.01", "--enroll", "five", "four", "--unknown")
    assert compare.main(compare.parse_args(flags)) == 0
    printed = capsys.readouterr().out
    runs = Results(tmp_path / "one+two" / "compare.json").runs
    assert Counter(run["cell"].get("loss", "triplet") for run in runs.values()) == {"triplet": 1, "am_softmax": 1}
    for run in runs.values():
        loss = run["cell"].get("loss", "triplet")
        assert run["clips"] == [10, 10] and run["looks"] == "new_words" and len(run["curve"]) == 4
        assert {(one["scores"], one["shots"]) for one in run["shots"] if one["scores"] == "embedding"} == {
            ("embedding", 1), ("embedding", 3)}
        assert {"accuracy", "auroc", "equal_error_rate", "accuracy_at_1_percent", "accuracy_at_5_percent",
                "accuracy_std"} <= set(run["shots"][0])
        # What the files of infer_train.py have.
        written, = (tmp_path / cells.from_dict(run["cell"]).run).glob("shots-unknown-new-Res8-4.json")
        said = json.loads(written.read_text())["results"]
        assert [round(one["auroc_mean"], 6) for one in said] == [one["auroc"] for one in run["shots"]]
        assert ("--loss_lr=0.01" in run["commands"][0]) == (loss == "am_softmax")
        assert "--shares 1 1" in run["commands"][0] and "--enroll five four --unknown bed tree" in run["commands"][1]
        assert not list(tmp_path.glob("*/knn-*"))  # nobody asked for that test
    assert "AUROC of new words held out" in (tmp_path / "one+two" / "compare.md").read_text() in printed
    before = (tmp_path / "one+two" / "compare.json").read_bytes()
    assert not any(str(path) in before.decode() for path in (tmp_path, sets.registry.parent))  # it is to be published
    again = compare.parse_args([*flags, "--dry_run"])
    assert compare.main(again) == 0
    assert "2 cells, 0 to run" in capsys.readouterr().out
    more = compare.parse_args([*flags, "tree", "--losses", "triplet"])  # another protocol: not trained again
    assert compare.main(more) == 0
    capsys.readouterr()
    assert len(Results(tmp_path / "one+two" / "compare.json").runs) == 3
    assert set(json.loads(before)["protocols"]) < set(json.loads(
        (tmp_path / "one+two" / "compare.json").read_text())["protocols"])
    log, = tmp_path.glob("one+two-Res8-knn-4x4x4-width12*/log.txt")
    assert log.read_text().count("step 4/4 ") == 1


def test_encoders_that_were_looked_at_with_dev_are_told_of(sets, tmp_path, capsys):
    flags = command(sets, tmp_path, "--methods", "shots", "--enroll", "five", "--unknown", "--dry_run")
    assert compare.main(compare.parse_args(flags)) == 0
    name = next(line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("one+two-"))
    args = SimpleNamespace(methods=["shots"], shots_manifest="new", registry=sets.registry, enroll=["five"],
                           unknown=[], shots=[1, 3], repeats=2, cohort=None, manifest="one+two", extra=[])
    corpus = joined.load("one+two", registry=sets.registry)
    protocol, data = protocol_of(args, corpus), data_of(corpus)
    cell, = cells.grid("one+two", ["Res8"], ["shots"], [4], [0], words=[protocol.name], batch_classes=[4],
                       per_class=[4], width=[12])
    assert cell.name == name
    done = result(cell, data=data.content, protocol=protocol.to_dict(), clips=[5, 15])
    shots = [one | {"shots": {1: 1, 5: 3}[one["shots"]]} for one in done["shots"]]
    done = {key: value for key, value in done.items() if key not in ("looks", "new_words_set")} | {"shots": shots}
    Results(tmp_path / "one+two" / "compare.json").add([done])
    assert compare.main(compare.parse_args(flags)) == 0
    assert "looked at with dev" not in capsys.readouterr().out
    assert compare.main(compare.parse_args([*flags, "--eval=new_words"])) == 0
    printed = capsys.readouterr().out
    assert f"1 encoders were looked at with dev, and have no AUROC of new words (as {name})" in printed
    assert "1 cells, 0 to run" in printed


@pytest.mark.parametrize("flags, message", [
    (["--enroll", "bed", "five", "--unknown"], "--enroll: the encoders hear bed in the training of --manifest one"),
    (["--enroll", "fives", "--unknown"], "did you mean 'five'"),
    (["--enroll", "five", "--unknown", "--shots", "13"], "--shots 13: too few training clips of five"),
    (["--enroll", "five", "--unknown", "--cohort", "new"], "the cohort 'new' has 0 training clips"),
    (["--enroll", "five", "--unknown", "--shots_manifest=none"], "'none' is not registered"),
    (["--enroll", "five", "--unknown", "--shares", "1"], "--shares has 1 values"),
    (["--enroll", "five", "--unknown", "--manifest=two", "--eval=new_words"], "no words held out as new")])
def test_what_will_not_do_is_said_before_anything_is_trained(sets, tmp_path, flags, message):
    with pytest.raises(UserError) as raised:
        compare.main(compare.parse_args(command(sets, tmp_path / "runs", "--methods", "shots", *flags)))
    assert message in str(raised.value) and "\n" not in str(raised.value)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("flags, message", [
    (["--methods", "shots"], "--shots_manifest"), (["--shots", "1"], "add shots to --methods"),
    (["--enroll", "a"], "add shots to --methods"),
    (["--methods", "shots", "--shots_manifest=new", "--cohort=one"], "say with --unknown"),
    (["--extra", "margin=0.3"], "say it with --margins"), (["--extra", "seed=3"], "say it with --seeds"),
    (["--extra", "gpu=1"], "say it with --gpu"), (["--extra", "skip_bad_audio"], "say it with --skip_bad_audio"),
    (["--extra", "k=1"], "say it with --ks"), (["--extra", "ties=lowest"], "leave it out"),
    (["--extra", "eval_freq=1"], "leave it out"), (["--extra", "precision=bf16", "--precision=32"], "contradicts"),
    (["--losses", "arcface"], "invalid choice"), (["--epochs", "0"], "from 1 up")])
def test_flags_that_contradict_are_refused_by_name(flags, message, capsys):
    with pytest.raises(SystemExit) as stop:
        compare.parse_args(["--manifest=one", *flags])
    assert stop.value.code == 2 and message in capsys.readouterr().err


def test_words_that_differ_by_case_are_heard_too(sets):
    args = SimpleNamespace(methods=["shots"], shots_manifest="new", registry=sets.registry, enroll=["five"],
                           unknown=[], shots=[1], repeats=1, cohort=None, manifest="big", extra=[])
    assert protocol_of(args, Corpus("big", ["six"])).enroll == ("five",)
    with pytest.raises(UserError, match="hear five"):
        protocol_of(args, Corpus("big", ["FIVE"]))


def test_words_that_an_encoder_heard_before_it_is_trained_further_are_heard(sets, tmp_path):
    args = SimpleNamespace(methods=["shots"], shots_manifest="new", registry=sets.registry, enroll=["five"],
                           unknown=[], shots=[1], repeats=1, cohort=None, manifest="big", runs_dir=tmp_path,
                           extra=["--lr=1e-3", "--init_from=before:7"])
    run = Run(tmp_path, "before")
    run.save({"Res8": nn.Linear(1, 1)}, {}, 7, 1)
    for labels, more in (["six"], {}), (["Five"], {}), (["six"], {"labels_before": ["Five"]}):
        run.write_config({"model": "Res8", "labels": labels} | more)
        if "Five" in [*labels, *more.get("labels_before", [])]:
            with pytest.raises(UserError, match="hear five in the training of --extra init_from=before:7"):
                protocol_of(args, Corpus("big", ["six"]))
        else:
            assert protocol_of(args, Corpus("big", ["six"])).enroll == ("five",)
