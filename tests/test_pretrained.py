"""The encoder that comes with the project: what it is, that it tells words apart, and that nothing is written to it."""

import json

import numpy as np
import pytest
import soundfile
import torch

from data.base.files import ROOT
from data.demo.espeak import Saying, speak
from data.manifests.manifest import Utterance
from models.encoders import load_encoder
from tests.conftest import write_set

SHIPPED = ROOT / "pretrained"
WORDS = ["alexa", "computer", "jarvis", "tangerine"]  # none of which it was trained on


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    """Words by three voices, at three rates each, as a registered data set and as (36, S) waveforms with labels."""
    folder, rows = tmp_path_factory.mktemp("spoken"), []
    for voice, split in (("en-us+m1", "train"), ("en-us+f2", "dev"), ("en+m7", "test")):
        rate, sounds = speak(voice, [Saying(word, pace) for word in WORDS for pace in (140, 160, 180)])
        for i, sound in enumerate(sounds):
            path = folder / f"{split}{i}.wav"
            loud = np.flatnonzero(np.abs(sound) > 300)
            soundfile.write(path, sound[loud[0]:loud[-1] + 1], rate, "PCM_16")
            rows.append((split, Utterance(str(path), WORDS[i // 3], 1.0, speaker=split)))
    write_set(folder, "spoken", **{split: [u for where, u in rows if where == split]
                                   for split in ("train", "dev", "test")})
    return folder


def test_its_words_and_its_card_agree():
    config = json.loads((SHIPPED / "words" / "config.json").read_text())
    encoder = load_encoder(SHIPPED / "words")
    card = (SHIPPED / "words" / "README.md").read_text()
    assert (encoder.width, encoder.clip_samples) == (128, 22_400)
    assert f"{sum(p.numel() for p in encoder.encoder.parameters()):,} weights" in card
    assert f"{config['train_clips']:,} clips of {len(config['labels']):,} classes" in card
    assert f"clips of {len(config['labels_before']):,} words" in card
    assert not {*WORDS, "yes", "no", "on", "off", "stop"} & {*config["labels"], *config["labels_before"]}
    assert set((SHIPPED / "words" / "spoken.txt").read_text().split()) <= set(config["labels_before"])


def test_clips_of_a_new_word_are_nearest_one_another_across_voices(spoken):
    from data.audio.decoding import decode, fit

    encoder = load_encoder(SHIPPED / "words")
    names = [f"{split}{i}" for split in ("train", "dev", "test") for i in range(3 * len(WORDS))]
    waveforms = np.stack([fit(decode(str(spoken / f"{name}.wav")), 16_000) for name in names])
    embeddings = encoder(torch.from_numpy(waveforms)).numpy()
    assert np.allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)
    word = np.tile(np.repeat(np.arange(len(WORDS)), 3), 3)
    voice = np.repeat(np.arange(3), 3 * len(WORDS))
    similar = embeddings @ embeddings.T
    similar[voice[:, None] == voice] = -1  # another voice's
    assert np.mean(word[similar.argmax(1)] == word) > 0.9


def test_what_is_made_with_it_is_kept_apart_from_it(spoken, run, tmp_path, monkeypatch):
    before = sorted(path.name for path in (SHIPPED / "words").iterdir())
    monkeypatch.chdir(tmp_path)
    done = run("infer_train", f"--runs_dir={SHIPPED}", "--name=words", "--model=Res8", "--manifest=spoken", "--k=1",
               f"--registry={spoken / 'manifests.json'}", f"--cache_dir={tmp_path / 'cache'}")
    assert done.code == 0, done.error
    assert "Accuracy: 100.00" in done.out or "Accuracy: 9" in done.out
    assert (tmp_path / "runs" / "words" / "knn-spoken-Res8-1200.json").exists()
    assert sorted(path.name for path in (SHIPPED / "words").iterdir()) == before
