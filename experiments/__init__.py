"""The paper's comparisons, run by the scripts themselves: `python -m experiments.compare`."""
