"""Twenty steps of training, recorded: run by tests/test_parallel.py in one process, and by torchrun in several.

``python -m tests.shared_training KIND REGISTRY FOLDER OUT``, KIND being classifier or a loss. Batch norm and front end
stay in evaluation mode, since processes on a CPU share neither batch statistics nor dither.
"""

import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import torch

from data.audio.dataset import Clips, scale
from data.manifests.corpus import load_corpus
from data.sampler import BalancedBatchSampler
from models import parallel
from models.encoders.build import ClassificationNet, make_encoder
from models.losses import make_loss
from models.runs.checkpoints import Run
from models.runs.options.training import LOSSES, RECIPES
from models.training.loop import fit
from models.training.tasks import ClassifierTask, TripletTask

STEPS, CLASSES, PER_CLASS = 20, 5, 3  # 15 clips: two processes' shares differ


def recorded(kind: str, registry: str, folder: Path) -> dict[str, np.ndarray]:
    """Loss and gradient of every step, the last weights, and the dev accuracy."""
    losses, gradients = [], []

    class Recorder(ClassifierTask if kind == "classifier" else TripletTask):
        def on_before_optimizer_step(self, optimizer):
            losses.append(self.figures["loss"].item())
            gradients.append(torch.cat([p.grad.double().flatten() for p in self.parameters()]).numpy())

    args = Namespace(**RECIPES["paper"] | {  # milder than fast, which makes rounding grow to other triplets
        "name": "recorded", "model": "Res8", "precision": "32", "spec_augment": None, "shift": False, "seed": 3,
        "data_probs": 0, "compression": "log", "embedding_size": 8, "loss": kind, "per_class": PER_CLASS,
        "eval_clips": 17, "k": 3, "ties": "nearest", "compile": False, "graph": False, "step_freq": 100,
        "eval_freq": 100, "checkpoints_to_keep": 1}
        | LOSSES.get(kind, {}) | {"loss_lr": 0.01})
    parallel.join()
    corpus = load_corpus("words", ("train", "dev"), registry)
    with parallel.first():
        train, dev = (Clips.of(corpus.splits[split], split, 1.0, folder / "cache") for split in ("train", "dev"))
    torch.manual_seed(0)
    encoder = make_encoder("Res8", 8)
    task = Recorder(encoder, ClassificationNet(8, len(corpus.labels)), args, STEPS, frozen=False) \
        if kind == "classifier" else Recorder(encoder, args, STEPS, loss=make_loss(args))
    norms = [module for module in encoder.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():  # the statistics that training would have had
        encoder(task.frontend.eval()(scale(train[np.arange(len(train))][0])))
    encoder.double()  # in which no rounding carries a value across a ReLU's corner
    encoder.register_forward_pre_hook(lambda module, given: given[0].double())
    encoder.register_forward_hook(lambda module, given, out: out.float())
    for module in (task.frontend, *norms):
        module.eval()
        module.train = lambda mode=True: None
    accuracy = (lambda: task.accuracy(dev)) if kind == "classifier" else (lambda: task.accuracy(train, dev))
    sampler = BalancedBatchSampler(train.manifest.label, corpus.labels, CLASSES, PER_CLASS, num_steps=STEPS)
    loop = fit(task, Run(folder, "recorded"), train, sampler, torch.device("cpu"), accuracy)
    return {"loss": np.array([parallel.total(loss) / parallel.size() for loss in losses]),
            "gradient": np.array(gradients), "accuracy": np.array(loop.dev),
            "weights": torch.cat([p.detach().double().flatten() for p in task.parameters()]).numpy()}


if __name__ == "__main__":
    kind, registry, folder, out = sys.argv[1:]
    torch.set_num_threads(1)
    made = recorded(kind, registry, Path(folder))
    if parallel.leave():
        np.savez(out, **made)
