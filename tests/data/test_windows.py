"""Windows of running speech: where they lie, whose they are, and what is left out."""

import numpy as np
import pytest

from data import windows
from data.audio.dataset import Clips
from data.base.errors import UserError
from data.manifests.corpus import load_corpus
from data.manifests.manifest import UNLABELLED
from tests.conftest import hiss, record

SECONDS = {"anna": 3.0, "ben": 2.2, "carl": 1.0, "dora": 4.6}


@pytest.fixture
def speech(tmp_path):
    for speaker, seconds in SECONDS.items():
        record(tmp_path / "speech" / speaker / "book" / f"{speaker}-1.flac", hiss(seconds))
    return tmp_path / "speech"


def made(folder, *flags):
    registry = folder.parent / "manifests.json"
    windows.main(windows.parse_args([str(folder), "--name=speech", f"--out={folder.parent / 'out'}",
                                     f"--registry={registry}", *flags]))
    return load_corpus("speech", registry=registry)


@pytest.mark.parametrize(("length", "hop"), [(1.0, 0.5), (1.0, 0.1), (0.8, 0.7)])
def test_windows_cover_a_recording_and_a_speaker_is_in_one_split(speech, length, hop):
    corpus = made(speech, f"--clip_seconds={length}", f"--hop={hop}")
    of: dict = {}
    for split, manifest in corpus.splits.items():
        for window in manifest:
            assert window.label == UNLABELLED and window.duration == length
            of.setdefault(window.speaker, (split, []))[1].append(window.offset)
            assert of[window.speaker][0] == split
    assert of.keys() == SECONDS.keys()
    for speaker, (_, offsets) in of.items():
        assert np.allclose(sorted(offsets), np.arange(len(offsets)) * hop)
        assert max(offsets) + length <= SECONDS[speaker] + 1e-6 < max(offsets) + length + hop
    clips = Clips.of(corpus.splits["train"], "train", length, speech.parent / "cache")
    assert clips[np.arange(len(clips))][0].shape == (len(clips), round(16_000 * length))


def test_what_is_no_whole_window_of_a_speaker_is_named(speech, capsys):
    record(speech / "ben" / "short.wav", hiss(0.5))
    record(speech / "nobody.wav", hiss(2.0))
    record(speech / "carl" / "silent.wav", np.zeros(32_000))
    (speech / "dora" / "broken.flac").write_bytes(b"fLaC no more")
    corpus = made(speech)
    assert sum(len(manifest) for manifest in corpus.splits.values()) == 5 + 3 + 1 + 8
    told = capsys.readouterr().err
    for part in ("without a speaker (1)", "shorter than a window (1)", "cannot be used (1)", "silent.wav"):
        assert part in told


def test_speakers_by_a_regular_expression_and_without_some(speech):
    corpus = made(speech, r"--speaker_regex=/([a-z])[a-z]*-1", "--exclude_speakers", "b")
    assert {window.speaker for manifest in corpus.splits.values() for window in manifest} == set("acd")
    with pytest.raises(UserError, match=r"--exclude_speakers zoe: .* of that speaker"):
        made(speech, "--exclude_speakers", "zoe")
    with pytest.raises(UserError, match="give --speaker_regex"):
        made(speech / "anna" / "book")
