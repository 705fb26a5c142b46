"""What comes out of a cache for clients of every kind, beside the real nginx: HTTP/1.0, 1.1 and 2, in clear and over TLS.

Misses, hits, stale and revalidated responses, HEAD, parts, conditions and slices: those of one kind one after the other.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from as_nginx import REAL_NGINX, Nginx
from harness import Program
from recorder import Conversation, Received, Recorder

from bench.ports import free_port
from tests.authority import authority

pytestmark = [
    pytest.mark.whole,
    pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed"),
    pytest.mark.skipif(not os.path.exists(REAL_NGINX), reason="the real nginx is not installed"),
]

FILE = bytes(number * 7 % 251 for number in range(300_000))
TEXT = """
events {}
http {
    access_log off; client_body_temp_path {here}/t1; proxy_temp_path {here}/t2; default_type text/plain;
    fastcgi_temp_path {here}/t3; uwsgi_temp_path {here}/t4; scgi_temp_path {here}/t5;
    proxy_cache_path {here}/cache levels=1:2 keys_zone=z:1m use_temp_path=off;
    server {
        listen 127.0.0.1:{port}; listen 127.0.0.1:CLEAR http2; listen 127.0.0.1:SECURE ssl http2;
        ssl_certificate FRONT.pem; ssl_certificate_key FRONT.key;
        proxy_cache z; proxy_cache_key $uri$slice_range; proxy_cache_revalidate on; proxy_cache_use_stale http_500;
        proxy_http_version 1.1; proxy_set_header Connection "";
        add_header X-Cache $upstream_cache_status;
        location / { proxy_pass http://BACK; }
        location ~ /sliced$ { slice 64k; proxy_set_header Range $slice_range; proxy_cache_valid 206 1h; proxy_pass http://BACK; }
    }
}
"""
# curl's options for each kind of client, and the port that it asks.
KINDS = {
    "1.0": ("port", ("--http1.0",)),
    "1.1": ("port", ("--http1.1",)),
    "2": ("clear", ("--http2-prior-knowledge",)),
    "1.1-tls": ("secure", ("--http1.1",)),
    "2-tls": ("secure", ("--http2",)),
}
SINCE = "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT"
# Of each request the target, the option of curl, the status, and X-Cache.
REQUESTS: list[tuple[str, tuple[str, ...], int, str]] = [
    ("fresh", (), 200, "MISS"),
    ("fresh", (), 200, "HIT"),
    ("fresh", (), 200, "HIT"),
    ("fresh", ("-I",), 200, "HIT"),
    ("fresh", ("-r", "1-3"), 206, "HIT"),
    ("fresh", ("-r", "-2"), 206, "HIT"),
    ("fresh", ("-r", "99-"), 416, "HIT"),
    ("fresh", ("-H", 'If-None-Match: "e"'), 304, "HIT"),
    ("fresh", ("-H", SINCE), 304, "HIT"),
    ("fresh", ("-H", 'If-Match: "f"'), 412, ""),
    ("part", ("-r", "1-3"), 206, "MISS"),
    ("part", (), 200, "HIT"),
    ("head", ("-I",), 200, "MISS"),
    ("head", (), 200, "HIT"),
    ("condition", ("-H", 'If-None-Match: "e"'), 304, "MISS"),
    ("condition", (), 200, "HIT"),
    ("failing", (), 200, "MISS"),
    ("failing", (), 200, "STALE"),
    ("failing", ("-I",), 200, "STALE"),
    ("failing", ("-r", "1-3"), 206, "STALE"),
    ("confirmed", (), 200, "MISS"),
    ("confirmed", (), 200, "REVALIDATED"),
    ("confirmed", (), 200, "HIT"),
    ("large", (), 200, "MISS"),
    ("large", (), 200, "HIT"),
    ("large", ("-r", "100000-199999"), 206, "HIT"),
    ("sliced", ("-r", "100000-199999"), 206, "MISS"),
    ("sliced", (), 200, "MISS"),
    ("sliced", (), 200, "HIT"),
    ("sliced", ("-I",), 200, "HIT"),
    ("sliced", ("-r", "70000-70009"), 206, "HIT"),
]
_KEPT = b'ETag: "e"\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\nAccept-Ranges: bytes\r\n'
_LATER, _AT_ONCE = b"Cache-Control: max-age=600\r\n", b"X-Accel-Expires: @1\r\n"


class Files:
    """The answers of the upstream, by the last part of a target."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()

    def reply(self, conversation: Conversation, received: Received) -> None:
        self.asked[received.target] += 1
        name, is_first = received.target.rpartition("/")[2], self.asked[received.target] == 1
        body, status, fields = FILE if name in ("large", "sliced") else b"body of it", b"200 OK", _KEPT
        if name == "failing" and not is_first:
            status, body = b"500 Oh", b"no"
        elif name == "confirmed" and received.all("If-None-Match"):
            assert received.all("If-None-Match") == ['"e"'] and received.all("If-Modified-Since")
            status, body, fields = b"304 Not Modified", b"", fields + _LATER
        elif name == "sliced":
            begin, end = map(int, received.all("Range")[0].removeprefix("bytes=").split("-"))
            body, status = FILE[begin : end + 1], b"206 Partial Content"
            fields += b"Content-Range: bytes %d-%d/%d\r\n" % (begin, begin + len(body) - 1, len(FILE))
        else:
            fields += _AT_ONCE if name in ("failing", "confirmed") else _LATER
        length = b"" if status.startswith(b"304") else b"Content-Length: %d\r\n" % len(body)
        conversation.send(b"HTTP/1.1 %b\r\n%b%b\r\n%b" % (status, length, fields, body))


class Front(Nginx):
    """A configuration with a port for each kind."""

    def __init__(self, directory: Path, backend: int) -> None:
        self.clear, self.secure = free_port(), free_port()
        text = TEXT.replace("BACK", f"127.0.0.1:{backend}").replace("CLEAR", str(self.clear)).replace("SECURE", str(self.secure))
        super().__init__(directory, text.replace("FRONT", str(directory.parent / "front")))

    def ask_all(self, kind: str) -> list[tuple[list[str], bytes]]:
        """The heads and bodies of the answers to all requests of one kind of client."""
        which, version = KINDS[kind]
        scheme = "https" if which == "secure" else "http"
        asked: list[list[str]] = []
        for number, (name, options, _, _) in enumerate(REQUESTS):
            place = self.directory / f"{kind}-{number}"
            written = ("-D", f"{place}.head", *(() if "-I" in options else ("-o", f"{place}.body")))
            url = f"{scheme}://127.0.0.1:{getattr(self, which)}/{kind}/{name}"
            asked.append(["-skS", "-m", "15", "--noproxy", "*", *version, *options, *written, url])
        if kind == "2":
            runs = asked  # curl 7 fails when it goes on with a connection of HTTP/2 in clear
        else:
            runs = [[word for words in asked for word in ("--next", *words)][1:]]
        for words in runs:
            done = subprocess.run(["curl", *words], capture_output=True, timeout=60)
            assert done.returncode == 0, done
        found = []
        for number in range(len(REQUESTS)):
            head = (self.directory / f"{kind}-{number}.head").read_text().lower().split("\n")
            body = self.directory / f"{kind}-{number}.body"
            found.append(([line.strip() for line in head if line.strip()], body.read_bytes() if body.exists() else b""))
        return found


@pytest.fixture(scope="module")
def fronts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Front, Front]]:
    """The real nginx, and wproxy under its name, each before an upstream of its own."""
    directory = tmp_path_factory.mktemp("clients")
    directory.chmod(0o755)
    authority().issue("front", ["127.0.0.1"]).write(directory, "front")
    with Recorder() as one, Recorder() as other:
        one.reply, other.reply = Files().reply, Files().reply
        theirs, ours = Front(directory / "theirs", one.port), Front(directory / "ours", other.port)
        command = [REAL_NGINX, *theirs.words(main=f"{theirs.main} daemon off; worker_processes 1;")]
        nginx = Program(command, theirs.directory, cwd=theirs.directory)
        try:
            nginx.wait_for_address(theirs.secure)
            with ours.in_foreground("worker_processes 1;"):
                yield theirs, ours
        finally:
            nginx.end()


def comparable(head: list[str], is_page: bool) -> list[str]:
    """What does not name the server or the time, in any order; of HTTP/2 the status alone in the first line. is_page: of an error."""
    line = " ".join(head[0].split()[:2])
    left_out = ("date:", "server:", *(("content-length:",) if is_page else ()))
    return [line, *sorted(each for each in head[1:] if not each.startswith(left_out))]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_client_gets_what_nginx_would_send(fronts: tuple[Front, Front], kind: str):
    theirs, ours = (front.ask_all(kind) for front in fronts)
    for (name, options, status, cache), (their, their_body), (our, our_body) in zip(REQUESTS, theirs, ours, strict=True):
        assert comparable(our, status >= 400) == comparable(their, status >= 400), (name, options)
        assert our_body == their_body or status >= 400, (name, options)
        assert int(our[0].split()[1]) == status, (name, options, our)
        assert next((line[9:].upper() for line in our if line.startswith("x-cache: ")), "") == cache, (name, options, our)
        if status == 200 and "-I" not in options:
            assert our_body == (FILE if name in ("large", "sliced") else b"body of it"), (name, options)
