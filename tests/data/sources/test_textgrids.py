"""The reader against the textgrid package, on files as they come and as they should not."""

import random
from itertools import pairwise

import pytest
import textgrid

from data.sources.textgrids import TextGridError, read_word_tier, write_words


def grid_text(words, phones=(), short=False, indent="    ", end=None):
    """A TextGrid in long or short format from (text, start, end) intervals."""
    end = end if end is not None else max(b for *_, b in words)
    tiers = [("words", words)] + ([("phones", phones)] if phones else [])
    if short:
        lines = ['File type = "ooTextFile short"', '"TextGrid"', "", "0", f"{end}", "<exists>", f"{len(tiers)}"]
        for name, tier in tiers:
            lines += ['"IntervalTier"', f'"{name}"', "0", f"{end}", f"{len(tier)}"]
            for text, a, b in tier:
                lines += [f"{a}", f"{b}", '"' + text.replace('"', '""') + '"']
        return "\n".join(lines) + "\n"
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0 ", f"xmax = {end} ",
             "tiers? <exists> ", f"size = {len(tiers)} ", "item []: "]
    for number, (name, tier) in enumerate(tiers, 1):
        lines += [f"{indent}item [{number}]:", f'{indent * 2}class = "IntervalTier" ', f'{indent * 2}name = "{name}" ',
                  f"{indent * 2}xmin = 0 ", f"{indent * 2}xmax = {end} ",
                  f"{indent * 2}intervals: size = {len(tier)} "]
        for i, (text, a, b) in enumerate(tier, 1):
            text = text.replace('"', '""')
            lines += [f"{indent * 2}intervals [{i}]:", f"{indent * 3}xmin = {a} ", f"{indent * 3}xmax = {b} ",
                      f'{indent * 3}text = "{text}" ']
    return "\n".join(lines) + "\n"


WORDS = [("", 0, 0.5), ("the", 0.5, 0.62), ("cat's", 0.62, 1.25), ("sp", 1.25, 1.5), ("said", 1.5, 2)]
PHONES = [("sil", 0, 0.5), ("DH", 0.5, 0.56), ("AH0", 0.56, 2)]


def kind(path):
    with pytest.raises(TextGridError) as error:
        read_word_tier(path)
    return error.value.kind


def test_random_files_read_as_the_package_reads_them(tmp_path):
    rng = random.Random(0)
    path = tmp_path / "a.TextGrid"
    marks = ["", "the", "o'clock", "<unk>", 'say ""', "naïve", "a\nline", "item [3]:", "intervals [9]", "x = 3", "  "]
    for trial in range(60):
        cuts = sorted({round(rng.uniform(0, 30), rng.choice([1, 2, 4])) for _ in range(rng.randint(2, 60))} | {0.0})
        words = [(rng.choice(marks), a, b) for a, b in pairwise(cuts) if rng.random() < 0.95]
        words = words or [("a", 0.0, 1.0)]
        phones = words[::2] if trial % 2 else ()
        path.write_text(grid_text(words, phones, indent=rng.choice(["    ", "\t", ""]), end=30.0), encoding="utf-8")
        tier = read_word_tier(path)
        oracle = textgrid.TextGrid.fromFile(str(path)).getFirst("words")
        marks_found, *times = zip(*tier.intervals, strict=True)
        assert list(marks_found) == [i.mark for i in oracle] and tier.xmax == 30.0
        for found, expected in zip(times, ("minTime", "maxTime"), strict=True):
            assert found == pytest.approx([getattr(i, expected) for i in oracle], abs=1e-5)


@pytest.mark.parametrize(("encoding", "short"), [("utf-16", False), ("utf-16", True), ("utf-8", True),
                                                 ("utf-8-sig", True), ("utf-8-sig", False)])
def test_another_format_or_encoding_gives_the_same_words(tmp_path, encoding, short):
    usual, odd = tmp_path / "a.TextGrid", tmp_path / "b.TextGrid"
    usual.write_text(grid_text(WORDS, PHONES))
    odd.write_text(grid_text(WORDS, PHONES, short=short), encoding=encoding)
    assert read_word_tier(odd) == read_word_tier(usual) and not read_word_tier(odd).odd
    assert list(read_word_tier(odd).words()) == [("the", 0.5, 0.62), ("cat's", 0.62, 1.25), ("said", 1.5, 2.0)]


@pytest.mark.parametrize("phones", [(), PHONES])
def test_a_file_cut_anywhere_is_never_taken_for_a_whole_one(tmp_path, phones):
    path = tmp_path / "a.TextGrid"
    text = grid_text(WORDS, phones).rstrip()
    for length in range(len(text)):
        path.write_text(text[:length])
        assert kind(path) in ("empty", "broken")


