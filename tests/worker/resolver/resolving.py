"""A loop whose clock the test moves, name servers beside it, and questions asked in it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from tests.name_server import NameServer
from worker.loop import Loop, Task
from worker.resolver.resolver import CannotResolve, Resolver
from wproxy.address import Address
from wproxy.directives.resolver import NameServers

PATIENCE = 3.0  # seconds of real time for what is expected


class Asked:
    """A question under way: `outcome` is what it returned or raised, None before."""

    def __init__(self) -> None:
        self.outcome: Any = None
        self.task: Task


class Bench:
    """Everything runs in the test's own thread, in `settle` and in `advance`."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.bugs: list[str] = []
        self.log: list[tuple[str, str]] = []
        self.servers: list[NameServer] = []
        self.loop = Loop(lambda task, error: self.bugs.append(f"{task.name}: {error!r}"), read_clock=lambda: self.now)

    def server(self) -> NameServer:
        """One more name server."""
        self.servers.append(NameServer())
        return self.servers[-1]

    def write_log(self, level: str, text: str) -> None:
        self.log.append((level, text))

    def resolver(self, **settings: Any) -> Resolver:
        """A resolver that asks the servers there are, in their order."""
        servers = tuple(Address("127.0.0.1", server.port) for server in self.servers)
        return Resolver(self.loop, NameServers(servers, **settings), self.write_log)

    def ask(self, awaitable: Awaitable[Any]) -> Asked:
        """Begin to ask."""
        asked = Asked()

        async def run() -> None:
            try:
                asked.outcome = await awaitable
            except CannotResolve as error:
                asked.outcome = error

        asked.task = self.loop.spawn(run(), "asking")
        self.turn()
        return asked

    def turn(self) -> None:
        """Let everybody do what can be done now."""
        for _ in range(6):
            self.loop.turn(0)
            for server in self.servers:
                server.serve()

    def until(self, condition: Callable[[], Any]) -> None:
        """Turn, without moving the clock, until it holds."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, f"in vain; tasks: {self.loop.tasks}"
            self.turn()
        assert not self.bugs, self.bugs

    def outcome(self, awaitable: Awaitable[Any]) -> Any:
        """What comes of asking, while the clock stands."""
        asked = self.ask(awaitable)
        self.until(lambda: asked.outcome is not None)
        return asked.outcome

    def advance(self, seconds: float) -> None:
        """Let so much time pass, in steps short enough that nothing is overslept."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(self.now + 0.25, end)
            self.turn()
        assert not self.bugs, self.bugs

    def run(self, coroutine: Coroutine[Any, Any, None], name: str = "") -> Task:
        return self.loop.spawn(coroutine, name)

    def close(self) -> None:
        self.loop.close()
        for server in self.servers:
            server.close()
        assert not self.bugs, self.bugs
