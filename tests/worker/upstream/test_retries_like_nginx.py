"""Failing peers before a worker and before the real nginx: the answers, what the error log says of each try, and $upstream_*.

Peers are threads with one way to behave each; every one closes after its answer, since nginx 1.22 keeps no connections by itself.
"""

from __future__ import annotations

import re
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from like_nginx import Answers, LogReader, Site, _load_nginx_syntax, ask, ask_nginx, comparable, needs_nginx, start_worker

from bench.ports import free_port

HEAD = b"HTTP/1.1 %b\r\nConnection: close\r\n"


def answer(status: bytes, body: bytes, *fields: bytes) -> bytes:
    lines = b"".join(field + b"\r\n" for field in fields)
    return HEAD % status + b"Content-Length: %d\r\n" % len(body) + lines + b"\r\n" + body


# What each peer sends once it has the request; then it closes, or resets where its name ends so.
SCRIPTS = {
    "ok": answer(b"200 OK", b"fine", b"X-From: ok", b"Set-Cookie: sid=abc; Path=/"),
    "chunked": HEAD % b"200 OK" + b"Transfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\n\r\n",
    "close": b"",
    "reset": b"",
    "half head": b"HTTP/1.1 200 OK\r\nX-Half",
    "half head reset": b"HTTP/1.1 200 OK\r\nX-Half",
    "bad head": b"HTTP/1.1 200 OK\r\nBad name: x\r\n\r\n",
    "big head": (b"HTTP/1.1 200 OK\r\nX-Big: " + b"x" * 4096)[:4096],
    "half body": HEAD % b"200 OK" + b"Content-Length: 10\r\n\r\nhalf",
    "elsewhere": answer(b"200 OK", b"secret", b"X-Accel-Redirect: /second", b"Set-Cookie: sid=first"),
    **{str(status): answer(b"%d No" % status, b"no", b"X-From: %d" % status) for status in (403, 404, 429, 500, 502, 503, 504)},
}


