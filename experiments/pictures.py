"""Pictures of a comparison: learning curves, and accuracy by class."""

from dataclasses import fields

import numpy as np

from data.labels import visible
from experiments.cells import METHODS, Cell
from experiments.summary import SETTINGS, setting
from models.report.drawing import png, short_names

# Okabe and Ito's colours, which the colour-blind tell apart; a dash or marker of its own says the same again.
COLOURS = {"ce": "#D55E00", "knn": "#0072B2", "head": "#009E73"}
DASHES = {"ce": "--", "knn": "-", "head": ":"}
MARKERS = {"ce": "s", "knn": "o", "head": "^"}
SHADES = (1.0, 0.55, 0.3, 0.18)  # of a method's settings, the largest number of steps first


def draw_curves(rows: list[dict]) -> bytes:
    """Dev accuracy against steps and against seconds of training: mean over seeds, the band from least to most.

    What was looked at with new words instead has no place beside that; where most was, their AUROC is shown. A head's
    seconds are its own; those of its encoder, which come before, are not in them.

    Args:
        rows: of one setting and any steps, as `experiments.summary.side_by_side` groups them.
    """
    from matplotlib.figure import Figure  # not pyplot: no window system, no global state

    figure = Figure(figsize=(11, 4.6))
    panels = figure.subplots(1, 2, sharey=True)
    rows, looks = _looked_alike(rows)
    rows = sorted(rows, key=lambda row: (METHODS.index(row["cell"].method), -row["cell"].steps))
    seen: dict[str, int] = {}
    for row in rows:
        cell, curves = row["cell"], [np.array(run["curve"]) for run in row["runs"].values()]
        place = seen[cell.method] = seen.get(cell.method, -1) + 1
        steps = sorted(set.intersection(*(set(curve[:, 0]) for curve in curves)))
        at = np.stack([curve[np.isin(curve[:, 0], steps)] for curve in curves])  # (seeds, looks, 3)
        style = {"color": COLOURS[cell.method], "alpha": SHADES[min(place, len(SHADES) - 1)]}
        for axes, column in zip(panels, (0, 1), strict=True):
            x, accuracy = at[:, :, column].mean(0), 100 * at[:, :, 2]
            axes.plot(x, accuracy.mean(0), DASHES[cell.method], marker=MARKERS[cell.method], markersize=4,
                      linewidth=1.8, label=f"{cell.title}, {cell.steps} steps", **style)
            axes.fill_between(x, accuracy.min(0), accuracy.max(0), color=style["color"], alpha=0.12 * style["alpha"],
                              linewidth=0)
    best = max(100 * run["curve"][-1][2] for row in rows for run in row["runs"].values())
    worst = min(100 * run["curve"][-1][2] for row in rows for run in row["runs"].values())
    panels[0].set_ylim(max(0, worst - 12), min(100, best + 1))  # early looks would squeeze what is of interest
    panels[0].set_ylabel("accuracy on dev, %" if looks == "dev" else "AUROC of new words, %")
    panels[0].set_xlabel("steps")
    panels[1].set_xlabel("seconds of training")
    for axes in panels:
        axes.grid(color="0.92", linewidth=0.6)
        axes.set_axisbelow(True)
    figure.suptitle(visible(_title(rows)), fontsize=11, parse_math=False)
    panels[1].legend(loc="upper left", bbox_to_anchor=(1.02, 1), borderaxespad=0, frameon=False, fontsize=8,
                     handlelength=3.5)
    return png(figure)


def draw_classes(rows: list[dict]) -> bytes:
    """Accuracy by class and method, the hardest class first: mean over seeds, and a line from least to most.

    Args:
        rows: of one setting, a method each; classes are those of its test set, at most the 60 hardest.
    """
    from matplotlib.figure import Figure

    rows = sorted(rows, key=lambda row: METHODS.index(row["cell"].method))
    classes = sorted(next(iter(rows[0]["runs"].values()))["classes"])
    shares = [np.array([[100 * run["classes"][c] for c in classes] for run in row["runs"].values()]) for row in rows]
    order = np.argsort(np.mean([share.mean(0) for share in shares], 0), kind="stable")[:60]
    figure = Figure(figsize=(6.5, 1.2 + 0.3 * len(order)))
    axes = figure.add_subplot()
    for number, (row, share) in enumerate(zip(rows, shares, strict=True)):
        method = row["cell"].method
        y = np.arange(len(order)) + 0.22 * (number - (len(rows) - 1) / 2)
        axes.hlines(y, share.min(0)[order], share.max(0)[order], color=COLOURS[method], linewidth=2, alpha=0.4)
        mean = 100 * np.mean([run["accuracy"] for run in row["runs"].values()])
        axes.plot(share.mean(0)[order], y, MARKERS[method], color=COLOURS[method], markersize=5,
                  label=f"{row['cell'].title} ({mean:.2f} %)")
    axes.set_yticks(np.arange(len(order)), short_names(classes[c] for c in order), parse_math=False)
    axes.set_ylim(len(order) - 0.5, -0.5)
    axes.set_xlim(right=100.8)
    axes.set_xlabel("test clips of the class that are right, %")
    axes.grid(axis="x", color="0.92", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_title(f"{visible(_title(rows))}, {rows[0]['cell'].steps} steps", fontsize=11, parse_math=False)
    axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1), borderaxespad=0, frameon=False, fontsize=9)
    return png(figure)


def _looked_alike(rows: list[dict]) -> tuple[list[dict], str]:
    """The rows with the runs that were looked at as most were, at dev or with new words, and which that is."""
    kinds = [run.get("looks", "dev") for row in rows for run in row["runs"].values()]
    looks = max(("dev", "new_words"), key=kinds.count)
    alike = [row | {"runs": {seed: run for seed, run in row["runs"].items() if run.get("looks", "dev") == looks}}
             for row in rows]
    return [row for row in alike if row["runs"]], looks


def _title(rows: list[dict]) -> str:
    """Model, data and what of the setting is not the default."""
    cell = max((row["cell"] for row in rows), key=lambda cell: cell.method != "ce")  # which has no triplets
    usual = {field.name: field.default for field in fields(Cell)}
    return ", ".join([f"{cell.model} on {cell.manifest}",
                      *(f"{name.replace('_', ' ')} {setting(cell, name)}" for name in SETTINGS
                        if getattr(cell, name) != usual[name])])