@pytest.mark.parametrize(("content", "expected"), [
    (b"", "empty"), (b" \n\n", "empty"), (b"RIFF\0\0\xff\xfe", "encoding"), (b"hello\n", "broken"),
    (grid_text([("caf\xe9", 0, 1)]).encode("latin-1"), "encoding"),
    (grid_text(WORDS).replace('"words"', '"utterance"').encode(), "no words tier"),
    (grid_text([("a", 0.5, 1), ("b", 0, 0.5)], end=1).encode(), "out of order"),
    (grid_text([("a", 0, 0.6), ("b", 0.5, 1)]).encode(), "out of order"),
    (grid_text([("a", 0.7, 0.2), ("b", 0.7, 1)]).encode(), "out of order"),
    (grid_text([("a", 0, 0.5), ("b", 0.5, 3)], end=1).encode(), "past the end"),
    (grid_text(WORDS, end=3).replace("intervals: size = 5", "intervals: size = 6").encode(), "broken"),
    (grid_text([("a", 0, 0.51), ("b", 0.5, 1)]).encode(), "out of order"),
    (grid_text([("a", 0, 0.5), ("b", 0.5, 1.03)], end=1).encode(), "past the end"),
    (b"ooBinaryFile\x08TextGrid\0\0", "broken"),
    (grid_text(WORDS, PHONES).replace('"words"', '"anna - words"').replace('"phones"', '"ben - words"').encode(),
     "several words tiers"),
])
def test_what_is_wrong_is_named(tmp_path, content, expected):
    path = tmp_path / "a.TextGrid"
    assert kind(path) == kind(tmp_path) == "unreadable"  # not there, or a folder
    path.write_bytes(content)
    assert kind(path) == expected


@pytest.mark.parametrize("short", [False, True])
@pytest.mark.parametrize(("phones", "stated", "words"), [
    ((), 4, WORDS), (PHONES, 4, WORDS), (PHONES, 9, WORDS), ((), 9, WORDS), (PHONES, 5, [*WORDS[:2], *WORDS[3:]])])
def test_the_intervals_that_are_there_count(tmp_path, short, phones, stated, words):
    path = tmp_path / "a.TextGrid"
    count = f"\n{len(words)}\n" if short else f"intervals: size = {len(words)}"
    text = grid_text(words, phones, short)
    assert count in text
    path.write_text(text.replace(count, count.replace(str(len(words)), str(stated))))
    tier = read_word_tier(path)
    assert tier.odd and tier.intervals == words


@pytest.mark.parametrize("short", [False, True])
def test_times_rounded_to_some_ms_are_cut(tmp_path, short):
    path = tmp_path / "a.TextGrid"
    path.write_text(grid_text([("", 0, 0.2), ("a", 0.197, 0.5), ("b", 0.4999, 0.8), ("c", 0.8, 1.004)], end=1,
                              short=short))
    tier = read_word_tier(path)
    assert list(tier.words()) == [("a", 0.2, 0.5), ("b", 0.5, 0.8), ("c", 0.8, 1.0)] and "cut" in tier.odd


@pytest.mark.parametrize("name", ["Words", "WORD", "words ", "84 - words", "anna - Words", "anna_words", "anna/words"])
def test_tiers_called_like_words_are_read_and_said_and_others_can_be_named(tmp_path, name):
    path = tmp_path / "a.TextGrid"
    path.write_text(grid_text(WORDS, PHONES).replace('"words"', f'"{name}"'))
    tier = read_word_tier(path)
    assert tier.intervals == WORDS and repr(name) in tier.odd
    path.write_text(grid_text(WORDS, PHONES).replace('"words"', '"ORT-MAU"'))
    with pytest.raises(TextGridError, match="no words tier: tiers: 'ORT-MAU', 'phones'"):
        read_word_tier(path)
    with pytest.raises(TextGridError, match="no tier 'MAU'"):
        read_word_tier(path, "MAU")
    assert read_word_tier(path, "ORT-MAU").intervals == WORDS
    assert read_word_tier(path, "phones").intervals == PHONES


def test_written_files_read_back_and_the_package_agrees(tmp_path):
    path = tmp_path / "new" / "a.TextGrid"
    words = [('"em', 0.0, 0.3), ("and", 0.3, 0.57), ("naïve", 1.01, 1.999999)]
    write_words(path, words, 2.5)
    tier = read_word_tier(path)
    assert not tier.odd
    assert list(tier.words()) == words
    assert tier.xmax == 2.5
    assert tier.intervals[2] == ("", 0.57, 1.01)
    oracle = textgrid.TextGrid.fromFile(str(path)).getFirst("words")
    assert [i.mark for i in oracle] == [mark for mark, *_ in tier.intervals]
    first = path.read_bytes()
    write_words(path, words, 2.5)
    assert path.read_bytes() == first
