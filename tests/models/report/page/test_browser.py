"""A page in a browser: clicks filter, sort and play, and nothing is fetched."""

import re

import pytest

from models.report.page.page import write_page
from tests.browser import Browser
from tests.models.report.page.test_page import NASTY

ROWS = "[...document.querySelectorAll('#mistakes-body tr')]"
# The texts of the second to the last but one cell of each row: label, prediction, values.
CELLS = f"{ROWS}.map(row => [...row.cells].slice(1, -1).map(cell => cell.textContent))"
LOADED = "(() => { const a = document.querySelector('#mistakes-body audio'); " \
         "return [a.error && a.error.message, a.readyState, a.duration, a.played.length]; })()"


@pytest.fixture
def browser(tmp_path):
    made = Browser(tmp_path / "profile")
    yield made
    made.close()


def test_a_click_filters_sorts_and_plays_without_a_network(browser, tested, tmp_path):
    made = tested(each=(10, 20))
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

    assert browser.value("[...document.images].every(image => image.naturalWidth > 10)")
    assert browser.errors == []
    assert [request for request in browser.requests if not request.startswith("data:")] == [
        (tmp_path / "a.html").as_uri()]


def test_texts_of_files_do_no_harm(browser, tested, tmp_path):
    made = tested(NASTY, each=(4, 8))
    made.test.manifest.files[:] = [f"{file}<img src=x onerror=alert(1)>" for file in made.test.manifest.files]
    write_page(tmp_path / "a.html", made.page, 1)
    browser.open(tmp_path / "a.html")
    title = browser.value("document.title")
    assert browser.value(f"{ROWS}.length") == 25  # and a button for more
    browser.click("#more")
    assert browser.value(f"{ROWS}.length") > 25
    browser.click("#mistakes-body audio", across=0.1)  # compressed
    browser.until(f"({LOADED})[1] >= 2 || ({LOADED})[0]")
    assert browser.value(LOADED)[0] is None

    # Whatever the texts are, they are texts.
    everywhere = browser.value("document.body.textContent")
    assert all(label in everywhere for label in NASTY[:6]) and "<img src=x onerror" in everywhere
    assert browser.value("[document.querySelectorAll('script').length, document.images.length]") == [2, 1]  # the map
    # And were one to get in as markup, the page's policy would not let it run.
    browser.value("(() => { const s = document.createElement('script'); s.textContent = 'document.title = 1'; "
                  "document.body.append(s); })()")
    assert browser.value("document.title") == title == "knn-x"
    assert len(browser.errors) == 1 and "Content Security Policy" in browser.errors[0]
