"""What a test says of clips and speakers that its encoder was trained on, and what it must not say."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from data.audio.dataset import Clips
from data.base.errors import UserError
from data.manifests.corpus import load_corpus
from data.manifests.manifest import Utterance
from data.manifests.registry import register
from models.runs.checkpoints import Run
from models.runs.provenance import Record, fingerprint, tell_seen, trained_on
from tests.conftest import infer, record, write_set
from tests.models.training.test_prepare import TINY


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Two words of eight speakers a set, in folders "one" and "two", where speakers have the same numbers."""
    folder, rng = tmp_path_factory.mktemp("recordings"), np.random.default_rng(1)
    for name in ("one", "two"):
        for word in ("hi", "ho"):
            for speaker in range(8):
                record(folder / name / word / f"{speaker}.wav", 0.1 * rng.standard_normal(8_000))
    return folder


def opened(folder, recordings, train, test, name="one"):
    """A registered set whose splits have these speakers; its corpus, and the clips by split."""
    registry = write_set(folder, "set", **{split: [
        Utterance(str(recordings / name / word / f"{speaker}.wav"), word, 0.5, speaker=str(speaker))
        for word in ("hi", "ho") for speaker in speakers]
        for split, speakers in (("train", train), ("dev", test), ("test", test))})
    corpus = load_corpus("set", ("train", "test"), registry)
    return SimpleNamespace(corpus=corpus, **{split: Clips.of(corpus.splits[split], split, 0.5, folder / "cache")
                                             for split in ("train", "test")})


def test_none_of_a_proper_test_set_is_known(recordings, tmp_path):
    data = opened(tmp_path, recordings, range(5), range(5, 8))
    record = Record.of(data.train, data.corpus)
    assert [len(record.places), len(record.sounds), len(record.speakers)] == [10, 10, 5 * 3]  # in one, one/hi, one/ho
    assert record.seen(data.test, data.corpus) == (0, 0, 3)
    assert record.seen(data.train, data.corpus) == (10, 5, 5)


def test_speakers_and_clips_of_a_set_divided_anew_are_known(recordings, tmp_path):
    before = opened(tmp_path / "a", recordings, range(5), range(5, 8))
    after = opened(tmp_path / "b", recordings, range(3, 8), range(4))
    record = Record.of(before.train, before.corpus)
    # Of speakers 0-3, all were in training, with two clips each.
    assert record.seen(after.test, after.corpus) == (8, 4, 4)
    assert record.seen(after.test, after.corpus, np.array([0, 4])) == (2, 1, 1)


def test_speakers_of_a_set_are_known_after_a_training_on_it_joined_with_another(recordings, tmp_path):
    one = opened(tmp_path / "one", recordings, range(5), range(5, 8))
    two = opened(tmp_path / "two", recordings, range(2), range(5, 8), "two")
    for name in ("one", "two"):
        register(name, **{split: tmp_path / name / f"{split}.json" for split in ("train", "dev", "test")},
                 registry=tmp_path / "both.json")
    corpus = load_corpus("one+two", ("train", "test"), tmp_path / "both.json")
    train = Clips.of(corpus.splits["train"], "both", 0.5, tmp_path / "cache")
    both = Record.of(train, corpus)
    # Divided anew, the first set tests on five speakers that were trained on, of six, the second on two.
    for name, known in (("one", 5), ("two", 2)):
        anew = opened(tmp_path / f"anew-{name}", recordings, range(5, 8), range(6), name)
        assert both.seen(anew.test, anew.corpus) == (2 * known, known, 6)
    assert Record.of(one.train, one.corpus).seen(train, corpus) == (10, 5, 5)
    assert Record.of(two.train, two.corpus).seen(train, corpus) == (4, 2, 5)
    assert both.seen(one.test, one.corpus) == (0, 0, 3)


def test_copied_and_renamed_recordings_are_known_by_their_sound(recordings, tmp_path):
    before = opened(tmp_path / "a", recordings, range(5), range(5, 8))
    for word in ("hi", "ho"):
        for speaker in range(8):
            path = tmp_path / "copies" / "other" / word / f"{7 - speaker}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(recordings / "one" / word / f"{speaker}.wav", path)
    after = opened(tmp_path / "b", tmp_path / "copies", range(4, 8), range(4), "other")
    heard, speakers, among = Record.of(before.train, before.corpus).seen(after.test, after.corpus)
    assert (heard, speakers, among) == (2, 0, 4)  # speaker 4 is number 3 there


