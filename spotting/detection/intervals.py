"""Exact intervals of shares and of rates: how much so few events, or so few hours, say."""

LEVEL = 0.95


def of_share(events: int, trials: int, level: float = LEVEL) -> tuple[float, float]:
    """Clopper and Pearson's interval (1934) of a share, of which ``events`` of ``trials`` were seen; 0 to 1 of none."""
    from scipy.stats import beta

    tail = (1 - level) / 2
    low = beta.ppf(tail, events, trials - events + 1) if events else 0.0
    high = beta.ppf(1 - tail, events + 1, trials - events) if events < trials else 1.0
    return float(low), float(high)


def of_rate(events: int, hours: float, level: float = LEVEL) -> tuple[float, float]:
    """Garwood's interval (1936) of a Poisson rate an hour, of which ``events`` were seen in ``hours`` hours."""
    from scipy.stats import chi2

    tail = (1 - level) / 2
    low = chi2.ppf(tail, 2 * events) / 2 if events else 0.0
    return float(low) / hours, float(chi2.ppf(1 - tail, 2 * events + 2)) / 2 / hours


def allowed(fa_per_hour: float, hours: float) -> int:
    """How many false alarms so many hours may have at a rate: the whole number below, rounding errors aside."""
    return int(fa_per_hour * hours + 1e-9)
