"""The real nginx beside a worker: the same configuration, the same bytes, and every difference between the answers.

`compare` starts nginx with a configuration, asks it everything, ends it, and asks a worker of this process the same. An answer
is compared whole: status line, fields in their order, body; and with it the lines that it caused in the error log.

Behind both stands an `Echo`: an upstream that answers with what it was asked, byte for byte, so that the head an upstream
receives is the body of the answer and is compared too.

In a configuration PORT stands for the port to listen on, BACK for the address of the echo, SOCK for its unix socket, DEAD for
an address where nobody listens, DIR for the directory of the test.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import conversation
import pytest
from conversation import End, Stage

from bench.ports import free_port
from wproxy.config.nginx import parse_nginx
from wproxy.config.resolve import resolve

NGINX = shutil.which("nginx") or "/usr/sbin/nginx"
needs_nginx = pytest.mark.skipif(not os.path.exists(NGINX), reason="the real nginx is not installed")


def nginx_version() -> tuple[int, ...]:
    """The first two numbers of the real nginx's version."""
    if not os.path.exists(NGINX):
        return ()
    said = subprocess.run([NGINX, "-v"], capture_output=True, text=True, check=False).stderr
    return tuple(map(int, re.findall(r"\d+", said)[:2]))


# Newer ones have a page for 407, and read Cache-Control in gzip_proxied in another way.
as_before_1_27 = pytest.mark.skipif(nginx_version() > (1, 26), reason="compared with nginx up to 1.26")


_NGINX_MAIN = """\
daemon off; master_process off; pid DIR/nginx.pid; error_log DIR/error.log LEVEL;
events { }
http {
    access_log off; client_body_temp_path DIR/t1; proxy_temp_path DIR/t2;
    fastcgi_temp_path DIR/t3; uwsgi_temp_path DIR/t4; scgi_temp_path DIR/t5;
    lingering_timeout 100ms;
    HTTP
}
"""
_OUR_MAIN = (
    "error_log HERE/error.log LEVEL; events { } http { log_format test 'LOG_FORMAT'; access_log HERE/access.log test; HTTP }"
)

Case = str | bytes


def ask(target: str, *fields: str, method: str = "GET", body: str = "", host: str = "h", version: str = "1.1") -> bytes:
    """The bytes of a request after which the connection is to be closed."""
    lines = [f"{method} {target} HTTP/{version}", f"Host: {host}", "Connection: close", *fields]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join([*lines, "", ""]) + body).encode("latin-1")


class Echo:
    """An upstream, on a port and on a unix socket, that answers with the request it received.

    `X-Status: 401 Whatever` in a request chooses the status; each `X-Add: NAME: VALUE` adds a field to the answer.
    """

    def __init__(self, directory: Path) -> None:
        self.path = str(directory / "echo.sock")
        self._listening = [socket.create_server(("127.0.0.1", 0)), socket.socket(socket.AF_UNIX)]
        self._listening[1].bind(self.path)
        os.chmod(self.path, 0o777)
        self._listening[1].listen()
        self.name = f"127.0.0.1:{self._listening[0].getsockname()[1]}"
        for sock in self._listening:
            threading.Thread(target=self._accept, args=(sock,), daemon=True).start()

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                sock, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with sock:
            data = b""
            while True:
                while b"\r\n\r\n" not in data:
                    try:
                        more = sock.recv(65536)
                    except OSError:
                        return
                    if not more:
                        return
                    data += more
                head, _, data = data.partition(b"\r\n\r\n")
                length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
                wanted = int(length[1]) if length else 0
                while len(data) < wanted:
                    more = sock.recv(65536)
                    if not more:
                        return
                    data += more
                body, data = data[:wanted], data[wanted:]
                try:
                    sock.sendall(self._answer(head, body))
                except OSError:
                    return
                if b"Connection: close" in head:
                    return

    def _answer(self, head: bytes, body: bytes) -> bytes:
        status = re.search(rb"\r\nX-Status: ([^\r]*)", head)
        lines = [b"HTTP/1.1 " + (status[1] if status else b"200 OK"), *re.findall(rb"\r\nX-Add: ([^\r]*)", head)]
        echoed = comparable_upstream_head(head) + b"\r\n\r\n" + body
        lines.append(b"Content-Length: %d" % len(echoed))
        return b"\r\n".join(lines) + b"\r\n\r\n" + (b"" if head.startswith(b"HEAD ") else echoed)

    def close(self) -> None:
        for sock in self._listening:
            sock.shutdown(socket.SHUT_RDWR)
            sock.close()


def comparable_upstream_head(head: bytes) -> bytes:
    """A head for an upstream as nginx 1.31 writes it: HTTP/1.1, no Connection of its own, Host first (proxy.md §1.3)."""
    line, *fields = head.split(b"\r\n")
    line = line.removesuffix(b"HTTP/1.0").removesuffix(b"HTTP/1.1") + b"HTTP/1.1"
    fields = [field for field in fields if field != b"Connection: close"]
    fields.sort(key=lambda field: not field.startswith(b"Host: "))
    return b"\r\n".join([line, *fields])


