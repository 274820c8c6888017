"""Who speaks: by the file's name if it looks so, by a regular expression, by a table."""

from pathlib import Path

import pytest

from data.base.errors import UserError
from data.folder.speaker_of_file import OFFICIAL_STYLE, by_likely_style, by_regex, by_table


def files(*names):
    return [(name.split("/")[0], f"/r/{name}") for name in names]


def test_official_names_are_taken_at_their_word():
    found, how = by_likely_style(files("yes/0a-7_c_nohash_0.wav", "no/b_nohash_12.wav", "no/x_nohash_nohash_1.wav"))
    assert found == ["0a-7_c", "b", "x"]
    assert OFFICIAL_STYLE in how


def test_prefixes_count_as_speakers_only_if_they_look_so():
    people = [f"{word}/{who}_{n}.wav" for word in ("yes", "no") for who in ("anna", "ben", "cem") for n in (1, 2)]
    assert by_likely_style(files(*people))[0] == 2 * ["anna", "anna", "ben", "ben", "cem", "cem"]
    assert by_likely_style(files(*people, "no/oddone.wav"))[0][-1] is None  # nine of ten fit
    for unlikely in (["yes/yes_1.wav", "yes/yes_2.wav", "no/no_1.wav", "no/no_2.wav", "on/on_1.wav", "on/on_2.wav"],
                     [f"{word}/rec_{n}.wav" for word in ("yes", "no") for n in range(9)],  # one device
                     [f"{word}/{word}{n % 3}_{n}.wav" for word in ("yes", "no") for n in range(9)],  # each in one word
                     [f"{word}/{word}{n}-x.wav" for word in ("yes", "no") for n in range(9)],
                     [f"{word}/{n}.wav" for word in ("yes", "no") for n in range(9)],
                     people + [f"yes/x{n}.wav" for n in range(9)]):
        found, how = by_likely_style(files(*unlikely))
        assert set(found) == {None} and how == "", unlikely


def test_a_regular_expression_sees_the_path_within_the_word_folder():
    names = files("yes/anna/1.wav", "no/ben/1.wav", "no/7.wav")
    assert by_regex(names, r"^(\w+)/", Path("/r")) == ["anna", "ben", None]
    for pattern, complaint in (("(", "not a regular expression"), ("anna", "no group"), ("(zoe)", "fits no file")):
        with pytest.raises(UserError, match=complaint):
            by_regex(names, pattern, Path("/r"))


def test_a_table_names_paths_or_file_names(tmp_path):
    names, table = files("yes/1.wav", "no/1.wav", "no/2.wav", "no/3.wav"), tmp_path / "who.csv"

    def told(text):
        table.write_bytes(text.encode())
        return by_table(names, table, Path("/r"))

    assert told("\ufeffspeaker,file,age\r\nanna,yes/1.wav,3\r\nben,1.wav,4\r\n cem ,./no/2.wav,5\r\n,3.wav,\r\n") == [
        "anna", "ben", "cem", None]
    for text, complaint in (("file;speaker\n1.wav;a\n", "must name the columns file,speaker"), ("", "must name"),
                            ("file,speaker\n1.wav,a\n1.wav,b\n", "line 3: '1.wav' is by 'b' here and by 'a'"),
                            ("file,speaker\n1.wav,a\n", "no row for 'no/2.wav' and 1 more")):
        with pytest.raises(UserError, match=complaint):
            told(text)
    with pytest.raises(UserError, match="cannot read this table of speakers"):
        by_table(names, tmp_path / "nowhere.csv", Path("/r"))





@pytest.mark.parametrize(("form", "what"), [
    ("202{day}-03-01_{take}.wav", "a date"), ("2021030{day}_{take}.wav", "a date"),
    ("0{day}-03-2021-{take}.wav", "a date"), ("0{day}.03.2021_{take}.wav", "a date"),
    ("2021030{day}T120{take}00_x.wav", "a date"), ("21030{day}_{take}.wav", "a date"),
    ("take{day}_{take}.wav", "a kind of recording"), ("rec 0{day}-{take}.wav", "a kind of recording"),
    ("0{day}_once.wav", "the number of a take"), ("{day}-once.wav", "the number of a take")])
def test_dates_and_takes_are_no_speakers(form, what):
    recordings = sorted({f"{word}/{form.format(day=day, take=take)}" for word in ("yes", "no", "on")
                         for day in range(1, 7) for take in range(2)})
    found, why = by_likely_style(files(*recordings))
    assert set(found) == {None}
    assert f"looks like {what}" in why and "--speaker_regex" in why


def test_numbers_of_speakers_are_speakers():
    for form in ("s{s:02d}_{take}.wav", "{s:02d}_{take}.wav", "10{s}7-{take}.wav", "p22{s}_once.wav", "m{s}-once.wav"):
        recordings = sorted({f"{word}/{form.format(s=s, take=take)}" for word in ("yes", "no") for s in range(1, 6)
                             for take in range(3)})
        found, how = by_likely_style(files(*recordings))
        assert len(set(found)) == 5 and None not in found, form
        assert "from file names" in how


@pytest.mark.parametrize("form", ["/r/{word}/{n}.wav", "./{word}/{n}.wav", "{word}\\{n}.wav", "{word}//{n}.wav",
                                  "r/{word}/{n}.wav"])
def test_a_table_may_write_paths_in_other_ways(tmp_path, form):
    table = tmp_path / "who.csv"
    rows = [form.format(word=word, n=n) + f",{word}{n}" for word in ("yes", "f\u00fcr") for n in (1, 2)]
    table.write_text("File , Speaker\n" + "\n".join(rows))
    names = files("yes/1.wav", "yes/2.wav", "fu\u0308r/1.wav", "fu\u0308r/2.wav")  # as a Mac has it on its disk
    assert by_table(names, table, Path("/r")) == ["yes1", "yes2", "f\u00fcr1", "f\u00fcr2"]


def test_tables_that_are_none(tmp_path):
    table = tmp_path / "who.csv"
    for data, complaint in (("file,speaker\n1.wav,anna".encode("utf-16"), "not a text file in UTF-8"),
                            (b"path,client_id\n1.wav,anna\n", "must name the columns file,speaker .* 'path,client_id'"),
                            (b"file,speaker\n1.wav\n", "line 2: has 1 of the 2 columns"),
                            (b'file,speaker\n"1.wav,anna\n' + b"x" * 200_000, "cannot be read as a CSV file")):
        table.write_bytes(data)
        with pytest.raises(UserError, match=complaint):
            by_table(files("yes/1.wav"), table, Path("/r"))
    with pytest.raises(UserError, match="it is a folder"):
        by_table(files("yes/1.wav"), tmp_path, Path("/r"))


def test_a_regular_expression_sees_folders_joined_into_one_word():
    names = [("yes", "/r/yes /anna/1.wav"), ("yes", "/r/yes/ben/1.wav")]
    assert by_regex(names, r"^(\w+)/", Path("/r")) == ["anna", "ben"]
