"""`load_encoder`: one call from a run, or a checkpoint, to embeddings that are the scripts' own; sizes."""

import json
import re
import shutil

import numpy as np
import pytest
import torch

from data.audio.dataset import Clips
from data.base.errors import UserError
from data.manifests.corpus import load_corpus
from models.encoders.frontend import settings
from models.encoders.load import load_encoder
from models.runs.checkpoints import Run, load_state
from tests.conftest import infer


@pytest.fixture(scope="module")
def test_clips(words):
    corpus = load_corpus("words", ("test",), words.registry)
    return Clips.of(corpus.splits["test"], "words-test", 1.0, words.folder / "cache")


@pytest.fixture
def published(encoder, runs, tmp_path):
    """A run as the published ones are: checkpoints of one model, no configuration."""
    run = Run(tmp_path, "published")
    run.checkpoints.mkdir(parents=True)
    for step in (10, 40):
        shutil.copy(Run(runs, "enc").path("Res8", step), run.checkpoints)
    return run


def test_it_embeds_as_the_test_script_does(encoder, run, words, runs, test_clips):
    assert infer(run, words, runs, "--save").code == 0
    saved = np.load(runs / "enc" / "knn-words-Res8-40-test_embeddings.npy")
    waveforms, _ = test_clips[np.arange(len(test_clips))]
    assert waveforms.dtype == torch.int16
    for source, how in ((runs / "enc", {}), (str(runs / "enc"), {"step": 40, "model": "Res8"}),
                        (runs / "enc" / "checkpoints" / "Res8-STEP-40.pt", {})):
        loaded = load_encoder(source, **how)
        assert not loaded.training and (loaded.width, loaded.clip_samples) == (12, 16_000)
        found = loaded(waveforms)
        assert (found.shape, found.dtype, found.requires_grad) == ((30, 12), torch.float32, False)
        np.testing.assert_allclose(found.numpy(), saved, atol=1e-5)
        np.testing.assert_allclose(loaded(waveforms.float() / 32768).numpy(), saved, atol=1e-5)
        np.testing.assert_allclose(loaded(waveforms.double() / 32768).numpy(), saved, atol=1e-5)
    assert (found.norm(dim=1) - 1).abs().max() < 1e-5
    earlier = load_encoder(runs / "enc", step=10)(waveforms).numpy()
    assert np.abs(earlier - saved).max() > 1e-2


def test_other_lengths_are_cut_around_the_centre_or_padded(encoder, runs):
    loaded = load_encoder(runs / "enc")
    sound = 0.1 * torch.randn(2, 16_000, generator=torch.Generator().manual_seed(0))
    whole = loaded(sound)
    assert torch.equal(loaded(torch.nn.functional.pad(sound, (500, 500))), whole)
    assert torch.equal(loaded(sound[:, :9_000]), loaded(torch.nn.functional.pad(sound[:, :9_000], (0, 7_000))))


def test_a_published_run_has_no_configuration(published, encoder, runs, test_clips):
    waveforms, _ = test_clips[np.arange(3)]
    loaded = load_encoder(published.folder)
    assert (loaded.width, loaded.clip_samples) == (12, 16_000)
    assert torch.equal(loaded(waveforms), load_encoder(runs / "enc")(waveforms))
    assert torch.equal(load_encoder(published.path("Res8", 10))(waveforms),
                       load_encoder(runs / "enc", step=10)(waveforms))


@pytest.mark.parametrize("bad", [torch.zeros(16_000), torch.zeros(1, 1, 16_000), torch.zeros(1, 9, dtype=torch.int32),
                                 torch.zeros(1, 9, dtype=torch.bool)])
def test_what_are_no_waveforms(encoder, runs, bad):
    with pytest.raises(ValueError, match=r"\(B, S\)"):
        load_encoder(runs / "enc")(bad)


def test_a_front_end_that_there_is_not(published):
    config = {"model": "Res8", "frontend": settings("log") | {"compression": "cube"}}
    (published.folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="trained with the front end"):
        load_encoder(published.folder)


def test_refusals(encoder, published, runs, tmp_path):
    def refuses(match, source, **how):
        with pytest.raises(UserError, match=match):
            load_encoder(source, **how)

    refuses("nowhere.*check the name", tmp_path / "nowhere")
    refuses("step 15.*10, 20, 30, 40", runs / "enc", step=15)
    refuses("no run with checkpoints", tmp_path)
    refuses("one of Res8", runs / "enc", model="Res9")
    refuses("no checkpoint of Res15", published.folder, model="Res15")
    refuses("contradicts", published.path("Res8", 10), step=40)
    refuses("contradicts", published.path("Res8", 10), model="Res15")
    refuses(r"folder checkpoints/", shutil.copy(published.path("Res8", 10), tmp_path))
    shutil.copy(published.path("Res8", 10), published.path("Res15", 10))
    refuses("say which", published.folder)
    refuses("not a checkpoint of Res15", published.folder, model="Res15")
    published.path("Res8", 40).write_bytes(b"x")
    refuses("Res8-STEP-40.pt", published.folder, model="Res8")
    (published.folder / "config.json").write_text('{"frontend": {"mels": 1}, "model": "Res8"}')
    refuses("front end", published.path("Res8", 10))


def test_sizes_are_recorded_saved_loaded_and_tested(runs, words, run, tmp_path, monkeypatch):
    folder = Run(runs, "sizes")
    common = [f"--name={folder.name}", f"--runs_dir={runs}", *words.flags, "--model=Res8"]
    assert run("TripletEncoder", *common, "--hidden_size=6", "--embedding_size=7", "--num_steps=2", "--per_class=2",
               "--eval_clips=6").code == 0
    config = folder.config()
    for recorded in (config, config["arguments"]):
        assert (recorded["hidden_size"], recorded["embedding_size"]) == (6, 7)
    head = run("TripletClassifier", *common, f"--name={folder.name}-head", f"--enc_name={folder.name}", "--num_steps=2",
               "--eval_clips=6")
    assert head.code == 0
    assert load_state(Run(runs, f"{folder.name}-head").path("ClassificationNet", 2))["fc1.weight"].shape == (6, 7)
    tested = [run("infer_train", *common, "--k=1"), run("infer_notl", *common, f"--cl_name={folder.name}-head")]
    monkeypatch.chdir(tmp_path)  # where what is made with a run without a configuration goes
    (folder.folder / "config.json").rename(folder.folder / "config.away")  # as of a run that has none
    try:
        tested.append(run("infer_train", *common, "--k=1"))
        encoder = load_encoder(folder.path("Res8", 2))
        contradicted = run("infer_train", *common, "--embedding_size=8")
    finally:
        (folder.folder / "config.away").rename(folder.folder / "config.json")
    assert [done.code for done in tested] == [0, 0, 0]
    scores = [re.findall("^Accuracy.*", done.out, re.M) for done in tested]
    assert scores[0] and scores[0] == scores[2]
    assert encoder(torch.zeros(1, 16_000)).shape == (1, 7)
    assert contradicted.code == 2 and "--embedding_size 8" in contradicted.error
