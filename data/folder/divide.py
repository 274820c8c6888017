"""The split of every speaker, or of every clip where nobody knows who speaks."""

from collections.abc import Sequence

import numpy as np

from data.manifests.registry import SPLITS
from data.sources.divide_speakers import balanced_split
from data.sources.splits import split_of

MANY_SPEAKERS = 100  # from here on a hash of the name alone gives about the shares asked for


def divide(units: Sequence[str], labels: Sequence[str], dev_percent: float, test_percent: float, seed: int = 0
           ) -> dict[str, str]:
    """The split of every distinct unit (a speaker, or a clip's audio), whose clips have ``labels``.

    From `MANY_SPEAKERS` on by hash of the name; fewer are divided so that the shares and classes come out well.
    """
    distinct, classes = sorted(set(units)), sorted(set(labels))
    hashed = {unit: f"{seed} {unit}" if seed else unit for unit in distinct}
    if len(distinct) >= MANY_SPEAKERS:
        return {unit: split_of(hashed[unit], dev_percent, test_percent) for unit in distinct}
    row, column = ({name: i for i, name in enumerate(names)} for names in (distinct, classes))
    counts = np.zeros((len(distinct), len(classes)), np.int64)
    np.add.at(counts, ([row[unit] for unit in units], [column[label] for label in labels]), 1)
    shares = (1 - (dev_percent + test_percent) / 100, dev_percent / 100, test_percent / 100)
    part = balanced_split([hashed[unit] for unit in distinct], counts, shares)
    for c in np.flatnonzero(counts[part == 0].sum(0) == 0):  # said by too few to be balanced: rather train than lose it
        for unit in np.argsort(-counts[:, c], kind="stable"):
            if counts[unit, c] and (part == part[unit]).sum() > 1:
                part[unit] = 0
                break
    return {unit: SPLITS[p] for unit, p in zip(distinct, part, strict=True)}
