"""Who speaks: by the file's name if it looks so, by a regular expression, by a table."""

from pathlib import Path

import pytest

from data.base.errors import UserError
from data.folder.__main__ import OFFICIAL_STYLE, by_regex, by_table


def files(*names):
    return [(name.split("/")[0], f"/r/{name}") for name in names]


def test_a_regular_expression_sees_the_path_within_the_word_folder():
    names = files("yes/anna/1.wav", "no/ben/1.wav", "no/7.wav")
    assert by_regex(names, r"^(\w+)/", Path("/r")) == ["anna", "ben", None]
    with pytest.raises(UserError, match="fits no file"):
        by_regex(names, "(zoe)", Path("/r"))
    official = files("yes/0a-7_c_nohash_0.wav", "no/x_nohash_nohash_1.wav", "no/1.wav")
    assert by_regex(official, OFFICIAL_STYLE, Path("/r"), must_fit=False) == ["0a-7_c", "x", None]


def test_a_table_names_paths_or_file_names(tmp_path):
    names, table = files("yes/1.wav", "no/1.wav", "no/2.wav", "no/3.wav"), tmp_path / "who.csv"

    def told(text):
        table.write_bytes(text.encode())
        return by_table(names, table, Path("/r"))

    assert told("\ufeffspeaker,file,age\r\nanna,yes/1.wav,3\r\nben,1.wav,4\r\n cem ,./no/2.wav,5\r\n,3.wav,\r\n") == [
        "anna", "ben", "cem", None]
    for text, complaint in (("file;speaker\n1.wav;a\n", "must name the columns file,speaker"), ("", "must name"),
                            ("file,speaker\n1.wav,a\n1.wav,b\n", "line 3: '1.wav' is by 'b' here and by 'a'"),
                            ("file,speaker\n1.wav\n", "line 2: lacks a column"),
                            ('file,speaker\n"1.wav,anna\n' + "x" * 200_000, "cannot be read as a CSV file"),
                            ("file,speaker\n1.wav,a\n", "no row for no/2.wav and 1 more")):
        with pytest.raises(UserError, match=complaint):
            told(text)
    with pytest.raises(UserError, match="cannot read this table of speakers"):
        by_table(names, tmp_path / "nowhere.csv", Path("/r"))


@pytest.mark.parametrize("form", ["/r/{word}/{n}.wav", "./{word}/{n}.wav", "{word}//{n}.wav"])
def test_a_table_may_write_paths_in_other_ways(tmp_path, form):
    table = tmp_path / "who.csv"
    rows = [form.format(word=word, n=n) + f",{word}{n}" for word in ("yes", "f\u00fcr") for n in (1, 2)]
    table.write_text("file, speaker\n" + "\n".join(rows))
    names = files("yes/1.wav", "yes/2.wav", "fu\u0308r/1.wav", "fu\u0308r/2.wav")  # as a Mac has it on its disk
    assert by_table(names, table, Path("/r")) == ["yes1", "yes2", "f\u00fcr1", "f\u00fcr2"]
