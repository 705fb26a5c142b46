"""A mixed load, as a front door sees it: kept connections, new ones, slow downloads and websockets, all at the same time.

    with mixed_backend(directory) as backend:
        front = start(mixed_site(backend), ...)
        with MixedLoad(front.port, clients=64) as load:
            load.wait_for(500)
            ...
        load.expect_no_failures()
        load.expect_each_in(front)

Every request has a path of its own, so that each can be found in the access log: once, whole, and no other. What goes wrong is
a `Failure` with the port that the client had: who has killed a worker on purpose knows by `clients_of` whose connections
it held and takes those out (`load.forgive`).
"""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil
from harness import BACKENDS, Program, Wproxy, until
from wire import Closed, Wire, request_bytes

from bench.ports import free_port

KINDS = ("kept", "new", "download", "websocket")
DOWNLOAD = 1 << 20  # bytes of one
SLOWLY = 32768, 0.01  # bytes that a download takes at once, and seconds between two
MESSAGES = 40  # of one websocket
PATIENCE = 30.0
UPGRADE = (("Connection", "Upgrade"), ("Upgrade", "websocket"))


class Failure(NamedTuple):
    """What a user would have seen. port: of the client (0: it got no connection)."""

    kind: str
    path: str
    port: int
    reason: str


class Caller(Wire):
    """A connection that remembers its own port, also when it is closed."""

    def __init__(self, port: int) -> None:
        super().__init__(port, PATIENCE)
        self.port: int = self.sock.getsockname()[1]


@contextmanager
def mixed_backend(directory: Path) -> Iterator[int]:
    """The backend of a mixed load, in a process of its own; gives its port."""
    port = free_port()
    program = Program([sys.executable, str(BACKENDS / "mixed_app.py"), str(port)], directory)
    try:
        program.wait_for_address(port)
        yield port
    finally:
        program.end()


def mixed_site(backend: int, listen: Iterable[str] = ("127.0.0.1:{port}",), more: str = "") -> str:
    """The [http] section for that backend. listen: addresses. more: lines for the server."""
    addresses = ", ".join(f'"{address}"' for address in listen)
    return f"""
        [http.upstream.mixed]
        server = "127.0.0.1:{backend}"
        keepalive = 64
        [[http.server]]
        listen = [{addresses}]
        {more}
        [http.server.location."/"]
        proxy_pass = "http://mixed"
        [http.server.location."/websocket/"]
        proxy_pass = "http://mixed"
        proxy_set_header = {{ Upgrade = "$http_upgrade", Connection = "$wproxy_connection_upgrade" }}
        """


def repeated(lines: Iterable[str]) -> list[list[str]]:
    """Return the lines that had been there before, those that follow each other in one piece."""
    seen: set[str] = set()
    pieces: list[list[str]] = [[]]
    for line in lines:
        if line in seen:
            pieces[-1].append(line)
        elif pieces[-1]:
            pieces.append([])
        seen.add(line)
    return [piece for piece in pieces if piece]


