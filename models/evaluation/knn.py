"""k-nearest-neighbour classification of embeddings: exact search with FAISS, majority vote.

Embeddings are float32 of length 1, so the largest inner product is the smallest distance: the squared Euclidean
distance of two of them is 2 - 2 * similarity. The paper and the original vote among k = 5, ties to the lowest label.
"""

from dataclasses import dataclass

import numpy as np

from data.base.errors import UserError

_SIMILARITIES = 1 << 28  # held at a time by a search on a GPU: 1 GB
_CELLS = 1 << 22  # of the vote's table of counts at a time: bounds memory with thousands of classes


@dataclass
class Prediction:
    """What the neighbours of Q queries say, nearest first.

    Attributes:
        labels: (Q,) int64, the class with most of the k neighbours.
        similarities: (Q, k) float32, inner products.
        indices: (Q, k) int64, rows of the train set.
    """

    labels: np.ndarray
    similarities: np.ndarray
    indices: np.ndarray

    @property
    def distances(self) -> np.ndarray:
        """(Q, k) float32 squared Euclidean distances, 0 to 4."""
        return np.clip(2 - 2 * self.similarities, 0, 4)  # rounding may leave it just outside


def check_k(k: int, count: int) -> None:
    """Raise UserError unless ``k`` neighbours can be found among ``count`` train embeddings."""
    if k < 1:
        raise UserError(f"--k {k}: must be at least 1 neighbour")
    if k > count:
        raise UserError(f"--k {k}: more neighbours than the {count} embeddings of the train set; "
                        f"use at most --k {count}")


def check_finite(train: np.ndarray, queries: np.ndarray) -> None:
    """Raise UserError if an embedding, (N, D) or (Q, D), is not finite: its neighbours would be none or any."""
    for name, embeddings in (("train set", train), ("queries", queries)):
        if not np.isfinite(embeddings).all():
            rows = np.flatnonzero(~np.isfinite(embeddings).all(1))
            raise UserError(f"{len(rows)} of the {len(embeddings)} embeddings of the {name} are not numbers (first: "
                            f"clip {rows[0]}); this encoder's training diverged: use an earlier --enc_step, or train "
                            "with a lower --lr")


def knn_search(train: np.ndarray, queries: np.ndarray, k: int, device=None) -> tuple[np.ndarray, np.ndarray]:
    """The k most similar train embeddings of every query.

    FAISS works through queries and train set in blocks, so memory beyond the arguments and the result is bounded.

    Args:
        train: (N, D) float32, rows of length 1.
        queries: (Q, D) float32, rows of length 1.
        device: a torch device that searches instead of FAISS, for a GPU; as exact.

    Returns:
        similarities (Q, k) float32, descending, and indices (Q, k) int64 of rows of ``train``. Which of several
        equally similar neighbours come first, or in at all at the k-th place, is not defined.

    Raises:
        UserError: ``k`` is below 1 or above N, or an embedding is not finite.
    """
    check_k(k, len(train))
    check_finite(train, queries)
    if device is not None:
        return _search_by_torch(train, queries, k, device)
    import faiss

    return faiss.knn(queries, train, k, metric=faiss.METRIC_INNER_PRODUCT)


def _search_by_torch(train: np.ndarray, queries: np.ndarray, k: int, device) -> tuple[np.ndarray, np.ndarray]:
    import torch

    train = torch.from_numpy(train).to(device)
    rows = max(1, _SIMILARITIES // len(train))
    found = [(torch.from_numpy(queries[i:i + rows]).to(device) @ train.T).topk(k)
             for i in range(0, len(queries), rows)]
    return tuple(torch.cat([part[column] for part in found]).cpu().numpy() for column in range(2))


def vote(neighbour_labels: np.ndarray, num_classes: int) -> np.ndarray:
    """The most frequent label of every row, ties to the lowest.

    Args:
        neighbour_labels: (Q, k) integers, 0 to ``num_classes`` - 1.

    Returns:
        (Q,) int64.

    Raises:
        ValueError: a label outside that range.
    """
    if neighbour_labels.size and not 0 <= neighbour_labels.min() <= neighbour_labels.max() < num_classes:
        raise ValueError(f"labels must be 0 to {num_classes - 1}")
    winners = np.empty(len(neighbour_labels), np.int64)
    rows = max(1, _CELLS // num_classes)
    for start in range(0, len(neighbour_labels), rows):
        block = neighbour_labels[start:start + rows]
        cells = (np.arange(len(block))[:, None] * num_classes + block).ravel()
        counts = np.bincount(cells, minlength=len(block) * num_classes).reshape(len(block), num_classes)
        winners[start:start + rows] = counts.argmax(1)  # the first of equal ones
    return winners


def classify(train: np.ndarray, train_labels: np.ndarray, queries: np.ndarray, k: int,
             num_classes: int, device=None) -> Prediction:
    """Classify every query by the labels of its k nearest train embeddings.

    Args:
        train: (N, D) float32, rows of length 1.
        train_labels: (N,) integers, 0 to ``num_classes`` - 1.
        queries: (Q, D) float32, rows of length 1.
        device: as in `knn_search`.

    Raises:
        UserError: as `knn_search`.
    """
    similarities, indices = knn_search(train, queries, k, device)
    return Prediction(vote(np.asarray(train_labels)[indices], num_classes), similarities, indices)
