"""Updates for all who look at the dashboard: one snapshot a second while anybody does, as server-sent events.

A reader that is slow misses updates, and gets the whole state then: nothing is queued for it. A worker that leaves says `bye`, so
that browsers connect again, to another one.
"""

from __future__ import annotations

import json
from typing import Any

from worker.counters.counting import Counting
from worker.dashboard.patch import merge_patch
from worker.dashboard.snapshot import snapshot
from worker.loop import Task, park, sleep
from worker.outlet import NOTHING, Pieces
from worker.services import Services

MOST_READERS = 16
EVERY = 1.0
# How often in that time the worker looks whether it has to leave.
STEPS = 4
# Browsers wait so many milliseconds before they connect again.
RETRY = b"retry: 2000\n\n"
BYE = b"event: bye\ndata: {}\n\n"


def event(name: str, value: Any) -> bytes:
    """Return one event."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), json.dumps(value, separators=(",", ":")).encode())


class Updates:
    """The updates of one worker. number: that of the last one."""

    def __init__(self, services: Services, counting: Counting | None) -> None:
        self.services = services
        self._counting = counting
        self.readers: set[Reader] = set()
        self.number = 0
        self.state: dict[str, Any] = {}
        self.delta = b""
        self._task: Task | None = None

    @property
    def is_full(self) -> bool:
        """Whether nobody else may look."""
        return len(self.readers) >= MOST_READERS

    async def join(self) -> Reader:
        """Return a new reader."""
        if self._task is None:
            await self._renew()
        reader = Reader(self)
        self.readers.add(reader)
        if self._task is None:
            self._task = self.services.loop.spawn(self._run(), "dashboard")
        return reader

    def leave(self, reader: Reader) -> None:
        """Forget a reader."""
        self.readers.discard(reader)

    async def _renew(self) -> None:
        """Make a snapshot."""
        state = await snapshot(self.services, self._counting)
        before, self.state = self.state, state
        self.delta = event("delta", merge_patch(before, self.state))
        self.number += 1

    async def _run(self) -> None:
        """Make a snapshot each second, until nobody looks."""
        try:
            clock = self.services.loop.clock
            due = clock.now + EVERY
            while True:
                await sleep(EVERY / STEPS)
                if not self.readers:
                    return
                if clock.now < due and not self.is_leaving:
                    continue
                due = clock.now + EVERY
                if not self.is_leaving:
                    await self._renew()
                for reader in list(self.readers):
                    reader.wake()
        finally:
            self._task = None

    @property
    def is_leaving(self) -> bool:
        """Whether the worker is on its way out."""
        return self.services.clients.draining


class Reader(Pieces):
    """One stream of events: the body of a response. _seen: the number of the last update that was sent; 0: none."""

    __slots__ = ("_has_ended", "_seen", "_updates", "_waiting")

    def __init__(self, updates: Updates) -> None:
        self._updates = updates
        self._seen = 0
        self._waiting: Task | None = None
        self._has_ended = False
        self._unsent = NOTHING

    async def read(self) -> bytes:
        """Return the next update, as soon as there is one; b"" when the worker leaves."""
        updates = self._updates
        if self._has_ended:
            return b""
        if not self._seen:
            self._seen = updates.number
            return RETRY + event("full", updates.state)
        while not updates.is_leaving:
            number = updates.number
            if number == self._seen + 1:
                self._seen = number
                return updates.delta
            if number != self._seen:
                self._seen = number
                return event("full", updates.state)
            self._waiting = updates.services.loop.current()
            try:
                await park(None, 0, float("inf"))
            finally:
                self._waiting = None
        self._has_ended = True
        return BYE

    def wake(self) -> None:
        """Have it look for an update."""
        if self._waiting is not None:
            self._updates.services.loop.wake(self._waiting)

    def close(self) -> None:
        """Leave."""
        self._updates.leave(self)
