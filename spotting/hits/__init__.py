"""From sound to hits: windows are embedded and scored, peaks found, and what was found is written.

Imports words, encoders and sound; knows no more of thresholds than that each word has one.
"""
