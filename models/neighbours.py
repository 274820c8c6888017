"""Distances of embeddings: the nearest neighbours and their vote, and how well a threshold tells words apart.

Embeddings are float32 of length 1, so the largest inner product is the smallest distance: the squared Euclidean
distance of two of them is 2 - 2 * similarity. Search is exact, by FAISS; the paper and the original vote among k = 5.
A threshold's figures are exact, too, from how many wanted items and others lie at each score.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data.base.errors import UserError, first_few
from data.base.labels import visible
from data.manifests.manifest import Manifest

_LENGTH = 0.01  # that an embedding's may be off 1
_SIMILARITIES = 1 << 28  # in memory at a time by a search on a GPU: 1 GB
BINS = 40_000  # of the counts, over 0 to 4: thresholds are found to 0.0001
_CELLS = 1 << 20  # distances computed at a time: bounds memory, to some 40 MB


@dataclass
class Prediction:
    """What the neighbours of Q queries say, nearest first."""

    labels: np.ndarray  # (Q,) int64, the class with most of the k neighbours
    similarities: np.ndarray  # (Q, k) float32, inner products
    indices: np.ndarray  # (Q, k) int64, rows of the train set

    @property
    def distances(self) -> np.ndarray:
        """(Q, k) float32 squared Euclidean distances, 0 to 4."""
        return np.clip(2 - 2 * self.similarities, 0, 4)  # rounding may leave it just outside


def check_k(k: int, count: int) -> None:
    """Raise UserError unless ``k`` neighbours can be found among ``count`` train embeddings."""
    if not 1 <= k <= count:
        raise UserError(f"--k {k}: must be 1 to {count}, the number of embeddings of the train set; use at most --k "
                        f"{count}")


def check_finite(embeddings: np.ndarray, what: str, clips: Manifest | None = None) -> None:
    """Raise UserError, naming one of the N clips, if an embedding of (N, D) is not finite or has no direction."""
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = np.sqrt(np.einsum("nd,nd->n", embeddings, embeddings))
        rows = np.flatnonzero(~(np.abs(lengths - 1) < _LENGTH))  # NaN is not below anything
    if len(rows):
        first = f"clip {rows[0]}" if clips is None else clips.files[clips.file[rows[0]]]
        raise UserError(f"{len(rows)} of the {len(embeddings)} embeddings of the {what} are no numbers, or not of "
                        f"length 1 (first: {first}); this encoder's training diverged: use an earlier --enc_step, or "
                        "train with a lower --lr")


def few_clips(counts: np.ndarray, labels: Sequence[str], k: int) -> str | None:
    """Which classes have fewer clips that vote, (C,) counts, than k neighbours, so that they cannot win outright."""
    few = [f"{visible(labels[c])} ({counts[c]})" for c in np.flatnonzero(counts < k)]
    return (f"fewer than k = {k} training clips vote for {len(few):,} of the {len(labels):,} classes: "
            + first_few(few)) if few else None


def knn_search(train: np.ndarray, queries: np.ndarray, k: int, device=None) -> tuple[np.ndarray, np.ndarray]:
    """The k most similar train embeddings (N, D) of every query (Q, D), all float32 of length 1: similarities (Q, k)
    float32, descending, and indices (Q, k) int64 of rows of ``train``; equally similar ones in the order of their rows.
    Which of those come in at all at the k-th place is not defined.

    A torch ``device`` searches instead of FAISS, as exactly. Raises UserError where ``k`` is below 1 or above N, or an
    embedding is not finite."""
    check_k(k, len(train))
    for embeddings, what in ((train, "train set"), (queries, "queries")):
        check_finite(embeddings, what)
    if device is not None:
        similarities, indices = _search_by_torch(train, queries, k, device)
    else:
        import faiss

        similarities, indices = faiss.knn(queries, train, k, metric=faiss.METRIC_INNER_PRODUCT)
    equal = np.flatnonzero((similarities[:, 1:] == similarities[:, :-1]).any(1))
    order = np.lexsort((indices[equal], -similarities[equal]))
    indices[equal] = np.take_along_axis(indices[equal], order, 1)  # their similarities stay as they are, descending
    return similarities, indices


def _search_by_torch(train: np.ndarray, queries: np.ndarray, k: int, device) -> tuple[np.ndarray, np.ndarray]:
    import torch

    train = torch.from_numpy(train).to(device)
    rows = max(1, _SIMILARITIES // len(train))
    found = [(torch.from_numpy(queries[i:i + rows]).to(device) @ train.T).topk(k) for i in range(0, len(queries), rows)]
    return tuple(torch.cat([part[column] for part in found]).cpu().numpy() for column in range(2))


def vote(labels: np.ndarray, ties: str = "nearest") -> np.ndarray:
    """The most frequent label, (Q,), of (Q, k) neighbours' labels, the nearest neighbour's first. Of several as
    frequent ones, ``ties`` takes that of the ``nearest`` neighbour, or the ``lowest`` as the original."""
    votes = np.stack([(labels == labels[:, i:i + 1]).sum(1) for i in range(labels.shape[1])], 1)  # (Q, k)
    if ties == "lowest":
        return np.where(votes == votes.max(1, keepdims=True), labels, np.iinfo(labels.dtype).max).min(1)
    return np.take_along_axis(labels, votes.argmax(1)[:, None], 1)[:, 0]


def classify(train: np.ndarray, train_labels: np.ndarray, queries: np.ndarray, k: int, device=None,
             ties: str = "nearest") -> Prediction:
    """Classify every query by its k nearest train embeddings; arguments as in `knn_search` and `vote`."""
    return classify_each(train, train_labels, queries, [k], device, ties)[k]


def classify_each(train: np.ndarray, train_labels: np.ndarray, queries: np.ndarray, ks: Sequence[int], device=None,
                  ties: str = "nearest") -> dict[int, Prediction]:
    """`classify` with each number of neighbours, from one search for the most of them."""
    similarities, indices = knn_search(train, queries, max(ks), device)
    neighbours = np.asarray(train_labels, np.int64)[indices]  # (Q, k)
    return {k: Prediction(vote(neighbours[:, :k], ties), similarities[:, :k], indices[:, :k]) for k in ks}


def auroc(wanted: np.ndarray, others: np.ndarray) -> float:
    """The share of couples of a wanted item and another in which the wanted one comes first; a tie counts half. Both
    are (B,) counts, from the best score to the worst."""
    after = others.sum() - np.cumsum(others) + others / 2
    return float(wanted @ after / (wanted.sum() * others.sum()))


def equal_error(wanted: np.ndarray, others: np.ndarray) -> tuple[float, float]:
    """Where as large a share of others is accepted as of wanted items is missed: that rate, and how many bins in.

    Between two neighbouring thresholds both errors are interpolated, as if items of equal score were drawn at random;
    the area under the same curve is `auroc`. Where the errors are equal in a range of thresholds, its middle is taken.
    """
    total = wanted.sum()
    missed = np.append(total, total - np.cumsum(wanted)) / total
    accepted = np.append(0, np.cumsum(others)) / others.sum()
    i = int(np.argmax(accepted >= missed))  # at the first, nothing is accepted and all is missed; at the last, not so
    before, after = missed[i - 1] - accepted[i - 1], accepted[i] - missed[i]
    part, equal = before / (before + after), np.flatnonzero(missed == accepted)
    return (float(accepted[i - 1] + part * (accepted[i] - accepted[i - 1])),
            float((equal[0] + equal[-1]) / 2 if len(equal) else i - 1 + part))


@dataclass
class Pairs:
    """The distances of same-word (first) and of different-word pairs (second)."""

    counts: np.ndarray  # (2, BINS) int64, pairs by distance, in bins of equal width from 0 to 4
    means: np.ndarray  # (2,) float64; NaN where there is no pair

    def figures(self) -> dict:
        """Numbers of pairs, mean distances and, where there are both kinds, how well a threshold tells them apart. Of
        two pairs, the nearer should be the same-word one; distances of one bin are a tie."""
        result = {}
        for kind, counts, mean in zip(("same_word", "different_word"), self.counts, self.means, strict=True):
            result |= {f"{kind}_pairs": int(counts.sum()), f"{kind}_mean": float(mean) if counts.any() else None}
        if not self.counts.any(1).all():
            return result | dict.fromkeys(("auroc", "equal_error_rate", "equal_error_threshold"))
        rate, bins = equal_error(*self.counts)
        return result | {"auroc": auroc(*self.counts), "equal_error_rate": rate,
                         "equal_error_threshold": 4 * bins / BINS}


def count_pairs(embeddings: np.ndarray, labels: np.ndarray) -> Pairs:
    """Count the distances of all pairs of (N, D) embeddings of length 1, in double precision, a block at a time."""
    x, count = embeddings.astype(np.float64), len(embeddings)
    squares = (x * x).sum(1)  # 1 but for the rounding of single precision
    counts, sums = np.zeros(2 * BINS, np.int64), np.zeros(2)
    rows = max(1, _CELLS // max(count, 1))
    for start in range(0, count, rows):
        block = slice(start, start + rows)
        later = np.arange(start, count) > np.arange(start, min(start + rows, count))[:, None]  # each pair once
        distances = squares[block, None] + squares[start:] - 2 * x[block] @ x[start:].T
        distances = np.clip(distances[later], 0, 4)  # rounding may leave it just outside
        kind = (labels[block, None] != labels[start:])[later].astype(np.int64)
        bins = np.minimum((distances * (BINS / 4)).astype(np.int64), BINS - 1)
        counts += np.bincount(kind * BINS + bins, minlength=2 * BINS)
        sums += np.bincount(kind, distances, minlength=2)
    counts = counts.reshape(2, BINS)
    total = counts.sum(1)
    return Pairs(counts, np.divide(sums, total, out=np.full(2, np.nan), where=total > 0))
