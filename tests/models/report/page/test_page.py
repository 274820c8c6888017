"""A page holds itself to its budget, fetches nothing and runs nothing that a file's text could smuggle in."""

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
from models.report.page.page import Clip, Mistake, check_html, in_turn, render, write_page
from tests.pages import Browser, Read, sound_of

NASTY = ["<script>document.title='pwned'</script>", "a&amp;b \"'", "\u05e9\u05dc\u05d5\u05dd",
         "\u0645\u0631\u062d\u0628\u0627", "</script><img src=x onerror=alert(1)>", "{{data}}",
         "\u202egnp.exe \x1b[2J\u2028"]
ROWS = "[...document.querySelectorAll('#mistakes-body tr')]"
# The texts of the second to the last but one cell of each row: label, prediction, values.
CELLS = f"{ROWS}.map(row => [...row.cells].slice(1, -1).map(cell => cell.textContent))"
LOADED = "(() => { const a = document.querySelector('#mistakes-body audio'); " \
         "return [a.error && a.error.message, a.readyState, a.duration, a.played.length]; })()"


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


@pytest.fixture
def browser(tmp_path):
    made = Browser(tmp_path / "profile")
    yield made
    made.close()


def test_a_click_filters_sorts_and_plays_without_a_network(browser, tested, tmp_path):
    made = tested(["bed", "cat", NASTY[4]], each=(10, 20))
    write_page(tmp_path / "a.html", made.page, 5)
    browser.open(tmp_path / "a.html")
    wrong = int((made.found.labels != made.test.manifest.label).sum())
    assert 5 < wrong <= 25  # one screen of the list
    assert browser.value(f"{ROWS}.length") == wrong

    # A cell of the matrix lists its mistakes.
    (row, column), count = max(((cell, n) for cell, n in made.page.matrix.counts.items() if cell[0] != cell[1]),
                               key=lambda pair: pair[1])
    cell = f".matrix button[data-row='{row}'][data-column='{column}']"
    assert browser.value(f"document.querySelector(\"{cell}\").textContent") == str(count)
    browser.click(cell)
    names = made.test.manifest.labels
    assert [cells[:2] for cells in browser.value(CELLS)] == [[names[row], names[column]]] * count
    assert count < wrong
    assert browser.value("document.getElementById('row').value") == str(row)
    assert browser.value("document.getElementById('count').textContent") == f"{count} of {wrong} mistakes on this page"
    assert browser.value(f"document.querySelector(\"{cell}\").getAttribute('aria-pressed')") == "true"
    browser.click("#all")
    assert browser.value(f"{ROWS}.length") == wrong

    # A heading sorts by numbers, and the other way round when clicked again.
    place = 2 + made.page.headings["values"].index("nearest, squared distance")
    for order in (False, True):
        browser.click(f".mistakes th[data-column='{place - 2}'] button")
        distances = [float(cells[place]) for cells in browser.value(CELLS)]
        assert distances == sorted(distances, reverse=order) and len(set(distances)) > 3

    # A class is chosen, as by hand.
    browser.value("(() => { const s = document.getElementById('column'); s.value = '1'; "
                  "s.dispatchEvent(new Event('change')); })()")
    wanted = int(((made.found.labels == 1) & (made.test.manifest.label != 1)).sum())
    assert [cells[1] for cells in browser.value(CELLS)] == ["cat"] * wanted and 0 < wanted < wrong

    # The player plays: a click on its button, at its left.
    assert browser.value(LOADED)[1:] == [0, None, 0]
    browser.click("#mistakes-body audio", across=0.1)
    browser.until(f"(({LOADED})[1] >= 2 && ({LOADED})[3] > 0) || ({LOADED})[0]")
    error, _, duration, _ = browser.value(LOADED)
    lines = browser.value("document.querySelector('#mistakes-body .path').textContent")
    clip = int(re.search(r"test(\d+)\.wav", lines)[1])
    assert error is None and duration == pytest.approx(made.test.packed.length[clip] / 16_000, abs=1e-3)
    browser.until(f"{ROWS}[0].querySelector('audio').ended")
    browser.click("#mistakes-body .plain")  # the one beside it, after it
    browser.until(f"{ROWS}[0].querySelectorAll('audio')[1].ended")

    # Texts that would be markup are texts, and were one to get in, the page's policy would not let it run.
    assert NASTY[4] in browser.value("document.body.textContent")
    assert browser.value("[...document.images].map(image => image.naturalWidth > 10)") == [True]  # the map
    assert browser.errors == []
    browser.value("document.body.append(Object.assign(document.createElement('script'), {textContent: '1'}))")
    assert len(browser.errors) == 1 and "Content Security Policy" in browser.errors[0]
    assert [request for request in browser.requests if not request.startswith("data:")] == [
        (tmp_path / "a.html").as_uri()]
