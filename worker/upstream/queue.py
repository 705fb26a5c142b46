"""`queue`: requests that wait until a peer of their group has room."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from worker.loop import Loop, Task, sleep
from worker.upstream.live_peer import LivePeer
from wproxy.http import Request

# How often one that waits looks for itself, in seconds: a peer that rests comes back without telling anybody, and so does one
# that other workers have filled, only sooner.
LOOK_EVERY = 1.0
LOOK_AROUND_EVERY = 0.1


class Called(Exception):
    """Raised in a task that waits: somebody has left a peer."""


class Queue:
    """First come, first served: at most `limit` requests, each for at most `timeout` seconds."""

    def __init__(self, loop: Loop, limit: int, timeout: float, look_every: float = LOOK_EVERY) -> None:
        self._loop = loop
        self._look_every = look_every
        self.limit = limit
        self.timeout = timeout
        self._waiting: deque[Task] = deque()

    async def wait(self, request: Request, pick: Callable[[], LivePeer | None]) -> LivePeer | None:
        """The peer that `pick` gives when it gives one; None when the queue is full or the time is over. Raises ClientGone."""
        if len(self._waiting) >= self.limit:
            return None
        clock = request.client.clock
        task = self._loop.current()
        self._waiting.append(task)
        deadline = clock.now + self.timeout
        is_called = False
        try:
            while (left := deadline - clock.now) > 0:
                try:
                    await sleep(min(left, self._look_every))
                except Called:
                    is_called = True
                peer = pick()
                if peer is not None:
                    return peer
                is_called = False
            return None
        finally:
            self._waiting.remove(task)
            if is_called and task.pending is not None:
                self.wake()  # the client has left: the next one may have the place

    def wake(self) -> None:
        """There may be room: call the one that has waited longest and has not been called."""
        for task in self._waiting:
            if task.pending is None and task.parked:
                self._loop.interrupt(task, Called())
                return

    def __len__(self) -> int:
        return len(self._waiting)

    def __repr__(self) -> str:
        return f"<queue: {len(self)} of {self.limit} wait>"
