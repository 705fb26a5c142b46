"""Long runs, by `make soak`: what goes wrong once in ten thousand requests, and what grows."""

from __future__ import annotations

import random
import signal
import socket
import threading
import time

import psutil
import pytest
from harness import until
from test_whole_pool import names, pool  # noqa: F401 (a fixture)
from wire import Load, Wire

pytestmark = [pytest.mark.whole, pytest.mark.soak]

SECONDS = 40.0
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


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


def test_2000_gets_against_backends_that_close_idle_connections_at_the_worst_moment(start):
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
    statuses: dict[int, int] = {}
    for _ in range(4):
        with Wire(front.port) as wire:
            for number in range(500):
                status = wire.request("GET", f"/{number}").status
                statuses[status] = statuses.get(status, 0) + 1
    for backend in backends:
        backend.listener.close()
    assert statuses == {200: 2000}
    assert sum(backend.closed for backend in backends) > 100
    assert "temporarily disabled" not in front.error_log, "a connection that died in idleness blames nobody"


def test_reloads_and_killed_backends_under_load_cost_nothing(start, pool):  # noqa: F811
    front = start(pool.http(), workers=2)
    chance = random.Random(20261122)
    began = time.monotonic()
    with Load(front.port, clients=16) as load:
        load.wait_for(500)
        first = resident(front)
        while time.monotonic() - began < SECONDS:
            deed = chance.choice(("reload", "kill a backend", "nothing"))
            if deed == "reload":
                assert front.reload().code == 0
            elif deed == "kill a backend":
                victim = chance.randrange(3)
                pool.signal(victim, signal.SIGKILL)
                load.wait_for(200)
                pool.programs[victim].wait()
                pool.restart(victim)
                # The next one is killed when this one serves again: a pool of which nobody is left has no answer to give.
                before = names(load)["abc"[victim]]
                until(lambda: names(load)["abc"[victim]] > before + 10, "requests at the backend that came back")
            load.wait_for(200)
        until(lambda: len(front.worker_pids()) == 2, "old workers gone")
        last = resident(front)
    assert load.failures == []
    assert last < first * 1.3, f"{first >> 20} MB before, {last >> 20} MB after"


def resident(front) -> int:
    """Bytes that the family has resident."""
    return sum(process.memory_info().rss for process in front.family() if psutil.pid_exists(process.pid))
