"""One demo application: `python -m master.demo.app PORT NAME`.

    /         the application's name and the request it saw: a page for browsers, plain text for others
    /headers  the same as JSON
    /slow     waits ?seconds= (1) before it answers
    /stream   a chunked answer, ?lines= (10), one every 200 ms
    /upload   counts and checksums the body of a POST or PUT
    /health   for health checks
    /ws/      websocket echo

Every answer names its application in X-Application. Every size that a client can choose has a limit.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from master.demo.page import front_page
from master.demo.websocket import Echo, accept_key

MAX_SECONDS = 60.0
MAX_LINES = 1000
MAX_CHUNK = 1 << 30
LINE_PAUSE = 0.2
READ_SIZE = 64 * 1024


class BadBody(Exception):
    """The request body is not what its head announced."""


class Application(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version = "demo"
    sys_version = ""
    timeout = 75  # an idle connection; longer than the proxy keeps one
    # Head and body go out in two sends; with Nagle's algorithm the second would wait for an acknowledgement.
    disable_nagle_algorithm = True
    server: ApplicationServer

    def answer(self) -> None:
        """Find the page and send it."""
        path = urlsplit(self.path).path
        if path == "/upload":
            self.upload()
            return
        if self.command in ("POST", "PUT", "PATCH"):
            # An unread body would be taken for the next request.
            self.close_connection = True
        PAGES.get(path, Application.not_found)(self)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer

    def index(self) -> None:
        """Send the application's name and the request it saw."""
        head = f"{self.requestline}\n" + "".join(f"{name}: {value}\n" for name, value in self.headers.items())
        if "text/html" in self.headers.get("Accept", ""):
            self.send(200, front_page(self.server.name, head), "text/html; charset=utf-8")
        else:
            self.send(200, f"application {self.server.name} saw\n\n{head}")

    def headers_seen(self) -> None:
        """Send the request it saw, for programs."""
        seen = {
            "application": self.server.name,
            "method": self.command,
            "target": self.path,
            "headers": [f"{name}: {value}" for name, value in self.headers.items()],
        }
        self.send(200, json.dumps(seen, indent=1) + "\n", "application/json")

    def slow(self) -> None:
        """Answer late."""
        seconds = self.number("seconds", 1.0, MAX_SECONDS)
        time.sleep(seconds)
        self.send(200, f"application {self.server.name} waited {seconds:g} s\n")

    def stream(self) -> None:
        """Answer bit by bit."""
        lines = int(self.number("lines", 10, MAX_LINES))
        self.head(200, "text/plain; charset=utf-8")
        if self.request_version == "HTTP/1.0":
            self.close_connection = True  # the end of the body is the end of the connection
            frame = "{1}"
        else:
            self.send_header("Transfer-Encoding", "chunked")
            frame = "{0:x}\r\n{1}\r\n"
        self.end_headers()
        if self.command == "HEAD":
            return
        for number in range(1, lines + 1):
            line = f"line {number} from application {self.server.name}\n"
            self.wfile.write(frame.format(len(line), line).encode())
            if number < lines:
                time.sleep(LINE_PAUSE)
        if self.request_version != "HTTP/1.0":
            self.wfile.write(b"0\r\n\r\n")

    def upload(self) -> None:
        """Count and checksum the body without keeping it."""
        size, digest = 0, hashlib.sha256()
        try:
            for piece in self.body():
                size += len(piece)
                digest.update(piece)
        except BadBody as fault:
            self.close_connection = True
            self.send(400, f"{fault}\n")
            return
        answer = {"application": self.server.name, "bytes": size, "sha256": digest.hexdigest()}
        self.send(200, json.dumps(answer) + "\n", "application/json")

    def health(self) -> None:
        """Report good health."""
        self.send(200, "ok\n")

    def not_found(self) -> None:
        """Answer that there is no such page."""
        self.send(404, "not found\n")

    def websocket(self) -> None:
        """Shake hands, then echo every message."""
        accept = accept_key(self.headers.get("Sec-WebSocket-Key", ""))
        wants_upgrade = "upgrade" in self.headers.get("Connection", "").lower()
        if self.command != "GET" or not wants_upgrade or self.headers.get("Upgrade", "").lower() != "websocket":
            self.send(426, "a websocket lives here\n", extra=(("Upgrade", "websocket"), ("Connection", "Upgrade")))
            return
        if self.headers.get("Sec-WebSocket-Version") != "13":
            self.send(426, "only version 13\n", extra=(("Sec-WebSocket-Version", "13"),))
            return
        if accept is None:
            self.send(400, "bad Sec-WebSocket-Key\n")
            return
        self.send_response(101)
        for field in (("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", accept)):
            self.send_header(*field)
        self.send_header("X-Application", self.server.name)
        self.end_headers()
        self.close_connection = True
        echo = Echo()
        # rfile may hold frames that came with the request head: read1 gives those first.
        while not echo.is_closed and (data := self.rfile.read1(READ_SIZE)):
            self.wfile.write(echo.receive(data))

    def body(self) -> Iterator[bytes]:
        """Yield the request body in pieces, as announced by Content-Length or chunked."""
        coding = self.headers.get("Transfer-Encoding")
        if coding is None:
            length = self.headers.get("Content-Length", "0")
            if not (length.isascii() and length.isdigit()):
                raise BadBody("bad Content-Length")
            yield from self.exactly(int(length))
            return
        if coding.strip().lower() != "chunked" or "Content-Length" in self.headers:
            raise BadBody("bad Transfer-Encoding")
        while size := self.chunk_size():
            yield from self.exactly(size)
            if self.rfile.readline(3) != b"\r\n":
                raise BadBody("no line end after a chunk")
        while (line := self.rfile.readline(READ_SIZE)) != b"\r\n":
            if not line.endswith(b"\n"):
                raise BadBody("bad trailer")

    def chunk_size(self) -> int:
        """Read the line before a chunk: hexadecimal digits, and extensions, which are ignored."""
        digits = self.rfile.readline(1024).partition(b";")[0].strip()
        if not digits or digits.strip(b"0123456789abcdefABCDEF"):
            raise BadBody("bad chunk size")
        size = int(digits, 16)
        if size > MAX_CHUNK:
            raise BadBody("chunk too big")
        return size

    def exactly(self, size: int) -> Iterator[bytes]:
        """Yield this many bytes, in pieces."""
        while size:
            piece = self.rfile.read1(min(size, READ_SIZE))
            if not piece:
                raise BadBody("the body ends too early")
            size -= len(piece)
            yield piece

    def number(self, name: str, default: float, limit: float) -> float:
        """Return a number of the query between 0 and the limit, or the default when it is invalid."""
        try:
            value = float(parse_qs(urlsplit(self.path).query)[name][0])
        except (KeyError, ValueError):
            return default
        return min(max(value, 0.0), limit) if value == value else default  # NaN differs from itself

    def head(self, status: int, kind: str) -> None:
        """Begin an answer."""
        self.send_response(status)
        self.send_header("X-Application", self.server.name)
        self.send_header("Content-Type", kind)
        self.send_header("Cache-Control", "no-store")

    def send(
        self, status: int, text: str, kind: str = "text/plain; charset=utf-8", extra: Sequence[tuple[str, str]] = ()
    ) -> None:
        """Send a whole answer."""
        body = text.encode()
        self.head(status, kind)
        self.send_header("Content-Length", str(len(body)))
        for field in extra:
            self.send_header(*field)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: the terminal belongs to the show."""


PAGES: dict[str, Callable[[Application], None]] = {
    "/": Application.index,
    "/headers": Application.headers_seen,
    "/slow": Application.slow,
    "/stream": Application.stream,
    "/health": Application.health,
    "/ws/": Application.websocket,
}


class ApplicationServer(ThreadingHTTPServer):
    """A thread for each connection; none of them keeps the process alive."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], name: str, parent: int | None = None) -> None:
        """parent: the pid of the process with which we end."""
        super().__init__(address, Application)
        self.name = name
        self.parent = parent

    def server_bind(self) -> None:
        """Bind, without the reverse look-up of our own name that HTTPServer does here and that is not needed."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "localhost", self.server_address[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a peer that went away; anything else is a bug and gets its traceback."""
        if not isinstance(sys.exception(), (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)

    def service_actions(self) -> None:
        """End with the parent; serve_forever calls this twice a second, so a demo that is killed leaves no application behind."""
        if self.parent is not None and os.getppid() != self.parent:
            os._exit(0)


def main(arguments: Sequence[str]) -> int:
    """Serve until a signal ends the process."""
    with_parent = "--with-parent" in arguments
    words = [word for word in arguments if word != "--with-parent"]
    if len(words) != 2 or not words[0].isdigit():
        print("usage: python -m master.demo.app PORT NAME [--with-parent]", file=sys.stderr)
        return 2
    # There is nothing to clean up: let Ctrl-C end the process as SIGTERM does, without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        server = ApplicationServer(("127.0.0.1", int(words[0])), words[1], os.getppid() if with_parent else None)
    except (OSError, OverflowError) as error:
        print(f"cannot listen on 127.0.0.1:{words[0]}: {error}", file=sys.stderr)
        return 1
    server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
