"""Shares of a data set's training clips."""

from dataclasses import replace

from data import joined
from data.manifests import load_corpus, register, registered, write_manifest
from experiments.setup import make_fraction
from tests.experiments.test_experiments import BASE


def test_fractions_lie_within_one_another(words, tmp_path):
    whole = load_corpus("words", registry=words.registry)
    kept = {}
    for fraction in (0.1, 0.5):
        make_fraction("words", fraction, words.registry, tmp_path)
        part = load_corpus(f"words-{fraction:g}", registry=tmp_path / "manifests.json")
        assert part.splits["train"].counts().tolist() == [max(2, round(12 * fraction))] * 6
        assert part.splits["test"].files == whole.splits["test"].files and part.noise.samefile(whole.noise)
        kept[fraction] = set(part.splits["train"].files)
    assert kept[0.1] < kept[0.5] < set(whole.splits["train"].files)


def test_a_share_of_joined_sets_is_those_shares_joined(words, tmp_path):
    whole = load_corpus("words", registry=words.registry)
    registry = tmp_path / "r" / "manifests.json"
    for name, labels in (("a", ("bed", "cat")), ("b", ("dog",))):
        paths = {split: tmp_path / f"{name}-{split}.json" for split in whole.splits}
        for split, path in paths.items():
            manifest = whole.splits[split]
            write_manifest(path, (one for one in map(manifest.__getitem__, range(len(manifest)))
                                  if one.label in labels))
        register(name, **paths, new_words=words.folder / "dev.json", registry=registry)
    make_fraction("a+b", 0.5, registry, tmp_path)
    part = joined.load(replace(BASE, manifest="a+b", fraction=0.5).data, registry=tmp_path / "manifests.json")
    assert part.splits["train"].counts().tolist() == [6, 6, 6] and part.parts.tolist() == [0, 0, 1]
    assert part.splits["test"].counts().tolist() == [5, 5, 5]
    assert "new_words" in registered("a-0.5", tmp_path / "manifests.json")
