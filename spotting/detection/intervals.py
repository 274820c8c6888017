"""Intervals of shares and of rates: how much so few events, or so few hours, say.

`of_share` and `of_rate` are exact for independent events. But a threshold that is set on the same recordings depends on
them, and false alarms come in clusters: `over_recordings` draws whole recordings again, and sets the threshold again.
What is reported reaches as far as either. Recordings of one speaker count as independent, which they are not.
"""

from collections.abc import Sequence

import numpy as np

LOW, HIGH = (1 - 0.95) / 2, (1 + 0.95) / 2  # between which 95 % lie
RESAMPLES = 300
Interval = tuple[float, float]
Scored = tuple[np.ndarray, np.ndarray, np.ndarray, float]


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
