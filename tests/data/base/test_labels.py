"""One spelling of a label, twins named, and clips under two labels found."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest

from data.base.labels import folded, has_controls, look_alike, one_form, one_spelling
from data.manifests.doubts import two_labels, under_two_labels
from data.manifests.manifest import Manifest


@pytest.mark.parametrize("label", ["yes", "für", "Ångström", "はい", "two words", "ｆｕｌｌ", "ß"])
def test_forms_and_blanks_make_one_label(label):
    for form in ("NFC", "NFD"):
        for blanks in ("{}", " {}", "{}\t", "\u00a0{}\u3000"):
            assert one_form(blanks.format(unicodedata.normalize(form, label))) == label
    assert one_form(one_form(label)) == one_form(label)


@pytest.mark.parametrize(("labels", "named"), [
    (["alfa", "Alfa", "bravo"], "'alfa' and 'Alfa'"), (["left", "a b", "a  b"], "'a b' and 'a  b'"),
    (["straße", "STRASSE"], "'straße' and 'STRASSE'"), (["up", "u\u200bp"], "'up' and 'u\\u200bp'"),
    (["don't", "don\u2019t", "dont"], "\"don't\" and 'don\u2019t'"), (["A", "a", "Ａ"], "'A' and 'a' and 'Ａ'")])
def test_labels_that_look_alike_are_named(labels, named):
    (line,) = look_alike(labels)
    assert named in line and "bravo" not in line and "left" not in line


def test_control_characters():
    assert all(map(has_controls, ("a\x1b[2J", "a\nb", "a\tb", "\x7f", "\x9b31m")))
    assert not any(map(has_controls, ("yes", "a b", "はい", "é")))


def manifest(labels, files, clips):
    """A manifest of clips (file, offset, label)."""
    file, offset, label = zip(*clips, strict=True)
    return Manifest(Path("x.json"), labels, files, np.array(file), np.array(offset, float),
                    0.5 + 0.5 * (np.arange(len(clips)) % 2), np.array(label), np.full(len(clips), None))


def test_clips_under_two_labels_against_brute_force():
    rng = np.random.default_rng(2)
    some = 0
    for _ in range(200):
        manifests = []
        for _ in range(rng.integers(1, 4)):
            count = rng.integers(1, 8)
            labels, files = list(rng.permutation(["a", "b", "c"])), list(rng.permutation(["/x", "/y", "/z"]))
            manifests.append(manifest(labels, files, [(rng.integers(3), rng.integers(3), rng.integers(3))
                                                      for _ in range(count)]))
        clips = [(m, i, one[i]) for m, one in enumerate(manifests) for i in range(len(one))]
        expected = set()
        for m, i, clip in clips:
            n, j, first = next(c for c in clips if (c[2].path, c[2].offset) == (clip.path, clip.offset)
                               and round(100 * c[2].duration) == round(100 * clip.duration))
            if clip.label != first.label:
                expected.add((m, i, n, j))
        found = under_two_labels(manifests)
        assert len(found) == len(set(found))
        assert set(found) == expected
        assert bool(two_labels(manifests)) == bool(expected)
        some += bool(expected)
    assert 20 < some < 200
    assert under_two_labels([]) == []


def test_speakers_spelt_alike_are_one():
    composed, decomposed = "M\u00fcller", "Mu\u0308ller"
    assert one_spelling(["Anna", "anna", None, composed, decomposed, "ben"]) == (
        ["Anna", "Anna", None, decomposed, decomposed, "ben"], [["Anna", "anna"], [decomposed, composed]])
    assert one_spelling([None, "a", "b"]) == ([None, "a", "b"], [])


def test_one_folding_of_what_people_type():
    assert folded("Straße ") == folded("STRASSE") and folded("e\u0301t\u00e9") == folded("\u00c9te\u0301")
    assert folded("ice cream") == folded("Ice\u00a0Cream") != folded("icecreams")
    assert folded("don\u2019t") == folded("Don't") == folded("don\u02bct") != folded("dont")
