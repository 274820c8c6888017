"""How well distances tell words that no training had: the dev set that decides between encoders for any word."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data.manifests.manifest import Manifest
from models.neighbours.pairs import BINS, Pairs
from models.report.drawing import markdown
from models.report.tables import write_report

DRAWS = 200  # of words, with replacement, for an interval
_FIGURES = ("auroc", "equal_error_rate")
_HEAD = ("pairs of clips", "of one word", "of two words", "AUROC", "95 % interval", "equal-error rate", "95 % interval")


def measure(embeddings: np.ndarray, new: Manifest) -> list[dict]:
    """AUROC and equal-error rate of pairs of clips: of all (as while training), of two recordings, and of two speakers.
    A row for each has the figures of `models.neighbours.pairs.Pairs` and, where there are such pairs both of one word
    and of two, ``auroc_interval`` and ``equal_error_rate_interval`` over drawn words."""
    one, other = np.triu_indices(len(embeddings), 1)
    x = embeddings.astype(np.float64)
    squares = (x * x).sum(1)
    distance = np.clip(squares[one] + squares[other] - 2 * (x @ x.T)[one, other], 0, 4)  # squared Euclidean
    bins = np.minimum((distance * (BINS / 4)).astype(np.int64), BINS - 1)
    kind = (new.label[one] != new.label[other]).astype(np.int64)
    named = np.array([name is not None for name in new.speaker])
    speaker = np.unique([str(name) for name in new.speaker], return_inverse=True)[1]
    rows = []
    for name, group in (("all", None), ("of two recordings", new.file), ("of two speakers", speaker)):
        taken = np.ones(len(one), bool) if group is None else group[one] != group[other]
        if group is speaker:
            taken &= named[one] & named[other]  # who is not named may be anyone
        # (P,) of the pairs taken: bin and kind as one number, and the words of both clips
        cell, words = (kind * BINS + bins)[taken], (new.label[one[taken]], new.label[other[taken]])
        means = [distance[taken & (kind == k)].mean() if (kind[taken] == k).any() else np.nan for k in (0, 1)]
        figures = Pairs(_counts(cell), np.array(means)).figures()
        rows.append({"pairs": name} | figures | (_intervals(cell, words, len(new.labels))
                                                 if figures["auroc"] is not None else {}))
    return rows


def _counts(cell: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    return np.bincount(cell, weights, 2 * BINS).reshape(2, BINS)


def _intervals(cell: np.ndarray, words: tuple[np.ndarray, np.ndarray], vocabulary: int) -> dict:
    """The 2.5th and the 97.5th percentile of both figures. A word drawn n times counts n times with itself, and n times
    m with one drawn m times."""
    rng, found = np.random.default_rng(0), []
    there = np.unique(np.concatenate(words))
    same = words[0] == words[1]
    for _ in range(DRAWS):
        times = np.bincount(rng.choice(there, len(there)), minlength=vocabulary)
        weights = times[words[0]] * np.where(same, 1, times[words[1]])
        figures = Pairs(_counts(cell, weights), np.full(2, np.nan)).figures()
        if figures["auroc"] is not None:
            found.append([figures[name] for name in _FIGURES])
    return {f"{name}_interval": np.percentile([one[i] for one in found], [2.5, 97.5]).tolist()
            for i, name in enumerate(_FIGURES)} if found else {}


def table(rows: Sequence[dict]) -> str:
    """The rows of `measure`, per cent, as a Markdown table."""
    return markdown([_HEAD, *(
        (row["pairs"], f"{row['same_word_pairs']:,}", f"{row['different_word_pairs']:,}", *(
            text for name in _FIGURES for text in (_percent(row[name]), " to ".join(
                map(_percent, row.get(f"{name}_interval", [None])))))) for row in rows)])


def report_new_words(out: Path, stem: str, rows: Sequence[dict], new: Manifest, facts: dict,
                     command: str | None = None) -> None:
    """Print a table of what `measure` gave and write it as ``<stem>.json``, made by ``command``, into ``out``."""
    speakers = len({name for name in new.speaker if name is not None})
    print(f"{len(new):,} clips of {len(np.unique(new.label)):,} words held out as new, said by {speakers:,} "
          "speakers; per cent")
    print(table(rows))
    facts = facts | {"clips": len(new), "words": [new.labels[c] for c in np.unique(new.label)], "speakers": speakers}
    write_report(out, stem, {"pairs": rows, "facts": facts, "command": command})


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"
