"""Thresholds from recordings that do not have the words: so many false alarms an hour, and what that claim rests on.

Intervals say how much so few events, or so few hours, say: `of_share` and `of_rate` are exact for independent events.
But a threshold that is set on the same recordings depends on them, and false alarms come in clusters:
`over_recordings` draws whole recordings again, and sets the threshold again. What is reported reaches as far as either.
Recordings of one speaker count as independent, which they are not.
"""

from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from data.audio.decoding import SAMPLE_RATE
from data.base.errors import UserError
from models.enrolment.kept_cohort import Cohort
from spotting.encoders.gather import LEAST as LEAST_WINDOWS
from spotting.encoders.load import Embedder
from spotting.hits import beside, search
from spotting.sound.blocks import Sound
from spotting.sound.heard import Heard, Remarks
from spotting.words.words_file import Word, Words

ROOM = 0.01  # of a threshold above the score that would be one false alarm too many
TAIL = 0.03  # of a cohort's scores, those that the rest are reckoned from (figures: BENCHMARKS.md)
LEAST = 10  # scores for a line
MOST = 0.99  # of a threshold that no recording sets: an enrolled clip itself can pass
LOW, HIGH = (1 - 0.95) / 2, (1 + 0.95) / 2  # between which 95 % lie
STEADY = 0.025  # by which the mean over windows within 0.1 s is lower than the best alone (0.02 to 0.03 of 23 words)
RESAMPLES = 300
NO_COHORT = "no cohort is kept with this encoder; make one with python -m spotting.cohort"
Interval = tuple[float, float]
Scored = tuple[np.ndarray, np.ndarray, np.ndarray, float]


@dataclass
class Background:
    """All peaks of each word in recordings without it."""

    files: list[str]
    hours: float  # without stretches of silence, which cannot have a false alarm
    scores: list[np.ndarray]  # of each word (A,) float64, descending
    file: list[np.ndarray]  # of each word (A,), in which of ``files`` a peak is
    start: list[np.ndarray]  # and where, in seconds
    silent: float = 0.0  # hours
    file_hours: Sequence[float] = ()  # of each of ``files``


def hear(sounds: Iterable[tuple[str, Sound]], embedder: Embedder, words: Sequence[Word], hop: int, flag: str,
         say: Callable[[str], None], together: int = 1, remarks: Remarks | None = None) -> Background:
    """Search the recordings of ``flag``, which do not have the words, each with the name of its file; ``together``: see
    `search`. ``say`` gets a line on much silence. Raises UserError: a file that cannot be decoded, or nothing but
    silence in all of them."""
    peaks = [array("d") for _ in words]  # three numbers a peak: days of recordings have millions
    files, seconds, silent = [], [], 0.0
    for name, sound in tqdm(sounds, desc=flag.lstrip("-"), unit=" files", disable=None, leave=False):
        heard = Heard()
        for word, hit in search(sound, embedder, words, hop, heard, together=together):
            if hit.above > -np.inf:  # else another word's is better
                peaks[word].extend((hit.score, len(files), hit.start))
        files.append(name)
        seconds.append(heard.loud_seconds)
        silent += heard.seconds - heard.loud_seconds
        if remarks:
            remarks.add(name, heard)
    if not sum(seconds):
        raise UserError(f"{flag} {files[0]}: nothing above -60 dB of full scale, which tells nothing of false alarms")
    if silent >= 0.01 * sum(seconds):
        say(f"{silent / 3600:.2f} h of {flag} are silent (nothing above -60 dB of full scale), and do not count")
    tables = [np.array(found).reshape(-1, 3) for found in peaks]
    scores, file, start = zip(*(table[np.argsort(-table[:, 0], kind="stable")].T for table in tables), strict=True)
    return Background(files, sum(seconds) / 3600, scores, [i.astype(int) for i in file], start, silent / 3600,
                      [one / 3600 for one in seconds])


def lowest(scores: np.ndarray, count: int, room: float = 0.0) -> float:
    """The lowest threshold that at most ``count`` of the scores (A,), descending, reach: up to ``room`` above the score
    that would be one too many, where the next score is twice as far."""
    if count >= len(scores):
        return float(scores.min(initial=0.0))
    over = float(scores[count])
    above = scores[scores > over]
    threshold = over + min([room, *(above[-1:] - over) / 2, max(0.0, 1 - over) / 4])  # no similarity is above 1
    return max(threshold, float(np.nextafter(over, np.inf)))


