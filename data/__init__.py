"""Everything up to a batch of waveforms: manifests, audio, sampling, augmentation. Imports nothing from models."""
