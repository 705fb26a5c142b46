"""Peers and workers that die at any moment: no GET fails, and what is left in the shared memory is right.

The short runs are for every day, the long ones are `make soak`.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from harness import Wproxy, until
from test_whole_health import one_client_of_each_worker
from test_whole_pool import names, pool  # noqa: F401 (a fixture)
from wire import Load, Wire

from master.memory import open_memory_of
from wproxy.peer_counters import PeerTotals, read_totals
from wproxy.shared import HEAD_RECORDS, HEAD_SLOTS, PEER_IDENTITY, ROW_FORGIVEN, SharedWords

pytestmark = pytest.mark.whole

WORKERS = 4
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def for_so_long(short: float, long: float) -> Callable[..., object]:
    return pytest.mark.parametrize("seconds", [short, pytest.param(long, marks=pytest.mark.soak)])


class Quitter(threading.Thread):
    """A backend that closes its connections at the worst moment: idle ones, a random time after their last answer."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self.listener.getsockname()[1]
        self.closed = 0

    def run(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection: socket.socket) -> None:
        with connection:
            for _ in range(random.randint(1, 6)):
                if not connection.recv(65536):
                    return
                connection.sendall(ANSWER)
            time.sleep(random.choice((0.0, 0.0001, 0.0005, 0.002)))
        self.closed += 1


@pytest.mark.parametrize("count", [150, pytest.param(2000, marks=pytest.mark.soak)])
def test_gets_against_backends_that_close_idle_connections_at_the_worst_moment(start, count):
    backends = [Quitter() for _ in range(2)]
    for backend in backends:
        backend.start()
    servers = ", ".join(f'"127.0.0.1:{backend.port}"' for backend in backends)
    front = start(
        f"""
        [http.upstream.quitters]
        server = [{servers}]
        [[http.server]]
        listen = "127.0.0.1:{{port}}"
        [http.server.location."/"]
        proxy_pass = "http://quitters"
        """
    )
    statuses = []
    for first in range(0, count, 500):  # a connection serves keepalive_requests
        with Wire(front.port) as wire:
            statuses += [wire.request("GET", f"/{number}").status for number in range(first, min(first + 500, count))]
    for backend in backends:
        backend.listener.close()
    assert statuses == [200] * count
    assert sum(backend.closed for backend in backends) > count // 15
    assert "temporarily disabled" not in front.error_log, "a connection that died in idleness blames nobody"


@for_so_long(1.5, 30.0)
@pytest.mark.parametrize("victims", ["the same two", pytest.param("any two", marks=pytest.mark.soak)])
def test_two_of_three_backends_are_killed_and_revived_again_and_again_and_no_get_fails(start, pool, victims, seconds):  # noqa: F811
    """When any two may be killed, the third may have been dead a moment ago: it is asked only if it has no max_fails."""
    front = start(pool.http("fail_timeout = '1s'" if victims == "the same two" else "max_fails = 0"), workers=2)
    chance = random.Random()
    rounds = 0
    with Load(front.port, clients=64) as load:
        load.wait_for(200)
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            pair = (0, 1) if victims == "the same two" else chance.sample(range(3), 2)
            began = time.monotonic()
            for number in pair:
                pool.signal(number, signal.SIGKILL)
            for number in pair:
                pool.programs[number].wait()
            load.wait_for(100)
            for number in pair:
                pool.restart(number)
            # A request that has met both of them dead must not meet the third one dead too: let those be over.
            load.wait_for(300)
            rounds += 1
            until(lambda began=began: time.monotonic() - began >= 1, "a second of killing and reviving")
        load.wait_for(100)
    assert load.failures == []
    assert rounds
    assert "c" in names(load)


class Fickle(threading.Thread):
    """A backend that answers or resets, as it pleases, one request for each connection."""

    def __init__(self, share_of_resets: float) -> None:
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self.listener.getsockname()[1]
        self.share_of_resets = share_of_resets
        self.resets = 0
        self.chance = random.Random()

    def run(self) -> None:
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%d" % (len(str(self.port)), self.port)
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(5)
                try:
                    if not connection.recv(65536):
                        continue
                    if self.chance.random() < self.share_of_resets:
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                        self.resets += 1
                    else:
                        connection.sendall(answer)
                except OSError:
                    continue


@pytest.fixture
def fickle() -> Iterator[list[Fickle]]:
    """Two that fail now and then, and one that never does."""
    backends = sorted((Fickle(0.0) for _ in range(3)), key=lambda backend: str(backend.port))
    backends[0].share_of_resets, backends[1].share_of_resets = 0.1, 0.3
    for backend in backends:
        backend.start()
    yield backends
    for backend in backends:
        backend.listener.shutdown(socket.SHUT_RDWR)
        backend.listener.close()


@contextmanager
def shared_memory(front: Wproxy) -> Iterator[SharedWords]:
    assert front.master is not None
    with open_memory_of(front.master.pid) as memory:
        yield memory.shared


def totals(shared: SharedWords) -> list[tuple[PeerTotals, int]]:
    """The counts of all workers and the failures held against it, for each peer in the order of their names."""
    found = []
    for record in range(1, shared.head(HEAD_RECORDS)):
        if shared.words[shared.peer_offset(record) + PEER_IDENTITY]:
            counted = read_totals(shared, record)
            forgiven = max(
                shared.words[shared.row_offset(slot, record) + ROW_FORGIVEN] for slot in range(shared.head(HEAD_SLOTS))
            )
            found.append((counted, counted.failures - forgiven))
    return found