def calibrate(words: Words, background: Background, fa_per_hour: float, cohort: Cohort | None = None,
              least: Sequence[float] | None = None) -> list[str]:
    """Set every word's threshold for a rate of false alarms an hour, and say what it rests on, line by line. ``least``
    are the thresholds by the cohort, below which a background that cannot show the rate sets none."""
    hours, count = background.hours, allowed(fa_per_hour, background.hours)
    lines, facts = [], {}
    least = [-np.inf] * len(words.words) if least is None or count else least
    for word, scores, other in zip(words.words, background.scores, least, strict=True):
        alone = float(np.ceil(1e6 * lowest(scores, count, ROOM)) / 1e6)  # as it is kept
        word.threshold, word.calibrated = max(alone, other), alone >= other
        by = "by the background" if word.calibrated else f"by the cohort (by the background alone {alone:.3f})"
        alarms = int((scores >= word.threshold).sum())
        low, high = of_rate(alarms, hours)
        passed, how_many = passing(word, cohort)
        facts[word.name] = {"decided_by": "background" if word.calibrated else "cohort",
                            "false_alarms": alarms, "per_hour_95": [round(low, 3), round(high, 3)],
                            "enrolled_clips": len(word.clips), "pass_left_out": passed}
        lines.append(f"{word.name}: threshold {word.threshold:.3f} {by}, {alarms} false alarms in {hours:.2f} h (95 %: "
                     f"{low:.2f} to {high:.2f} an hour); {how_many}")
    if count == 0:
        lines.append(f"--fa_per_hour {fa_per_hour:g} cannot be shown on {hours:.2f} h: no false alarm in them says at "
                     f"most {of_rate(0, hours)[1]:.1f} an hour (95 %); {1 / fa_per_hour:.3g} h and more of background "
                     "can show it" + "; until then no threshold is below the cohort's" * bool(np.isfinite(least).any()))
    words.calibration = {"background": background.files, "hours": round(hours, 4), "fa_per_hour": fa_per_hour,
                         "shown": count > 0, "words": facts}
    return lines


def passing(word: Word, cohort: Cohort | None) -> tuple[int | None, str]:
    """How many of a word's clips, each left out in turn, reach its threshold, and that in words; None of one clip."""
    own = word.left_out_scores(cohort)
    if np.isnan(own).any():
        return None, "with one clip, none can be left out to see whether it passes"
    passed = int((own - STEADY >= word.threshold).sum())
    return passed, f"{passed} of its {len(own)} clips pass, each left out in turn"


def by_cohort(words: Sequence[Word], embedder: Embedder, fa_per_hour: float, hop: int) -> None:
    """Set thresholds without a background, for a rate of false alarms an hour, by how alike each word and speech is.
    Raises UserError: the encoder has no cohort, or one with too few windows without these words.

    The threshold is the score that one window in so many as an hour has would reach by `tail` of the cohort's scores,
    less `STEADY` where scores are means over several windows, as those of the cohort are not. Of a word of several
    windows it is the mean of theirs, as if as many independent windows had to reach it as the word is windows long.
    """
    cohort, names, share = embedder.cohort, [word.name for word in words], fa_per_hour * hop / SAMPLE_RATE / 3600
    if cohort is None:
        raise UserError(NO_COHORT)
    if (left := len(cohort.without(names))) < LEAST_WINDOWS:
        raise UserError(f"the cohort has {left} windows without {', '.join(names)}, of {len(cohort.plain):,}, and "
                        f"thresholds need {LEAST_WINDOWS}; set them with --background, or keep another cohort")
    for word in words:
        share_of_each = share ** (1 / (1 + (word.windows - 1) * word.spacing / embedder.facts.heard_seconds))
        tails = [tail(np.sort(scores)[::-1], share_of_each) for scores in cohort.scores(word.models(), names)]
        word.threshold, word.calibrated = float(np.mean(tails)) - STEADY * bool(beside(hop)), False


