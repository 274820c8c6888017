"""A page holds itself to its budget, fetches nothing, and runs nothing that a file's text could smuggle in."""

import base64
import hashlib
import os
import re
from argparse import Namespace
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from data.base.errors import UserError
from models.report.page.page import check_html, render, write_page
from models.report.page.parts import Clip, Mistake, in_turn
from tests.pages import Read, sound_of

NASTY = ["<script>document.title='pwned'</script>", "a&amp;b \"'", "\u05e9\u05dc\u05d5\u05dd",
         "\u0645\u0631\u062d\u0628\u0627", "</script><img src=x onerror=alert(1)>", "{{data}}",
         "\u202egnp.exe \x1b[2J\u2028"]


def test_everything_is_inside_and_only_the_pages_own_script_may_run(tested):
    html, _ = render(tested().page, 5)
    page = Read(html)
    assert not re.search(r"https?://|url\(|@import", html)
    for name, attributes in page.tags:
        for key in ("src", "href"):
            value = attributes.get(key, "data:")
            assert value.startswith(("data:", "#")), (name, value)
        assert not any(key.startswith("on") or key == "style" for key in attributes), (name, attributes)
    policy = next(a["content"] for name, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'" and "unsafe" not in policy and "*" not in policy
    assert rules["img-src"] == rules["media-src"] == "data:"
    for key, texts in (("script-src", page.scripts), ("style-src", page.styles)):
        assert len(texts) == 1
        digest = base64.b64encode(hashlib.sha256(texts[0].encode()).digest()).decode()
        assert rules[key] == f"'sha256-{digest}'"


def test_names_that_would_be_markup_are_shown_and_nothing_more(tested):
    made = tested(NASTY, each=(4, 6))
    for i, file in enumerate(made.test.manifest.files):
        made.test.manifest.files[i] = f"{file}<b onclick=x>&\"'\udcff"
    plain = Counter(name for name, _ in Read(render(tested([f"w{i}" for i in range(7)], (4, 6)).page, 5)[0]).tags)
    html, _ = render(made.page, 5)
    page = Read(html)
    names = Counter(name for name, _ in page.tags)
    assert {name: names[name] for name in ("script", "img", "style", "b")} == {
        name: plain[name] for name in ("script", "img", "style", "b")}
    shown = [re.sub("[\u202e\x1b\u2028]", lambda found: found[0].encode("unicode_escape").decode(), label)
             for label in NASTY]
    assert set(shown) == {row[0] for row in page.tables[0][1:]}
    assert {page.data["rows"][str(i)] for i in range(7)} == set(shown)
    assert "{{data}}" in page.text
    assert not re.search("[\x00-\x08\x1b\u202e\u2028\ud800-\udfff]", html)
    bodies = re.search('<script type="application/json" id="data">(.*?)</script>', html, re.S)[1]
    assert not set("<>&") & set(bodies)


@pytest.mark.parametrize("megabytes, codec", [(5, "flac"), (0.5, "ogg")])
def test_sound_is_lossless_where_all_mistakes_fit_and_compressed_where_not(tested, megabytes, codec):
    made = tested(each=(10, 30))
    html, kept = render(made.page, megabytes)
    page = Read(html)
    assert kept == len(page.data["mistakes"]) and len(html.encode()) <= megabytes * 1e6
    assert {sound_of(uri)[1] for uri in page.data["sounds"]} == {f"audio/{codec}"}
    for mistake in page.data["mistakes"]:
        for name, clips, split in (("clip", made.test, "test"), ("nearest", made.train, "train")):
            row = int(re.search(rf"{split}(\d+)\.wav", mistake[name]["lines"][0])[1])
            samples = sound_of(page.data["sounds"][mistake[name]["sound"]])[0]
            start = clips.packed.start[row]
            wanted = clips.packed.samples[start:start + clips.packed.length[row]]
            assert len(samples) == len(wanted) and (codec == "ogg" or np.array_equal(samples, wanted))
    assert ("Sound: FLAC" if codec == "flac" else "Sound: Ogg Opus") in page.text


def test_what_does_not_fit_is_left_out_and_said_in_figures(tested, tmp_path, capsys):
    made = tested([f"w{i}" for i in range(12)], each=(6, 40))
    wrong = int((made.found.labels != made.test.manifest.label).sum())
    write_page(tmp_path / "a.html", made.page, 0.5)
    printed = capsys.readouterr().out
    html = (tmp_path / "a.html").read_text()
    kept = len(Read(html).data["mistakes"])
    assert 10 < kept < wrong and len(html.encode()) <= 500_000
    assert f"{kept} of {wrong} mistakes to listen to; the others are beyond --html_mb 0.5" in printed
    text = Read(html).text
    assert f"{kept} of {wrong} are here; the other {wrong - kept} were left out, for a page of at most 0.5 MB" in text
    assert "All are in knn-x.csv" in text
    counts = {(row, column): n for row, column, n in Read(html).data["counts"]}
    assert sum(counts.values()) == wrong  # so that a cell that lacks some says how many
    truth, found = made.test.manifest.label, made.found.labels
    assert counts == {cell: n for cell, n in Counter(zip(truth.tolist(), found.tolist(), strict=True)).items()
                      if cell[0] != cell[1]}
    # Every kind comes in turn: none is there twice before all are there once.
    kinds = Counter((m["row"], m["column"]) for m in Read(html).data["mistakes"])
    if len(kinds) < len(counts):
        assert set(kinds.values()) == {1}
    else:
        most = max(kinds.values())
        assert all(kinds[cell] >= min(counts[cell], most - 1) for cell in counts)


def test_the_frequent_kinds_come_first_and_their_surest_clips():
    clip = Clip(("f",), "none", 0)
    mistakes = [Mistake(row, 0, ((i, ""),), clip, clip) for i, row in enumerate([1, 2, 2, 3, 2, 3])]
    assert [m.values[0][0] for m in in_turn(mistakes)] == [1, 3, 0, 2, 5, 4]


def test_a_test_without_mistakes_has_a_page_too(tested, tmp_path, capsys):
    made = tested()
    write_page(tmp_path / "a.html", replace(made.page, mistakes=[]), 5)
    assert "no mistakes" in capsys.readouterr().out
    assert "None." in Read((tmp_path / "a.html").read_text()).text


def test_a_page_that_could_not_be_written_is_refused_at_once(tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "words.json").write_text('{"words": 1}')
    for name, said in (("missing/a.html", "there is no folder"), ("folder", "a folder"), ("pipe", "a named pipe"),
                       ("words.json", "is no page"), ("x" * 300, "shorter name")):
        with pytest.raises(UserError, match=said):
            check_html(Namespace(html=tmp_path / name))
    assert (tmp_path / "words.json").read_text() == '{"words": 1}'
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "pipe", "words.json"]