class Actor:
    """A peer that does the same to everybody."""

    def __init__(self, script: str) -> None:
        self.reply = SCRIPTS[script]
        self.resets = script.endswith("reset")
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.name = f"127.0.0.1:{self.sock.getsockname()[1]}"
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self.sock.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(10)
                self._serve(connection)

    def _serve(self, connection: socket.socket) -> None:
        received = b""
        try:
            while b"\r\n\r\n" not in received:
                more = connection.recv(65536)
                if not more:
                    return
                received += more
            head, _, body = received.partition(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: (\d+)", head)
            while length and len(body) < int(length[1]):
                body += connection.recv(65536)
            connection.sendall(self.reply)
            if self.resets:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except OSError:
            return

    def close(self) -> None:
        self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()


@pytest.fixture(scope="module")
def actors() -> Iterator[dict[str, str]]:
    """The address of each, and of nobody ("refuse")."""
    made = {script: Actor(script) for script in SCRIPTS}
    yield {**{script: actor.name for script, actor in made.items()}, "refuse": f"127.0.0.1:{free_port()}"}
    for actor in made.values():
        actor.close()


VARIABLES = (
    "status",
    "upstream_addr",
    "upstream_status",
    "upstream_connect_time",
    "upstream_header_time",
    "upstream_response_time",
    "upstream_response_length",
    "upstream_bytes_received",
    "upstream_bytes_sent",
    "upstream_http_x_from",
    "upstream_http_set_cookie",
    "upstream_cookie_sid",
)
FORMAT = " | ".join(f"${name}" for name in VARIABLES)
COMMON = "proxy_http_version 1.1; proxy_set_header Connection ''; proxy_set_header Host h;"


def block(name: str, actors: dict[str, str], *scripts: str, parameters: str = "max_fails=0") -> str:
    """An upstream of these peers."""
    servers = "".join(f"server {actors[script]} {parameters};" for script in scripts)
    return f"upstream {name} {{ {servers} }}\n"


class Both:
    """nginx and a worker on one configuration."""

    def __init__(self, directory: Path, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = directory
        self.make = make
        self.monkeypatch = monkeypatch

    def differ(self, http: str, cases: list[bytes]) -> list[str]:
        """Every case where they do, in the answer, in the error log or in the access log.

        A request has its line after its answer has gone out, so that the last one's may be lost when nginx is ended: that is
        a request of nobody's.
        """
        count = len(cases)
        cases = [*cases, ask("/last")]
        _load_nginx_syntax(self.monkeypatch, self.directory)
        site = Site(self.directory)
        log = self.directory / "up.log"
        http = f"log_format up '{FORMAT}'; {COMMON}\n{http}"
        try:
            theirs = ask_nginx(site, http, cases, "warn")
            their_log = log.read_text()
            ours = self._ask_worker(site, http, cases)
            our_log = log.read_text()[len(their_log) :]
        finally:
            site.close()
        found = []
        assert len(shown(their_log)) >= count
        assert len(shown(our_log)) == count + 1
        lines = zip(shown(their_log)[:count], shown(our_log)[:count], strict=True)
        for case, their, our, (their_line, our_line) in zip(cases[:count], theirs, ours, lines, strict=False):
            for what, one, other in (
                ("answer", their[0], our[0]),
                ("errors", their[1], our[1]),
                ("access", their_line, our_line),
            ):
                if one != other:
                    found.append(f"{case.split(bytes([10]))[0]!r} {what}:\n  nginx:  {one}\n  wproxy: {other}")
        return found

    def _ask_worker(self, site: Site, http: str, cases: list[bytes]) -> Answers:
        front = start_worker(site, self.make, http, "warn")
        reader = LogReader(Path(front.directory) / "error.log")
        answers = []
        for case in cases:
            client = front.client().send(case)
            assert client.is_closed(), case
            answers.append((comparable(bytes(client.received)), reader.new_lines()))
            client.close()
        front.worker.access_logs.flush()
        return answers


def shown(log: str) -> list[str]:
    """Access-log lines with every time made the same: a time is what has three places after the point."""
    return [re.sub(r"(?<![\d.])\d\.\d{3}(?![\d.])", "TIME", line) for line in log.splitlines()]


@pytest.fixture
def both(tmp_path_factory: pytest.TempPathFactory, stage: Any, monkeypatch: pytest.MonkeyPatch) -> Both:
    return Both(tmp_path_factory.mktemp("both"), stage, monkeypatch)


FAILURES = ("refuse", "close", "reset", "half head", "half head reset", "bad head", "big head")
STATUSES = ("403", "404", "429", "500", "502", "503", "504")
ALL_WORDS = "error timeout invalid_header http_500 http_502 http_503 http_504 http_403 http_404 http_429"


@needs_nginx
def test_every_way_to_fail_with_every_word_and_with_none(both, actors):
    http, locations, cases = "", "", []
    for number, script in enumerate((*FAILURES, *STATUSES)):
        http += block(f"two{number}", actors, script, "ok") + block(f"one{number}", actors, script)
        for words in ("default", "all", "off"):
            line = {"default": "", "all": f"proxy_next_upstream {ALL_WORDS};", "off": "proxy_next_upstream off;"}[words]
            for group in ("two", "one"):
                path = f"/{group}{number}/{words}"
                locations += f"location {path} {{ {line} proxy_pass http://{group}{number}; }}\n"
                cases += [ask(path), ask(path)]
        # The first of two is chosen every other time: bodies and methods twice each.
        for method in ("POST", "PUT"):
            cases += [ask(f"/two{number}/all", method=method, body="hello")] * 2
    server = f"server {{ listen PORT; server_name front; access_log DIR/up.log up; {locations} }}"
    found = both.differ(http + server, cases)
    assert not found, "\n".join([f"{len(found)} of {len(cases)} differ", *found])


@needs_nginx
def test_tries_backups_peers_that_rest_and_those_that_are_down(both, actors):
    http = (
        block("three", actors, "close", "reset", "503")
        + f"upstream rests {{ server {actors['refuse']}; server {actors['ok']}; }}\n"
        + f"upstream allrest {{ server {actors['refuse']}; server {actors['close']}; }}\n"
        + f"upstream spare {{ server {actors['refuse']}; server {actors['ok']} backup; }}\n"
        + f"upstream down {{ server {actors['ok']} down; server {actors['404']}; }}\n"
        + f"upstream alldown {{ server {actors['ok']} down; server {actors['404']} down; }}\n"
        + f"upstream patient {{ server {actors['refuse']} max_fails=3; server {actors['ok']}; }}\n"
        + f"upstream busy {{ server {actors['503']}; server {actors['503']}; }}\n"
        + f"upstream gone {{ server {actors['404']}; server {actors['404']}; }}\n"
    )
    names = ("rests", "allrest", "spare", "down", "alldown", "patient", "busy", "gone")
    locations = "".join(f"location /{name} {{ proxy_pass http://{name}; }}\n" for name in names)
    locations += "location /two { proxy_next_upstream_tries 2; proxy_pass http://three; }\n"
    locations += "location /all { proxy_next_upstream error http_503; proxy_pass http://three; }\n"
    locations += "location /busy/next { proxy_next_upstream http_503; proxy_pass http://busy; }\n"
    locations += "location /gone/next { proxy_next_upstream http_404; proxy_pass http://gone; }\n"
    server = f"server {{ listen PORT; server_name front; access_log DIR/up.log up; {locations} }}"
    cases = [ask(f"/{name}") for name in (*names, "two", "two", "two", "all", "all") for _ in range(4)]
    cases += [ask(f"/{name}/next") for name in ("busy", "gone") for _ in range(3)]
    found = both.differ(http + server, cases)
    assert not found, "\n".join([f"{len(found)} of {len(cases)} differ", *found])


@needs_nginx
def test_upstream_variables_over_redirects(both, actors):
    http = (
        block("fine", actors, "ok")
        + block("busy", actors, "503")
        + block("retried", actors, "close", "503")
        + block("sends", actors, "elsewhere")
        + block("failing", actors, "refuse", "reset")
        + block("cut", actors, "half body")
        + block("parts", actors, "chunked")
        + block("mixed", actors, "503", "refuse")
    )
    locations = """
        location /first { proxy_intercept_errors on; error_page 503 = /second; proxy_pass http://busy; }
        location /tried { proxy_intercept_errors on; error_page 503 /second; proxy_pass http://retried; }
        location /second { proxy_pass http://fine; }
        location /accel { proxy_pass http://sends; }
        location /failing { error_page 502 = @named; proxy_pass http://failing; }
        location /failing/static { error_page 502 /page; proxy_pass http://failing; }
        location /page { return 200 page; }
        location @named { proxy_pass http://failing; }
        location /twice { error_page 502 = /tried; proxy_pass http://failing; recursive_error_pages on; }
        location /cut { proxy_pass http://cut; }
        location /chunked { proxy_pass http://parts; }
        location /none { return 204; }
        location /lost { proxy_intercept_errors on; error_page 503 = @named; proxy_pass http://busy; }
        location /more { proxy_next_upstream http_503; proxy_pass http://mixed; }
    """
    server = f"server {{ listen PORT; server_name front; access_log DIR/up.log up; {locations} }}"
    paths = ("first", "tried", "accel", "failing", "failing/static", "twice", "cut", "chunked", "none", "second", "lost", "more")
    found = both.differ(http + server, [ask(f"/{path}") for path in paths for _ in range(2)])
    assert not found, "\n".join([f"{len(found)} differ", *found])
