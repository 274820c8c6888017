"""Thresholds from recordings that do not have the words: so many false alarms an hour, and what that claim rests on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from data.base.errors import UserError
from spotting.encoders import Embedder
from spotting.intervals import allowed, of_rate
from spotting.match import hit_of
from spotting.search import Heard, search
from spotting.sound import open_file
from spotting.words import Words


@dataclass(frozen=True)
class Alarm:
    """A peak where the word was not said: its score, and where in which file."""

    score: float
    file: str
    start: float


@dataclass
class Background:
    """All peaks of each word in recordings without it.

    Attributes:
        hours: what was heard.
        alarms: by word, the highest score first.
    """

    files: list[str]
    hours: float
    alarms: dict[str, list[Alarm]]

    def scores(self, word: str) -> np.ndarray:
        """(A,) float64, descending."""
        return np.array([alarm.score for alarm in self.alarms[word]])


def hear(files: Sequence[str], embedder: Embedder, words: Words, hop: int, warn: Callable[[str], None],
         title: str) -> Background:
    """Search recordings that do not have the words.

    Raises:
        UserError: a file that cannot be decoded, or nothing but silence in all of them.
    """
    from tqdm import tqdm

    alarms: dict[str, list[Alarm]] = {name: [] for name in words.names}
    seconds, any_sound = 0.0, False
    for file in tqdm(files, desc=title, unit=" files", disable=None, leave=False):
        heard = Heard()
        for peak in search(open_file(file, warn), embedder, words, hop, heard):
            word = words.words[peak.word]
            alarms[word.name].append(Alarm(peak.score, file, hit_of(peak, word, hop).start))
        seconds, any_sound = seconds + heard.seconds, any_sound or heard.any_sound
    if not any_sound:
        raise UserError(f"{', '.join(files[:3])}: silent to the bit; a background without sound sets no threshold")
    for found in alarms.values():
        found.sort(key=lambda alarm: -alarm.score)
    return Background(list(files), seconds / 3600, alarms)


def lowest(scores: np.ndarray, count: int) -> float:
    """The lowest threshold that at most ``count`` of the scores (descending) reach.

    It lies halfway to the next score that would be one too many, where scores leave room, but no more than 0.01 above
    that one; with six decimals, as a words file keeps it.
    """
    if count >= len(scores):
        return float(np.floor(1e6 * scores.min(initial=0.0)) / 1e6)
    over = float(scores[count])
    above = scores[scores > over]
    room = min(0.01, (float(above.min()) - over) / 2 if len(above) else 0.01)
    threshold = round(over + room, 6)
    return threshold if threshold > over else float(np.nextafter(np.float64(over), np.inf))


def calibrate(words: Words, background: Background, fa_per_hour: float) -> list[str]:
    """Set every word's threshold for a rate of false alarms an hour, and say what it rests on, line by line."""
    hours, count = background.hours, allowed(fa_per_hour, background.hours)
    lines, facts = [], {}
    for word in words.words:
        scores = background.scores(word.name)
        word.threshold, word.calibrated = lowest(scores, count), True
        alarms = int((scores >= word.threshold).sum())
        low, high = of_rate(alarms, hours)
        own = word.left_out_scores()
        passed = None if np.isnan(own).any() else int((own >= word.threshold).sum())
        facts[word.name] = {"false_alarms": alarms, "per_hour_95": [round(low, 3), round(high, 3)],
                            "enrolled_clips": len(own), "pass_left_out": passed}
        lines.append(f"{word.name}: threshold {word.threshold:.3f}, {alarms} false alarms in {hours:.2f} h (95 %: "
                     f"{low:.2f} to {high:.2f} an hour); "
                     + (f"{passed} of its {len(own)} clips pass, each left out in turn" if passed is not None else
                        "with one clip, none can be left out to see whether it passes"))
    if count == 0:
        lines.append(f"--fa_per_hour {fa_per_hour:g} cannot be shown on {hours:.2f} h: the thresholds allow no false "
                     f"alarm in them, which says at most {of_rate(0, hours)[1]:.1f} an hour (95 %); "
                     f"{1 / fa_per_hour:.3g} h and more of background can show it")
    words.calibration = {"background": background.files, "hours": round(hours, 4), "fa_per_hour": fa_per_hour,
                         "shown": count > 0, "words": facts}
    return lines


def look_for_the_word(words: Words, background: Background) -> list[str]:
    """What in the background sounds as much like a word as its own clips do, for the user to listen to."""
    lines = []
    for word in words.words:
        own = word.left_out_scores()
        like = [] if np.isnan(own).any() else \
            [alarm for alarm in background.alarms[word.name] if alarm.score >= np.median(own)]
        if like:
            lines.append(f"warning: {len(like)} stretches of the background are as much like {word.name!r} as its own "
                         f"clips, such as {like[0].file} at {like[0].start:.1f} s ({like[0].score:.2f}); if it is "
                         "said there, cut it out, for it raises the threshold; if not, this encoder cannot tell it "
                         "apart")
    return lines
