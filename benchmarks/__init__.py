"""What the figures in BENCHMARKS.md were measured with: ``python -m benchmarks.<name>``, one table each."""
