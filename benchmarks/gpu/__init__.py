"""Everything to be known of a GPU: `python -m benchmarks.gpu`."""
