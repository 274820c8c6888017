"""Exact k-nearest-neighbour search of a whole test set: FAISS, as infer_train.py uses it, against scikit-learn.

Also the search by torch that a GPU does, here on the CPU. All search the same unit-length embeddings in turn, and must
find the same neighbours, up to equal similarities. scikit-learn has the fastest of its exact settings here.
"""

import argparse

import numpy as np

from benchmarks import measure

CLASSES, SPREAD = 35, 0.6
TOLERANCE = 1e-5  # of a similarity
FAISS, SKLEARN, TORCH = "knn_search (FAISS)", "scikit-learn", "knn_search(device='cpu'), torch"


def embeddings(count: int, width: int, seed: int) -> np.ndarray:
    """(count, width) float32 of length 1, in clusters."""
    centres = np.random.default_rng(0).standard_normal((CLASSES, width), np.float32)
    rng = np.random.default_rng([1, seed])
    made = centres[rng.integers(CLASSES, size=count)]
    made += SPREAD * rng.standard_normal(made.shape, np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def differing(found: np.ndarray, expected: np.ndarray, train: np.ndarray, queries: np.ndarray) -> float:
    """Share of the neighbours that differ; stops if that is more than a tie."""
    similarities = [np.einsum("qd,qkd->qk", queries, train[indices], dtype=np.float64) for indices in (found, expected)]
    if (error := np.abs(similarities[0] - similarities[1]).max()) > TOLERANCE:
        raise SystemExit(f"the neighbours differ by up to {error:.1e} in similarity")
    return float((found != expected).mean())


def compare(train: int, args: argparse.Namespace) -> list[dict[str, object]]:
    from sklearn.neighbors import NearestNeighbors

    from models.neighbours import knn_search

    arrays = embeddings(train, args.width, 0), embeddings(args.queries, args.width, 1)
    searches = {FAISS: lambda: knn_search(*arrays, args.k)[1],
                SKLEARN: lambda: NearestNeighbors(n_neighbors=args.k, algorithm="brute", metric="euclidean").fit(
                    arrays[0]).kneighbors(arrays[1])[1],
                TORCH: lambda: knn_search(*arrays, args.k, "cpu")[1]}
    found = {by: search() for by, search in searches.items()}  # loads the libraries, too
    times = measure.in_turn(searches, args.repeats)
    return [{"train": train, "queries": args.queries, "search": by, "time": times[by],
             "queries/s": args.queries / times[by].median, "scikit-learn / this": times[SKLEARN].over(times[by]),
             "neighbours that differ (ties)": f"{differing(found[by], found[FAISS], *arrays):.3%}"} for by in searches]


def main() -> None:
    parser = measure.parser("knn", __doc__, repeats=3)
    parser.add_argument("--train", type=int, nargs="+", default=[85_000, 1_000_000],
                        help="train embeddings, for each comparison (default: 85000 1000000)")
    parser.add_argument("--queries", type=int, default=11_000, help="test embeddings (default: 11000)")
    parser.add_argument("--width", type=int, default=45, help="size of an embedding (default: 45)")
    parser.add_argument("--k", type=int, default=5, help="neighbours (default: 5)")
    args = parser.parse_args()
    measure.show("knn", [row for train in args.train for row in compare(train, args)], args, width=args.width, k=args.k)


if __name__ == "__main__":
    main()