class MixedLoad:
    """So many clients, a fourth of each kind, which ask until they are told to stop.

    Those on kept connections behave as browsers do: when a connection that has served before ends without a byte of an answer,
    the request is made once more on a new one. answered: the paths of requests that were answered well. unsure: the paths of
    those that were not answered, of which nobody knows whether wproxy has seen them.
    """

    def __init__(self, port: int, clients: int = 64, kinds: Iterable[str] = KINDS) -> None:
        self.port = port
        self.answered: dict[str, list[str]] = {kind: [] for kind in kinds}
        self.unsure: set[str] = set()
        self._last_on: dict[int, str] = {}  # by the port of a client, what was answered there last
        self._forgiven: set[int] = set()
        self._killed = 0
        self.failures: list[Failure] = []
        self.again = 0
        self._ending = threading.Event()
        run = {"kept": self._keep, "new": self._renew, "download": self._download, "websocket": self._talk}
        every = list(self.answered)
        self._threads = [
            threading.Thread(target=run[every[number % len(every)]], args=(number,), daemon=True) for number in range(clients)
        ]

    def __enter__(self) -> MixedLoad:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Let every client finish what it has begun."""
        self._ending.set()
        for thread in self._threads:
            thread.join(PATIENCE + 10)
            assert not thread.is_alive(), "a client hangs"

    @property
    def count(self) -> int:
        """Requests that were answered well."""
        return sum(map(len, self.answered.values()))

    def wait_for(self, count: int, of_each: int = 1, seconds: float = 60.0) -> None:
        """Until so many more answers have come, and so many of each kind."""
        target = self.count + count
        targets = {kind: len(paths) + of_each for kind, paths in self.answered.items()}
        until(
            lambda: self.count >= target and all(len(self.answered[kind]) >= least for kind, least in targets.items()),
            lambda: (
                f"{self.count} of {target}: { {kind: len(paths) for kind, paths in self.answered.items()} }, failed: {self.failures[:5]}"
            ),
            seconds,
        )

    # What came of it.

    def forgive(self, ports: Iterable[int], killed: int = 1) -> list[Failure]:
        """Take out the failures of connections from these ports: those that were in flight in so many killed workers."""
        ports = set(ports)
        self._forgiven |= ports
        self._killed += killed
        forgiven = [failure for failure in self.failures if failure.port in ports]
        self.failures = [failure for failure in self.failures if failure.port not in ports]
        return forgiven

    def expect_no_failures(self) -> None:
        """AssertionError with the first failures, if there are any."""
        assert not self.failures, f"{len(self.failures)} failed of {self.count}: {self.failures[:10]}"

    def expect_each_in(self, *fronts: Wproxy) -> None:
        """After the end: each answered request is in the access log once, nothing else is, and no line is torn.

        Of unsure ones there may be a line; and the last answer on a connection that was held by a worker when it was killed
        may have none, for the worker may have been killed between the two. A worker that is killed between writing its last lines and
        noting so has them written once more, by its master and in one piece. fronts: who have written it together, in their directories.
        """
        expected = {path for paths in self.answered.values() for path in paths}
        half_done = {self._last_on[port] for port in self._forgiven & self._last_on.keys()}
        self.unsure |= half_done
        expected -= half_done

        def lines() -> list[str]:
            # `Logged` raises for a line that has not its six parts.
            return [line.request.split(" ")[1] for front in fronts for line in front.access_log if "/mixed-" in line.request]

        until(lambda: not expected - set(lines()), lambda: f"without a line: {sorted(expected - set(lines()))[:10]}", 10)
        found = lines()
        assert not set(found) - expected - self.unsure, sorted(set(found) - expected - self.unsure)[:10]
        again = repeated(found)
        assert len(again) <= self._killed, again[:5]
        assert max(Counter(found).values()) <= 2, again[:5]

    # The kinds of clients.

    def _paths(self, number: int, prefix: str) -> Iterator[str]:
        made = 0
        while not self._ending.is_set():
            made += 1
            yield f"/{prefix}/mixed-{number}-{made}"

    def _well(self, kind: str, path: str, wire: Caller) -> None:
        self._last_on[wire.port] = path
        self.answered[kind].append(path)  # a list takes one at a time, whoever gives

    def _badly(self, kind: str, path: str, wire: Caller | None, error: Exception) -> None:
        self.unsure.add(path)
        self.failures.append(Failure(kind, path, wire.port if wire else 0, repr(error)))
        self._ending.wait(0.02)

    def _keep(self, number: int) -> None:
        """One connection, request after request."""
        wire: Caller | None = None
        for path in self._paths(number, "ask"):
            for attempt in (path, f"{path}-again"):
                try:
                    wire = wire or Caller(self.port)
                    answer = wire.request("GET", attempt)
                    assert (answer.status, answer.body) == (200, attempt.encode()), answer
                    self._well("kept", attempt, wire)
                    if not answer.keeps_alive:
                        wire.close()
                        wire = None
                    break
                except (Closed, BrokenPipeError, ConnectionResetError) as error:
                    may_repeat = wire is not None and wire.answers and not getattr(error, "received", b"") and attempt == path
                    if may_repeat:
                        self.unsure.add(attempt)
                        self.again += 1
                    else:
                        self._badly("kept", attempt, wire, error)
                except Exception as error:
                    may_repeat = False
                    self._badly("kept", attempt, wire, error)
                if wire is not None:
                    wire.close()
                    wire = None
                if not may_repeat:
                    break
        if wire is not None:
            wire.close()

    def _renew(self, number: int) -> None:
        """A new connection for each request."""
        for path in self._paths(number, "ask"):
            wire = None
            try:
                with Caller(self.port) as wire:
                    answer = wire.request("GET", path, [("Connection", "close")])
                    assert (answer.status, answer.body) == (200, path.encode()), answer
                    assert wire.is_closed_by_peer()
                    self._well("new", path, wire)
            except Exception as error:
                self._badly("new", path, wire, error)

    def _download(self, number: int) -> None:
        """A large body, taken slowly."""
        for path in self._paths(number, f"download/{DOWNLOAD}"):
            wire = None
            try:
                with Caller(self.port) as wire:
                    wire.send(request_bytes("GET", path, [("Connection", "close")]))
                    size = self._take_slowly(wire.sock)
                    assert size > DOWNLOAD, f"{size} bytes came, head included, of {DOWNLOAD}"
                    self._well("download", path, wire)
            except Exception as error:
                self._badly("download", path, wire, error)

    def _take_slowly(self, sock: socket.socket) -> int:
        most, pause = SLOWLY
        size = 0
        while data := sock.recv(most):
            size += len(data)
            time.sleep(pause)  # it is slow: nothing waits for this
        return size

    def _talk(self, number: int) -> None:
        """A websocket, as far as a proxy is concerned: an upgrade, and then messages that come back."""
        for path in self._paths(number, "websocket"):
            wire = None
            try:
                with Caller(self.port) as wire:
                    answer = wire.request("GET", path, UPGRADE)
                    assert answer.status == 101, answer
                    for message in range(MESSAGES):
                        text = b"%s %d\n" % (path.encode(), message)
                        wire.send(text)
                        assert wire._exactly(len(text)) == text
                        self._ending.wait(0.01)
                    self._well("websocket", path, wire)
            except Exception as error:
                self._badly("websocket", path, wire, error)


def clients_of(worker: int, port: int) -> set[int]:
    """The ports of the clients whose connections a worker holds; it should be stopped, or more may come."""
    connections = psutil.Process(worker).net_connections("tcp")
    return {one.raddr.port for one in connections if one.raddr and one.laddr.port == port}
