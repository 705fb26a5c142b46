"""Headless Chromium, told what to do over its DevTools protocol, and the small site that it is shown."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fontTools.fontBuilder import FontBuilder
from harness import Program, until
from websockets.sync.client import ClientConnection, connect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# It needs no services of its maker, and would look for them.
OPTIONS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --disable-dev-shm-usage --no-first-run --mute-audio "
    "--disable-background-networking --disable-component-update --disable-sync --disable-extensions --disable-default-apps "
    "--autoplay-policy=no-user-gesture-required --remote-debugging-port=0"
)


class Browser:
    """One Chromium with one page."""

    def __init__(self, socket: ClientConnection) -> None:
        """socket: of its DevTools."""
        self.socket = socket
        self.number = 0
        self.session = ""
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> Any:
        """Give a command and wait for its result; events that come meanwhile are kept."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        self.socket.send(json.dumps(message))
        while True:
            answer = json.loads(self.socket.recv(timeout=20))
            if answer.get("id") == self.number:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def evaluate(self, expression: str) -> Any:
        """The value of an expression in the page; a promise is waited for."""
        result = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def show(self, url: str) -> None:
        """Go to a page and wait until it says that it is done."""
        self.events.clear()
        self.call("Page.navigate", url=url)
        self.wait_until_done()

    def reload(self) -> None:
        """Load the page again, as its button does, with what is in the cache asked for again."""
        self.events.clear()
        self.evaluate("window.done = undefined")
        self.call("Page.reload")
        self.wait_until_done()

    def wait_until_done(self) -> None:
        until(lambda: self.evaluate("window.done === 'done'"), lambda: f"a page that is done:\n{self.complaints()}", 20)

    def responses(self) -> dict[str, dict[str, Any]]:
        """The last response to each path that the page asked for: status, mimeType, headers."""
        responses = (event["params"]["response"] for event in self.events if event.get("method") == "Network.responseReceived")
        return {"/" + each["url"].split("/", 3)[3]: each for each in responses}

    def complaints(self) -> list[str]:
        """Errors and warnings in its console, exceptions, and loads that failed."""
        found = []
        for event in self.events:
            method, parameters = event.get("method"), event.get("params", {})
            if method == "Runtime.exceptionThrown" or (method == "Network.loadingFailed" and not parameters.get("canceled")):
                found.append(json.dumps(parameters))
            elif method == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
                found.append(parameters["entry"]["text"])
            elif method == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning", "assert"):
                found.append(json.dumps(parameters["args"]))
        return found


@contextmanager
def browsing(directory: Path, *options: str) -> Iterator[Browser]:
    """A Chromium that keeps what it has in this directory."""
    assert CHROMIUM is not None
    profile = directory / "profile"
    program = Program([CHROMIUM, *OPTIONS.split(), *options, f"--user-data-dir={profile}", "about:blank"], directory)
    try:
        told = profile / "DevToolsActivePort"
        until(lambda: told.exists() and told.read_text().count("\n"), lambda: f"a Chromium\n{program.errors}", 30)
        port, path = told.read_text().splitlines()[:2]
        with connect(f"ws://127.0.0.1:{port}{path}", max_size=None, proxy=None) as socket:
            browser = Browser(socket)
            yield browser
            browser.session = ""
            browser.call("Browser.close")
    finally:
        program.end()


# The site.

PAGE = (
    """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>wproxy</title>
<link rel="icon" href="/assets/logo.svg"><link rel="stylesheet" href="/assets/style.css"></head>
<body><h1>A small site</h1><img id="logo" src="/assets/logo.svg" alt="">
<video id="video" src="/media/video.webm" preload="metadata" muted></video>
<script type="module" src="/assets/main.js"></script></body></html>
"""
    + "<!-- a page has more words than this -->\n" * 40
)

STYLE = (
    """@font-face { font-family: Small; src: url(/assets/small.woff2) format("woff2"); }
body { font-family: Small; background: rgb(1, 2, 3); }
"""
    + "/* and a style has more rules */\n" * 40
)

MAIN = (
    """import { greeting } from "./greeting.mjs";
const loaded = (element, event, is) => new Promise((yes, no) => {
    if (is()) { yes(); return; }
    element.addEventListener(event, yes, { once: true });
    element.addEventListener("error", () => no(new Error(element.id)), { once: true });
});
const video = document.getElementById("video"), logo = document.getElementById("logo");
await document.fonts.load("16px Small");
await loaded(logo, "load", () => logo.complete && logo.naturalWidth);
await loaded(video, "loadedmetadata", () => video.readyState >= 1);
const data = await (await fetch("/assets/data.json")).json();
const api = await (await fetch("/api/hello")).json();
document.title = `${greeting} ${data.word} ${api.word}`;
window.done = "done";
"""
    + "// and a program has more lines\n" * 40
)


