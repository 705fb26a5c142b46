"""A browser over HTTP/2: a page with a hundred assets on one connection, and a websocket on a stream of it (RFC 8441)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import CHROMIUM, Browser, browsing
from harness import Wproxy, until
from websockets.sync.server import serve

from bench.ports import free_port
from tests.authority import authority

pytestmark = [
    pytest.mark.whole,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]

ASSETS = 100
SITE = """
[http.types]
"text/html" = "html"
"text/javascript" = "js"
[[http.server]]
listen = [["127.0.0.1:SECURE", "ssl"], "127.0.0.1:{port}"]
http2 = true
http2_extended_connect = true
ssl_certificate = "ROOT/front.pem"
ssl_certificate_key = "ROOT/front.key"
root = "ROOT"
[http.server.location."/ws"]
proxy_pass = "http://127.0.0.1:BACKEND"
proxy_set_header = { Upgrade = "$http_upgrade", Connection = "$wproxy_connection_upgrade" }
"""
PAGE = '<!doctype html><title>many</title><link rel="icon" href="data:,"><script>window.loaded = 0</script>\n'
DONE = '<script defer src="/last.js"></script>\n'


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Wproxy, str]]:
    directory = tmp_path_factory.mktemp("assets")
    directory.chmod(0o755)
    scripts = "".join(f'<script defer src="/{n}.js"></script>\n' for n in range(ASSETS))
    (directory / "index.html").write_text(PAGE + scripts + DONE)
    for n in range(ASSETS):
        (directory / f"{n}.js").write_text("window.loaded += 1;\n" + "// more\n" * (n * 50))
    (directory / "last.js").write_text("window.done = 'done';\n")
    authority().issue("front", ["localhost", "127.0.0.1"]).write(directory, "front")
    secure = free_port()

    def echo(connection: Any) -> None:
        for message in connection:
            connection.send(message)

    with serve(echo, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        backend = server.socket.getsockname()[1]
        text = SITE.replace("ROOT", str(directory)).replace("SECURE", str(secure)).replace("BACKEND", str(backend))
        try:
            with Wproxy(directory / "wproxy", text) as wproxy:
                yield wproxy, f"127.0.0.1:{secure}"
        finally:
            server.shutdown()
            thread.join(10)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browsing(tmp_path_factory.mktemp("chromium"), "--ignore-certificate-errors") as chromium:
        yield chromium


def test_a_page_with_a_hundred_assets_comes_over_one_connection(front: tuple[Wproxy, str], browser: Browser) -> None:
    wproxy, address = front
    browser.show(f"https://{address}/")
    assert browser.evaluate("window.loaded") == ASSETS
    responses = browser.responses()
    assert len(responses) >= ASSETS + 2
    assert {response["protocol"] for response in responses.values() if response["url"].startswith("https")} == {"h2"}
    assert len({response["connectionId"] for response in responses.values() if response["url"].startswith("https")}) == 1
    assert browser.complaints() == []
    assert wproxy.logged(f"GET /{ASSETS - 1}.js HTTP/2.0").status == "200"


def test_a_websocket_is_a_stream_of_the_same_connection(front: tuple[Wproxy, str], browser: Browser) -> None:
    wproxy, address = front
    browser.show(f"https://{address}/")
    said = browser.evaluate(
        f"""new Promise((yes, no) => {{
            const socket = new WebSocket("wss://{address}/ws");
            const said = [];
            socket.onopen = () => {{ socket.send("one"); socket.send("x".repeat(100000)); socket.send("last"); }};
            socket.onerror = no;
            socket.onmessage = event => {{
                said.push(event.data.length);
                if (event.data === "last") {{ socket.close(); yes(said.join()); }}
            }};
        }})"""
    )
    assert said == "3,100000,4"
    line = until(lambda: next((one for one in wproxy.access_log if "/ws" in one.request), None), "a line for the websocket")
    assert line.request == "CONNECT /ws HTTP/2.0" and line.status == "101"
    assert browser.complaints() == []


def test_the_page_is_no_empty_promise(front: tuple[Wproxy, str]) -> None:
    root = Path(front[0].directory).parent
    assert len(list(root.glob("*.js"))) == ASSETS + 1
