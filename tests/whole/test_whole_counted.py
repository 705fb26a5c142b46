"""limit_req and limit_conn in a whole server: exact over four workers, whichever of them are killed, over reloads."""

from __future__ import annotations

import os
import random
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from harness import Wproxy, until
from wire import Closed, Wire

from bench.ports import free_port

pytestmark = pytest.mark.whole

WORKERS = 4
CLIENTS = 64
BURST = 3000
AT_ONCE = 12

HTTP = f"""
limit_req_zone = [["$arg_k", "zone=requests:1m", "rate=1r/m"]]
limit_conn_zone = [["$arg_c", "zone=connections:1m"]]
limit_req_log_level = "info"
limit_conn_log_level = "info"
[[http.server]]
listen = "127.0.0.1:{{port}}"
keepalive_requests = 1000000
[http.server.location."/"]
root = "FILES"
limit_req = [["zone=requests", "burst={BURST}", "nodelay"]]
[http.server.location."/slow"]
proxy_pass = "http://127.0.0.1:BACK"
limit_conn = [["connections", {AT_ONCE}]]
"""


class SlowPeer(threading.Thread):
    """An upstream that answers when it is let. under_way: its connections with a request; most: the most there were at once."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.listening = socket.create_server(("127.0.0.1", free_port()), backlog=256)
        self.port = self.listening.getsockname()[1]
        self.lock = threading.Lock()
        self.under_way = self.most = self.served = 0
        self.answers = threading.Event()
        self.answers.set()

    def run(self) -> None:
        while True:
            try:
                sock, _ = self.listening.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def serve(self, sock: socket.socket) -> None:
        with sock, suppress(OSError):
            while sock.recv(65536):
                with self.lock:
                    self.under_way += 1
                    self.most = max(self.most, self.under_way)
                try:
                    self.answers.wait(30)
                finally:
                    with self.lock:
                        self.under_way -= 1
                        self.served += 1
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    def close(self) -> None:
        self.answers.set()
        self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()


@pytest.fixture
def peer() -> Iterator[SlowPeer]:
    peer = SlowPeer()
    peer.start()
    yield peer
    peer.close()


@pytest.fixture
def front(start: Callable[..., Wproxy], peer: SlowPeer, tmp_path: Path) -> Wproxy:
    (tmp_path / "index.html").write_text("here")
    tmp_path.chmod(0o755)
    return start(HTTP.replace("FILES", str(tmp_path)).replace("BACK", str(peer.port)), workers=WORKERS)


class Clients:
    """Many clients at once, each with a connection that it opens again whenever it is lost. statuses: of all answers."""

    def __init__(self, port: int, path: str, count: int, each: int) -> None:
        self.port = port
        self.path = path
        self.each = each
        self.statuses: list[int] = []
        self.lost = 0
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.run, daemon=True) for _ in range(count)]
        for thread in self.threads:
            thread.start()

    def run(self) -> None:
        wire: Wire | None = None
        for _ in range(self.each):
            try:
                wire = wire or Wire(self.port)
                status = wire.request("GET", self.path).status
                with self.lock:
                    self.statuses.append(status)
            except (Closed, OSError):
                with self.lock:
                    self.lost += 1
                if wire is not None:
                    wire.close()
                wire = None
        if wire is not None:
            wire.close()

    @property
    def are_done(self) -> bool:
        return not any(thread.is_alive() for thread in self.threads)


def kill_some_worker(front: Wproxy, chance: random.Random) -> None:
    pids = front.worker_pids()
    if pids:
        os.kill(chance.choice(sorted(pids)), signal.SIGKILL)


def test_requests_are_counted_exactly_while_workers_are_killed_and_replaced(front: Wproxy):
    chance = random.Random()
    clients = Clients(front.port, "/?k=k", CLIENTS, 100)
    kills = 0
    deadline = time.monotonic() + 60
    while not clients.are_done:
        assert time.monotonic() < deadline
        time.sleep(0.1)
        if kills < 12:
            kill_some_worker(front, chance)
            kills += 1
            if kills == 6:
                assert front.reload().code == 0
    passed = clients.statuses.count(200)
    refused = clients.statuses.count(503)
    assert passed + refused + clients.lost == CLIENTS * 100
    assert refused > 500
    # Nobody knows whether a request without an answer was counted.
    assert BURST + 1 - clients.lost <= passed <= BURST + 1


def test_requests_under_way_are_counted_exactly_while_workers_are_killed(front: Wproxy, peer: SlowPeer):
    chance = random.Random()
    clients = Clients(front.port, "/slow?c=c", CLIENTS, 60)
    kills = 0
    deadline = time.monotonic() + 60
    while not clients.are_done:
        assert time.monotonic() < deadline
        time.sleep(0.1)
        if kills < 8:
            kill_some_worker(front, chance)
            kills += 1
    assert clients.statuses.count(200) > 100
    assert set(clients.statuses) <= {200, 503}
    # Those of a killed worker count no more, but the peer may still be about to see their end.
    assert peer.most <= AT_ONCE + kills * AT_ONCE

    until(lambda: len(front.worker_pids()) == WORKERS, "all workers")
    until(lambda: peer.under_way == 0, "an end of all requests")
    peer.answers.clear()
    peer.most = 0
    waiting = [Wire(front.port) for _ in range(AT_ONCE)]
    for wire in waiting:
        wire.send(b"GET /slow?c=c HTTP/1.1\r\nHost: h\r\n\r\n")
    until(
        lambda: peer.under_way == AT_ONCE, lambda: f"{AT_ONCE} requests at the peer, not {peer.under_way}: nothing is left over"
    )
    for _ in range(20):
        with Wire(front.port) as wire:
            assert wire.request("GET", "/slow?c=c").status == 503
    peer.answers.set()
    assert [wire.answer().status for wire in waiting] == [200] * AT_ONCE
    for wire in waiting:
        wire.close()
    assert peer.most == AT_ONCE


def test_counts_survive_a_reload_but_not_another_definition(front: Wproxy):
    front.http = front.http.replace(f"burst={BURST}", "burst=1")
    assert front.reload().code == 0

    def statuses(key: str, count: int) -> list[int]:
        found = []
        for _ in range(count):
            with Wire(front.port) as wire:
                found.append(wire.request("GET", f"/?k={key}").status)
        return found

    assert statuses("a", 3) == [200, 200, 503]
    assert front.reload().code == 0
    assert statuses("a", 2) == [503, 503]
    front.http = front.http.replace("zone=requests:1m", "zone=requests:2m")
    assert front.reload().code == 0
    assert statuses("a", 3) == [200, 200, 503]