@for_so_long(1.0, 30.0)
def test_workers_are_killed_at_random_moments_under_load_and_counters_and_availability_are_consistent(start, fickle, seconds):
    servers = "\n".join(f'"127.0.0.1:{backend.port}" = {{ max_fails = 2, fail_timeout = "1s" }}' for backend in fickle[:2])
    front = start(
        f"""
        [http.upstream.pool]
        zone = ["pool", "64k"]
        least_conn = true
        [http.upstream.pool.server]
        {servers}
        "127.0.0.1:{fickle[2].port}" = {{ max_fails = 0 }}
        [[http.server]]
        listen = "127.0.0.1:{{port}}"
        keepalive_requests = 1000000
        add_header = [["X-Worker", "$pid"]]
        [http.server.location."/"]
        proxy_pass = "http://pool"
        """,
        workers=WORKERS,
    )
    chance = random.Random()
    clients, killed = 16, 0
    with Load(front.port, clients=clients) as load:
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            load.wait_for(chance.randrange(20, 100))
            serving = front.worker_pids()
            if len(serving) == WORKERS:
                os.kill(chance.choice(sorted(serving)), signal.SIGKILL)
                killed += 1
        load.wait_for(50)
    assert killed
    refused = [failure for failure in load.failures if failure.startswith("<")]
    assert refused == [], "who got an answer got the right one"
    until(lambda: len(front.worker_pids()) == WORKERS, "all workers")

    with shared_memory(front) as shared:
        until(lambda: [counted.active for counted, _ in totals(shared)] == [0, 0, 0], "no request under way, nowhere counted")
        for backend, (counted, held) in zip(fickle, totals(shared), strict=True):
            # What a worker was about to count when it was killed is not counted; nothing else is lost, and nothing counts twice.
            assert backend.resets - killed * clients <= counted.failures <= backend.resets
            assert 0 <= held <= counted.failures
        assert fickle[1].resets > 0

        for backend in fickle:
            backend.share_of_resets = 0.0
        wires = one_client_of_each_worker(front)
        seen: dict[str, set[bytes]] = {pid: set() for pid in wires}

        def all_serve_in_all() -> bool:
            for pid, wire in wires.items():
                answer = wire.request("GET", "/")
                assert answer.status == 200
                seen[pid].add(answer.body)
            return all(len(bodies) == len(fickle) for bodies in seen.values())

        until(all_serve_in_all, "answers of all peers in each worker", 20)
        # Until a success that came later than fail_timeout after the last failure nothing is forgiven, though it may serve.
        until(
            lambda: all_serve_in_all() and [held for _, held in totals(shared)] == [0, 0, 0], "nothing held against anybody", 20
        )
        for wire in wires.values():
            wire.close()
        assert [counted.active for counted, _ in totals(shared)] == [0, 0, 0]


class Counting(threading.Thread):
    """A backend that takes its time and knows how many requests it ever had at once."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self.listener.getsockname()[1]
        self.name = f"127.0.0.1:{self.port}"
        self.lock = threading.Lock()
        self.now = self.most = self.served = 0

    def run(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection: socket.socket) -> None:
        with connection:
            if not connection.recv(65536):
                return
            with self.lock:
                self.now += 1
                self.most = max(self.most, self.now)
            time.sleep(0.01)  # the time a request takes
            with self.lock:
                self.now -= 1
                self.served += 1
            body = self.name.encode()
            lines = b"Connection: close\r\nSet-Cookie: session=%d-%d; Path=/\r\n" % (self.port, self.served)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%b\r\n%b" % (len(body), lines, body))


@pytest.fixture
def counting() -> Iterator[list[Counting]]:
    backends = [Counting(), Counting()]
    for backend in backends:
        backend.start()
    yield backends
    for backend in backends:
        backend.listener.shutdown(socket.SHUT_RDWR)
        backend.listener.close()


def test_with_a_zone_a_limit_and_a_session_hold_for_all_workers_together(start, counting):
    servers = "\n".join(f'"{backend.name}" = {{ max_conns = 2 }}' for backend in counting)
    front = start(
        f"""
        [http.upstream.limited]
        zone = ["limited", "64k"]
        queue = [100, "timeout=20s"]
        [http.upstream.limited.server]
        {servers}
        [http.upstream.learning]
        sticky = ["learn", "create=$upstream_cookie_session", "lookup=$cookie_session", "zone=learning:64k"]
        server = [{", ".join(f'"{backend.name}"' for backend in counting)}]
        [[http.server]]
        listen = "127.0.0.1:{{port}}"
        add_header = [["X-Worker", "$pid"]]
        [http.server.location."/"]
        proxy_pass = "http://limited"
        [http.server.location."/learning"]
        proxy_pass = "http://learning"
        """,
        workers=WORKERS,
    )
    with Load(front.port, clients=16) as load:
        load.wait_for(150)
    assert load.failures == [], "who finds no room waits"
    assert [backend.most for backend in counting] == [2, 2]

    workers = set()
    for _ in range(4):
        with Wire(front.port) as wire:
            first = wire.request("GET", "/learning")
        session = first["set-cookie"].partition(";")[0]
        for _ in range(12):
            with Wire(front.port) as wire:
                answer = wire.request("GET", "/learning", [("Cookie", session)])
            workers.update(answer.all("x-worker"))
            assert answer.body == first.body, "a session stays, whichever worker is asked"
    assert len(workers) > 1
