"""Enrolled words: from recordings of them, and as a file.

Imports `spotting.encoders`, and nothing that stands above it: detection, hits.
"""
