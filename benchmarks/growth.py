"""How time and memory grow with the data: nearest words with the number of words, LibriWords with that of utterances.

Nearest words is exact, yet compares few of the pairs in full: twice the words should take less than four times as
long. Its memory should grow with the words, not the pairs; a table of 10,000 words' codes and what is held at a time
have a size of their own. Reading TextGrids should take time in proportion and hardly more memory. The last row of
each kind is the exponent e of the power law size ** e through the rows above it. "peak" of words is beyond what the
process held before; that of TextGrids is all that data.libriwords and its processes hold together.
"""

import shutil
import tempfile
from pathlib import Path

import numpy as np

from benchmarks import measure, memory, textgrids

ONSETS, VOWELS, CODAS = (letters.split() for letters in (
    "b bl br ch cl d dr f fl g gr h j k l m n p pl pr qu r s sh sl st str t th tr v w y z",
    "a ai e ea ee i ie o oa oo ou u", "b ck d ft g l lt m mp n nd ng nt p r rd s sh st t th x"))
CODAS += [""] * (len(CODAS) // 2)


def make_words(count: int) -> list[str]:
    """Distinct words of one to three syllables, easy ones to read."""
    rng, words = np.random.default_rng(0), {}
    while len(words) < count:
        words["".join(str(rng.choice(part)) for _ in range(rng.integers(1, 4))
                      for part in (ONSETS, VOWELS, CODAS))] = None
    return list(words)


def prepare_words(count: int, top: int, folder: Path):
    """Nearest words with nothing cached; a few words first, to load the libraries."""
    from data.phonetics import nearest_words

    words = make_words(count)
    nearest_words(words[:2], top, folder)
    return lambda: nearest_words(words, top, folder).shape


def of_words(count: int, top: int, repeats: int) -> tuple[measure.Timing, float]:
    used = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory(prefix="growth-") as folder:
            used.append(memory.in_own_process(prepare_words, count, top, Path(folder)))
    return measure.Timing([one.seconds for one in used]), max(one.extra for one in used)


def of_textgrids(count: int, repeats: int) -> tuple[measure.Timing, float]:
    folder = Path(tempfile.mkdtemp(prefix="growth-"))
    try:
        textgrids.generate(folder, count)
        runs = [textgrids.run(folder, "", f"out{n}") for n in range(repeats)]
    finally:
        shutil.rmtree(folder)
    return measure.Timing([seconds for seconds, _ in runs]), max(peak for _, peak in runs)


def table(what: str, found: dict[int, tuple[measure.Timing, float]]) -> list[dict[str, object]]:
    """A row for each size, and their exponents."""
    rows = [{"what": what, "size": size, "time": timing, "per second": size / timing.median, "peak MB": peak}
            for size, (timing, peak) in found.items()]
    if len(found) > 1:
        rows.append({"what": what, "size": "exponent",
                     "time": measure.exponent(list(found), [timing.median for timing, _ in found.values()])})
        if all(peak > 0 for _, peak in found.values()):
            rows[-1]["peak MB"] = measure.exponent(list(found), [peak for _, peak in found.values()])
    return rows


def main() -> None:
    parser = measure.parser("growth", __doc__, repeats=3)
    parser.add_argument("--words", type=int, nargs="*", default=[1_000, 10_000, 30_000], metavar="N",
                        help="words to find the nearest of; 100,000 take some minutes (default: 1000 10000 30000)")
    parser.add_argument("--top", type=int, default=20, help="nearest words of each (default: 20)")
    parser.add_argument("--textgrids", type=int, nargs="*", default=[1_000, 10_000, 100_000], metavar="N",
                        help="TextGrids to read, 13 kB each; 100,000 take about 10 minutes "
                             "(default: 1000 10000 100000)")
    parser.add_argument("--textgrid_repeats", type=int, default=1, metavar="N",
                        help="measurements of each number of TextGrids (default: 1)")
    args = parser.parse_args()
    if min([*args.words, 2]) < 2 or min(args.top, args.repeats, args.textgrid_repeats) < 1:
        parser.error("at least 2 words, 1 nearest word and 1 repeat")
    if min([*args.textgrids, textgrids.SPEAKERS]) < textgrids.SPEAKERS:
        parser.error(f"at least {textgrids.SPEAKERS} TextGrids, one for each speaker")
    rows = table("nearest words", {count: of_words(count, args.top, args.repeats) for count in args.words})
    rows += table("TextGrids", {count: of_textgrids(count, args.textgrid_repeats) for count in args.textgrids})
    measure.show("growth", rows, args, top=args.top)


if __name__ == "__main__":
    main()
