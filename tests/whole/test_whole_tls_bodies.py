"""Bodies over TLS through a real master: large ones both ways, many at once, a websocket, and clients that break off."""

from __future__ import annotations

import hashlib
import os
import select
import socket
import ssl
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from harness import BACKENDS, Program, Wproxy, until
from recorder import Conversation, Received, Recorder
from websockets.sync.client import connect

from bench.ports import free_port
from tests.authority import authority

pytestmark = pytest.mark.whole

BIG = os.urandom(1 << 20) * 12
DIGEST = hashlib.sha256(BIG).hexdigest()


def answer_with_digest(conversation: Conversation, received: Received) -> None:
    """Tell what came, and send it back."""
    digest = hashlib.sha256(received.body).hexdigest()
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(received.body)}\r\nX-Digest: {digest}\r\n"
    head += "".join(f"X-Seen: {value}\r\n" for value in received.all("x-forwarded-proto"))
    conversation.send(f"{head}\r\n".encode())
    conversation.send(received.body)


@pytest.fixture(scope="module")
def backend() -> Iterator[Recorder]:
    with Recorder() as recorder:
        recorder.reply = answer_with_digest
        yield recorder


@pytest.fixture(scope="module")
def front(backend: Recorder) -> Iterator[Wproxy]:
    with tempfile.TemporaryDirectory(prefix="wproxy-test-", dir="/tmp") as name:
        directory = Path(name)
        directory.chmod(0o755)
        root = authority()
        (directory / "root.pem").write_bytes(root.pem)
        root.issue("site.test", ["site.test"]).write(directory, "site")
        (directory / "big").write_bytes(BIG)
        echo_port = free_port()
        echo = Program([sys.executable, str(BACKENDS / "websocket_echo.py"), str(echo_port)], directory)
        echo.wait_for_address(echo_port)
        http = f"""
        proxy_set_header = {{ X-Forwarded-Proto = "$scheme" }}
        client_max_body_size = 0
        send_timeout = "5s"
        [[http.server]]
        listen = [["127.0.0.1:{{port}}", "ssl"]]
        ssl_certificate = "site.pem"
        ssl_certificate_key = "site.key"
        root = "{directory}"
        location."/upload" = {{ proxy_pass = "http://127.0.0.1:{backend.port}" }}
        location."/straight" = {{ proxy_pass = "http://127.0.0.1:{backend.port}", proxy_buffering = false, proxy_request_buffering = false }}
        [http.server.location."/ws/"]
        proxy_pass = "http://127.0.0.1:{echo_port}"
        proxy_set_header = {{ Upgrade = "$http_upgrade", Connection = "upgrade", Host = "$host" }}
        """
        try:
            with Wproxy(directory, http, workers=1) as wproxy:
                yield wproxy
        finally:
            echo.end()


def connected(front: Wproxy) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(front.directory / "root.pem")
    plain = socket.create_connection(("127.0.0.1", front.port), 30)
    return context.wrap_socket(plain, server_hostname="site.test", suppress_ragged_eofs=False)


def answer(sock: ssl.SSLSocket) -> tuple[bytes, bytes]:
    """The head and the body of one answer."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += sock.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    pieces = [body]
    size = len(body)
    while size < length:
        piece = sock.recv(1 << 18)
        assert piece, "it ends early"
        pieces.append(piece)
        size += len(piece)
    return head, b"".join(pieces)


def both_ways(sock, data: bytes) -> tuple[bytes, bytes]:
    """Send and receive at once, in one thread: OpenSSL's connections are not for two."""
    unsent, received = memoryview(data), bytearray()
    sock.setblocking(False)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        moved = False
        try:
            if unsent:
                unsent = unsent[sock.send(unsent[:65536]) :]
                moved = True
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            pass
        try:
            piece = sock.recv(1 << 18)
            assert piece, "it ends early"
            received += piece
            moved = True
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            pass
        end = received.find(b"\r\n\r\n")
        if end >= 0:
            head = bytes(received[:end])
            if len(received) - end - 4 == int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]):
                return head, bytes(received[end + 4 :])
        if not moved:
            select.select([sock], [sock] if unsent else [], [], 1)
    raise AssertionError(f"{len(unsent)} bytes unsent, {len(received)} received")


