"""Run cells by the scripts' own `main`, one after the other.

A cell whose result is known is not run again, and one that was interrupted goes on from its newest checkpoint.
"""

import contextlib
import importlib
import shlex

from data.base.errors import UserError
from experiments import belongs, cells
from experiments.cells import Cell
from experiments.collect import collect
from experiments.setup import Setup
from models.runs.checkpoints import Run

LOOKS = 6  # at the dev set in a run


class Stopped(Exception):
    """A signal ended a cell's training; it can go on from there."""


def run_chain(chain: list[Cell], known: set[str], setup: Setup) -> list[dict]:
    """Train and test cells one after the other; those in ``known``, by name, are only trained if others need them.

    Returns:
        the results of all cells not in ``known``.

    Raises:
        UserError: with the cell's name, what a script had to say; or another comparison is at the same cells.
        Stopped: a signal came.
    """
    with belongs.alone(setup.runs_dir, chain[0].encoder.name):
        return _run_chain(chain, known, setup)


def _run_chain(chain: list[Cell], known: set[str], setup: Setup) -> list[dict]:
    results = []
    for cell in chain:
        folder = setup.runs_dir / cell.run
        checkpoint = folder / "checkpoints" / f"trainer-STEP-{cell.steps}.pt"
        stale, noise = cell.name in setup.stale, setup.data.noise_of(cell.augment, cell.extra)
        lacking = not checkpoint.exists() or belongs.is_of_others(folder, setup.data, stale, noise)
        needed = cell.method == "knn" and lacking and any(
            other.method == "head" and other.name not in known for other in chain)
        if cell.name in known and not needed:
            continue
        looks = setup.at_new_words(cell)
        belongs.make_room(folder, setup.data, stale, looks, noise)
        steps = max(1, cell.steps // LOOKS)
        resume = ["--resume"] if (folder / "config.json").exists() else []
        train = cells.train_command(cell, setup.flags(cell))
        test = cells.test_command(cell, setup.flags(cell, cell.method == "shots"), setup.protocol)
        call(cell, [*train, *setup.training, f"--eval_freq={steps}", f"--step_freq={min(steps, 100)}",
                    "--checkpoints_to_keep=1", *["--eval=new_words"] * looks, *resume], setup)
        if cell.name not in known:
            call(cell, test, setup)
            commands = (cells.train_command(cell, _bearing(cell, setup)),
                        cells.test_command(cell, [], setup.protocol))
            results.append(collect(cell, setup) | {"commands": [shlex.join(["python", *words]) for words in commands]})
            if not setup.data.has(results[-1]):
                raise UserError(f"{cell.name}: the clips it was tested on are no longer those that this comparison "
                                "began with; run the same command again")
    return results


def _bearing(cell: Cell, setup: Setup) -> list[str]:
    """The flags of this machine that bear on a result: the precision that its run was trained in, asked for or not."""
    if setup.training:  # a run begun with another would have refused to go on
        return list(setup.training)
    half = Run(setup.runs_dir, cell.run).config()["arguments"]["precision"] == "bf16"
    return ["--precision=bf16"] * (half and "--precision=bf16" not in cell.extra)


def call(cell: Cell, command: list[str], setup: Setup) -> None:
    """Run a script in this process; what it prints goes to the run's log.txt."""
    module = importlib.import_module(command[0].removesuffix(".py"))
    folder = setup.runs_dir / cell.run
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.txt").open("a", encoding="utf-8") as log, contextlib.redirect_stdout(log), \
            contextlib.redirect_stderr(log):
        print(f"$ python {shlex.join(command)}", flush=True)
        try:
            code = module.main(module.parse_args(command[1:]))
        except UserError as error:
            raise UserError(f"{cell.name}: {error}") from None
        except SystemExit:
            raise UserError(f"{cell.name}: {command[0]} refuses its flags; see {folder / 'log.txt'}") from None
    if code:
        raise Stopped
