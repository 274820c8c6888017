"""Demo data: whole words inside one second, no voice in two splits, the same bytes for the same seed."""

import hashlib
import json
import time

import numpy as np
import pytest
import soundfile

from data.base.errors import UserError
from data.base.files import read_lines
from data.demo import synthesis as demo
from data.demo.__main__ import main, parse_args
from data.demo.espeak import Saying, speak
from data.manifests.corpus import load_corpus
from data.manifests.registry import SPLITS, read_registry
from data.sources.splits import check_disjoint


def content(folder):
    """Every file's bytes by relative path."""
    return {str(path.relative_to(folder)): hashlib.sha1(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    demo.make(folder / "demo", seed=3, registry=folder / "manifests.json", voices=4, takes=2)
    return folder


def test_corpus_loads_with_all_words_in_every_split(made):
    corpus = load_corpus("demo", registry=made / "manifests.json")
    assert corpus.labels == demo.WORDS
    speakers = {split: set(corpus.splits[split].speaker) for split in SPLITS}
    for split in SPLITS:
        np.testing.assert_array_equal(corpus.splits[split].counts(), 2 * len(speakers[split]))
    assert sum(map(len, speakers.values())) == len(set.union(*speakers.values())) == 4
    check_disjoint({split: list(manifest) for split, manifest in corpus.splits.items()})
    assert {path.name for path in corpus.noise.glob("*.wav")} == {"white.wav", "pink.wav", "babble.wav"}


def test_files_are_one_second_int16_unclipped(made):
    for path in (made / "demo").rglob("*.wav"):
        info = soundfile.info(path)
        seconds = demo.NOISE_SECONDS if path.parent.name == "_background_noise_" else 1
        assert (info.samplerate, info.channels, info.subtype, info.frames) == (16000, 1, "PCM_16", seconds * 16000)
        samples, _ = soundfile.read(path, dtype="int16")
        assert 0 < np.abs(samples.astype(int)).max() < 32767


def test_same_seed_same_bytes_another_seed_others(made, tmp_path):
    for seed, name in ((3, "again"), (4, "other")):
        demo.make(tmp_path / name, seed=seed, registry=tmp_path / "manifests.json", name=name, voices=4, takes=2)
    first, again, other = (content(made / "demo"), content(tmp_path / "again"), content(tmp_path / "other"))
    assert first == again
    assert not {first[path] for path in first if path.endswith(".wav")} & set(other.values())


@pytest.mark.parametrize("voice", ["f2", "adam"])  # breath, Klatt's synthesiser
def test_speech_does_not_depend_on_when_and_what_else_is_spoken(voice):
    sayings = [Saying("seven", 170, 40, 60), Saying("house"), Saying("yes")]
    rate, first = speak(f"en-us+{voice}", sayings)
    assert rate == 22050
    time.sleep(1.1)  # eSpeak's own seed is the clock's second
    again, fewer = (speak(f"en-us+{voice}", said)[1] for said in (sayings, sayings[:2]))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(first, fewer, strict=False))
    with pytest.raises(UserError, match=r"no voice 'en-us\+nobody'"):  # not the default one
        speak("en-us+nobody", sayings)


@pytest.mark.parametrize("length", [800, 9000, 15999, 16000])
def test_place_keeps_the_whole_word(length):
    rng = np.random.default_rng(0)
    word = np.sin(np.arange(length) / 5.0) * 0.3
    for _ in range(50):
        clip = demo.place(word, rng)
        assert clip.shape == (16000,) and np.abs(clip).max() < 1
        # Where the word lies best, little is left once it is taken out: all of it is there.
        correlation = np.correlate(clip, word, "valid")
        start = correlation.argmax()
        gain = correlation[start] / (word @ word)
        rest = clip.copy()
        rest[start:start + length] -= gain * word
        snr = 10 * np.log10(np.mean((gain * word) ** 2) / np.mean(rest ** 2))
        assert 19.5 < snr < 40.5
        assert abs(start - (16000 - length) / 2) <= 0.1 * 16000 + 1
        assert demo.PEAKS_DB[0] - 0.3 < 20 * np.log10(gain * np.abs(word).max()) < demo.PEAKS_DB[1] + 0.3


def test_coloured_noise_has_its_slope():
    rng = np.random.default_rng(0)
    for slope in (0, 0.5, 1):
        noise = demo.coloured_noise(1 << 18, slope, rng)
        assert np.mean(noise ** 2) == pytest.approx(1, rel=1e-3)
        power = np.abs(np.fft.rfft(noise)) ** 2
        hertz = np.arange(len(power)) * 16000 / len(noise)
        low, high = (power[(hertz > f) & (hertz < 1.1 * f)].mean() for f in (200, 3200))
        assert np.log2(low / high) / 4 == pytest.approx(slope, abs=0.06)


def test_default_split_is_by_voice_and_about_an_eighth_each():
    for seed in range(20):
        split_of = demo.assign(seed, len(demo.VOICES))
        assert sorted(split_of) == sorted(demo.VOICES)
        counts = [list(split_of.values()).count(split) for split in ("dev", "test")]
        assert counts == [8, 8]
    assert sorted(demo.assign(0, 3).values()) == ["dev", "test", "train"]


def test_complete_data_is_left_alone_and_other_is_never_touched(made, monkeypatch):
    arguments = {"registry": made / "manifests.json", "voices": 4, "takes": 2}
    before = content(made)
    monkeypatch.setattr(demo, "_synthesise", lambda *_: pytest.fail("made again"))
    demo.make(made / "demo", seed=3, **arguments)
    (made / "mine").mkdir()
    (made / "mine" / "thesis.txt").write_text("years of work")
    for folder, seed in (("demo", 4), ("mine", 3)):
        with pytest.raises(UserError, match=rf"{folder}: exists and was not made by data\.demo"):
            demo.make(made / folder, seed=seed, **arguments)
    assert content(made).items() > before.items()


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_interrupted_run_leaves_nothing(tmp_path, monkeypatch, error):
    def broken(*_):
        raise error

    monkeypatch.setattr(demo, "write_noise", broken)
    with pytest.raises(error):
        demo.make(tmp_path / "demo", registry=tmp_path / "manifests.json", voices=3, takes=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["", ".", "..", "../../escaped", "/abs", "a/b", "10"])
def test_names_that_others_have_or_that_leave_the_folder(tmp_path, name):
    (tmp_path / "r.json").write_text(json.dumps({"10": {"train": "x", "made_by": "python -m data.libriwords"}}))
    with pytest.raises(UserError, match="--name"):
        main(parse_args(["--name", name, "--voices=3", "--takes=1", "--registry", str(tmp_path / "r.json")]))
    assert [path.name for path in tmp_path.iterdir()] == ["r.json"]


@pytest.mark.parametrize(("loader", "reason"), [
    ("raise ImportError('No module named espeakng_loader')", "No module named"),
    ("def get_library_path(): return '/nowhere/libespeak-ng.so'", "/nowhere/libespeak-ng.so"),
])
def test_no_espeak(tmp_path, monkeypatch, loader, reason):
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "espeakng_loader.py").write_text(loader + "\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))
    with pytest.raises(UserError, match=f"{reason}.*pip install -r requirements.txt"):
        demo.make(tmp_path / "demo", registry=tmp_path / "manifests.json", voices=3, takes=1)
    assert {path.name for path in tmp_path.iterdir()} == {"modules"}


def test_command(tmp_path, capsys):
    flags = ["--out", str(tmp_path / "d"), "--name=tiny", "--seed=3", "--voices=3", "--takes=1", "--registry",
             str(tmp_path / "r.json")]
    main(parse_args(flags))
    printed = capsys.readouterr().out
    assert "--manifest=tiny" in printed and "clips (speakers)" in printed
    entry = read_registry(tmp_path / "r.json")["tiny"]
    assert entry["train"] == "d/train.json"
    assert entry["made_by"].split() == ["python", "-m", "data.demo", *flags]
    for flag in ("--voices=99", "--voices=2", "--takes=0", "--seed=-1", "--voices_per_word=0"):
        with pytest.raises(SystemExit):
            parse_args([flag])
    for flag in ("--words=words.txt", "--voices_per_word=3"):
        with pytest.raises(UserError, match="give it a name"):
            main(parse_args([flag, "--registry", str(tmp_path / "m.json")]))


LONG = "pneumonoultramicroscopicsilicovolcanoconiosis"


def test_any_words_are_said_by_some_of_the_voices(tmp_path, capsys):
    arguments = {"registry": tmp_path / "manifests.json", "name": "spoken", "voices": 10, "takes": 1,
                 "voices_per_word": 3}
    demo.make(tmp_path / "spoken", words=["zebra", "apple", "o'clock", LONG, "zebra"], **arguments)
    printed = capsys.readouterr().out
    assert f"such as {LONG}" in printed
    assert f"dropped 1 words of which no training clip is left: {LONG}" in printed
    corpus = load_corpus("spoken", registry=arguments["registry"])
    assert corpus.labels == ["apple", "o'clock", "zebra"]
    assert corpus.splits["train"].counts().tolist() == [3, 3, 3]
    assert all((corpus.splits[split].counts() == 1).all() for split in ("dev", "test"))
    split_of = demo.assign(0, 10)
    for split, manifest in corpus.splits.items():
        assert {split_of[next(v for v in split_of if v.lower() == speaker)] for speaker in manifest.speaker} == {split}
    assert len({tuple(sorted(u.speaker for u in corpus.splits["train"] if u.label == word))
                for word in corpus.labels}) > 1  # not the same voices for every word
    check_disjoint({split: list(manifest) for split, manifest in corpus.splits.items()})
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "spoken").rglob("*.wav")}
    demo.make(tmp_path / "spoken", words=[LONG, "apple", "o'clock", "zebra"], **arguments)  # the same: left alone
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "spoken").rglob("*.wav")}


