"""Float32 in full wherever clips are embedded, heads tested or encoders trained; where neighbours are searched."""

import pytest
import torch
from torch.nn.modules.module import register_module_forward_pre_hook

from models.encoders import load_encoder
from models.encoders.build import WaveformEncoder
from models.encoders.device import search_device
from tests.conftest import TRAIN, infer

CUDNN, PRODUCTS = torch.backends.cudnn, torch.backends.cuda.matmul


@pytest.fixture
def computed():
    """Whether each call of a module may take TF32, for convolutions and for products; both may outside."""
    seen, before = [], torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    assert CUDNN.allow_tf32 and PRODUCTS.allow_tf32
    hook = register_module_forward_pre_hook(lambda module, _: seen.append((CUDNN.allow_tf32, PRODUCTS.allow_tf32)) if
                                            not isinstance(module, WaveformEncoder) else None)  # within it, its parts
    yield seen
    hook.remove()
    assert CUDNN.allow_tf32 and torch.get_float32_matmul_precision() == "medium"
    torch.set_float32_matmul_precision(before)
    assert set(seen) == {(False, False)}


def test_a_test_and_a_call_of_an_encoder(encoder, run, words, runs, computed):
    load_encoder(runs / "enc")(torch.zeros(1, 16_000))
    calls = len(computed)
    assert infer(run, words, runs).code == 0
    assert len(computed) > calls > 0


@pytest.mark.parametrize("precision", ["32", "bf16"])
def test_training_and_the_test_of_a_head(run, words, tmp_path, computed, precision):
    flags = [f"--runs_dir={tmp_path}", *words.flags]
    assert run("TripletEncoder", "--name=e", *flags, *TRAIN, "--num_steps=2", f"--precision={precision}").code == 0
    if precision == "32":
        assert run("TripletClassifier", "--name=c", "--enc_name=e", *flags, "--model=Res8", "--num_steps=2").code == 0
        assert run("infer_notl", "--name=e", "--cl_name=c", *flags, "--model=Res8").code == 0


def test_neighbours_are_searched_where_classify_gpu_says(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    cpu, first = torch.device("cpu"), torch.device("cuda", 0)
    assert [search_device(first, wanted) for wanted in (False, True, 0, 1)] == \
        [None, first, first, torch.device("cuda", 1)]
    assert search_device(cpu, 1) == torch.device("cuda", 1)
    assert search_device(cpu, False) is None and capsys.readouterr().err == ""
    for device, wanted in ((first, 2), (cpu, True)):
        assert search_device(device, wanted) is None
        assert "no such GPU here" in capsys.readouterr().err
