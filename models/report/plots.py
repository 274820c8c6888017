"""What --plot adds to a test: a map of the embeddings, the distances of pairs, TensorBoard's projector's files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data.base.files import write_atomically
from data.base.labels import visible
from data.manifests.manifest import Manifest
from data.sampler import spread
from models.neighbours import BINS, Pairs
from models.report.tables import png, quietly, ranked_by_confusion, short_names

MAPPED = 3000  # clips in the map at most: t-SNE takes half a minute for so many
COLOURED = 40  # classes with a colour and a name in the map at most
# Okabe and Ito's, which the colour-blind can tell apart, without their yellow, which is faint on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = ("o", "^", "s", "X", "D", "v")
BARS = 160  # of the histogram
_UNFIT = str.maketrans(dict.fromkeys("\t\r\n", " "))  # the projector knows no quotes


def plot(out: Path, stem: str, embeddings: np.ndarray, utterances: Manifest, pairs: Pairs, *,
         predicted: np.ndarray | None = None, unknown: Sequence[int] = ()) -> dict[str, bytes]:
    """Print how far apart words lie and write ``<stem>-map.png``, ``-distances.png``, ``-vectors.tsv`` and
    ``-metadata.tsv`` into ``out``. Returns the pictures ``map`` and ``distances``. The test clips have ``embeddings``
    (Q, D) float32 of length 1 and perhaps ``predicted`` classes (Q,). Classes that are ``unknown`` are drawn hollow."""
    print(summary(pairs.figures()))
    pictures = {"map": map_of(stem, embeddings, utterances, predicted, unknown),
                "distances": draw_distances(pairs, stem)}
    for name, content in pictures.items():
        with write_atomically(Path(out) / f"{stem}-{name}.png", "wb") as file:
            file.write(content)
    write_projector(out, stem, embeddings, utterances, predicted, unknown)
    print(f"wrote {Path(out) / stem}-map.png, {stem}-distances.png, {stem}-vectors.tsv and {stem}-metadata.tsv")
    return pictures


def write_projector(out: Path, stem: str, embeddings: np.ndarray, utterances: Manifest,
                    predicted: np.ndarray | None = None, unknown: Sequence[int] = ()) -> None:
    """Write ``<stem>-vectors.tsv`` and ``-metadata.tsv`` for TensorBoard's projector; the arguments are `plot`'s."""
    with write_atomically(Path(out) / f"{stem}-vectors.tsv") as file:
        np.savetxt(file, embeddings, "%.9g", "\t")  # nine digits give the same float32 again
    columns = {"label": [utterances.labels[c] for c in utterances.label],
               "prediction": [] if predicted is None else [utterances.labels[c] for c in predicted],
               "kind": ["unknown" if c in unknown else "enrolled" for c in utterances.label] * bool(len(unknown)),
               "speaker": [speaker or "" for speaker in utterances.speaker] * bool(any(utterances.speaker)),
               "path": [utterances.files[i] for i in utterances.file],
               "offset": [f"{offset:.6f}" for offset in utterances.offset] * bool(utterances.offset.any())}
    with write_atomically(Path(out) / f"{stem}-metadata.tsv") as file:
        for row in zip(*([name, *cells] for name, cells in columns.items() if cells), strict=True):
            file.write("\t".join(cell.translate(_UNFIT) for cell in row) + "\n")


def list_for_projector(out: Path) -> None:
    """Write ``projector_config.pbtxt``, by which TensorBoard finds all that `write_projector` wrote into ``out``."""
    with write_atomically(out / "projector_config.pbtxt") as file:
        for path in sorted(out.glob("*-vectors.tsv")):
            stem = path.name.removesuffix("-vectors.tsv")
            file.write(f'embeddings {{ tensor_name: "{stem}" tensor_path: "{path.name}" '
                       f'metadata_path: "{stem}-metadata.tsv" }}\n')


def map_of(stem: str, embeddings: np.ndarray, utterances: Manifest, predicted: np.ndarray | None = None,
           unknown: Sequence[int] = ()) -> bytes:
    """The map as a PNG; the arguments are those of `plot`."""
    labels, truth = utterances.labels, utterances.label
    rows = spread(truth, MAPPED)
    ranked, why = ((np.argsort(-np.bincount(truth), kind="stable"), "most clips") if predicted is None else
                   (ranked_by_confusion(truth, predicted), "the most frequent confusions"))
    title = f"{stem}: t-SNE of {f'{len(rows):,} of ' * (len(rows) < len(truth))}{len(truth):,} test clips"
    return draw_map(labels, project(embeddings[rows]), truth[rows], ranked, title, why, unknown)


def summary(figures: dict) -> str:
    """The figures of `Pairs.figures` for the terminal, in a line."""
    parts = [f"{figures[f'{kind}_mean']:.3f} between {figures[f'{kind}_pairs']:,} pairs of clips of {what}"
             for kind, what in (("same_word", "the same word"), ("different_word", "different words"))
             if figures[f"{kind}_pairs"]]
    if figures["auroc"] is not None:
        parts += [f"AUROC {figures['auroc']:.4f}", f"equal-error rate {100 * figures['equal_error_rate']:.2f} % at "
                  f"{figures['equal_error_threshold']:.3f}"]
    return "squared distance: " + (", ".join(parts) or "no pair of clips")


def project(embeddings: np.ndarray) -> np.ndarray:
    """t-SNE of (N, D) unit vectors in two dimensions, (N, 2) float32. By one thread: with more the rounding, and then
    the picture, differs from run to run."""
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    if len(embeddings) < 2:
        return np.zeros((len(embeddings), 2), np.float32)
    with threadpool_limits(1):
        return TSNE(perplexity=min(30, (len(embeddings) - 1) / 3), init="random", random_state=0).fit_transform(
            embeddings)


def draw_map(labels: Sequence[str], points: np.ndarray, truth: np.ndarray, ranked: Sequence[int], title: str,
             why: str, unknown: Sequence[int] = ()) -> bytes:
    """The embeddings' map as a PNG: points (N, 2), a colour and a shape for each class, its name at its median clip.
    The classes get one of 40 colours and shapes as they are ``ranked``; where that leaves some grey, the title says so,
    and that those with ``why`` are not. Those ``unknown`` are drawn hollow."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure  # not pyplot: no window system, no global state
    from matplotlib.patheffects import withStroke

    occurring = np.unique(truth)
    shown = [c for c in ranked if c in occurring][:COLOURED]
    if len(shown) < len(occurring):
        title += f"\nin colour the {len(shown)} of {len(occurring):,} classes with {why}, grey the others"
    shown.sort()
    figure = Figure(figsize=(8, 8), dpi=130)
    axes = figure.add_axes((0, 0, 1, 1))  # saving takes in all that is drawn around them
    reach = 1.05 * np.ptp(points, axis=0).max() / 2 or 1.0
    for set_limits, middle in zip((axes.set_xlim, axes.set_ylim), (points.min(0) + points.max(0)) / 2, strict=True):
        set_limits(middle - reach, middle + reach)
    axes.set_xticks([])  # the coordinates mean nothing
    axes.set_yticks([])
    axes.set_title("\n".join(map(visible, title.split("\n"))), fontsize=11, pad=10, parse_math=False)
    coloured, handles, names = np.isin(truth, shown), [], short_names(labels[c] for c in shown)
    size = float(np.clip(30_000 / coloured.sum(), 14, 40))
    for i, c in enumerate(shown):
        colour, hollow = COLOURS[i % len(COLOURS)], c in unknown
        handles.append(axes.scatter(*points[truth == c].T, size, marker=MARKERS[i // len(COLOURS)], zorder=2,
                                    facecolors="none" if hollow else colour, edgecolors=colour if hollow else "white",
                                    linewidths=0.9 if hollow else 0.3))
    others = points[~coloured]
    if len(others):
        handles.append(axes.scatter(*others.T, 8, color="0.85", linewidths=0, zorder=1))
        names = [*names, "other classes"]
    with quietly():
        legend = axes.legend(handles, ["name"] * len(names), loc="upper left", bbox_to_anchor=(1.02, 1), frameon=False,
                             borderaxespad=0, fontsize=9, ncols=1 if len(names) <= 25 else 2, alignment="left",
                             title="filled: enrolled\nhollow: unknown" if {*shown} & {*unknown} else "")
        for text, name in zip(legend.get_texts(), names, strict=True):  # afterwards: "_unknown_" would be left out
            text.set(text=name, parse_math=False)
        renderer, taken = FigureCanvasAgg(figure).get_renderer(), []
        for c, name in zip(shown, names, strict=False):  # at the clip next to the class's median
            own = points[truth == c]
            middle = own[np.argmin(((own - np.median(own, axis=0)) ** 2).sum(1))]
            text = axes.text(*middle, name, ha="center", va="center", fontsize=9, zorder=4, parse_math=False,
                             path_effects=[withStroke(linewidth=2.5, foreground="white")])
            taken.append(text.get_window_extent(renderer))
            text.set_visible(not any(taken[-1].overlaps(other) for other in taken[:-1]))  # the legend has it
        return png(figure)


def draw_distances(pairs: Pairs, title: str) -> bytes:
    """The densities of the squared distances of same-word and different-word pairs as a PNG, 0 to 4."""
    from matplotlib.figure import Figure

    figures, edges = pairs.figures(), np.linspace(0, 4, BARS + 1)
    figure = Figure(figsize=(6.4, 4.2), dpi=130)
    axes = figure.add_subplot()
    for i, (kind, what) in enumerate((("same_word", "the same word"), ("different_word", "different words"))):
        if count := figures[f"{kind}_pairs"]:
            density = pairs.counts[i].reshape(BARS, BINS // BARS).sum(1) / count * BARS / 4
            axes.stairs(density, edges, fill=True, color=COLOURS[i], alpha=0.35)
            axes.stairs(density, edges, color=COLOURS[i], linewidth=1.4, linestyle="-" if i == 0 else "--",
                        label=f"{what}\n{count:,} pairs, mean {figures[f'{kind}_mean']:.3f}")
    if figures["auroc"] is not None:
        threshold, rate = figures["equal_error_threshold"], figures["equal_error_rate"]
        axes.axvline(threshold, color="0.2", linewidth=1.2, linestyle=":",
                     label=f"threshold {threshold:.3f}\nequal-error rate {100 * rate:.2f} %\n"
                           f"AUROC {figures['auroc']:.4f}")
    axes.set_xlim(0, 4)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("squared Euclidean distance of two test clips")
    axes.set_ylabel("density")
    axes.set_title(visible(title), fontsize=11, parse_math=False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1), borderaxespad=0, frameon=False, fontsize=9,
                    title="two clips of", alignment="left", labelspacing=1)
    return png(figure)