@pytest.mark.parametrize(("words", "message"), [
    (["one"], "at least two"), ([LONG, "apple"], "of 2 words, voices can say apple"),
    (["a/b", "c"], "a/b"), (["..", "c"], r"\.\."), (["_x", "c"], "_x"), (["# words", "b", "c"], "# words")])
def test_words_that_cannot_be(tmp_path, words, message):
    with pytest.raises(UserError, match=message):
        demo.make(tmp_path / "x", registry=tmp_path / "manifests.json", name="x", voices=3, takes=1, words=words)
    assert not (tmp_path / "x").exists()


def test_what_cannot_be_said_and_twins_among_the_words(tmp_path, capsys, recwarn):
    """Nothing to hear, 35 s of digits, an accent typed two ways, and a capital letter."""
    (tmp_path / "words.txt").write_text("cat\n?\n" + "9 " * 90 + "\ncafe\u0301\ncaf\u00e9\nCat\n", encoding="utf-8")
    words = read_lines(tmp_path / "words.txt")
    assert words == ["cat", "?", ("9 " * 90).strip(), "caf\u00e9", "Cat"]
    demo.make(tmp_path / "new", registry=tmp_path / "m.json", name="new", voices=3, takes=1, words=words)
    printed = capsys.readouterr().out
    assert "warning: labels that differ only by case or blanks count as different words: 'Cat' and 'cat'" in printed
    assert "dropped 2 words of which no training clip is left" in printed
    assert load_corpus("new", registry=tmp_path / "m.json").labels == ["Cat", "caf\u00e9", "cat"]
    babble, _ = soundfile.read(tmp_path / "new" / "_background_noise_" / "babble.wav", dtype="int16")
    assert np.abs(babble).max() == 16_384
    with pytest.raises(UserError, match="of 2 words, voices can say none within a second"):
        demo.make(tmp_path / "none", registry=tmp_path / "m.json", name="none", voices=3, takes=1, words=["?", ",,"])
    assert not [w for w in recwarn if w.category is RuntimeWarning]