def test_clips_are_found_within_longer_recordings(tmp_path):
    """By name and place, of any length; by sound, whatever the name, of the encoder's length alone."""
    long = np.round(3000 * np.random.default_rng(2).standard_normal(200_000)).astype(np.int16)
    soundfile.write(tmp_path / "long.wav", long, 16_000)
    clips = [Utterance(str(tmp_path / "long.wav"), "word", 0.5, 10.1234), Utterance(str(tmp_path / "long.wav"), "word",
                                                                                    0.3, 2.0)]
    corpus = load_corpus("set", ("train",), write_set(tmp_path, "set", train=clips))
    record = Record.of(Clips.of(corpus.splits["train"], "train", 0.5, tmp_path / "cache"), corpus)
    begins = round(10.1234 * 16_000)
    for path, start, end, known in (
            ("long.wav", 0, 200_000, True), ("long.wav", 16_000, 48_000, True), ("long.wav", 48_000, 160_000, False),
            ("copy.wav", 0, 200_000, True), ("copy.wav", begins, begins + 8_000, True),
            ("copy.wav", begins + 1, 200_000, False), ("copy.wav", 0, begins + 7_999, False),
            ("copy.wav", 32_000, 36_800, True), ("copy.wav", 31_999, 36_800, False)):
        assert record.in_recording(str(tmp_path / path), long[start:end], start / 16_000, 8_000) == known, (path, start)
    assert not record.in_recording("copy.wav", np.zeros(0, np.int16), 0.0, 8_000)


def test_what_the_run_before_was_trained_on_counts_and_one_without_a_record_is_named(recordings, tmp_path):
    data = opened(tmp_path, recordings, range(5), range(5, 8))
    first, second = Run(tmp_path, "first"), Run(tmp_path, "second")
    second.write_config({"init_from": str(first.path("Res8", 2))})
    assert trained_on(second) == (None, ["second"])  # the first is gone
    Record.of(data.train, data.corpus).write(second)
    first.write_config({"init_from": str(second.path("Res8", 2))})  # whose name was taken anew
    record, lacking = trained_on(second)
    assert record.seen(data.train, data.corpus)[0] == 10 and lacking == ["first"]
    Record.of(data.test, data.corpus).write(first)
    record, lacking = trained_on(second)
    assert record.seen(data.test, data.corpus)[0] == 6 and lacking == []
    assert tell_seen([second], data.test, data.corpus)["test_clips_trained_on"] == 6


def test_all_but_silent_clips_are_not_taken_for_one_another(tmp_path):
    """A click in an otherwise silent clip: hardly any of the samples looked at is not zero."""
    for i in range(4):
        clip = np.zeros(8_000)
        clip[10 + 3 * i:12 + 3 * i] = 0.5
        soundfile.write(tmp_path / f"{i}.wav", clip, 16_000)
    registry = write_set(tmp_path, "set", **{
        split: [Utterance(str(tmp_path / f"{i}.wav"), "word", 0.5) for i in clips]
        for split, clips in (("train", (0, 1)), ("test", (2, 3)))})
    corpus = load_corpus("set", ("train", "test"), registry)
    train, test = (Clips.of(corpus.splits[split], split, 0.5, tmp_path / "cache") for split in ("train", "test"))
    assert Record.of(train, corpus).seen(test, corpus) == (0, 0, 0)


def test_records_are_written_read_and_joined(recordings, tmp_path):
    data = opened(tmp_path, recordings, range(5), range(5, 8))
    run, one, other = Run(tmp_path, "r"), Record.of(data.train, data.corpus), Record.of(data.test, data.corpus)
    assert Record.read(run) is None
    assert list(tell_seen([run], data.test, data.corpus)) == ["note on records"]
    (one | other | None).write(run)
    read = Record.read(run)
    assert read.seen(data.test, data.corpus) == (6, 3, 3) and read.seen(data.train, data.corpus) == (10, 5, 5)
    assert (run.folder / "trained_on.npz").stat().st_size < 2_000
    for spoilt in (b"", b"PK\x03\x04", (run.folder / "trained_on.npz").read_bytes()[:300]):
        (run.folder / "trained_on.npz").write_bytes(spoilt)
        with pytest.raises(UserError, match=r"trained_on.npz.*remove it"):
            Record.read(run)