def tail(scores: np.ndarray, share: float) -> float:
    """The score that a ``share`` of windows would reach, by the highest of (M,) scores, descending, and beyond.

    The highest `TAIL` of them give a line of log(1 - score) against the logarithm of the share that reaches a score:
    the share of a sphere within some distance of a point, here the word, is a power of that distance.
    """
    count = min(len(scores), max(LEAST, round(TAIL * len(scores))))
    reached = np.log((np.arange(count) + 0.5) / len(scores))
    slope, offset = np.polyfit(reached, np.log(np.maximum(1 - scores[:count], 1e-6)), 1)
    return min(MOST, float(1 - np.exp(offset + slope * np.log(share))))


def look_for_the_word(words: Words, background: Background, cohort: Cohort | None = None) -> list[str]:
    """What in the background sounds as much like a word as its own clips do, for the user to listen to."""
    lines = []
    for i, word in enumerate(words.words):
        own, scores = word.left_out_scores(cohort), background.scores[i]
        if like := int((scores >= np.quantile(own, 0.25) - 0.02 - STEADY).sum()):  # of one clip NaN, which none reaches
            file, start = background.files[background.file[i][0]], background.start[i][0]
            lines.append(f"warning: {like} stretches of the background are as much like {word.name!r} as its own "
                         f"clips, such as {file} at {start:.1f} s ({scores[0]:.2f}); if it is said there, cut it out")
    return lines


def of_share(events: float, trials: int) -> Interval:
    """Clopper and Pearson's interval (1934) of a share, of which ``events`` of ``trials`` were seen; 0 to 1 of none."""
    from scipy.stats import beta

    low = beta.ppf(LOW, events, trials - events + 1) if events else 0.0
    high = beta.ppf(HIGH, events + 1, trials - events) if events < trials else 1.0
    return float(low), float(high)


def of_rate(events: float, hours: float) -> Interval:
    """Garwood's interval (1936) of a Poisson rate an hour, of which ``events`` were seen in ``hours`` hours."""
    from scipy.stats import chi2

    low = chi2.ppf(LOW, 2 * events) / 2 if events else 0.0
    return float(low) / hours, float(chi2.ppf(HIGH, 2 * events + 2)) / 2 / hours


def over_recordings(draws: Sequence[Scored], hours: Sequence[float], rate: float | None) -> tuple[Interval, Interval]:
    """Of the share missed and of the false alarms an hour, means over draws of the enrolled clips: what 95 % of
    `RESAMPLES` choices of as many recordings, with replacement, give (the percentile bootstrap of Efron, 1979).

    Args:
        draws: of each, the scores of recordings of the word (N,), of false alarms (A,), descending, which recording
            each of these is in (A,), and the threshold.
        hours: (F,) of the recordings without the word.
        rate: that thresholds are chosen for, on each choice of these recordings anew; None keeps them.
    """
    rng, hours = np.random.default_rng(0), np.asarray(hours)
    missed, alarms = np.zeros(RESAMPLES), np.zeros(RESAMPLES)
    for i in range(RESAMPLES):
        times = np.bincount(rng.integers(len(hours), size=len(hours)), minlength=len(hours))
        chosen, total = rng.integers(len(draws[0][0]), size=len(draws[0][0])), max(times @ hours, 1e-9)
        for best, scores, file, threshold in draws:
            reached = np.cumsum(times[file])
            alarms[i] += times[file[scores >= threshold]].sum() / total / len(draws)
            if rate is not None:
                over = int(np.searchsorted(reached, allowed(rate, total), "right"))  # the first that is too many
                threshold = np.nextafter(scores[over], np.inf) if over < len(scores) else scores.min(initial=0.0)
            missed[i] += (best[chosen] < threshold).mean() / len(draws)
    return tuple(tuple(map(float, np.quantile(values, [LOW, HIGH]))) for values in (missed, alarms))


def wider(one: Interval, other: Interval) -> Interval:
    """From the lower beginning to the higher end."""
    return min(one[0], other[0]), max(one[1], other[1])


def allowed(fa_per_hour: float, hours: float) -> int:
    """How many false alarms so many hours may have at a rate: the whole number below, rounding errors aside."""
    return int(fa_per_hour * hours + 1e-9)
