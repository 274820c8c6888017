"""A compiled encoder and a recorded step: what they are on a GPU, played on the CPU, and what they fall back to."""

import numpy as np
import pytest
import torch

from models.encoders.build import ClassificationNet, make_encoder
from models.losses import make_loss
from models.runs.checkpoints import TRAINER, Run
from models.training import step as steps
from models.training import tasks as training
from models.training.step import NovoGrad
from tests.models.training.test_training import arguments_of_a_run, clips, fitted  # noqa: F401 - a fixture

STEPS = 8


def played(work, _):
    """A recording as a GPU has it: the host's part runs once, the device's at every replay, from the same inputs."""
    made = []

    def replay():
        again = work()
        if made:
            made[0][0].copy_(again[0])
            for name, value in again[1].items():
                made[0][1][name].copy_(value)
        else:
            made.append(again)
        counted()

    class Given:
        def __iter__(self):
            return iter(made[0])

    def counted():  # the host's count is no part of a replay
        for state in played.optimizer.state.values():
            if isinstance(state["step"], int):
                state["step"] -= 1

    played.times += 1
    return replay, Given()


def task_of(kind: str, recorded: bool, **changes):
    """A task whose encoder begins alike, its steps recorded by `played` or not."""
    args = arguments_of_a_run(loss=kind, scale=10.0, loss_lr=0.01, graph=recorded, step_freq=STEPS, **changes)
    torch.manual_seed(0)
    encoder = make_encoder("Res8", 4)
    task = training.ClassifierTask(encoder, ClassificationNet(4, 6), args, STEPS, frozen=False) \
        if kind == "classifier" else training.TripletTask(encoder, args, STEPS, loss=make_loss(args))
    task.obstacle = lambda: None
    return task


def trained(task, folder, clips) -> dict[str, torch.Tensor]:  # noqa: F811
    figures = []
    task.on_before_zero_grad = lambda _: figures.append(task.figures["loss"].item())
    fitted(task, folder, clips, STEPS)
    saved = Run(folder, "run").path(TRAINER, STEPS)
    return {**task.state_dict(), "losses": torch.tensor(figures), "optimizer": torch.load(saved)["optimizer"]["state"]}


@pytest.mark.parametrize(("kind", "changes"), [
    ("triplet", {"shift": True, "spec_augment": "light"}), ("triplet", {"optimizer": "adamw", "schedule": "onecycle"}),
    ("angular_prototypical", {}), ("supcon", {"data_probs": 2}), ("multi_similarity", {}), ("classifier", {})])
def test_recorded_steps_train_as_plain_ones_bit_by_bit(clips, tmp_path, monkeypatch, kind, changes):  # noqa: F811
    monkeypatch.setattr(steps, "record", played)
    begun = steps.RecordedStep.__init__

    def begin(self, learn, optimizer, device):
        played.optimizer, played.times = optimizer, 0
        begun(self, learn, optimizer, device)

    monkeypatch.setattr(steps.RecordedStep, "__init__", begin)
    plain, recorded = (trained(task_of(kind, way, **changes), tmp_path / str(way), clips) for way in (False, True))
    assert played.times == 1
    assert len(set(plain["losses"].tolist())) == STEPS
    torch.testing.assert_close(recorded, plain, rtol=0, atol=0)


def test_a_step_that_cannot_be_recorded_says_so_once_and_is_computed(clips, tmp_path, monkeypatch, capsys):  # noqa: F811
    def fails(work, _):
        work()  # the host's part of it; a GPU would have computed nothing
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    weights, step = {}, steps.RecordedStep._step

    def undone(self, inputs):  # what the failed recording must not do on a device
        before = weights["task"].state_dict(), self.optimizer.state_dict()
        before = [{k: v.clone() for k, v in before[0].items()}, before[1]["state"]]
        made = step(self, inputs)
        if self.left == 0 and self.replay is None:
            weights["task"].load_state_dict(before[0])
        return made

    task = weights["task"] = task_of("triplet", True, optimizer="novograd")
    monkeypatch.setattr(steps, "record", fails)
    monkeypatch.setattr(steps.RecordedStep, "_step", undone)
    found = trained(task, tmp_path, clips)
    told = capsys.readouterr().err
    assert told.count("--graph: RuntimeError: operation not permitted when stream is capturing; steps run") == 1
    assert np.isfinite(found["losses"]).all() and len(found["losses"]) == STEPS
    assert {state["step"] for state in found["optimizer"].values()} == {STEPS}


def test_a_batch_of_another_shape_is_computed_as_it_is():
    weight, calls = torch.nn.Parameter(torch.ones(())), []

    def learn(x):
        calls.append(len(x))
        return (weight * x).sum(), {}

    step = steps.RecordedStep(learn, NovoGrad([weight], lr=0.1), torch.device("cpu"))
    step.left, step.inputs, step.given = 0.0, [torch.zeros(3)], (torch.tensor(7.0), {})
    step.replay = lambda: calls.append("replayed")
    given = torch.arange(3.0)
    assert step(given)[0] == 7 and calls == ["replayed"] and step.inputs[0].equal(given)
    assert step(torch.ones(2))[0] == 2 and calls == ["replayed", 2]


@pytest.mark.parametrize(("changes", "said"), [({}, "no GPU"), ({"data_probs": 1}, "no GPU")])
def test_where_steps_are_not_recorded_one_line_says_why(changes, said, capsys):
    task = training.TripletTask(make_encoder("Res8", 4), arguments_of_a_run(graph=True, **changes), STEPS)
    task.configure_optimizers()
    assert task.recorded is None and capsys.readouterr().err.count(f"--graph: there is {said} here; steps run") == 1


def test_a_rate_on_the_device_updates_as_a_number_does():
    weights = [torch.nn.Parameter(torch.linspace(-1, 1, 7, dtype=torch.float64)) for _ in range(2)]
    for weight, rate in zip(weights, (0.25, torch.tensor(0.25)), strict=True):
        optimizer = NovoGrad([weight], lr=rate, weight_decay=0.1)
        for step in range(3):
            weight.grad = torch.cos(torch.arange(7.0, dtype=torch.float64) + step)
            optimizer.step()
    torch.testing.assert_close(*weights, rtol=0, atol=1e-15)


def test_an_encoder_that_cannot_be_compiled_runs_as_it_is(monkeypatch, capsys):
    def compiled(module, dynamic):
        def forward(x):
            raise RuntimeError("Cannot find a working triton installation\nmore")
        return forward

    monkeypatch.setattr(torch, "compile", compiled)
    encoder, x = make_encoder("Res8", 4), torch.randn(2, 64, 48)
    found = steps.Compiled(encoder)
    assert found(x).equal(found(x)) and found(x).equal(encoder(x))
    told = "--compile: RuntimeError: Cannot find a working triton installation; the encoder runs uncompiled\n"
    assert capsys.readouterr().err == told
