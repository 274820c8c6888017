"""What an encoder is for: enrol words from a few clips, find them in recordings and at the microphone, export.

The commands `enroll`, `find`, `listen`, `score`, `cohort` and `export` stand on top, with what only they share
(`command`, `stream`); none imports another. Below them imports run one way: detection -> hits -> words -> encoders ->
sound. A program of your own imports `load_words` from here.
"""


def __getattr__(name: str):
    """`spotting.stream.load_words`, imported when it is asked for: the commands' --help answers at once."""
    if name == "load_words":
        from spotting.stream import load_words

        return load_words
    raise AttributeError(f"module 'spotting' has no attribute {name!r}")
