"""Memory for each idle connection, or for each request under way: resident pages of all processes of a proxy, before and after.

What the kernel keeps for a socket is not in it: it is the same for all proxies.
"""

from __future__ import annotations

import resource
import socket
import ssl
import struct
import time
from collections.abc import Callable

from bench.failure import BenchFailure
from bench.measure import Sample
from bench.servers import RunningServer, anyone
from bench.workloads import Workload

# Connections that come and go first: what is loaded or made once is there when the count begins.
FIRST = 64
SETTLE_SECONDS = 0.3
# Descriptors of this process beside those of the connections.
SPARE_DESCRIPTORS = 200

_GET = b"GET %b HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_WINDOW = struct.pack(">I", 1 << 30)


def measure_memory(server: RunningServer, workload: Workload, connections: int) -> Sample:
    """Open connections, and account for what the server needs for them."""
    allow_descriptors(connections + SPARE_DESCRIPTORS)
    began = time.monotonic()
    try:
        for sock in open_all(server.port, workload, min(FIRST, connections)):
            sock.close()
        time.sleep(SETTLE_SECONDS)
        before = resident(server)
        held = open_all(server.port, workload, connections)
        time.sleep(SETTLE_SECONDS)
        after = resident(server)
        for sock in held:
            sock.close()
    except OSError as error:
        raise BenchFailure(f"{server.name}, workload {workload.name}: {error}{server.last_words()}") from None
    kilobytes = (after - before) / connections / 1024
    return Sample(connections, time.monotonic() - began, 0.0, 0.0, kilobytes=kilobytes)


def allow_descriptors(number: int) -> None:
    """Let this process have so many open files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < number:
        if hard != resource.RLIM_INFINITY and hard < number:
            raise BenchFailure(f"memory of connections needs {number} open files, and the limit is {hard} (ulimit -Hn)")
        resource.setrlimit(resource.RLIMIT_NOFILE, (number, hard))


def resident(server: RunningServer) -> int:
    """Return the bytes that the server's processes have in memory."""
    return sum(process.memory_info().rss for process in server.processes())


def open_all(port: int, workload: Workload, number: int) -> list[socket.socket]:
    """Return connections that are idle after an answer, or that together have so many requests under way."""
    begin = _BEGIN[workload.listen]
    if workload.streams > 1:
        size = min(workload.streams, number)
        return [hold_streams(_connect(port), size) for _ in range(number // size)]
    return [begin(_connect(port), workload) for _ in range(number)]


def _connect(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=10)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _ask(sock: socket.socket, workload: Workload) -> socket.socket:
    """Ask once over HTTP/1, and read the answer."""
    sock.sendall(_GET % workload.path.encode())
    answer = b""
    while b"\r\n\r\n0123456789" not in answer:
        piece = sock.recv(65536)
        if not piece:
            raise OSError(f"no answer, but {answer[:200]!r}")
        answer += piece
    return sock


def _ask_encrypted(sock: socket.socket, workload: Workload) -> socket.socket:
    return _ask(_CONTEXT.wrap_socket(sock, server_hostname="localhost"), workload)


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def _fields(path: str) -> bytes:
    """Return a GET as literals that touch no table (RFC 7541): :method and :scheme from the static table."""
    return b"\x82\x86" + b"\x04" + bytes((len(path),)) + path.encode() + b"\x01\x09127.0.0.1"


def _greet(sock: socket.socket) -> None:
    sock.sendall(_PREFACE + _frame(4, 0, 0) + _frame(8, 0, 0, _WINDOW) + _frame(4, 1, 0))


def _ask_http2(sock: socket.socket, workload: Workload) -> socket.socket:
    """Ask once over HTTP/2, and read until the stream ends."""
    _greet(sock)
    sock.sendall(_frame(1, 5, 1, _fields(workload.path)))
    data = b""
    while True:
        piece = sock.recv(65536)
        if not piece:
            raise OSError(f"no answer over HTTP/2, but {data[:200]!r}")
        data += piece
        while len(data) >= 9 and len(data) >= 9 + (size := int.from_bytes(data[:3], "big")):
            kind, flags = data[3], data[4]
            data = data[9 + size :]
            if kind in (3, 7):
                raise OSError("the request over HTTP/2 was refused")
            if kind in (0, 1) and flags & 1:
                return sock


def _ask_http2_encrypted(sock: socket.socket, workload: Workload) -> socket.socket:
    return _ask_http2(_HTTP2_CONTEXT.wrap_socket(sock, server_hostname="localhost"), workload)


def hold_streams(sock: socket.socket, number: int) -> socket.socket:
    """Have so many requests under way, whose answers never come."""
    _greet(sock)
    sock.sendall(b"".join(_frame(1, 5, 2 * index + 1, _fields("/streams/hold")) for index in range(number)))
    return sock


_CONTEXT: ssl.SSLContext = anyone()
_HTTP2_CONTEXT: ssl.SSLContext = anyone()
_HTTP2_CONTEXT.set_alpn_protocols(["h2"])
_BEGIN: dict[str, Callable[[socket.socket, Workload], socket.socket]] = {
    "http": _ask,
    "tls": _ask_encrypted,
    "h2c": _ask_http2,
    "h2": _ask_http2_encrypted,
}