_OWN_LINES = re.compile(rb"\r\n(?:Date|Server): [^\r]*")


# A time counted from now: the two are asked one after the other, and a second may pass between.
_EXPIRES = re.compile(rb"(\r\nExpires: \w{3}, \d\d \w{3} (?!1970|2037)\d{4} )\d\d:\d\d:\d\d")


def comparable(answer: bytes) -> str:
    """An answer without what is bound to differ: dates, boundaries, the name of the server, and the length of pages that bear it."""
    head, blank, body = answer.partition(b"\r\n\r\n")
    head = _EXPIRES.sub(rb"\1TIME", _OWN_LINES.sub(b"", head))
    if b"\r\nContent-Encoding: gzip" in head:
        # Files of gzip_static have had parts since nginx 1.23.4, and this may be an older one; test_precompressed.py asks for them.
        head = head.replace(b"\r\nAccept-Ranges: bytes", b"")
    named = re.sub(rb"(?<=<hr><center>)(nginx|wproxy)[^<]*", b"NAME", body)
    if named != body or (not body and b"text/html" in head):
        head = re.sub(rb"Content-Length: \d+", b"Content-Length: PAGE", head)
    whole = head + blank + named
    boundary = re.search(rb"boundary=(\d{20})", head)
    return (whole.replace(boundary[1], b"BOUNDARY") if boundary else whole).decode("latin-1")


def comparable_whole(answer: bytes) -> str:
    """The same, with its chunks put together; one whose chunks have no end stays as it is."""
    head, blank, rest = answer.partition(b"\r\n\r\n")
    pieces = []
    while rest and b"\r\nTransfer-Encoding: chunked" in head:
        size, _, rest = rest.partition(b"\r\n")
        count = int(size, 16)
        if not count:
            return comparable(head + blank + b"".join(pieces) + b"(end of chunks)" + rest)
        pieces.append(rest[:count])
        rest = rest[count + 2 :]
    return comparable(answer)


Read = Callable[[bytes], str]

# Of `limit_req`: of a rate of 1r/m 0.001 runs out in 60 ms, which requests on a busy machine may take.
_EXCESS = re.compile(r"(?<=excess: )\d+\.\d{3}")


class LogReader:
    """What is new in an error log, line by line: level and text, as far as they are the same everywhere."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = len(path.read_bytes()) if path.exists() else 0

    def new_lines(self) -> list[str]:
        data = self.path.read_bytes()[self.offset :]
        self.offset += len(data)
        found = []
        for line in data.decode("utf-8", "backslashreplace").split("\n"):
            match = re.search(r"(\[\w+\]) \S+ \*\d+ (.*?), client: ", line)
            if match:
                found.append(f"{match[1]} {_EXCESS.sub(lambda excess: f'{float(excess[0]):.1f}', match[2])}")
        return found


Answers = list[tuple[str, list[str]]]


class Site:
    """What stands around one comparison."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.chmod(0o755)
        self.port = free_port()
        self.dead = f"127.0.0.1:{free_port()}"
        self.echo = Echo(directory)

    def fill(self, text: str) -> str:
        for word, value in (
            ("PORT", str(self.port)),
            ("BACK", self.echo.name),
            ("SOCK", self.echo.path),
            ("DEAD", self.dead),
            ("DIR", str(self.directory)),
        ):
            text = re.sub(rf"\b{word}\b", value, text)
        return text

    def close(self) -> None:
        self.echo.close()


def ask_nginx(site: Site, http: str, cases: Sequence[Case], level: str, read: Read = comparable) -> Answers:
    """What the real nginx answers and says."""
    directory = site.directory
    (directory / "nginx.conf").write_text(site.fill(_NGINX_MAIN.replace("LEVEL", level).replace("HTTP", http)))
    log = directory / "error.log"
    log.write_text("")
    process = subprocess.Popen(
        [NGINX, "-p", str(directory), "-c", str(directory / "nginx.conf"), "-e", str(log)], stderr=subprocess.PIPE
    )
    try:
        limit = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", site.port)).close()
                break
            except OSError:
                assert process.poll() is None, f"nginx did not start: {log.read_text()}"
                assert time.monotonic() < limit, "nginx does not listen"
                time.sleep(0.01)
        reader = LogReader(log)
        answers = []
        for case in cases:
            with socket.create_connection(("127.0.0.1", site.port), timeout=10) as sock:
                sock.sendall(raw(case))
                pieces = []
                try:
                    while piece := sock.recv(65536):
                        pieces.append(piece)
                except TimeoutError:
                    pieces.append(b"(open)")
                except ConnectionResetError:
                    pass
            answers.append((read(b"".join(pieces)), reader.new_lines()))
        return answers
    finally:
        process.terminate()
        process.communicate()


