"""Reading a page back: its tables, its data, what it would fetch or run; and a browser, driven through a pipe."""

import base64
import io
import json
import os
import select
import shutil
import subprocess
import sys
import time
from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile

VOID = {"meta", "link", "input", "img", "br"}
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
         "--disable-component-update", "--disable-background-networking", "--disable-dev-shm-usage", "--mute-audio",
         "--autoplay-policy=no-user-gesture-required", "--remote-debugging-pipe", "--window-size=1200,900")
# The browser reads the protocol from descriptor 3 and writes it to 4.
_START = """import fcntl, os, sys
read, write = (fcntl.fcntl(int(fd), fcntl.F_DUPFD, 10) for fd in sys.argv[1:3])
os.dup2(read, 3)
os.dup2(write, 4)
os.execvp(sys.argv[3], sys.argv[3:])"""
PATIENCE = 120  # seconds for an answer, on a machine that has much else to do


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


class Browser:
    """One page of a browser of its own, whose profile is new.

    Attributes:
        requests: the addresses that the page asked for.
        errors: what scripts threw, and what the page's policy refused.
    """

    def __init__(self, profile):
        program = next(filter(None, map(shutil.which, NAMES)), None)
        if program is None:
            pytest.skip(f"no browser here to open the page with (none of {', '.join(NAMES)})")
        (read, self.out), (self.inside, write) = os.pipe(), os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-c", _START, str(read), str(write), program, *FLAGS, f"--user-data-dir={profile}"],
            pass_fds=(read, write), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(read)
        os.close(write)
        self.number, self.session, self.rest, self.events = 0, None, b"", []
        self.requests, self.errors = [], []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def close(self):
        os.close(self.out)
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.inside)

    def call(self, method, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        message |= {"sessionId": self.session} if self.session else {}
        os.write(self.out, json.dumps(message).encode() + b"\0")
        while (answer := self._receive()).get("id") != self.number:
            pass
        assert "error" not in answer, (method, answer)
        return answer["result"]

    def _receive(self):
        deadline = time.monotonic() + PATIENCE
        while b"\0" not in self.rest:
            ready, _, _ = select.select([self.inside], [], [], max(0, deadline - time.monotonic()))
            part = os.read(self.inside, 1 << 20) if ready else b""
            assert part, "the browser does not answer"
            self.rest += part
        message, self.rest = self.rest.split(b"\0", 1)
        message = json.loads(message)
        about = message.get("params", {})
        match message.get("method"):
            case "Network.requestWillBeSent":
                self.requests.append(about["request"]["url"])
            case "Runtime.exceptionThrown":
                self.errors.append(json.dumps(about["exceptionDetails"]))
            case "Log.entryAdded":
                self.errors.append(about["entry"]["text"])
        self.events.append(message.get("method"))
        return message

    def open(self, path):
        self.call("Page.navigate", url=path.resolve().as_uri())
        while "Page.loadEventFired" not in self.events:
            self._receive()

    def value(self, script):
        """What a JavaScript expression is."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def until(self, script):
        """Wait until a JavaScript expression is true."""
        deadline = time.monotonic() + PATIENCE
        while not self.value(script):
            assert time.monotonic() < deadline, f"never came true: {script}"
            time.sleep(0.05)

    def click(self, selector, across=0.5):
        """A click of the mouse on an element, so far across it, once it has been drawn there. What a script has just
        made is laid out and drawn with the next frames (the parts of a player one frame after the player), and a click
        that comes before them falls beside it."""
        x, y = self.value("(async () => { const frame = () => new Promise(requestAnimationFrame); "
                          f"const e = document.querySelector({json.dumps(selector)}); "
                          "e.scrollIntoView({block: 'center', behavior: 'instant'}); "
                          "for (let i = 0; i < 3; i++) await frame(); "
                          f"const r = e.getBoundingClientRect(); return [r.left + {across} * r.width, "
                          "r.top + r.height / 2]; })()")
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left",
                      buttons=int(kind == "mousePressed"), clickCount=1)
