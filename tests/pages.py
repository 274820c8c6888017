"""Reading a page back: its tables, its data, and what it would fetch or run."""

import base64
import io
import json
from html.parser import HTMLParser

import numpy as np
import soundfile

VOID = {"meta", "link", "input", "img", "br"}


class Read(HTMLParser):
    """A page as a browser takes it, scripts not run.

    Attributes:
        tables: rows of cells' texts, in order.
        tags: (name, attributes) of every element.
        scripts, styles: their texts; ``data`` what the page's data element holds.
        texts: all texts outside scripts and styles.
    """

    def __init__(self, html):
        super().__init__()
        self.tables, self.tags, self.scripts, self.styles, self.texts, self.data = [], [], [], [], [], None
        self.open, self.last = [], {}
        self.feed(html)
        self.close()
        assert self.open == [], self.open

    @property
    def text(self):
        return "".join(self.texts)

    def handle_starttag(self, name, attributes):
        self.tags.append((name, dict(attributes)))
        if name not in VOID:
            self.open.append(name)
            self.last = dict(attributes)
        if name == "table":
            self.tables.append([])
        elif name == "tr":
            self.tables[-1].append([])
        elif name in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def handle_data(self, text):
        if self.open[-1:] == ["script"]:
            if self.last.get("type") == "application/json":
                self.data = json.loads(text)
            else:
                self.scripts.append(text)
        elif self.open[-1:] == ["style"]:
            self.styles.append(text)
        else:
            self.texts.append(text)
            if self.open and any(cell in self.open for cell in ("td", "th")):
                self.tables[-1][-1][-1] += text


def sound_of(uri):
    """(T,) int16 of a data URI, and its media type."""
    kind, content = uri.removeprefix("data:").split(";base64,")
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(content, validate=True)), dtype="int16")
    assert rate == 16_000
    return np.asarray(samples), kind
