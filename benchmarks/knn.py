"""Exact k-nearest-neighbour search of a whole test set: FAISS, as infer_train.py uses it, against scikit-learn.

Also the search by torch that a GPU does, here on the CPU, to show that it gives the same. Every search runs in turn in
a process of its own on the same unit-length embeddings, from arrays to neighbours, on all cores; its peak memory is
what it held beyond the embeddings. All must find the same neighbours, up to equal similarities.

scikit-learn searches with algorithm="brute" and metric="euclidean", the fastest of its exact settings here: with
"cosine" it takes 6 times as long, with its trees 40 times or more, in 45 dimensions.
"""

import argparse

import numpy as np

from benchmarks import measure, memory

CLASSES, SPREAD = 35, 0.6
TOLERANCE = 1e-5  # of a similarity
FEW = 100  # queries of the warm-up


def embeddings(count: int, width: int, seed: int) -> np.ndarray:
    """(count, width) float32 of length 1, in clusters."""
    centres = np.random.default_rng(0).standard_normal((CLASSES, width), np.float32)
    rng = np.random.default_rng([1, seed])
    made = centres[rng.integers(CLASSES, size=count)]
    made += SPREAD * rng.standard_normal(made.shape, np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def by_faiss(train: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    from models.evaluation.knn import knn_search

    return knn_search(train, queries, k)[1]


def by_sklearn(train: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    from sklearn.neighbors import NearestNeighbors

    nearest = NearestNeighbors(n_neighbors=k, algorithm="brute", metric="euclidean").fit(train)
    return nearest.kneighbors(queries, return_distance=True)[1]


def by_torch(train: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    from models.evaluation.knn import knn_search

    return knn_search(train, queries, k, "cpu")[1]


SEARCHES = {"knn_search (FAISS)": by_faiss, "scikit-learn": by_sklearn, "knn_search(device='cpu'), torch": by_torch}


def prepare(name: str, train: int, queries: int, width: int, k: int):
    """A search, its libraries loaded and their threads started."""
    arrays = embeddings(train, width, 0), embeddings(queries, width, 1)
    SEARCHES[name](arrays[0][:max(FEW, k)], arrays[1][:FEW], k)
    return lambda: SEARCHES[name](*arrays, k)


def differing(found: np.ndarray, expected: np.ndarray, train: np.ndarray, queries: np.ndarray) -> float:
    """Share of the neighbours that differ; stops if that is more than a tie."""
    similarities = [np.einsum("qd,qkd->qk", queries, train[indices], dtype=np.float64) for indices in (found, expected)]
    if (error := np.abs(similarities[0] - similarities[1]).max()) > TOLERANCE:
        raise SystemExit(f"the neighbours differ by up to {error:.1e} in similarity")
    return float((found != expected).mean())


def compare(train: int, args: argparse.Namespace) -> list[dict[str, object]]:
    sizes = train, args.queries, args.width, args.k
    runs = {name: [] for name in SEARCHES}
    for _ in range(args.repeats):
        for name, used in runs.items():
            used.append(memory.in_own_process(prepare, name, *sizes))
    times = {name: measure.Timing([run.seconds for run in used]) for name, used in runs.items()}
    arrays = embeddings(train, args.width, 0), embeddings(args.queries, args.width, 1)
    first = next(iter(runs.values()))[0].result
    return [{"train": train, "queries": args.queries, "search": name, "time": times[name],
             "queries/s": args.queries / times[name].median,
             "scikit-learn / this": times["scikit-learn"].over(times[name]),
             "neighbours that differ (ties)": f"{differing(used[0].result, first, *arrays):.3%}",
             "peak MB": max(run.extra for run in used)} for name, used in runs.items()]


def main() -> None:
    parser = measure.parser("knn", __doc__, repeats=3)
    parser.add_argument("--train", type=int, nargs="+", default=[85_000, 1_000_000],
                        help="train embeddings, for each comparison (default: 85000 1000000)")
    parser.add_argument("--queries", type=int, default=11_000, help="test embeddings (default: 11000)")
    parser.add_argument("--width", type=int, default=45, help="size of an embedding (default: 45)")
    parser.add_argument("--k", type=int, default=5, help="neighbours (default: 5)")
    args = parser.parse_args()
    if min(args.queries, args.width, args.k, args.repeats) < 1 or min(args.train) < args.k:
        parser.error("at least 1 query, 1 dimension, 1 neighbour, 1 repeat, and --k train embeddings")
    rows = [row for train in args.train for row in compare(train, args)]
    measure.show("knn", rows, args, width=args.width, k=args.k)


if __name__ == "__main__":
    main()
