"""A browser is a client: a small site with everything on it, static and proxied, in headless Chromium."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import CHROMIUM, PADDING, SECONDS, Browser, browsing, write_site
from harness import Wproxy, until
from recorder import Conversation, Received, Recorder

pytestmark = [
    pytest.mark.whole,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]

SITE = """
gzip = true
gzip_vary = true
gzip_types = ["text/css", "text/javascript", "image/svg+xml", "application/json"]
brotli = true
brotli_types = ["text/css", "text/javascript", "image/svg+xml", "application/json"]

[http.types]
"text/html" = "html"
"text/css" = "css"
"text/javascript" = ["js", "mjs"]
"image/svg+xml" = "svg"
"application/json" = "json"
"font/woff2" = "woff2"
"video/webm" = "webm"

[[http.server]]
listen = "127.0.0.1:{port}"
root = "ROOT"
location."/assets/" = { expires = "30d" }
location."/api/" = { proxy_pass = "BACKEND" }
"""

TYPES = {
    "/": "text/html",
    "/assets/style.css": "text/css",
    "/assets/main.js": "text/javascript",
    "/assets/greeting.mjs": "text/javascript",
    "/assets/logo.svg": "image/svg+xml",
    "/assets/data.json": "application/json",
    "/assets/small.woff2": "font/woff2",
    "/media/video.webm": "video/webm",
    "/api/hello": "application/json",
}
PLAIN = ("/assets/small.woff2", "/media/video.webm")  # compressed in themselves


def say_hello(conversation: Conversation, received: Received) -> None:
    body = json.dumps({"word": "proxied", "more": ["more"] * 50}).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    conversation.send(head + body)


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wproxy]:
    directory = tmp_path_factory.mktemp("site")
    write_site(directory / "www")
    with Recorder() as backend:
        backend.reply = say_hello
        http = SITE.replace("ROOT", str(directory / "www")).replace("BACKEND", backend.url)
        with Wproxy(directory / "wproxy", http) as running:
            yield running


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browsing(tmp_path_factory.mktemp("chromium")) as chromium:
        yield chromium


def header(response: dict, name: str) -> str:
    return next((value for key, value in response["headers"].items() if key.lower() == name), "")


def test_every_asset_arrives_as_what_it_is_and_compressed_where_it_pays(front: Wproxy, browser: Browser) -> None:
    browser.show(f"http://127.0.0.1:{front.port}/")
    responses = browser.responses()
    assert {path: responses[path]["mimeType"] for path in TYPES if path in responses} == TYPES
    for path in TYPES:
        response = responses[path]
        assert response["status"] == (206 if path == "/media/video.webm" else 200), path
        coding = header(response, "content-encoding")
        assert coding == "" if path in PLAIN else coding in ("gzip", "br"), path
        assert (header(response, "vary") == "Accept-Encoding") == (path not in PLAIN), path
    assert browser.evaluate("document.title") == "hello static proxied"
    assert browser.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(1, 2, 3)"
    assert browser.evaluate("document.fonts.check('16px Small')") is True
    assert browser.evaluate("[...document.fonts].every(font => font.status === 'loaded')") is True
    assert browser.complaints() == []


def test_what_the_browser_has_is_not_sent_again(front: Wproxy, browser: Browser) -> None:
    browser.show(f"http://127.0.0.1:{front.port}/")
    sent = len(front.access_log)
    browser.reload()
    until(lambda: any("/api/hello" in line.request for line in front.access_log[sent:]), "the log of the second visit")
    again = {line.request.split()[1]: line for line in front.access_log[sent:]}
    assert again["/"].status == "304"
    assert again["/"].size == "0"
    assert {line.status for path, line in again.items() if path.startswith("/assets/")} <= {"304"}
    assert browser.evaluate("document.title") == "hello static proxied"
    assert browser.complaints() == []


def test_a_video_is_sought_in_by_ranges(front: Wproxy, browser: Browser) -> None:
    browser.show(f"http://127.0.0.1:{front.port}/")
    assert browser.evaluate("video.duration") == SECONDS
    seek = "new Promise(done => {{ video.onseeked = () => done(video.currentTime); video.currentTime = {second}; }})"
    for second in (SECONDS - 20, SECONDS // 2, 5):
        assert browser.evaluate(seek.format(second=second)) == second
    received = [
        event["params"]["response"]
        for event in browser.events
        if event.get("method") == "Network.responseReceived" and event["params"]["response"]["url"].endswith("video.webm")
    ]
    begins = [int(header(response, "content-range").split()[1].split("-")[0]) for response in received]
    assert {response["status"] for response in received} == {206}
    assert begins[0] == 0
    assert any(begin > (SECONDS - 40) * PADDING for begin in begins), begins
    assert browser.complaints() == []


def test_the_pages_errors_would_be_heard(front: Wproxy, browser: Browser) -> None:
    browser.show(f"http://127.0.0.1:{front.port}/")
    browser.evaluate("fetch('/assets/nothing.js')")
    until(lambda: browser.evaluate("1") and browser.complaints(), "a complaint about what is not there")
    assert "404" in " ".join(browser.complaints())


def test_the_site_is_no_empty_promise(tmp_path: Path) -> None:
    write_site(tmp_path)
    assert (tmp_path / "media/video.webm").stat().st_size > SECONDS * PADDING
