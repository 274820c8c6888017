"""One spelling of a label, and twins are found."""

import unicodedata

import pytest

from data.base.labels import folded, has_controls, look_alike, one_form, one_spelling


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


def test_speakers_spelt_alike_are_one():
    composed, decomposed = "M\u00fcller", "Mu\u0308ller"
    assert one_spelling(["Anna", "anna", None, composed, decomposed, "ben"]) == (
        ["Anna", "Anna", None, decomposed, decomposed, "ben"], [["Anna", "anna"], [decomposed, composed]])
    assert one_spelling([None, "a", "b"]) == ([None, "a", "b"], [])


def test_one_folding_of_what_people_type():
    assert folded("Straße ") == folded("STRASSE") and folded("e\u0301t\u00e9") == folded("\u00c9te\u0301")
    assert folded("ice cream") == folded("Ice\u00a0Cream") != folded("icecreams")
    assert folded("don\u2019t") == folded("Don't") == folded("don\u02bct") != folded("dont")
