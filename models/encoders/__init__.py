"""Waveforms to embeddings."""

from models.encoders.load import load_encoder

__all__ = ["load_encoder"]