def test_large_files_come_whole_one_after_another(front):
    with connected(front) as sock:
        for _ in range(2):
            sock.sendall(b"GET /big HTTP/1.1\r\nHost: site.test\r\n\r\n")
            _, body = answer(sock)
            assert hashlib.sha256(body).hexdigest() == DIGEST
        sock.sendall(b"GET /big HTTP/1.1\r\nHost: site.test\r\nRange: bytes=5-9\r\nConnection: close\r\n\r\n")
        assert answer(sock)[1] == BIG[5:10]
        assert sock.recv(10) == b""


@pytest.mark.parametrize("path", ["/upload", "/straight"])
def test_large_bodies_go_both_ways(front, path):
    with connected(front) as sock:
        head = f"POST {path} HTTP/1.1\r\nHost: site.test\r\nContent-Length: {len(BIG)}\r\n\r\n".encode()
        head, body = both_ways(sock, head + BIG)
        assert f"X-Digest: {DIGEST}".encode() in head and b"X-Seen: https" in head
        assert hashlib.sha256(body).hexdigest() == DIGEST


def test_many_at_once_get_what_is_theirs(front):
    failures: list[str] = []

    def talk(number: int) -> None:
        own = BIG[number * 1000 : number * 1000 + 300_000]
        try:
            with connected(front) as sock:
                for path in ("/upload", "/straight", "/upload"):
                    head = f"POST {path} HTTP/1.1\r\nHost: site.test\r\nContent-Length: {len(own)}\r\n\r\n"
                    sock.sendall(head.encode() + own)
                    if answer(sock)[1] != own:
                        failures.append(f"{number}: another body")
        except OSError as error:
            failures.append(f"{number}: {error!r}")

    threads = [threading.Thread(target=talk, args=(number,)) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures


def test_a_websocket_is_carried(front):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(front.directory / "root.pem")
    sock = socket.create_connection(("127.0.0.1", front.port), 30)
    with connect("wss://site.test/ws/", sock=sock, ssl=context, server_hostname="site.test", max_size=None) as websocket:
        for message in ("hello", "x" * 70_000, os.urandom(300_000)):
            websocket.send(message)
            assert websocket.recv(30) == message


def test_clients_that_break_off_leave_nothing(front):
    (pid,) = front.worker_pids()
    process = psutil.Process(pid)
    with connected(front) as sock:
        sock.sendall(b"GET /big HTTP/1.1\r\nHost: site.test\r\n\r\n")
        answer(sock)
    before = process.num_fds()
    for kind in ("reset", "alert", "bytes", "end"):
        sock = connected(front)
        sock.sendall(b"GET /big HTTP/1.1\r\nHost: site.test\r\n\r\n")
        assert sock.recv(1000)
        plain = socket.socket(fileno=sock.detach())
        if kind == "reset":
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif kind == "alert":
            plain.sendall(b"\x15\x03\x03\x00\x02\x02\x28")
        elif kind == "bytes":
            plain.sendall(os.urandom(100))
        plain.close()
    until(lambda: process.num_fds() <= before, lambda: f"{process.num_fds()} descriptors after {before}", 20)
    with connected(front) as sock:
        sock.sendall(b"GET /big HTTP/1.1\r\nHost: site.test\r\n\r\n")
        assert hashlib.sha256(answer(sock)[1]).hexdigest() == DIGEST


def test_one_who_does_not_read_costs_a_bounded_amount_of_memory(front):
    (pid,) = front.worker_pids()
    process = psutil.Process(pid)
    before = process.memory_info().rss
    held = []
    for _ in range(60):
        sock = connected(front)
        sock.sendall(b"GET /big HTTP/1.1\r\nHost: site.test\r\n\r\n")
        held.append(sock)
    with connected(front) as other:
        other.sendall(b"GET /big HTTP/1.1\r\nHost: site.test\r\n\r\n")
        answer(other)
    assert process.memory_info().rss - before < 60 * 300_000
    for sock in held:
        sock.close()
