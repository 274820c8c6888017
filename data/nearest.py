"""Every word's nearest words by weighted edit distances between several codes: exact, without looking at all pairs.

What has the same codes is one item. Lists of a few hundred items that are alike in one code give every item a limit
that its ``top`` nearest cannot lie beyond. The heaviest code alone then rules out most pairs: those whose codes differ
by more edits than the limit allows, by their lengths before they are compared. The other codes are compared only for
what is left. Memory is bounded by `_CELLS`; 100,000 words take about a fifth of the time of all pairs. Words of which
most have the same codes, as those of another script, are still compared by spelling all with all.
"""

from collections.abc import Sequence

import numpy as np

from data.base.cores import cores

_CELLS = 4_000_000  # pairs held at a time
_ALIKE = 256  # items of one list that are compared with each other for their limits
_TABLE = 100_000_000  # bytes of a table of all distances within one code; Soundex has at most 8,919 values
_PADDING = "1"  # Caverphone fills up with it


def search(weighted: Sequence[tuple[int, Sequence[str]]], spelling: Sequence[str],
           top: int) -> tuple[np.ndarray, np.ndarray]:
    """The ``top`` nearest words of each of N, by distance, then the more alike spelling, then the lower index.

    Args:
        weighted: (weight, code of each word) of every code; the distance is the weighted sum of their edit distances.
        top: at most N - 1.

    Returns:
        indices (N, top) int32, never the word itself, and distances (N, top) int32.
    """
    from tqdm import tqdm

    indices, distances = (np.zeros((len(spelling), top), np.int32) for _ in range(2))
    items = _Items(sorted(weighted, key=lambda code: -code[0]))
    limit = items.limits(top)
    order = np.lexsort((np.arange(len(limit)), limit // items.weight[0]))
    words = np.asarray(spelling, object)
    with tqdm(total=len(spelling), desc="nearest words", unit=" words", disable=None, leave=False, delay=2) as bar:
        for rows in _blocks(order, limit // items.weight[0], max(1, _CELLS // len(limit))):
            row, item, distance = items.within(rows, limit[rows])
            for word, nearest, far in _nearest_words(items, rows, row, item, distance, words, top):
                indices[word], distances[word] = nearest, far
                bar.update(len(word))
    return indices, distances


class _Items:
    """T distinct combinations of codes, ordered by the length of the heaviest code.

    Attributes:
        weight: of each code, the heaviest first.
        found: the distinct values of each code.
        code: of each code, (T,) index into ``found``.
        count: (T,) words of each item; ``words`` has them, those of item t from ``first[t]`` on, ascending.
    """

    def __init__(self, weighted: Sequence[tuple[int, Sequence[str]]]):
        self.weight = [weight for weight, _ in weighted]
        self.found, code = [], []
        for _, values in weighted:
            found, index = np.unique(np.asarray(values, object), return_inverse=True)
            order = np.argsort([len(value) for value in found], kind="stable")
            place = np.empty(len(found), np.int32)
            place[order] = np.arange(len(found), dtype=np.int32)
            self.found.append(found[order].tolist())
            code.append(place[index])
        combined, item = np.unique(np.stack(code, 1), axis=0, return_inverse=True)
        self.code = [np.ascontiguousarray(column) for column in combined.T]
        self.words = np.argsort(item.ravel(), kind="stable")
        self.count = np.bincount(item.ravel(), minlength=len(combined))
        self.first = np.cumsum(self.count) - self.count
        self.length = np.array([len(value) for value in self.found[0]])  # ascending
        # Distances cannot be less than the difference in letters, padding left out: that changes both counts at once.
        self.letters = [np.array([len(value) - value.count(_PADDING) for value in found], np.int32)[index]
                        for found, index in zip(self.found, self.code, strict=True)]
        rest = range(1, len(self.weight))
        self.tabled = next((k for k in rest if len(self.found[k]) ** 2 <= _TABLE), None)
        self.table = None
        if self.tabled is not None:
            longest = max(map(len, self.found[self.tabled]))
            self.table = _all_pairs(self.found[self.tabled], self.found[self.tabled],
                                    np.uint8 if longest * self.weight[self.tabled] <= 255 else np.int32)
            self.table *= self.table.dtype.type(self.weight[self.tabled])
        self.pairwise = [k for k in rest if k != self.tabled]

    def limits(self, top: int) -> np.ndarray:
        """(T,) distances within which each item's ``top`` nearest words lie, by its neighbours in sorted lists."""
        limit = np.full(len(self.count), np.iinfo(np.int32).max // 2, np.int32)
        shown = np.minimum(self.count, top + 1)
        for k in range(len(self.code)):
            order = np.lexsort((*self.code[:k], *self.code[k + 1:], _alphabetic(self.found[k])[self.code[k]]))
            for start in range(0, len(order), _ALIKE):
                rows = order[start:start + _ALIKE]
                if (total := shown[rows].sum()) <= top:
                    continue
                there = np.repeat(self._distances(rows), shown[rows], axis=1)
                assert there.shape[1] == total
                limit[rows] = np.minimum(limit[rows], np.partition(there, top, axis=1)[:, top])  # one is the word
        return limit

    def _distances(self, rows: np.ndarray) -> np.ndarray:
        """(R, R) distances between some items."""
        total = np.zeros((len(rows), len(rows)), np.int32)
        for weight, found, code in zip(self.weight, self.found, self.code, strict=True):
            distinct, index = np.unique(code[rows], return_inverse=True)
            values = [found[value] for value in distinct]
            total += (_all_pairs(values, values, np.int32) * weight)[index][:, index]
        return total

    def within(self, rows: np.ndarray, limit: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The pairs (index into ``rows``, item) no further apart than the row's limit, by row, and their distances."""
        most = int(limit.max())
        edits = min(most // self.weight[0], int(self.length[-1]))
        own, index = np.unique(self.code[0][rows], return_inverse=True)
        a = np.searchsorted(self.length, self.length[own].min() - edits)
        b = np.searchsorted(self.length, self.length[own].max() + edits, "right")
        start, stop = np.searchsorted(self.code[0], [a, b])  # items of those codes
        small = self.weight[0] * (edits + 1) + (0 if self.table is None else int(self.table.max())) <= 255
        kind = np.uint8 if small and (self.table is None or self.table.dtype == np.uint8) else np.int32
        near = _all_pairs([self.found[0][value] for value in own], self.found[0][a:b], kind, edits)
        near *= kind(self.weight[0])
        total = near.take(self.code[0][start:stop] - a, axis=1)[index]
        if self.table is not None:
            column = self.code[self.tabled]
            total += self.table[column[rows]].take(column[start:stop], axis=1)
        row, item = np.nonzero(total <= np.minimum(limit, most)[:, None])
        total = total[row, item].astype(np.int32)
        item += start
        own = rows[row]
        for k in self.pairwise:
            least = total + sum(self.weight[j] * np.abs(self.letters[j][own] - self.letters[j][item])
                                for j in self.pairwise[self.pairwise.index(k):])
            row, item, own, total = (part[least <= limit[row]] for part in (row, item, own, total))
            total = total + self.weight[k] * _pairs(self.found[k], self.code[k][own], self.code[k][item])
        keep = total <= limit[row]
        return row[keep], item[keep], total[keep]


def _nearest_words(items: _Items, rows: np.ndarray, row: np.ndarray, item: np.ndarray, distance: np.ndarray,
                   spelling: np.ndarray, top: int):
    """Yield (words, their nearest words (W, top), distances (W, top)) of the items ``rows``, from `_Items.within`."""
    # Pairs further than the last one needed go first: those before it by distance have enough words.
    order = np.lexsort((distance, row))
    row, item, distance = row[order], item[order], distance[order]
    begin = np.searchsorted(row, np.arange(len(rows) + 1))
    before = np.cumsum(items.count[item]) - items.count[item]
    before -= before[begin[:-1]][row]  # words of the row that lie before
    same = np.r_[False, (row[1:] == row[:-1]) & (distance[1:] == distance[:-1])]
    tied = np.maximum.accumulate(np.where(same, 0, np.arange(len(row))))  # the first of those at this distance
    keep = before[tied] <= top
    row, item, distance = row[keep], item[keep], distance[keep]
    count = items.count[item]
    word = items.words[_ranges(items.first[item], count)]  # candidates of all rows, one row after another
    distance, row = np.repeat(distance, count), np.repeat(row, count)
    size = np.bincount(row, minlength=len(rows))
    begin = np.cumsum(size) - size
    own = items.words[_ranges(items.first[rows], items.count[rows])]
    own_row = np.repeat(np.arange(len(rows)), items.count[rows])
    ends = np.cumsum(size[own_row])
    start = 0
    while start < len(own):
        stop = max(start + 1, int(np.searchsorted(ends, (ends[start - 1] if start else 0) + _CELLS, "right")))
        some, some_row = own[start:stop], own_row[start:stop]
        if size[some_row[0]] * 4 > _CELLS:  # many words with the same codes: those of one row, all against all
            stop = start + int((some_row == some_row[0]).sum())
            some, some_row = own[start:stop], own_row[start:stop]
            whole = slice(begin[some_row[0]], begin[some_row[0]] + size[some_row[0]])
            spelled = _all_pairs(spelling[some].tolist(), spelling[word[whole]].tolist(), np.int32).ravel()
            other, far = np.tile(word[whole], len(some)), np.tile(distance[whole], len(some))
        else:
            which = _ranges(begin[some_row], size[some_row])
            other, far = word[which], distance[which]
            spelled = None
        query = np.repeat(np.arange(len(some)), size[some_row])
        if spelled is None:
            spelled = _pairs(spelling, some[query], other)
        keep = other != some[query]
        query, other, far, spelled = query[keep], other[keep], far[keep], spelled[keep]
        order = np.lexsort((other, spelled, far, query))
        wanted = order[np.searchsorted(query[order], np.arange(len(some)))[:, None] + np.arange(top)]
        yield some, other[wanted], far[wanted]
        start = stop


def _blocks(order: np.ndarray, key: np.ndarray, size: int):
    """Parts of ``order`` of at most ``size``, with one key each."""
    cuts = np.flatnonzero(np.diff(key[order])) + 1
    for part in np.split(order, cuts):
        for start in range(0, len(part), size):
            yield part[start:start + size]


def _ranges(first: np.ndarray, count: np.ndarray) -> np.ndarray:
    """first[0], first[0] + 1, ... count[0] of them, then the same from first[1] on, and so on."""
    ends = np.cumsum(count)
    return np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - count - first, count)


def _alphabetic(values: list[str]) -> np.ndarray:
    """The rank of each value in the alphabet."""
    rank = np.empty(len(values), np.int32)
    rank[sorted(range(len(values)), key=values.__getitem__)] = np.arange(len(values), dtype=np.int32)
    return rank


def _all_pairs(left: list[str], right: list[str], kind, most: int | None = None) -> np.ndarray:
    """(L, R) edit distances; ``most`` + 1 for all that are greater than ``most``."""
    from rapidfuzz.distance import Levenshtein
    from rapidfuzz.process import cdist

    return cdist(left, right, scorer=Levenshtein.distance, dtype=kind, score_cutoff=most, workers=cores())


def _pairs(values: Sequence[str], left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """(P,) edit distances of values[left] and values[right]."""
    from rapidfuzz.distance import Levenshtein
    from rapidfuzz.process import cpdist

    values = np.asarray(values, object)
    return cpdist(values[left].tolist(), values[right].tolist(), scorer=Levenshtein.distance, dtype=np.int32,
                  workers=cores())
