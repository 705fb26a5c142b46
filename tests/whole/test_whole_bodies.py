"""Large bodies and slow clients through a real worker: what they cost in memory.

The quick ones run always; those that need gigabytes or a thousand connections by `make soak`.
"""

from __future__ import annotations

import hashlib
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator

import psutil
import pytest
from harness import Wproxy, connect, until

pytestmark = pytest.mark.whole

MB = 1 << 20
PIECE = os.urandom(MB)
HTTP = """
[[http.server]]
listen = "127.0.0.1:{{port}}"
[http.server.location."/"]
proxy_pass = "http://127.0.0.1:{backend}"
client_max_body_size = 0
{location}
"""


class Backend:
    """Answers `GET /N` with N bytes, and a body with its digest.

    `POST /count` only counts, for what is to be quick.
    """

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
        self.port: int = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def serve(self, sock: socket.socket) -> None:
        with sock:
            try:
                data = b""
                while True:
                    while b"\r\n\r\n" not in data:
                        piece = sock.recv(65536)
                        if not piece:
                            return
                        data += piece
                    head, _, data = data.partition(b"\r\n\r\n")
                    data = self.answer(sock, head, data)
            except OSError:
                return

    def answer(self, sock: socket.socket, head: bytes, data: bytes) -> bytes:
        method, target, _ = head.split(b" ", 2)
        if method == b"POST":
            received = hashlib.sha256()
            left = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n", 1)[0])
            while left:
                piece, data = (data, b"") if data else (sock.recv(MB), b"")
                if not piece:
                    return b""
                left -= len(piece)
                if target != b"/count":
                    received.update(piece)
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\n" + received.hexdigest().encode())
            return b""
        size = int(target[1:])
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        if method == b"GET":
            for begin in range(0, size, MB):
                sock.sendall(memoryview(PIECE)[: min(MB, size - begin)])
        return data


@pytest.fixture
def backend() -> Iterator[Backend]:
    running = Backend()
    yield running
    running.listener.close()


def rss(front: Wproxy) -> int:
    """Bytes of memory of the only worker."""
    (pid,) = front.worker_pids()
    return int(psutil.Process(pid).memory_info().rss)


