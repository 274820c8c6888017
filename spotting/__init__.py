"""What an encoder is for: enrol words from a few clips, find them in recordings and at the microphone, export.

The commands `enroll`, `find`, `listen`, `score`, `cohort` and `export` stand on top, with what only they share
(`command`); none imports another. Below them imports run one way: detection -> hits -> words -> encoders -> sound.
"""
