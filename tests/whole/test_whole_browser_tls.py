"""A browser over TLS with HTTP/1: a page with a hundred assets on its few connections, and a websocket."""

from __future__ import annotations

import base64
import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import CHROMIUM, Browser, browsing
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from harness import BACKENDS, Program, Wproxy

from bench.ports import free_port
from tests.authority import authority

pytestmark = [
    pytest.mark.whole,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]

ASSETS = 100
SITE = """
client_max_body_size = 0
[[http.server]]
listen = [["127.0.0.1:{port}", "ssl"]]
ssl_certificate = "site.pem"
ssl_certificate_key = "site.key"
root = "ROOT"
[http.server.location."/ws/"]
proxy_pass = "http://127.0.0.1:ECHO"
proxy_set_header = { Upgrade = "$http_upgrade", Connection = "upgrade", Host = "$host" }
[http.types]
"text/html" = "html"
"image/svg+xml" = "svg"
"application/octet-stream" = "bin"
"""

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>many</title><link rel="icon" href="/0.svg"></head><body>IMAGES
<script type="module">
const images = [...document.images];
await Promise.all(images.map(image => image.decode()));
const bytes = await (await fetch("/large.bin")).arrayBuffer();
const digest = await crypto.subtle.digest("SHA-256", bytes);
window.digest = [...new Uint8Array(digest)].map(byte => byte.toString(16).padStart(2, "0")).join("");
const socket = new WebSocket(`wss://${location.host}/ws/`);
window.echo = await new Promise((yes, no) => {
    socket.onopen = () => socket.send("over TLS");
    socket.onmessage = event => yes(event.data);
    socket.onerror = no;
});
socket.close();
window.sent = await (await fetch("/large.bin", { cache: "no-store", headers: { "Range": "bytes=10-19" } })).text();
window.done = "done";
</script></body></html>
"""


@pytest.fixture(scope="module")
def large() -> bytes:
    return os.urandom(3 << 20)


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory, large: bytes) -> Iterator[tuple[Wproxy, str]]:
    """The server, and the hash of its key by which the browser trusts it."""
    directory = tmp_path_factory.mktemp("site")
    root = directory / "www"
    root.mkdir()
    for number in range(ASSETS):
        picture = f'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><text>{number}</text></svg>'
        (root / f"{number}.svg").write_text(picture)
    images = "".join(f'<img src="/{number}.svg" alt="">' for number in range(ASSETS))
    (root / "index.html").write_text(PAGE.replace("IMAGES", images))
    (root / "large.bin").write_bytes(large)
    issued = authority().issue("127.0.0.1", ["127.0.0.1"])
    issued.write(directory / "wproxy", "site")
    public = issued.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    echo_port = free_port()
    echo = Program([sys.executable, str(BACKENDS / "websocket_echo.py"), str(echo_port)], directory)
    echo.wait_for_address(echo_port)
    http = SITE.replace("ROOT", str(root)).replace("ECHO", str(echo_port))
    try:
        with Wproxy(directory / "wproxy", http) as running:
            yield running, base64.b64encode(hashlib.sha256(public).digest()).decode()
    finally:
        echo.end()


def protocols(browser: Browser) -> set[str]:
    """The protocols in which the browser got what it asked for."""
    responses = (event["params"]["response"] for event in browser.events if event.get("method") == "Network.responseReceived")
    return {each["protocol"] for each in responses if each["url"].startswith("https:")}


def test_a_page_with_a_hundred_assets_arrives_without_a_complaint(front, large, tmp_path: Path):
    wproxy, trusted = front
    with browsing(tmp_path, f"--ignore-certificate-errors-spki-list={trusted}") as browser:
        browser.show(f"https://127.0.0.1:{wproxy.port}/")
        assert protocols(browser) == {"http/1.1"}
        assert len([path for path in browser.responses() if path.endswith(".svg")]) == ASSETS
        assert browser.evaluate("window.digest") == hashlib.sha256(large).hexdigest()
        assert browser.evaluate("window.echo") == "over TLS"
        assert browser.complaints() == []
        browser.reload()
        assert browser.complaints() == []