def download(front: Wproxy, size: int, watch: Callable[[], None]) -> None:
    """Fetch so many bytes, and look at them."""
    with connect(front.port) as sock:
        sock.sendall(b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n" % size)
        file = sock.makefile("rb", MB)
        while file.readline() != b"\r\n":
            continue
        for begin in range(0, size, MB):
            assert file.read(min(MB, size - begin)) == PIECE[: size - begin]
            if begin % (64 * MB) == 0:
                watch()
        file.close()


def upload(front: Wproxy, size: int, watch: Callable[[], None]) -> None:
    """Post so many bytes, and look whether they have arrived."""
    sent = hashlib.sha256()
    with connect(front.port) as sock:
        sock.settimeout(120)
        sock.sendall(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % size)
        for begin in range(0, size, MB):
            sock.sendall(PIECE)
            sent.update(PIECE)
            if begin % (64 * MB) == 0:
                watch()
        answer = sock.recv(65536)
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert answer.endswith(sent.hexdigest().encode())


UNBUFFERED = "proxy_request_buffering = false"
TRANSFERS = [
    (download, "", 100 * MB),
    (download, "proxy_buffering = false", 100 * MB),
    (upload, "", 100 * MB),
    (upload, UNBUFFERED, 100 * MB),
    pytest.param(download, "", 10_240 * MB, marks=pytest.mark.soak),
    pytest.param(upload, UNBUFFERED, 10_240 * MB, marks=pytest.mark.soak),
    pytest.param(upload, "", 2_048 * MB, marks=pytest.mark.soak),  # this one goes through a file
]


@pytest.mark.parametrize(("transfer", "location", "size"), TRANSFERS)
def test_a_transfer_of_any_size_leaves_the_memory_flat(start, backend, transfer, location, size):
    front = start(HTTP.format(backend=backend.port, location=location), workers=1)
    transfer(front, 16 * MB, lambda: None)
    before = rss(front)
    highest = before

    def watch() -> None:
        nonlocal highest
        highest = max(highest, rss(front))

    transfer(front, size, watch)
    watch()
    assert highest - before < 4 * MB


def send_at_once(front: Wproxy, count: int, size: int, watch: Callable[[], None]) -> None:
    """Post so many bodies of that size, each as fast as it is taken; all are begun before one goes on."""
    head = b"POST /count HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % size
    left = {}
    for _ in range(count):
        sock = connect(front.port)
        sock.sendall(head + PIECE[:100])
        sock.setblocking(False)
        left[sock] = size - 100
    waiting = selectors.DefaultSelector()
    for sock in left:
        waiting.register(sock, selectors.EVENT_WRITE)
    sent = answered = 0
    while answered < count:
        ready = waiting.select(300)  # 20 GB in temporary files are as fast as the disk
        assert ready, "nobody goes on"
        for key, _ in ready:
            sock = key.fileobj
            assert isinstance(sock, socket.socket)
            if not left[sock]:
                assert sock.recv(65536).startswith(b"HTTP/1.1 200 OK")
                waiting.unregister(sock)
                sock.close()
                answered += 1
                continue
            try:
                done = sock.send(memoryview(PIECE)[: left[sock]])
            except BlockingIOError:
                continue
            left[sock] -= done
            sent += done
            if not left[sock]:
                waiting.modify(sock, selectors.EVENT_READ)
            if sent >= 64 * MB:
                sent = 0
                watch()


@pytest.mark.parametrize("location", ["", UNBUFFERED])
@pytest.mark.parametrize(("count", "size"), [(50, 6 * MB), pytest.param(200, 100 * MB, marks=pytest.mark.soak)])
def test_many_uploads_at_once_take_little_memory(start, backend, location, count, size):
    front = start(HTTP.format(backend=backend.port, location=location), workers=1)
    upload(front, MB, lambda: None)
    before = rss(front)
    highest = before

    def watch() -> None:
        nonlocal highest
        highest = max(highest, rss(front))

    send_at_once(front, count, size, watch)
    assert highest - before < 64 * MB


AHEAD = "proxy_max_temp_file_size = '1m'"
SLOW_CLIENTS = [
    (AHEAD, 150, 24_000),
    pytest.param(AHEAD, 1000, 400_000, marks=pytest.mark.soak),
    pytest.param("proxy_buffering = false", 1000, 400_000, marks=pytest.mark.soak),
]


@pytest.mark.parametrize(("location", "count", "taken"), SLOW_CLIENTS)
def test_slow_clients_cost_less_than_40_kb_each(start, backend, location, count, taken):
    """They read 10 MB with 50 KB/s, until they have so much of it; that is above what they cost while idle."""
    front = start(HTTP.format(backend=backend.port, location=location), workers=1, main="[events]\nworker_connections = 4096\n")
    sockets = []
    for _ in range(count):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        sock.connect(("127.0.0.1", front.port))
        sock.sendall(b"HEAD /10485760 HTTP/1.1\r\nHost: h\r\n\r\n")
        assert sock.recv(4096)
        sockets.append(sock)
    idle = highest = rss(front)
    for sock in sockets:
        sock.sendall(b"GET /10485760 HTTP/1.1\r\nHost: h\r\n\r\n")
        sock.setblocking(False)
    received = 0
    ends = time.monotonic() + 120
    while received < count * taken:
        assert time.monotonic() < ends
        turn = time.monotonic()
        for sock in sockets:
            try:
                received += len(sock.recv(25_000))
            except BlockingIOError:
                continue
        highest = max(highest, rss(front))
        time.sleep(max(0.0, 0.5 - (time.monotonic() - turn)))
    for sock in sockets:
        sock.close()
    assert (highest - idle) / count < 40 * 1024


def test_a_worker_that_is_killed_leaves_no_file(start, backend):
    front = start(HTTP.format(backend=backend.port, location='client_body_temp_path = ["bodies", "1", "2"]'), workers=1)
    bodies = front.directory / "bodies"
    with connect(front.port) as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9000000\r\n\r\n" + b"x" * 1_000_000)
        front.error_logged("a client request body is buffered to a temporary file")
        (worker,) = front.worker_pids()
        psutil.Process(worker).kill()
        try:
            assert sock.recv(100) == b""
        except ConnectionResetError:
            pass
    until(lambda: front.worker_pids() - {worker}, "a new worker")
    assert bodies.is_dir()
    assert [path for path in bodies.rglob("*") if not path.is_dir()] == []