def ask_worker(
    site: Site, make: Callable[..., Stage], http: str, cases: Sequence[Case], level: str, read: Read = comparable
) -> Answers:
    """What a worker of ours answers and says."""
    front = start_worker(site, make, http, level)
    reader = LogReader(Path(front.directory) / "error.log")
    answers = []
    for case in cases:
        client = front.client().send(raw(case))
        assert client.is_closed(), case
        answers.append((read(bytes(client.received)), reader.new_lines()))
        client.close()
    return answers


def start_worker(site: Site, make: Callable[..., Stage], http: str, level: str) -> Stage:
    """A worker of this process with the text of a `http` block."""
    text = site.fill(_OUR_MAIN.replace("LEVEL", level).replace("HTTP", http))
    text = text.replace("{", "{{").replace("}", "}}").replace("HERE", "{directory}").replace("LOG_FORMAT", "{log_format}")
    return make(peers=0, text=text)


def raw(case: Case) -> bytes:
    return ask(case) if isinstance(case, str) else case


def _load_nginx_syntax(monkeypatch: pytest.MonkeyPatch, prefix: Path) -> None:
    """Let stages read nginx's syntax, with relative paths from this directory."""

    def load(text: bytes, file: str, directory: str, look_up: object) -> object:
        return resolve(parse_nginx(text, file), file, f"{prefix}/", look_up)  # type: ignore[arg-type]

    monkeypatch.setattr(conversation, "load_text", load)


def differences(
    directory: Path,
    make: Callable[..., Stage],
    monkeypatch: pytest.MonkeyPatch,
    http: str,
    cases: Sequence[Case],
    level: str = "warn",
    prepare: Callable[[Path], None] | None = None,
    joins_chunks: bool = False,
) -> list[str]:
    """Every case where a worker answers otherwise than nginx, or says something else in the error log.

    joins_chunks: where chunks are cut does not matter, because a body is put together of parts.
    """
    _load_nginx_syntax(monkeypatch, directory)
    site = Site(directory)
    if prepare is not None:
        prepare(directory)
    try:
        read = comparable_whole if joins_chunks else comparable
        theirs = ask_nginx(site, http, cases, level, read)
        ours = ask_worker(site, make, http, cases, level, read)
    finally:
        site.close()
    assert any(answer for answer, _ in theirs), "nginx answers something"
    found = []
    for case, their, our in zip(cases, theirs, ours, strict=True):
        if their != our:
            found.append("\n".join([f"{case!r:.300}", "--- nginx", *_shown(their), "--- wproxy", *_shown(our)]))
    return found


def _shown(answer: tuple[str, list[str]]) -> list[str]:
    return [answer[0][:700].replace("\r\n", "\n"), *(f"log: {line}" for line in answer[1])]


class Comparison:
    """The fixture `same_as_nginx`: asserts that there is no difference."""

    def __init__(self, directory: Path, make: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch) -> None:
        self._settings = directory, make, monkeypatch

    def __call__(
        self,
        http: str,
        cases: Sequence[Case],
        level: str = "warn",
        prepare: Callable[[Path], None] | None = None,
        joins_chunks: bool = False,
    ) -> None:
        found = differences(*self._settings, http, cases, level, prepare, joins_chunks)
        assert not found, f"{len(found)} of {len(cases)} differ\n\n" + "\n\n".join(found)

    def ourselves(self, http: str, cases: Sequence[bytes], prepare: Callable[[Path], None] | None = None) -> None:
        """Asserts that a worker answers each request the same on a connection of its own and, twice, on one that is kept."""
        directory, make, monkeypatch = self._settings
        _load_nginx_syntax(monkeypatch, directory)
        site = Site(directory)
        if prepare is not None:
            prepare(directory)
        try:
            alone = ask_worker(site, make, http, cases, "crit")
            front = start_worker(site, make, http, "crit")
            kept = front.client()
            for case, (expected, _) in zip(cases, alone, strict=True):
                for _ in range(2):
                    if not kept.is_open():
                        kept.close()
                        kept = front.client()
                    kept.send(case.replace(b"\r\nConnection: close", b""))
                    answer = comparable(receive_one(kept)).replace("\r\nConnection: keep-alive", "\r\nConnection: close")
                    assert answer == expected, case
        finally:
            site.close()


def receive_one(client: End) -> bytes:
    """One answer whose length is told, or whatever came before the connection was closed."""

    def is_whole() -> bool:
        data = bytes(client.pull_all())
        head, blank, body = data.partition(b"\r\n\r\n")
        length = re.search(rb"\r\nContent-Length: (\d+)", head)
        bodiless = head[9:12] in (b"204", b"304")
        return bool(client.saw_end or (blank and (bodiless or (length and len(body) >= int(length[1])))))

    client.stage.until(is_whole, f"no whole answer but {bytes(client.received)!r}")
    data = bytes(client.received)
    client.received.clear()
    return data


@pytest.fixture
def same_as_nginx(
    tmp_path_factory: pytest.TempPathFactory, stage: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch
) -> Comparison:
    """Call it with the text of a `http` block and requests."""
    return Comparison(tmp_path_factory.mktemp("site"), stage, monkeypatch)
