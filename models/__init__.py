"""Everything from waveforms to a decision. Imports data; data never imports models."""
