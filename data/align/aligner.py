"""One utterance and its transcript to word times, by pocketsphinx."""

import math
import re
import sys
from dataclasses import dataclass
from functools import lru_cache

from data.base.errors import UserError

# Phone and word beam: pocketsphinx's own, then a wider one that found 3 of 4 utterances lost by it in noise of 15 dB.
# Wider still loses clean ones.
_BEAMS = ((1e-48, 7e-29), (1e-80, 1e-60))
_RATE = 100  # frames a second
_LEAST = sys.float_info.min
_PLAIN = str.maketrans(dict.fromkeys("\u2018\u2019\u02bc`\u00b4", "'") | dict.fromkeys("-\u2010\u2011\u2012\u2013\u2014"
                                                                                  "\u2026/", " ")
                       | dict.fromkeys("_*", ""))  # emphasis
_WORD = re.compile(r"(\W*)(\w.*\w|\w)(\W*)")


class AlignmentError(Exception):
    """An utterance that cannot be aligned: a kind to count by, and the detail."""


@dataclass(frozen=True)
class Aligned:
    """A word where the aligner found it: seconds, and the mean over its frames of the log likelihood of its sounds.

    Attributes:
        score: 0 or less; held against the best of all the acoustic model's sounds in each frame where `align_scored`
            computed them all, and NaN where it did not.
        phones: how many its pronunciation has.
        guessed: its pronunciation is not the dictionary's.
    """

    word: str
    start: float
    end: float
    score: float
    phones: int
    guessed: bool


def align(samples, words: list[str]) -> list[tuple[str, float, float]]:
    """Force-align one utterance.

    The same whatever was aligned before: the decoder's running means start anew.

    Args:
        samples: (T,) int16 at 16 kHz.
        words: its transcript, lower case.

    Returns:
        (word, start, end) of every word, seconds.

    Raises:
        AlignmentError: a word that cannot be pronounced, or no alignment found.
    """
    return [(a.word, a.start, a.end) for a in _align(samples, words, False)]


def align_scored(samples, words: list[str]) -> list[Aligned]:
    """As `align`, with scores; four times as slow, for all the sounds that might have been said are scored as well."""
    return _align(samples, words, True)


def _align(samples, words: list[str], scored: bool) -> list[Aligned]:
    if not words:
        raise AlignmentError("empty transcript", "")
    for beams in _BEAMS:
        decoder = _decoder(*beams, scored)
        guessed = _add_words(decoder, words)
        try:
            decoder.reinit_feat()
            decoder.set_align_text(" ".join(words))
            decoder.start_utt()
            decoder.process_raw(samples.tobytes(), full_utt=True)
            decoder.end_utt()
            found = [(s.word, s.start_frame, s.end_frame + 1, s.ascore)
                     for s in decoder.seg() or () if s.word[0] not in "<[("]  # those are silence and noise
        except (RuntimeError, IndexError):
            _decoder.cache_clear()  # it is left in the middle of an utterance
            continue
        # The last frame may be cut short. A likelihood is too small for a float after 1.3 s or so: at most that much.
        found = [Aligned(plain := re.sub(r"\(\d+\)$", "", word), a / _RATE, min(b / _RATE, len(samples) / 16_000),
                         math.log(max(score, _LEAST)) / (b - a) if scored else math.nan,
                         len(decoder.lookup_word(word).split()), plain in guessed) for word, a, b, score in found]
        if [a.word for a in found] == words and all(a.start < a.end for a in found):
            return found
    raise AlignmentError("no alignment found", f"{len(words)} words in {len(samples) / 16_000:.2f} s of audio")


@lru_cache(2 * len(_BEAMS))
def _decoder(beam: float, word_beam: float, scored: bool = False):
    from pocketsphinx import Decoder

    return Decoder(lm=None, cmn="batch", loglevel="FATAL", beam=beam, pbeam=beam, wbeam=word_beam, compallsen=scored)


def _add_words(decoder, words: list[str]) -> set[str]:
    """Teach the decoder the words that it does not know; those of them that the dictionary lacks."""
    from data.align.lettersounds import pronounce

    for word in words:
        if decoder.lookup_word(word) is None:
            phones = pronounce(word, lambda known: _looked_up(decoder, known))
            if phones is None:
                raise AlignmentError("word that cannot be pronounced", repr(word))
            decoder.add_word(word, phones, False)
    return {word for word in words if word not in _dictionary()}


def _looked_up(decoder, word: str) -> str | None:
    """A word's phones in the dictionary; none of a word taught before, for what is derived from it would hang on that.
    """
    return decoder.lookup_word(word) if word in _dictionary() else None


def words_of(transcript: str) -> list[str]:
    """The words of a transcript, lower case, without its punctuation: "Well-known," she said. -> well known she said.

    An apostrophe beside a letter stays, unless one on the other side makes them quotes. What else is within a word
    stays, too, and `align` says that it cannot be pronounced.
    """
    words = []
    for token in transcript.lower().translate(_PLAIN).split():
        if match := _WORD.fullmatch(token):
            before, word, after = match.groups()
            quoted = "'" in before and "'" in after
            words.append(word if quoted else "'" * before.endswith("'") + word + "'" * after.startswith("'"))
    return words


def align_task(task: list[tuple[str, str, str]]) -> tuple[float, list[tuple[str, str, str]], list[tuple[str, str]]]:
    """Align (audio, transcript, TextGrid) triples.

    Returns:
        seconds of speech aligned; (kind, audio, detail) of what was not; (word, phones) of words not in the dictionary.
    """
    from data.align.lettersounds import pronounce
    from data.audio import decode
    from data.sources.textgrids import write_words

    seconds, problems, new = 0.0, [], set()
    for audio, transcript, grid in task:
        words = words_of(transcript)
        try:
            samples = decode(audio)
            aligned = align(samples, words)
        except AlignmentError as error:
            problems.append((error.args[0], audio, error.args[1]))
            continue
        except UserError as error:
            problems.append(("audio cannot be used", audio, str(error)))
            continue
        write_words(grid, aligned, len(samples) / 16_000)
        seconds += len(samples) / 16_000
        new.update(word for word in words if word not in _dictionary())
    decoder = _decoder(*_BEAMS[0])
    return seconds, problems, [(word, pronounce(word, lambda known: _looked_up(decoder, known)))
                               for word in sorted(new)]


@lru_cache(1)
def _dictionary() -> frozenset[str]:
    from pocketsphinx import get_model_path

    with open(get_model_path("en-us/cmudict-en-us.dict"), encoding="utf-8") as lines:
        return frozenset(line.split(maxsplit=1)[0] for line in lines if line.strip())
