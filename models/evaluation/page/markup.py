"""A page's parts as HTML. Every text of a file or a flag goes through `text`: shown, and never anything but shown."""

import html
import json
from collections.abc import Iterable, Sequence
from math import ceil

from models.evaluation.drawing import short_names, visible
from models.evaluation.page.parts import Matrix, Page, Picture, Table
from models.evaluation.page.sounds import data_uri

SHADES = 5


def text(value: object) -> str:
    """Plain text for an element or a quoted attribute; control characters as escape sequences."""
    return html.escape(visible(str(value)))


def own(value: object) -> str:
    """Text of a file in its own direction of writing, whatever stands around it."""
    return f"<bdi>{text(value)}</bdi>"


def as_data(value: object) -> str:
    """JSON that can stand in a script element: it has no character that could end one."""
    found = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        found = found.replace(character, f"\\u{ord(character):04x}")
    return found


def section(name: str, heading: str, *parts: str) -> str:
    return (f'<section id="{name}" aria-labelledby="{name}-heading">\n<h2 id="{name}-heading" tabindex="-1">'
            f"{text(heading)}</h2>\n" + "\n".join(filter(None, parts)) + "\n</section>")


def paragraph(said: str, kind: str = "") -> str:
    """A paragraph, of a class of the style sheet's; nothing where there is nothing to say."""
    return (f'<p class="{kind}">' if kind else "<p>") + own(said) + "</p>" if said else ""


def figures(page: Page) -> str:
    tiles = "".join(f"<li><b>{own(value)}</b>{own(name)}</li>" for name, value in page.tiles)
    return section("figures", "Figures", f'<ul class="tiles">{tiles}</ul>' if tiles else "",
                   *(paragraph(note, "note") for note in page.notes),
                   f'<div class="beside">{"".join(map(table, page.tables))}</div>')


def table(one: Table) -> str:
    headings, *rows = one.rows
    head = "".join(f'<th scope="col">{own(cell)}</th>' for cell in headings)
    body = "\n".join("<tr>" + "".join(f"<td>{own(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return _wide(one.title, f'<table class="figures"><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table>')


def _wide(title: str, content: str) -> str:
    """A table that a narrow screen scrolls, below its title."""
    return (f'<div class="titled"><p class="faint">{own(title)}</p>\n<div class="wide" tabindex="0" role="region" '
            f'aria-label="{text(title)}">{content}</div></div>')


def matrix(one: Matrix, rows: dict[int, str], columns: dict[int, str], wanted: Sequence[str]) -> str:
    """The matrix as a table; a cell that is a mistake is a button.

    Args:
        wanted: what rows and columns are, for the corner.
    """
    below, across = one.shown
    total: dict[int, int] = {}
    for (row, _), count in one.counts.items():
        total[row] = total.get(row, 0) + count
    head = "".join(f'<th scope="col"><span title="{text(columns[c])}">{own(name)}</span></th>'
                   for c, name in zip(across, short_names(columns[c] for c in across), strict=True))
    lines = []
    for r, name in zip(below, short_names(rows[r] for r in below), strict=True):
        cells = "".join(_cell(r, c, one.counts.get((r, c), 0), total.get(r, 0), one.right.get(r) == c,
                              f"{rows[r]}, {wanted[1]} {columns[c]}") for c in across)
        lines.append(f'<tr><th scope="row" title="{text(rows[r])}">{own(name)}</th>{cells}</tr>')
    return _wide(one.caption, f'<table class="matrix"><thead><tr><th>{text(wanted[0])} \u2193 {text(wanted[1])} '
                              f"\u2192</th>{head}</tr></thead>\n<tbody>" + "\n".join(lines) + "</tbody></table>")


def _cell(row: int, column: int, count: int, total: int, right: bool, name: str) -> str:
    if not count:
        return "<td></td>"
    shade = min(SHADES, ceil(SHADES * (count / total) ** 0.5))  # the square root keeps one in a hundred visible
    if right:
        return f'<td class="right{shade}">{count}</td>'
    return (f'<td class="wrong{shade}"><button type="button" data-row="{row}" data-column="{column}" '
            f'title="{text(name)}" aria-label="{text(f"{name}: {count}")}" aria-pressed="false">{count}</button></td>')


def mistakes(page: Page, said: Iterable[str]) -> str:
    """The empty table of the mistakes and its filter; the script fills it from the page's data."""
    if not page.mistakes:
        return section("mistakes", "Mistakes", "<p>None.</p>")
    names = page.headings
    sortable = [("row", names["row"]), ("column", names["column"]), *enumerate(names["values"])]
    head = "".join(f'<th scope="col" data-column="{key}" aria-sort="none"><button type="button">{text(name)}</button>'
                   "</th>" for key, name in sortable)
    chosen = "".join(f'<label>{text(names[key])}<select id="{key}"><option value="">all</option></select></label>'
                     for key in ("row", "column"))
    return section(
        "mistakes", "Mistakes", *map(paragraph, said),
        "<noscript><p>The list needs JavaScript, which this browser does not run here.</p></noscript>",
        f'<div class="filter">{chosen}<label>in the file\'s name<input id="text" type="search"></label>'
        '<button type="button" id="all" class="plain">show all</button></div>',
        '<p id="count" role="status"></p>',
        f'<div class="wide"><table class="mistakes"><thead><tr><th scope="col">{text(names["clip"])}</th>{head}'
        f'<th scope="col">{text(names["nearest"])}</th></tr></thead><tbody id="mistakes-body"></tbody></table></div>',
        '<p><button type="button" id="more" class="plain" hidden>more</button></p>')


def picture(one: Picture) -> str:
    return (f'<figure><img src="{data_uri(one.png, "image/png")}" alt="{text(one.alt)}">'
            f"<figcaption>{own(one.title)}</figcaption></figure>")


def origin(rows: Iterable[tuple[str, str]]) -> str:
    body = "\n".join(f'<tr><th scope="row">{text(name)}</th><td>{own(value)}</td></tr>' for name, value in rows)
    return section("origin", "Where this is from", f'<table class="origin"><tbody>{body}</tbody></table>')
