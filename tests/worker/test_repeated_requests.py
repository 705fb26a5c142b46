"""A head that comes again on its connection is answered, logged and counted as one that has not come before.

Two clients do the same. One repeats its head byte for byte; the heads of the other differ each time in a field that means nothing, so
that each goes the whole way. Whatever happens to the files, the time or the worker between two requests, both see the same.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from conversation import End, Stage

Make = Callable[[str], Stage]
THEN = 1_000_000_000


def put(path: Path, content: bytes, second: int = THEN) -> None:
    """Write a file, as of this second."""
    path.write_bytes(content)
    os.utime(path, (second, second))


def replace(path: Path, content: bytes, second: int = THEN) -> None:
    """Put another file in the place of one."""
    put(path.with_suffix(".new"), content, second)
    os.replace(path.with_suffix(".new"), path)


def directory_in_place_of(path: Path) -> None:
    path.unlink()
    path.mkdir()


def link_in_place_of(path: Path, target: str) -> None:
    path.rmdir()
    path.symlink_to(target)


# What happens to the file between the requests, in this order; each is followed by two.
EVENTS: dict[str, Callable[[Path, Stage], object]] = {
    "nothing": lambda file, s: None,
    "a moment": lambda file, s: s.advance(0.07),
    "a second": lambda file, s: s.advance(1.0),
    "rewritten": lambda file, s: put(file, b"abcdefghij", THEN + 5),
    "replaced, as old and as large": lambda file, s: replace(file, b"ABCDEFGHIJ", THEN + 5),
    "emptied": lambda file, s: put(file, b"", THEN + 6),
    "filled": lambda file, s: put(file, b"0123456789", THEN + 6),
    "large": lambda file, s: put(file, b"0123456789" * 10_000, THEN + 7),
    "another second": lambda file, s: s.advance(1.0),
    "a directory": lambda file, s: directory_in_place_of(file),
    "a link to nothing": lambda file, s: link_in_place_of(file, "nothing"),
    "a link to a file": lambda file, s: put(file.with_name("nothing"), b"linked", THEN + 9),
    "nothing there": lambda file, s: file.unlink(),
    "there again": lambda file, s: put(file, b"0123456789"),
    "seconds": lambda file, s: s.advance(4.0),
}

FILES = {
    "root": "root SITE;",
    "alias": "alias SITE/f/;",
    "alias of a regex": "",
    "no ETag, no ranges": "root SITE; etag off; max_ranges 0;",
    "a root with a variable": "root SITE/$arg_none;",
    "add_header with variables": 'root SITE; add_header X-Own "$request_id $status $http_x_turn";',
    "expires": "root SITE; expires 1h; add_header X-At $msec;",
    "gzip, charset": "root SITE; gzip on; gzip_min_length 0; gzip_types *; charset utf-8;",
    "limit_rate": "root SITE; limit_rate 3m;",
    "error_page": "root SITE; error_page 404 403 =200 /page; access_log HERE/access.log test if=$http_host;",
    "error_page of the same location": "root SITE; error_page 404 /f/instead.txt;",
    "disable_symlinks": "root SITE; disable_symlinks on;",
    "open_file_cache": "root SITE; open_file_cache max=10; open_file_cache_valid 2s; open_file_cache_min_uses 1;",
    "no sendfile": "root SITE; sendfile off;",
    "sendfile_max_chunk": "root SITE; sendfile_max_chunk 99k;",
    "directio": "root SITE; directio 4;",
    "threads": "root SITE; aio threads;",
    "try_files": "root SITE; try_files $uri /f/instead.txt;",
    "limits": "root SITE; limit_req zone=often burst=20 nodelay; limit_conn busy 5;",
    "few of them": "root SITE; limit_req zone=seldom burst=2 nodelay;",
    "access": "root SITE; allow unix:; allow 127.0.0.0/8; deny all;",
    "real_ip": "root SITE; set_real_ip_from unix:; real_ip_header X-Client; add_header X-Seen $remote_addr;",
    "keepalive_requests": "root SITE; keepalive_requests 3; keepalive_timeout 70 60;",
    "keepalive_time": "root SITE; keepalive_time 80ms;",
    "no keepalive": "root SITE; keepalive_timeout 0;",
    "no chunks": "root SITE; chunked_transfer_encoding off;",
    "limit_except": "root SITE; limit_except HEAD { deny all; }",
    "log off": "root SITE; access_log off; keepalive_requests 3;",
    "log of some": "root SITE; access_log HERE/access.log test if=$arg_none;",
    "log to the name of a variable": "root SITE; access_log HERE/access.log test; access_log HERE/$host.log test;",
}  # fmt: skip

HTTP = """limit_req_zone $http_x_client zone=often:1m rate=100r/s; limit_req_zone $http_x_client zone=seldom:1m rate=1r/s;
limit_conn_zone $binary_remote_addr zone=busy:1m;
server {
  listen 127.0.0.1:8080; server_name front; types { text/plain txt; }
  location /page { return 200 "the text"; }
  location /f/ { LOCATION }
  location ~ ^/g/(?<name>.*)$ { alias SITE/f/$1; }
  MORE
}"""


def ask(client: End, target: str, turn: int, method: str = "GET", *fields: str, body: str = "", version: str = "1.1") -> End:
    """Send a request; turn: what tells its head from others, by one digit."""
    lines = (
        f"{method} {target} HTTP/{version}",
        "Host: front",
        f"X-Client: 192.0.2.{turn // 1000}",
        f"X-Turn: {turn % 1000:03}",
        *fields,
    )
    return client.send(("\r\n".join([*lines, "", ""]) + body).encode())


class Twins:
    """The client that repeats itself, and the one that does not."""

    def __init__(self, s: Stage, target: str, *request: str, **more: str) -> None:
        self.s, self.target, self.request, self.more = s, target, request, more
        self.clients: list[End | None] = [None, None]
        self.turn = 0

    def ask(self) -> None:
        """Have both ask once, and compare what they get and what is logged."""
        self.turn += 1
        told = []
        for number, turn in enumerate((1000, 2000 + self.turn)):
            client = self.clients[number]
            if client is None:
                client = self.clients[number] = self.s.client()
            before = self.logged()
            ask(client, self.target, turn, *self.request, **self.more)
            answer = bytes(client.pull_all())
            client.received.clear()
            if client.saw_end or client.saw_reset:
                self.clients[number] = None
            lines = [now[len(then) :] for now, then in zip(self.logged(), before)]
            told.append((comparable(answer), lines, client.saw_end))
        assert told[0] == told[1], self.turn

    def logged(self) -> list[list[str]]:
        """Return the lines of each log."""
        self.s.worker.access_logs.flush()
        files = [Path(self.s.directory, name) for name in ("access.log", "front.log", "error.log")]
        return [read(file) if file.exists() else [] for file in files]


def read(file: Path) -> list[str]:
    """Return the lines of a log, without what tells two connections apart."""
    return [re.sub(r"^.*?\] \d+#\d+: \*\d+ ", "", line) for line in file.read_text("latin-1").split("\n")[:-1]]


def comparable(answer: bytes) -> bytes:
    """Return an answer without ids, and without the field that differs."""
    answer = re.sub(rb"\r\nX-At: [^\r]*|\r\nX-Seen: 192.0.2.\d|\d\d\d\.$", b"", answer)
    return re.sub(rb"\r\nX-Own: \w{32} (\d+) \d+", rb"\r\nX-Own: \1", answer)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "site" / "f").mkdir(parents=True)
    put(tmp_path / "site" / "f" / "file.txt", b"0123456789")
    put(tmp_path / "site" / "f" / "instead.txt", b"instead")
    return tmp_path / "site"


def configured(front: Make, site: Path, location: str, more: str = "") -> Stage:
    text = HTTP.replace("LOCATION", location).replace("MORE", more).replace("SITE", str(site))
    return front(text)


@pytest.mark.parametrize("name", FILES)
def test_files_are_the_same_whatever_happens_to_them(front: Make, site: Path, name: str) -> None:
    s = configured(front, site, FILES[name] or "root SITE;")
    twins = Twins(s, "/f/file.txt" if FILES[name] else "/g/file.txt")
    for event in EVENTS.values():
        event(site / "f" / "file.txt", s)
        for _ in range(2):
            twins.ask()


RETURNS = {
    "text": 'return 200 "text";',
    "type by the name": 'return 200 "text"; default_type text/html;',
    "nothing": "return 200;",
    "204": "return 204;",
    "404": 'return 404 "not here";',
    "444": "return 444;",
    "a redirect": "return 302 /x;",
    "variables": 'return 200 "$http_x_turn.";',
    "add_header": 'return 200 "text"; add_header X-Own "$request_id $status $http_x_turn" always;',
    "limits": 'return 200 "text"; limit_req zone=seldom;',
    "limit_rate": 'return 200 "a text"; limit_rate 3;',
    "few requests": 'return 200 "text"; keepalive_requests 3;',
    "log": 'return 201 "text"; access_log off; access_log HERE/access.log test if=$http_host;',
    "no log": 'return 200 "text"; access_log off;',
    "post_action": 'return 200 "text"; post_action /page;',
    "set": 'set $limit_rate 2; return 200 "text";',
    "internal": 'internal; return 200 "text";',
}


@pytest.mark.parametrize("name", RETURNS)
def test_texts_are_the_same_at_any_time(front: Make, site: Path, name: str) -> None:
    s = configured(front, site, RETURNS[name])
    twins = Twins(s, "/f/file.txt")
    for seconds in (0.0, 1.0, 0.3, 70.0):
        for _ in range(3):
            twins.ask()
        s.advance(seconds)


REQUESTS: dict[str, tuple[str, tuple[str, ...], dict[str, str]]] = {
    "GET": ("/f/file.txt", (), {}),
    "args": ("/f/../f/file.txt?x", (), {}),
    "HEAD": ("/f/file.txt", ("HEAD",), {}),
    "DELETE": ("/f/file.txt", ("DELETE",), {}),
    "POST": ("/f/file.txt", ("POST", "Content-Length: 3"), {"body": "abc"}),
    "a body": ("/f/file.txt", ("GET", "Content-Length: 3"), {"body": "abc"}),
    "chunks": ("/f/file.txt", ("GET", "Transfer-Encoding: chunked"), {"body": "3\r\nabc\r\n0\r\n\r\n"}),
    "no body": ("/f/file.txt", ("GET", "Content-Length: 0"), {}),
    "Expect": ("/f/file.txt", ("GET", "Expect: 100-continue"), {}),
    "a range": ("/f/file.txt", ("GET", "Range: bytes=2-4"), {}),
    "the same ETag": ("/f/file.txt", ("GET", 'If-None-Match: "3b9aca00-a"'), {}),
    "another ETag": ("/f/file.txt", ("GET", 'If-None-Match: "x"'), {}),
    "If-Match": ("/f/file.txt", ("GET", 'If-Match: "x"'), {}),
    "a time": ("/f/file.txt", ("GET", "If-Modified-Since: Sun, 09 Sep 2001 01:46:40 GMT"), {}),
    "the last": ("/f/file.txt", ("GET", "Connection: close"), {}),
    "HTTP/1.0": ("/f/file.txt", ("GET",), {"version": "1.0"}),
    "HTTP/1.0, kept": ("/f/file.txt", ("GET", "Connection: keep-alive"), {"version": "1.0"}),
    "another server": ("http://other/f/file.txt", (), {}),
    "a directory": ("/f/", (), {}),
}


@pytest.mark.parametrize("location", ["root SITE;", 'return 200 "text";'], ids=["file", "return"])
@pytest.mark.parametrize("name", REQUESTS)
def test_any_head_may_come_again(front: Make, site: Path, name: str, location: str) -> None:
    s = configured(front, site, location)
    target, request, more = REQUESTS[name]
    twins = Twins(s, target, *request, **more)
    plain = Twins(s, "/f/file.txt")  # its answers are ready for whoever may have them
    for _ in range(3):
        plain.ask()
        twins.ask()
    replace(site / "f" / "file.txt", b"new", THEN + 1)
    for _ in range(2):
        twins.ask()


@pytest.mark.parametrize("server", ["rewrite ^/f/(.*)$ /f/instead.txt;", "return 200 $arg_x;", "if ($arg_x) { return 403; }"])
def test_a_server_with_steps_of_its_own_takes_them_each_time(front: Make, site: Path, server: str) -> None:
    s = configured(front, site, "root SITE;", f"root SITE; {server}")
    put(site / "top.txt", b"top")
    twins = Twins(s, "")
    for twins.target in ("/f/file.txt", "/top.txt", "/top.txt?x=1"):
        for _ in range(3):
            twins.ask()


@pytest.mark.parametrize("location", ["root SITE;", 'return 200 "BODY";'], ids=["file", "return"])
def test_an_answer_that_has_a_rate_has_it_each_time(front: Make, site: Path, location: str) -> None:
    body = "0123456789" * 210 + "the end"
    put(site / "f" / "file.txt", body.encode())
    s = configured(front, site, location.replace("BODY", body) + "limit_rate 2000;")
    client = s.client()
    for _ in range(4):
        assert not ask(client, "/f/file.txt", 1).take().endswith(b"the end")
        s.advance(0.2)  # the second may be over, but not each time
        assert client.take().endswith(b"the end")


def test_a_server_behind_a_proxy_finds_the_client_each_time(front: Make, site: Path) -> None:
    s = configured(front, site, "root SITE;", "set_real_ip_from 127.0.0.1; real_ip_header X-Client; log_not_found on;")
    (site / "f" / "file.txt").unlink()
    client = s.client()
    for _ in range(3):
        ask(client, "/f/file.txt", 1000).take()
    put(site / "f" / "file.txt", b"0123456789")
    for _ in range(3):
        assert ask(client, "/f/file.txt", 1000).take().endswith(b"0123456789")
    assert sum("client: 192.0.2.1, " in line for line in s.error_log()) == 3
    assert s.configuration.servers[0].locations.prefixes[b"/f/"].route.learn is None


@pytest.mark.parametrize("location", ["root SITE;", 'return 200 "text";'], ids=["file", "return"])
@pytest.mark.parametrize(
    ("field", "body"), [("Content-Length: 3", b"abc"), ("Transfer-Encoding: chunked", b"3\r\nabc\r\n0\r\n\r\n")]
)
def test_a_body_that_comes_later_is_not_the_next_request(front: Make, site: Path, location: str, field: str, body: bytes) -> None:
    client = configured(front, site, location).client()
    for _ in range(3):
        ask(client, "/f/file.txt", 1, "GET", field)
        client.send(body)
        assert client.take().count(b"HTTP/1.1 200 OK") == 1
        assert ask(client, "/f/file.txt", 1).take().count(b"HTTP/1.1 200 OK") == 1
    for _ in range(3):
        ask(client, "/f/file.txt", 1, "GET", field)
        client.send(body)
        assert client.take().count(b"HTTP/1.1 200 OK") == 1 and client.is_open()


def test_other_heads_between_are_not_taken_for_the_repeated_one(front: Make, site: Path) -> None:
    s = configured(front, site, "root SITE;")
    client = s.client()
    put(site / "f" / "other.txt", b"other")
    long = "\r\n".join(["X-Long: " + "x" * 5000] * 2)  # such a head is not remembered
    for _ in range(3):
        for _ in range(2):
            assert ask(client, "/f/file.txt", 1).take().endswith(b"0123456789")
            assert ask(client, "/f/other.txt", 1, "GET", long).take().endswith(b"other")
            assert ask(client, "/f/file.txt", 1).take().endswith(b"0123456789")
        assert ask(client, "/f/other.txt", 1).take().endswith(b"other")
        assert ask(client, "/page", 1, "GET", long).take().endswith(b"the text")
        assert ask(client, "/f/other.txt", 1).take().endswith(b"other")
        assert ask(client, "/page", 1).take().endswith(b"the text")
        both = ask(client, "/f/file.txt", 1), ask(client, "/f/file.txt", 1)
        assert both[0].take().count(b"0123456789") == 2


def pipelined(target: str, number: int) -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: front\r\n\r\n".encode() * number


def test_heads_that_come_together_are_all_answered(front: Make, site: Path) -> None:
    client = configured(front, site, "root SITE;").client()
    for number in (1, 1, 3, 1, 1, 2, 2):
        assert client.send(pipelined("/f/file.txt", number)).take().count(b"\r\n\r\n0123456789") == number


# A client without room, and one that leaves.

SIZES = {"text": 60_000, "small file": 60_000, "file": 100_000}


def crowded(stage: Callable[..., Stage], site: Path, kind: str) -> tuple[Stage, End, bytes]:
    """A client without much room that has been answered twice, and the body of its answers."""
    body = bytes(range(97, 117)) * (SIZES[kind] // 20)
    put(site / "f" / "file.txt", body)
    setting = f'return = [200, "{body.decode()}"]' if kind == "text" else f'root = "{site}"'
    s = stage(locations=f'[http.server.location."/f/"]\n{setting}')
    client = s.client(send_buffer=4608)
    for _ in range(2):
        client.send(pipelined("/f/file.txt", 1))
        receive(s, client, body)
    return s, client, body


def receive(s: Stage, client: End, body: bytes) -> None:
    """Receive one answer with this body, piece by piece."""
    s.until(lambda: client.pull_all().endswith(body[-100:]) and len(client.received) > len(body), "the body")
    assert client.received.partition(b"\r\n\r\n")[2] == body
    client.received.clear()


@pytest.mark.parametrize("kind", SIZES)
def test_a_client_without_room_gets_all_of_a_repeated_answer(stage: Callable[..., Stage], site: Path, kind: str) -> None:
    s, client, body = crowded(stage, site, kind)
    for _ in range(2):
        client.send(pipelined("/f/file.txt", 1))
        receive(s, client, body)
    lines = [(line["status"], line["body_bytes_sent"], line["request_completion"]) for line in s.access_log()]
    assert lines == [("200", str(len(body)), "OK")] * 4
    assert len({line["bytes_sent"] for line in s.access_log()}) == 1


@pytest.mark.parametrize("kind", SIZES)
def test_a_client_that_leaves_meanwhile_has_got_less(stage: Callable[..., Stage], site: Path, kind: str) -> None:
    s, client, body = crowded(stage, site, kind)
    client.send(pipelined("/f/file.txt", 1)).pull(300)
    client.close()
    line = s.last_access()
    assert (line["status"], line["request_completion"], line["wproxy_end_code"]) == ("200", "", "cl_left_late")
    assert 0 < int(line["body_bytes_sent"]) < len(body)
    assert len(s.access_log()) == 3 and not s.worker.clients.connections


@pytest.mark.parametrize("kind", SIZES)
def test_a_client_that_has_left_is_found_out(stage: Callable[..., Stage], site: Path, kind: str) -> None:
    s, client, _ = crowded(stage, site, kind)
    client.sock.send(pipelined("/f/file.txt", 1))
    client.close()
    assert [line["status"] for line in s.access_log()] == ["200"] * 3
    assert s.last_access()["wproxy_end_code"] == "cl_left_late"
    assert not s.worker.clients.connections


@pytest.mark.parametrize("kind", SIZES)
def test_a_worker_that_drains_closes_after_a_repeated_answer(stage: Callable[..., Stage], site: Path, kind: str) -> None:
    s, client, body = crowded(stage, site, kind)
    client.send(pipelined("/f/file.txt", 1)).pull(300)
    s.worker.clients.drain(s.now)
    receive(s, client, body)
    assert client.is_closed() and len(s.access_log()) == 3


@pytest.mark.parametrize("location", ["root SITE;", 'return 200 "text";'], ids=["file", "return"])
def test_a_worker_that_drains_closes_after_a_request_that_has_arrived(front: Make, site: Path, location: str) -> None:
    s = configured(front, site, location)
    client = s.client()
    for _ in range(3):
        client.send(pipelined("/f/file.txt", 1))
    client.take()
    client.sock.send(pipelined("/f/file.txt", 1))
    s.worker.clients.drain(s.now)
    assert b"\r\nConnection: close\r\n" in client.receives_head() and client.is_closed()


@pytest.mark.parametrize("kind", SIZES)
def test_a_client_that_takes_nothing_is_cut(stage: Callable[..., Stage], site: Path, kind: str) -> None:
    s, client, _ = crowded(stage, site, kind)
    client.send(pipelined("/f/file.txt", 1))
    s.advance(61.0)
    assert s.last_access()["wproxy_end_code"] == "cl_stalled" and not s.worker.clients.connections


def test_a_file_that_is_cut_short_while_it_is_sent_again(stage: Callable[..., Stage], site: Path) -> None:
    s, client, body = crowded(stage, site, "file")
    client.send(pipelined("/f/file.txt", 1)).pull(300)
    os.truncate(site / "f" / "file.txt", 40_000)
    assert client.is_closed()
    assert len(client.received) < len(body)
    assert any('f/file.txt" was truncated at' in line and "[alert]" in line for line in s.error_log())


def test_requests_that_come_again_are_counted(front: Make, site: Path) -> None:
    more = "location /metrics { metrics; access_log off; }"
    s = configured(front, site, "root SITE; access_log off;", more)
    client = s.client()
    for _ in range(5):
        assert ask(client, "/f/file.txt", 1).take().endswith(b"0123456789")
    assert s.worker.clients.requests == 5
    s.advance(1.0)
    text = ask(client, "/metrics", 1).take().decode()
    counts = dict(line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("wproxy_http_"))
    assert counts['wproxy_http_request_duration_seconds_count{server="front"}'] == "5"
    sizes = [int(counts[f'wproxy_http_{name}_bytes_total{{server="front"}}']) for name in ("request", "response")]
    assert sizes[0] % 5 == sizes[1] % 5 == 0 < sizes[0]
