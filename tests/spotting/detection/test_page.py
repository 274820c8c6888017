"""The page of spotting.score: its figures are the printed ones, and its sound is what was heard."""

import json
import re
import shutil

import numpy as np
import pytest

from spotting.sound.blocks import open_file
from spotting.words.words_file import read_words
from tests.pages import Read, sound_of
from tests.sounds import record
from tests.spotting.test_score import score


@pytest.fixture
def strict(words_file, tmp_path):
    """The words with thresholds at which some recordings are missed, and some of the background is a false alarm."""
    words = json.loads(words_file.read_text())
    words["words"]["bed"]["threshold"], words["words"]["cat"]["threshold"] = 0.999, 0.05
    path = tmp_path / "w.json"
    path.write_text(json.dumps(words))
    return path


def tables(page):
    """Of the printed table's rows and of the matrix."""
    return page.tables[0], {row[0]: [int(cell or 0) for cell in row[1:]] for row in page.tables[1][1:]}


def test_figures_mistakes_and_sound_are_those_of_the_test(run, strict, spotter, tmp_path):
    done = score(run, strict, spotter, "--rates", "200", "0.5", "--html", tmp_path / "a.html")
    assert done.code == 0
    page = Read((tmp_path / "a.html").read_text())
    printed = done.out.splitlines()
    assert printed[0] in page.text
    table, matrix = tables(page)
    assert [" ".join(row).split() for row in table] == [line.split() for line in printed[1:11]]
    alarms = int(next(row for row in table if row[:2] == ["cat", "enrolled"])[3])
    assert alarms > 0 and matrix == {"bed": [0, 4, 0], "cat": [4, 0, alarms]}
    data = page.data
    assert len(data["mistakes"]) == 4 + alarms and f"all {4 + alarms} mistakes" in done.out
    words = {word.name: word for word in read_words(strict).words}
    for mistake in data["mistakes"]:
        assert (mistake["row"], mistake["column"]) in ((0, 1), (1, 2))
        file, heard = mistake["clip"]["lines"]
        start, seconds = map(float, re.search(r"played from ([\d.]+) s, ([\d.]+) s", heard).groups())
        samples, kind = sound_of(data["sounds"][mistake["clip"]["sound"]])
        assert kind == "audio/flac" and len(samples) == pytest.approx(seconds * 16_000, abs=80)
        whole = np.concatenate(list(open_file(file, pytest.fail).blocks))
        at = next(at for at in range(max(0, round((start - 0.006) * 16_000)), round((start + 0.006) * 16_000) + 1)
                  if np.array_equal(whole[at:at + 400], samples[:400]))
        assert np.array_equal(whole[at:at + len(samples)], samples)
        assert ("said" if mistake["column"] == 1 else "background") in file
        assert len(samples) == len(whole) or mistake["column"] == 2  # a missed recording is played whole
        value, threshold, similar = (one[0] for one in mistake["values"])
        assert (value < threshold) == (mistake["column"] == 1)
        # The enrolled clip beside it is one of the word's, as it was enrolled.
        nearest, word = mistake["nearest"], words[data["rows"][str(mistake["row"])]]
        assert nearest["label"] == word.name and nearest["lines"][0] in {clip.file for clip in word.clips}
        assert len(sound_of(data["sounds"][nearest["sound"]])[0]) == 16_000 and -1 <= similar <= 1.001
    assert "set the thresholds" in page.text  # the background was tested again
    assert next(row for row in page.tables[-1] if row[0] == "command")[1].startswith(
        f"python -m spotting.score {strict} ")


def test_enrolled_clips_that_are_gone_or_others_now_are_not_played(run, strict, spotter, tmp_path):
    words, moved = json.loads(strict.read_text()), tmp_path / "moved"
    shutil.copytree(spotter.clips, moved)
    for word in words["words"].values():
        for clip in word["clips"]:
            clip["file"] = clip["file"].replace(str(spotter.clips), str(moved))
    strict.write_text(json.dumps(words))
    shutil.rmtree(moved / "bed")
    for path in (moved / "cat").iterdir():
        shutil.copy(spotter.said / "cat" / "0.wav", path)
    assert score(run, strict, spotter, "--html", tmp_path / "a.html").code == 0
    for mistake in Read((tmp_path / "a.html").read_text()).data["mistakes"]:
        nearest = mistake["nearest"]
        assert nearest["sound"] is None and "cannot be heard" in nearest["why"]
        assert ("no such audio file" if mistake["row"] == 0 else "has changed since it was enrolled") in nearest["why"]


def test_noise_is_heard_on_the_page_as_it_was_in_the_test(run, strict, spotter, tmp_path):
    record(tmp_path / "noise" / "hiss.wav", 0.1 * np.random.default_rng(0).standard_normal(30_000))
    assert score(run, strict, spotter, "--noise", tmp_path / "noise", "--snr", "0", "--html",
                 tmp_path / "a.html").code == 0
    data = Read((tmp_path / "a.html").read_text()).data
    missed = [m for m in data["mistakes"] if m["column"] == 1]
    assert len(missed) == 4
    for mistake in missed:
        loud = sound_of(data["sounds"][mistake["clip"]["sound"]])[0].astype(float)
        quiet = np.concatenate(list(open_file(mistake["clip"]["lines"][0], pytest.fail).blocks)).astype(float)
        assert (loud - quiet[:len(loud)]).std() > 3 * quiet[:3000].std()


def test_of_several_draws_the_first_has_the_mistakes(run, spotter, tmp_path):
    done = score(run, None, spotter, "--enroll_from", spotter.clips, "--shots", "3", "--draws", "2", "--rates", "0.5",
                 *spotter.flags, "--html", tmp_path / "a.html")
    assert done.code == 0
    page = Read((tmp_path / "a.html").read_text())
    table, matrix = tables(page)
    assert [" ".join(row).split() for row in table] == [line.split() for line in done.out.splitlines()[1:5]]
    assert "the first of 2 draws at each word's lowest threshold that has no false alarm" in page.text
    assert all(row[0] + row[1] == 4 and row[2] == 0 for row in matrix.values())
