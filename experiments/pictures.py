"""Learning curves of a comparison."""

from dataclasses import replace

import numpy as np

from data.base.labels import visible
from experiments.cells import METHODS, Cell
from experiments.summary import SETTINGS, setting
from models.report.drawing import png

# Okabe and Ito's colours, which the colour-blind tell apart; a dash and a marker of its own say the same again.
STYLES = {"ce": ("#D55E00", "--", "s"), "knn": ("#0072B2", "-", "o"), "head": ("#009E73", ":", "^")}
SHADES = (1.0, 0.55, 0.3, 0.18)  # of a method's rows, the largest number of steps first


def side_by_side(found: list[dict]) -> dict[str, list[dict]]:
    """By model and setting, the rows of `experiments.summary.rows` that belong in one picture, whatever their steps,
    with cross-entropy's. A setting of one method alone is left out, unless its model has no other."""
    pictures: dict[str, list[dict]] = {}
    for model in {row["cell"].model for row in found}:
        settings = {"-".join([model, *of["cell"].setting]): [row for row in found if row["cell"] in (
            replace(of["cell"].of(row["cell"].method), steps=row["cell"].steps),
            replace(of["cell"], steps=row["cell"].steps))] for of in found if of["cell"].model == model}
        pictures |= {name: rows for name, rows in settings.items() if len({row["cell"].method for row in rows}) > 1
                     } or dict([max(settings.items(), key=lambda item: len(item[1]))])
    return pictures


def draw_curves(rows: list[dict]) -> bytes:
    """Accuracy on dev against steps and against seconds of training: mean over seeds, the band from least to most.

    A head's seconds are without its encoder's. Encoders that were tried on new words instead of dev are left out.
    """
    from matplotlib.figure import Figure  # not pyplot: no window system, no global state

    figure = Figure(figsize=(11, 4.6))
    panels = figure.subplots(1, 2, sharey=True)
    seen, ends = dict.fromkeys(METHODS, 0), []
    for row in sorted(rows, key=lambda row: (METHODS.index(row["cell"].method), -row["cell"].steps)):
        cell, curves = row["cell"], [np.array(run["curve"]) for run in row["runs"].values() if "looks" not in run]
        if not curves:
            continue
        steps = sorted(set.intersection(*(set(curve[:, 0]) for curve in curves)))
        at = np.stack([curve[np.isin(curve[:, 0], steps)] for curve in curves])  # (seeds, looks, 3)
        colour, dash, marker = STYLES[cell.method]
        shade = SHADES[min(seen[cell.method], len(SHADES) - 1)]
        seen[cell.method] += 1
        ends += [100 * curve[-1][2] for curve in curves]
        for axes, column in zip(panels, (0, 1), strict=True):
            x, accuracy = at[:, :, column].mean(0), 100 * at[:, :, 2]
            axes.plot(x, accuracy.mean(0), dash, marker=marker, markersize=4, linewidth=1.8, color=colour, alpha=shade,
                      label=f"{cell.title}, {cell.steps} steps")
            axes.fill_between(x, accuracy.min(0), accuracy.max(0), color=colour, alpha=0.12 * shade, linewidth=0)
    if ends:
        panels[0].set_ylim(max(0, min(ends) - 12), min(100, max(ends) + 1))  # early looks would squeeze the rest
    panels[0].set_ylabel("accuracy on dev, %")
    for axes, what in zip(panels, ("steps", "seconds of training"), strict=True):
        axes.set_xlabel(what)
        axes.grid(color="0.92", linewidth=0.6)
        axes.set_axisbelow(True)
    cell = max((row["cell"] for row in rows), key=lambda cell: cell.method != "ce")  # which has no loss of an encoder
    figure.suptitle(visible(", ".join([f"{cell.model} on {cell.manifest}", *(
        f"{name.replace('_', ' ')} {setting(cell, name)}" for name in SETTINGS
        if getattr(cell, name) != getattr(Cell, name))])), fontsize=11, parse_math=False)
    panels[1].legend(loc="upper left", bbox_to_anchor=(1.02, 1), borderaxespad=0, frameon=False, fontsize=8,
                     handlelength=3.5)
    return png(figure)