def test_a_fingerprint_follows_what_a_manifest_says_and_not_where_it_lies(recordings, tmp_path):
    def of(change=lambda lines: lines, folder="a"):
        path = tmp_path / folder / "m" / "train.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [{"audio_filepath": f"../wav/{i}.wav", "duration": 1.0, "label": "ab"[i % 2]} for i in range(4)]
        path.write_text("".join(json.dumps(line) + "\n" for line in change(lines)))
        from data.manifests.manifest import read_manifest
        return fingerprint(read_manifest(path))

    same = of()
    assert same == of() == of(folder="b") == of(lambda lines: [line | {"speaker": "x"} for line in lines])
    others = [of(lambda lines: lines[::-1]), of(lambda lines: lines[:3]),
              of(lambda lines: [line | {"offset": 0.5} for line in lines]),
              of(lambda lines: [line | {"duration": 0.9} for line in lines]),
              of(lambda lines: [line | {"label": "ba"[i % 2]} for i, line in enumerate(lines)]),
              of(lambda lines: [line | {"label": "ac"[i % 2]} for i, line in enumerate(lines)]),
              of(lambda lines: [line | {"audio_filepath": f"../wav/{i + 1}.wav"} for i, line in enumerate(lines)])]
    assert len({same, *others}) == 8


def anew(words, folder):
    """The data set "words" with training and test clips exchanged, under the same name."""
    for split, other in (("train", "test"), ("dev", "dev"), ("test", "train")):
        shutil.copy(words.folder / f"{other}.json", words.folder / f"anew-{split}.json")
    register("words", **{split: words.folder / f"anew-{split}.json" for split in ("train", "dev", "test")},
             registry=folder / "manifests.json")
    return f"--registry={folder / 'manifests.json'}"


def test_the_scripts_say_how_many_test_clips_were_trained_on(encoder, run, words, runs, tmp_path):
    proper = infer(run, words, runs)
    assert "in the training" not in proper.out and "other training clips" not in proper.out
    facts = json.loads((runs / "enc" / "knn-words-Res8-40.json").read_text())["facts"]
    assert facts["test_clips_trained_on"] == facts["test_speakers_trained_on"] == 0
    other = anew(words, tmp_path)
    said = "72 of the 72 test clips and 12 of the 12 test speakers were in the training of run"
    assert infer(run, words, runs, other).out.count(f"{said} 'enc'") == 1
    few = infer(run, words, runs, other, "--shots", "1", "--repeats=1", "--enroll", "bed", "cat")
    assert "24 of the 24 test clips" in few.out
    flags = [f"--runs_dir={runs}", *words.flags, "--model=Res8"]
    assert run("TripletClassifier", "--name=heard", "--enc_name=enc", *flags, other, "--num_steps=1").code == 0
    # The head learned from what the set's test clips are in `words`, and its encoder from the others.
    tested = run("infer_notl", "--name=enc", "--cl_name=heard", *flags, "--k=5")
    assert "30 of the 30 test clips and 5 of the 5 test speakers" in tested.out
    assert "in the training of run 'heard' or 'enc'" in tested.out
    assert said in run("infer_notl", "--name=enc", "--cl_name=heard", *flags, other).out


def test_an_encoder_trained_further_keeps_what_it_heard(encoder, run, words, runs, tmp_path):
    other = anew(words, tmp_path)
    flags = [f"--runs_dir={runs}", *words.flags]
    assert run("TripletEncoder", "--name=further", "--init_from=enc", *flags, other, *TINY, "--hidden_size=12",
               "--num_steps=2").code == 0
    assert "30 of the 30 test clips" in infer(run, words, runs, name="further").out
    assert "72 of the 72 test clips" in infer(run, words, runs, other, name="further").out
    assert Run(runs, "further").config()["labels_before"] == words.labels
    assert run("TripletEncoder", "--name=further", *flags, other, "--model=Res8", "--resume", "--num_steps=3").code == 0
    assert "72 of the 72 test clips" in infer(run, words, runs, other, name="further").out


def test_a_test_with_a_training_manifest_that_changed_says_so(encoder, run, words, runs):
    path = words.folder / "train.json"
    before = path.read_text()
    lines = [json.loads(line) for line in before.splitlines()]
    labels = [line["label"] for line in lines]
    try:
        path.write_text("".join(json.dumps(line | {"label": label}) + "\n"
                                for line, label in zip(lines, labels[12:] + labels[:12], strict=True)))
        assert "other training clips or labels than when run 'enc' was trained" in infer(run, words, runs).out
    finally:
        path.write_text(before)
