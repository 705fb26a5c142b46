"""Passive health with four workers and a peer that fails: what the whole server does, seen from the peer."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest
from harness import until
from recorder import Recorder
from wire import Wire

from bench.ports import free_port

pytestmark = pytest.mark.whole

WORKERS = 4
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nback"


class Moody(threading.Thread):
    """A peer that accepts and resets, until it is told to answer. `attempts`: monotonic seconds of each connection."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", free_port()), backlog=256)
        self.port = self.listener.getsockname()[1]
        self.attempts: list[float] = []
        self.answers = False

    def run(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.attempts.append(time.monotonic())
            with connection:
                if self.answers:
                    connection.recv(65536)
                    connection.sendall(ANSWER)
                else:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def __enter__(self) -> Moody:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


@pytest.fixture
def moody() -> Iterator[Moody]:
    with Moody() as moody:
        yield moody


def configuration(moody: Moody, recorder: Recorder, parameters: str) -> str:
    return f"""
        [http.upstream.pool.server]
        "127.0.0.1:{moody.port}" = {{ {parameters} }}
        "127.0.0.1:{recorder.port}" = {{ max_fails = 0 }}
        [[http.server]]
        listen = "127.0.0.1:{{port}}"
        keepalive_requests = 1000000
        add_header = [["X-Worker", "$pid"]]
        [http.server.location."/"]
        proxy_pass = "http://pool"
        """


def one_client_of_each_worker(front) -> dict[str, Wire]:
    """By the worker's pid a connection to it that is kept."""
    wires: dict[str, Wire] = {}
    surplus = []

    def has_all() -> bool:
        wire = Wire(front.port)
        pid = wire.request("GET", "/first").all("x-worker")[0]
        if pid in wires:
            surplus.append(wire)
        wires.setdefault(pid, wire)
        return len(wires) == WORKERS

    until(has_all, "a connection to each worker")
    for wire in surplus:
        wire.close()
    return wires


def ask_all_at_once(wires: dict[str, Wire]) -> list[bytes]:
    """One request in each worker, all under way together."""
    for wire in wires.values():
        wire.send(b"GET / HTTP/1.1\r\nHost: test.example\r\n\r\n")
    answers = [wire.answer() for wire in wires.values()]
    assert [answer.status for answer in answers] == [200] * WORKERS, "a GET that fails is sent to the other peer"
    return [answer.body for answer in answers]


def test_all_workers_together_try_a_dead_peer_max_fails_times_and_probe_it_once_and_take_it_back(start, recorder, moody):
    moody.answers = True
    front = start(configuration(moody, recorder, "max_fails = 3, fail_timeout = '1s'"), workers=WORKERS)
    wires = one_client_of_each_worker(front)
    moody.answers = False
    moody.attempts.clear()

    for _ in range(40):
        ask_all_at_once(wires)
    burst = len(moody.attempts)
    assert 3 <= burst <= 3 + WORKERS - 1, "max_fails, and what was under way in the other workers"
    assert moody.attempts[-1] - moody.attempts[0] < 1

    def probed() -> bool:
        ask_all_at_once(wires)
        return len(moody.attempts) > burst + 1

    until(probed, "two probes")
    times = moody.attempts[burst - 1 :]
    # Whole seconds: the next probe comes when more than one of them has passed, and less than two by the clock.
    assert [later - earlier > 0.9 for earlier, later in itertools.pairwise(times)] == [True, True], times
    assert len(times) == 3

    moody.answers = True
    until(lambda: b"back" in ask_all_at_once(wires), "the probe that succeeds")
    seen: dict[str, set[bytes]] = {pid: set() for pid in wires}
    for _ in range(12):
        for pid, body in zip(wires, ask_all_at_once(wires), strict=True):
            seen[pid].add(body)
    assert all(b"back" in bodies and len(bodies) == 2 for bodies in seen.values()), "it is back in every worker"
    for wire in wires.values():
        wire.close()
    assert "no live upstreams" not in front.error_log


def test_a_peer_that_rests_goes_on_resting_when_workers_are_killed_and_after_a_reload(start, recorder, moody):
    front = start(configuration(moody, recorder, "max_fails = 1, fail_timeout = '60s'"), workers=WORKERS)
    for wire in one_client_of_each_worker(front).values():
        wire.close()
    burst = len(moody.attempts)
    assert 1 <= burst <= WORKERS

    def visit_all() -> None:
        wires = one_client_of_each_worker(front)
        for _ in range(5):
            ask_all_at_once(wires)
        for wire in wires.values():
            wire.close()

    before = front.worker_pids()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    until(lambda: len(front.worker_pids() - before) == WORKERS, "new workers")
    visit_all()
    assert front.reload().code == 0
    visit_all()
    assert len(moody.attempts) == burst
