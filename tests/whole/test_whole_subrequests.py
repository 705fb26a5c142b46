"""Subrequests in a real worker, for clients of every kind: HTTP/1 and HTTP/2, in clear and over TLS.

Pages with parallel includes, parts around a page, another location that decides, copies, and responses in slices.
"""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Wproxy, until
from recorder import Conversation, Received, Recorder

from bench.ports import free_port
from tests.authority import authority

pytestmark = [pytest.mark.whole, pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")]

FILE = bytes(number * 7 % 251 for number in range(300_000))
HTTP = """
[[http.server]]
listen = ["127.0.0.1:{port}", ["127.0.0.1:SECURE", "ssl"]]
http2 = true
ssl_certificate = "DIRECTORY/front.pem"
ssl_certificate_key = "DIRECTORY/front.key"
root = "DIRECTORY"
default_type = "text/html"
[http.server.location]
"= /page.html" = { ssi = true, gzip = true }
"= /around.html" = { add_before_body = "/part/before", add_after_body = "/part/after" }
"/part/" = { proxy_pass = "http://127.0.0.1:BACKEND" }
"= /closed.html" = { auth_request = "/auth", auth_request_set = [["$who", "$upstream_http_x_who"]], add_header = [["X-Who", "$who"]] }
"= /auth" = { internal = true, proxy_pass = "http://127.0.0.1:BACKEND" }
"/copied/" = { mirror = "/copy", proxy_pass = "http://127.0.0.1:BACKEND" }
"= /copy" = { internal = true, proxy_pass = "http://127.0.0.1:BACKEND" }
"/sliced/" = { slice = "64k", proxy_set_header = [["Range", "$slice_range"]], proxy_pass = "http://127.0.0.1:{port}/files/" }
"/files/" = { alias = "DIRECTORY/" }
"""
PAGE = """<!--#include virtual="/part/slow" -->,<!--#include virtual="/part/quick" -->,
<!--#include virtual="/files/static.txt" -->,<!--#include virtual="/part/last" -->.
"""
KINDS = {
    "http1": ("http", ("--http1.1",)),
    "http1-tls": ("https", ("--http1.1",)),
    "http2": ("http", ("--http2-prior-knowledge",)),
    "http2-tls": ("https", ("--http2",)),
}


class Site:
    """A wproxy with a back-end of the test's own. arrived: the targets of the page whose requests have come."""

    def __init__(self, wproxy: Wproxy, secure: int, recorder: Recorder) -> None:
        self.wproxy, self.secure, self.recorder = wproxy, secure, recorder
        self._arrived: set[str] = set()
        self._changed = threading.Condition()
        recorder.reply = self._reply

    def _reply(self, conversation: Conversation, received: Received) -> None:
        name = received.target
        with self._changed:
            self._arrived.add(name)
            self._changed.notify_all()
            if name == "/part/slow":  # answered when all others have been
                self._changed.wait_for(lambda: {"/part/quick", "/part/last"} <= self._arrived, 10)
                self._arrived.clear()
        if name == "/auth":
            is_known = received.all("x-key") == ["right"]
            head = b"HTTP/1.1 204 Fine\r\nX-Who: anna\r\n\r\n"
            conversation.send(head if is_known else b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")
            return
        body = b"[" + name.encode() + b" " + received.body + b"]"
        conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    def ask(self, kind: str, path: str, *options: str) -> tuple[int, bytes]:
        """The status and the body, after a check of the version of HTTP."""
        scheme, version = KINDS[kind]
        port = self.secure if scheme == "https" else self.wproxy.port
        written = ("-w", "%{stderr}%{http_code} %{http_version}")
        done = subprocess.run(
            ["curl", "-sk", "-m", "15", "--noproxy", "*", *version, *written, *options, f"{scheme}://127.0.0.1:{port}{path}"],
            capture_output=True,
            timeout=30,
        )
        assert done.returncode == 0, done
        status, _, spoken = done.stderr.decode().rpartition(" ")
        assert spoken == ("2" if kind.startswith("http2") else "1.1")
        return int(status), done.stdout


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory: Path = tmp_path_factory.mktemp("subrequests")
    directory.chmod(0o755)
    for name, content in (("page.html", PAGE), ("around.html", "around"), ("closed.html", "closed"), ("static.txt", "static")):
        (directory / name).write_text(content)
    (directory / "file.bin").write_bytes(FILE)
    authority().issue("front", ["localhost", "127.0.0.1"]).write(directory, "front")
    secure = free_port()
    with Recorder() as recorder:
        text = HTTP.replace("DIRECTORY", str(directory)).replace("SECURE", str(secure)).replace("BACKEND", str(recorder.port))
        wproxy = Wproxy(directory / "wproxy", text, workers=1)
        with wproxy:
            yield Site(wproxy, secure, recorder)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


def test_includes_run_at_once_and_come_in_order(site, kind):
    expected = b"[/part/slow ],[/part/quick ],\nstatic,[/part/last ].\n"
    assert site.ask(kind, "/page.html") == (200, expected)
    assert site.ask(kind, "/page.html", "--compressed") == (200, expected)


def test_parts_stand_around_a_page(site, kind):
    assert site.ask(kind, "/around.html") == (200, b"[/part/before ]around[/part/after ]")
    assert site.ask(kind, "/around.html", "-I")[0] == 200


def test_another_location_decides(site, kind):
    status, answer = site.ask(kind, "/closed.html", "-H", "X-Key: right", "-i")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert (status, body) == (200, b"closed")
    assert b"\r\nx-who: anna" in head.lower()
    assert site.ask(kind, "/closed.html", "-H", "X-Key: wrong")[0] == 403


def test_copies_have_the_body_and_the_client_the_answer(site, kind):
    site.recorder.requests.clear()
    assert site.ask(kind, "/copied/a", "-d", "some data") == (200, b"[/copied/a some data]")
    copies = until(lambda: [one for one in site.recorder.requests if one.target == "/copy"], "a copy")
    assert [(one.method, one.body) for one in copies] == [("POST", b"some data")]


def test_slices_make_a_whole_and_parts_of_it(site, kind):
    assert site.ask(kind, "/sliced/file.bin") == (200, FILE)
    assert site.ask(kind, "/sliced/file.bin", "-r", "65000-200000") == (206, FILE[65000:200001])
