"""Names, steps and pruning of checkpoints, and every kind of file that is none."""

import pickle
import re
from pathlib import Path

import pytest
import torch

from data.base.errors import UserError
from models.encoders import load_encoder
from models.encoders.build import ClassificationNet
from models.encoders.resnet import Res8, Res15
from models.runs.checkpoints import HEAD, TRAINER, Run, load_module, load_state, not_finite


@pytest.fixture
def saved(tmp_path):
    run = Run(tmp_path, "a")
    for step in (100, 20, 300):
        run.save({"Res8": Res8(4)}, {"step": step, "optimizer": {}}, step, keep=100)
    return run


def test_saved_as_a_plain_state_dict_that_loads_back(saved, tmp_path):
    encoder = Res8(4)
    saved.save({"Res8": encoder}, {"step": 7, "optimizer": {}}, 7, keep=100)
    state = torch.load(saved.path("Res8", 7), weights_only=True)
    assert list(state) == list(encoder.state_dict())
    assert all(torch.equal(state[name], value) for name, value in encoder.state_dict().items())
    other = load_module(saved.path("Res8", 7), Res8(4), "Res8")
    assert torch.equal(other.conv3.weight, encoder.conv3.weight)


def test_channels_last_weights_are_saved_in_the_plain_layout(saved):
    saved.save({"Res8": Res8(4).to(memory_format=torch.channels_last)}, {}, 8, keep=100)
    assert load_state(saved.path("Res8", 8))["conv1.weight"].is_contiguous()


def test_steps_are_found_and_the_newest_is_the_default(saved):
    (saved.checkpoints / "Res8-STEP-x.pt").touch()
    (saved.checkpoints / "Res80-STEP-5.pt").touch()
    (saved.checkpoints / "Res8-STEP-007.pt").touch()  # is no name that a run gives
    assert saved.steps("Res8") == [20, 100, 300]
    assert saved.step("Res8", None, "--enc_step") == 300
    assert saved.step("Res8", 20, "--enc_step") == 20


def test_a_missing_step_lists_those_that_exist(saved):
    with pytest.raises(UserError, match=r"--enc_step 50.* 20, 100, 300"):
        saved.step("Res8", 50, "--enc_step")
    with pytest.raises(UserError, match=r"no checkpoint of Res15 in run 'a'"):
        saved.step("Res15", None, "--enc_step")
    with pytest.raises(UserError, match=r"train it first"):
        Run(saved.folder.parent, "b").step("Res8", None, "--enc_step")


def test_the_oldest_steps_are_dropped_with_all_their_files(tmp_path):
    run = Run(tmp_path, "a")
    for step in range(1, 6):
        run.save({"Res8": Res8(4), HEAD: ClassificationNet(4, 3)}, {"step": step}, step, keep=2)
    assert run.steps("Res8") == run.steps(HEAD) == run.steps(TRAINER) == [4, 5]
    assert len(list(run.checkpoints.iterdir())) == 6


def test_another_models_checkpoint_is_told(saved):
    with pytest.raises(UserError, match=r"Res8-STEP-20.*not a checkpoint of Res15 \(lacks 'bn7.running_mean'\)"):
        load_module(saved.path("Res8", 20), Res15(4), "Res15")
    saved.save({"Res15": Res15(4)}, {}, 20, keep=9)
    with pytest.raises(UserError, match=r"not a checkpoint of Res8 \(has '.*7.*'\)"):
        load_module(saved.path("Res15", 20), Res8(4), "Res8")
    with pytest.raises(UserError, match=r"'conv0.weight' is .*\(4, 1, 3, 3\).*, Res8 needs .*\(6, 1, 3, 3\)"):
        load_module(saved.path("Res8", 20), Res8(6), "Res8")


