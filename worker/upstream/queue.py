"""`queue`: requests that wait until a peer of their group has room."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from worker.loop import Event, Loop
from worker.upstream.live_peer import LivePeer
from wproxy.http import Request

# How often a waiting request checks by itself, in seconds: a resting peer returns without a signal, and so does one that other
# workers have filled, only sooner.
LOOK_EVERY = 1.0
LOOK_AROUND_EVERY = 0.1


class Queue:
    """First come, first served: at most `limit` requests, each for at most `timeout` seconds."""

    def __init__(self, loop: Loop, limit: int, timeout: float, look_every: float = LOOK_EVERY) -> None:
        self._loop = loop
        self._look_every = look_every
        self.limit = limit
        self.timeout = timeout
        self.why = ""  # the end cause of the last request that got no peer
        self._waiting: deque[Event] = deque()

    async def wait(self, request: Request, pick: Callable[[], LivePeer | None]) -> LivePeer | None:
        """Return the peer of `pick` as soon as there is one; None if the queue is full or time is over. Raises ClientGone."""
        if len(self._waiting) >= self.limit:
            self.why = "up_queue_full"
            return None
        clock = request.client.clock
        called = Event(self._loop)
        self._waiting.append(called)
        deadline = clock.now + self.timeout
        try:
            while (left := deadline - clock.now) > 0:
                await called.wait(min(left, self._look_every))
                peer = pick()
                called.is_set = False
                if peer is not None:
                    return peer
            self.why = "up_queue_timeout"
            return None
        finally:
            self._waiting.remove(called)
            if called.is_set:
                self.wake()  # the client has left: the next one may have the place

    def wake(self) -> None:
        """Call the request that has waited longest and has not been called: there may be room."""
        for called in self._waiting:
            if not called.is_set:
                called.set()
                return

    def __len__(self) -> int:
        return len(self._waiting)

    def __repr__(self) -> str:
        return f"<queue: {len(self)} of {self.limit} wait>"