def site_files() -> dict[str, bytes]:
    """The files of the site by name."""
    logo = '<svg xmlns="http://www.w3.org/2000/svg" width="20" height="20"><circle cx="10" cy="10" r="9"/></svg>'
    return {
        "index.html": PAGE.encode(),
        "assets/style.css": STYLE.encode(),
        "assets/main.js": MAIN.encode(),
        "assets/greeting.mjs": b'export const greeting = "hello";\n' + b"// small\n" * 30,
        "assets/logo.svg": (logo + "<!-- round -->" * 40).encode(),
        "assets/data.json": json.dumps({"word": "static", "more": ["more"] * 100}).encode(),
        "assets/small.woff2": font(),
        "media/video.webm": video(SECONDS),
    }


def font() -> bytes:
    """A font with one box for every letter."""
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "box"])
    builder.setupCharacterMap(dict.fromkeys(range(32, 127), "box"))
    from fontTools.pens.ttGlyphPen import TTGlyphPen

    pen = TTGlyphPen(None)
    pen.moveTo((100, 0))
    for point in ((100, 700), (500, 700), (500, 0)):
        pen.lineTo(point)
    pen.closePath()
    box = pen.glyph()
    builder.setupGlyf({".notdef": box, "box": box})
    builder.setupHorizontalMetrics({".notdef": (600, 100), "box": (600, 100)})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Small", "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=800, usWinAscent=800, usWinDescent=200)
    builder.setupPost()
    builder.font.flavor = "woff2"
    output = io.BytesIO()
    builder.save(output)
    return output.getvalue()


SECONDS = 300
# One picture of one pixel, in VP8: what is inside of a WebP.
FRAME = base64.b64decode("UklGRiIAAABXRUJQVlA4IBYAAAAwAQCdASoBAAEADsD+JaQAA3AAAAAA")[20:42]
PADDING = 65536  # bytes a second, so that nobody loads all of it to see a little


def element(name: bytes, content: bytes) -> bytes:
    """An element of EBML (RFC 8794), its size in 8 bytes."""
    return name + struct.pack(">Q", 1 << 56 | len(content)) + content


def unsigned(name: bytes, value: int) -> bytes:
    return element(name, struct.pack(">Q", value))


def video(seconds: int) -> bytes:
    """A WebM (RFC 9559) of one picture a second, each in a cluster of its own, with an index to seek by."""
    head = element(
        b"\x1a\x45\xdf\xa3",
        unsigned(b"\x42\x86", 1) + unsigned(b"\x42\xf7", 1) + unsigned(b"\x42\xf2", 4) + unsigned(b"\x42\xf3", 8)
        + element(b"\x42\x82", b"webm") + unsigned(b"\x42\x87", 2) + unsigned(b"\x42\x85", 2),
    )  # fmt: skip
    info = element(
        b"\x15\x49\xa9\x66",
        unsigned(b"\x2a\xd7\xb1", 1_000_000) + element(b"\x44\x89", struct.pack(">d", seconds * 1000.0))
        + element(b"\x4d\x80", b"test") + element(b"\x57\x41", b"test"),
    )  # fmt: skip
    picture = element(b"\xe0", unsigned(b"\xb0", 1) + unsigned(b"\xba", 1))
    track = unsigned(b"\xd7", 1) + unsigned(b"\x73\xc5", 1) + unsigned(b"\x83", 1) + element(b"\x86", b"V_VP8") + picture
    tracks = element(b"\x16\x54\xae\x6b", element(b"\xae", track))
    clusters = [
        element(
            b"\x1f\x43\xb6\x75",
            unsigned(b"\xe7", second * 1000) + element(b"\xa3", b"\x81\x00\x00\x80" + FRAME) + element(b"\xec", bytes(PADDING)),
        )
        for second in range(seconds)
    ]

    def cues(begin: int) -> bytes:
        points = []
        for second, cluster in enumerate(clusters):
            at = unsigned(b"\xf7", 1) + unsigned(b"\xf1", begin)
            points.append(element(b"\xbb", unsigned(b"\xb3", second * 1000) + element(b"\xb7", at)))
            begin += len(cluster)
        return element(b"\x1c\x53\xbb\x6b", b"".join(points))

    index = cues(len(info) + len(tracks) + len(cues(0)))
    return head + element(b"\x18\x53\x80\x67", info + tracks + index + b"".join(clusters))


def write_site(directory: Path) -> None:
    """Put the files of the site into a directory that workers of any user may read."""
    for name, content in site_files().items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (1_700_000_000, 1_700_000_000))
