"""The rest of a response that is stored on its way: from the upstream into the file of the cache, and out of it to the client.

A task of its own writes as fast as the upstream sends, by the kernel where nothing has to be decoded; the client gets what has
been written, by sendfile where it can be. So the upstream does not wait for a slow client, the file is all the memory that takes,
and when the client leaves, the rest is stored all the same. Whatever becomes of the file in the cache: the sender has a
descriptor of its own.

When the disk fails, the bytes that it did not take go to the client directly, and so does all the rest.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from worker.cache.dealings import Dealings
from worker.cache.writing import Writing
from worker.client.clients import Clients
from worker.loop import FAIR_SHARE, Loop, Task, give_way, park
from worker.outlet import NOTHING, Pieces
from worker.stream import CHUNK
from worker.upstream.proxied_body import ProxiedBody, Unwritten
from wproxy.bodies import Frame, Outlet
from wproxy.failures import UpstreamFailure

_FOREVER = float("inf")


class Storing(Pieces):
    """The rest of a body that is being stored (a BodySource).

    _written: the end of what is in the file; _sent: the end of what the client got of it. _rest: what the disk did not take.
    _is_over: whether the task has ended; _failure: unless it came to the end of the body. _is_direct: whether the client gets the
    rest without the file.
    """

    __slots__ = (
        "_dealings", "_failure", "_fd", "_is_closed", "_is_direct", "_is_over", "_loop", "_on_end", "_rest", "_sent", "_source",
        "_waiting", "_writing", "_written",
    )  # fmt: skip

    def __init__(
        self, dealings: Dealings, source: ProxiedBody, writing: Writing, sent: int, loop: Loop, clients: Clients
    ) -> None:
        """Begin the task. sent: how many bytes of the body are in the file and go to the client from memory. Raises OSError."""
        self._fd = os.dup(writing.fileno)
        self._unsent = NOTHING
        self._dealings = dealings
        self._source = source
        self._writing = writing
        self._written = self._sent = writing.body_start + sent
        self._rest = b""
        self._failure: UpstreamFailure | None = None
        self._is_over = self._is_direct = self._is_closed = False
        self._waiting: Task | None = None
        self._loop = loop
        self._on_end: Callable[[], None] = clients.let_go
        clients.hold()
        dealings.hold()
        loop.spawn(self._store(), f"store {dealings.key!r}")

    # The task.

    async def _store(self) -> None:
        """Write all of the body into the file, and have it published."""
        source, writing = self._source, self._writing
        moved, written = 0, None
        self._failure = UpstreamFailure("error", "the task that stores a response has ended", "reading upstream")
        try:
            while count := await source.store(writing):
                self._written += count
                self._wake()
                moved += count
                if moved >= FAIR_SHARE:
                    moved = 0
                    await give_way()
            self._failure = None
            if writing.finish():
                written = writing.body_size
        except Unwritten as trouble:
            self._written = writing.body_start + writing.body_size
            self._rest, self._is_direct, self._failure = trouble.rest, True, None
            self._dealings.complain(trouble)
            if self._is_closed:
                source.close()
        except UpstreamFailure as failure:
            self._dealings.learn(f"not stored: {failure.reason}")
            self._failure = None if self._is_closed else failure  # logged where it happened
        finally:
            self._is_over = True
            self._dealings.count(self._written - writing.body_start, written)
            writing.abandon()  # unless it is finished
            self._dealings.release()
            self._wake()
            self._on_end()

    def _wake(self) -> None:
        if self._waiting is not None:
            self._loop.wake(self._waiting)

    # The client.

    async def send(self, outlet: Outlet, frame: Frame, seconds: float, most: int) -> int:
        """Send the next bytes, at most so many; return how many, 0 at the end. Raises TimedOut, OSError, UpstreamFailure."""
        if outlet.kernel_fd < 0 or frame is not None or self._unsent:
            return await super().send(outlet, frame, seconds, most)
        while await self._has_written():
            try:
                sent = os.sendfile(outlet.kernel_fd, self._fd, self._sent, min(self._written - self._sent, most))
            except BlockingIOError:
                await outlet.room(seconds)
                continue
            self._sent += sent
            return sent
        if self._rest or not self._is_direct:
            return await super().send(outlet, frame, seconds, most)
        return await self._source.send(outlet, frame, seconds, most)

    async def read(self) -> bytes:
        """Return the next piece; b"" at the end. Raises UpstreamFailure."""
        if await self._has_written():
            piece = os.pread(self._fd, min(self._written - self._sent, CHUNK), self._sent)
            self._sent += len(piece)
            return piece
        rest, self._rest = self._rest, b""
        return rest or (await self._source.read() if self._is_direct else b"")

    async def _has_written(self) -> bool:
        """Wait until there is more in the file; return False when all of it was sent. Raises UpstreamFailure."""
        while self._sent >= self._written:
            if self._is_over:
                if self._failure is not None:
                    raise self._failure
                return False
            self._waiting = self._loop.current()
            try:
                await park(None, 0, _FOREVER)
            finally:
                self._waiting = None
        return True

    def close(self) -> None:
        """Let the client go; the rest is stored all the same."""
        if not self._is_closed:
            self._is_closed = True
            os.close(self._fd)
            self._rest, self._unsent = b"", NOTHING
            self._failure = None  # its traceback has frames that have this
            if self._is_over:
                self._source.close()

    def __repr__(self) -> str:
        return f"<storing {self._dealings.key!r}: {self._sent} of {self._written} sent{', all written' if self._is_over else ''}>"
