"""Figures at scale, on generated input. Each prints what it measured; `python -m benchmarks.<name> --help`."""
