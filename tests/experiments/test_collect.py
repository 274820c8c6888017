"""What is collected of a cell is what its scripts left."""

import numpy as np

from experiments.collect import by_k


def test_neighbours_are_counted_from_the_saved_embeddings_by_the_same_vote(tmp_path, capsys):
    from models.evaluation.knn import classify

    rng = np.random.default_rng(0)
    train, test = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in
                   (rng.standard_normal((n, 6)).astype(np.float32) for n in (12, 40)))
    labels, truth = np.arange(12) // 2, rng.integers(0, 6, 40)
    for name, array in (("train_embeddings", train), ("train_labels", labels), ("test_embeddings", test),
                        ("test_labels", truth)):
        np.save(tmp_path / f"s-{name}.npy", array)
    found = by_k(tmp_path / "s", (1, 5, 12, 13))
    assert found == {str(k): np.mean(classify(train, labels, test, k, 6).labels == truth) for k in (1, 5, 12)}
    assert "--ks 13 left out, the training set has 12 clips" in capsys.readouterr().out
