"""How well a threshold tells wanted items from others: exact figures, from how many of each lie at each score."""

import numpy as np


def auroc(wanted: np.ndarray, others: np.ndarray) -> float:
    """The share of couples of a wanted item and another in which the wanted one comes first; a tie counts half.

    Args:
        wanted, others: (B,) counts, from the best score to the worst.
    """
    after = others.sum() - np.cumsum(others) + others / 2
    return float(wanted @ after / (wanted.sum() * others.sum()))


def equal_error(wanted: np.ndarray, others: np.ndarray) -> tuple[float, float]:
    """Where the share of others accepted equals the share of wanted items missed: that rate, and how many bins are
    accepted there.

    Between two neighbouring thresholds both errors are interpolated, as if items of equal score were drawn at random;
    the area under the same curve is `auroc`. Where the errors are equal in a range of thresholds, its middle is taken.
    """
    total = wanted.sum()
    missed = np.append(total, total - np.cumsum(wanted)) / total
    accepted = np.append(0, np.cumsum(others)) / others.sum()
    i = int(np.argmax(accepted >= missed))  # at the first, nothing is accepted and all is missed; at the last, not so
    before, after = missed[i - 1] - accepted[i - 1], accepted[i] - missed[i]
    part, equal = before / (before + after), np.flatnonzero(missed == accepted)
    return (float(accepted[i - 1] + part * (accepted[i] - accepted[i - 1])),
            float((equal[0] + equal[-1]) / 2 if len(equal) else i - 1 + part))