class Trap:
    """A pickle that would make a file if it were executed."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("old_format", [False, True])
def test_a_pickle_that_is_no_checkpoint_is_never_executed(tmp_path, old_format):
    sprung, path = tmp_path / "sprung", tmp_path / "evil.pt"
    torch.save({"conv0.weight": Trap(sprung)}, path, _use_new_zipfile_serialization=not old_format)
    with pytest.raises(UserError, match=r"evil.pt: .*which was not loaded"):
        load_state(path)
    path.write_bytes(pickle.dumps(Trap(sprung)))
    with pytest.raises(UserError, match=r"evil.pt"):
        load_state(path)
    assert not sprung.exists()


@pytest.mark.parametrize("old_format", [False, True])
@pytest.mark.parametrize("share", [0, 0.3, 0.999])
def test_a_truncated_checkpoint(tmp_path, old_format, share):
    path = tmp_path / "short.pt"
    torch.save(Res8(8).state_dict(), path, _use_new_zipfile_serialization=not old_format)
    whole = path.read_bytes()
    path.write_bytes(whole[:int(share * len(whole))])
    with pytest.raises(UserError, match=r"short.pt: is damaged"):
        load_state(path)


@pytest.mark.parametrize("name", ["Res8", TRAINER])
def test_a_checkpoint_with_a_changed_bit_is_refused_by_its_checksums(saved, name):
    saved.save({"Res8": Res8(4)}, {"optimizer": {"exp_avg": torch.ones(999)}}, 20, keep=9)
    path = saved.path(name, 20)
    content = bytearray(path.read_bytes())
    tensor = load_state(path)["conv3.weight" if name == "Res8" else "optimizer"]
    at = content.find((tensor if name == "Res8" else tensor["exp_avg"]).numpy().tobytes())
    assert at > 0
    content[at + 7] ^= 0x80
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"{name}-STEP-20.pt: is damaged.*; use another step"):
        load_state(path)


@pytest.mark.parametrize("kind, old_format", [
    (torch.float16, False), (torch.bfloat16, False), (torch.float64, False), (torch.float32, True)])
def test_weights_in_another_precision_or_the_published_encoders_format_are_taken(tmp_path, kind, old_format):
    encoder = Res8(4).to(kind)
    torch.save(encoder.state_dict(), tmp_path / "a.pt", _use_new_zipfile_serialization=not old_format)
    assert torch.equal(load_module(tmp_path / "a.pt", Res8(4), "Res8").conv3.weight, encoder.conv3.weight.float())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("change, part", [
    (torch.Tensor.to_sparse, "sparse_coo"), (lambda t: t.to("meta"), "meta"), (lambda t: t * 1j, "complex"),
    (lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8), "qint8"), (torch.Tensor.bool, "bool"),
    (torch.Tensor.long, "int64"), (lambda t: t.to(torch.float8_e5m2), "float8"), (lambda t: t[:1], "(1, 1, 3, 3)"),
    (lambda t: torch.full_like(t, 1e300, dtype=torch.double), "not numbers"), (lambda t: 5, "is int")])
def test_tensors_that_no_encoder_has(saved, change, part):
    state = Res8(4).state_dict()
    torch.save(state | {"conv0.weight": change(state["conv0.weight"])}, saved.path("Res8", 20))
    with pytest.raises(UserError, match=rf"Res8-STEP-20.pt: .*'conv0.weight'.*{re.escape(part)}") as refusal:
        load_module(saved.path("Res8", 20), Res8(4), "Res8")
    assert "\n" not in str(refusal.value)
    with pytest.raises(UserError, match=r"Res8-STEP-20.pt"):  # also where its width is read from it
        load_encoder(saved.path("Res8", 20))


def test_config_round_trip_and_damage(tmp_path):
    run = Run(tmp_path, "a")
    assert run.config() == {}
    run.write_config({"labels": ["yes", "ünü"], "arguments": {"lr": 1e-3}})
    assert run.config() == {"labels": ["yes", "ünü"], "arguments": {"lr": 1e-3}}
    for broken in (b"{", b"[]", b'{"model": "\xff"}', b'{"hidden_size": "x"}', b'{"labels": [1]}'):
        (run.folder / "config.json").write_bytes(broken)
        with pytest.raises(UserError, match=r"config.json"):
            run.config()


@pytest.mark.parametrize("value, entry", [(float("nan"), "conv3.weight"), (float("inf"), "bn2.running_var")])
def test_weights_that_are_not_numbers_are_not_loaded(saved, entry, value):
    encoder = Res8(4)
    encoder.state_dict()[entry].view(-1)[-1] = value
    assert not_finite(encoder.state_dict()) == entry
    saved.save({"Res8": encoder}, {"step": 9, "optimizer": {}}, 9, keep=100)
    with pytest.raises(UserError, match=rf"Res8-STEP-9.pt: '{entry}'.*earlier step"):
        load_module(saved.path("Res8", 9), Res8(4), "Res8")
    assert not_finite(Res8(4).state_dict()) is None
