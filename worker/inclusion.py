"""Responses of subrequests that become parts of another one, in their order, while all are under way (subrequests.md §1.4).

An `Inclusion` is a subrequest in a task of its own. The task reads the response ahead of its turn, up to some bytes; then it
waits until those are taken, and so does its upstream. Whatever ends the reader of the whole closes its inclusions, and with them
everything inside of those.

A response that breaks off in the middle ends its own part only, as in nginx: the rest of the page follows. A subrequest that
cannot go on for a reason of our own cuts the whole response.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from worker.content.returns import CloseConnection
from worker.logs import log_request
from worker.loop import Loop, Task, park
from worker.outlet import NOTHING, Wrapper
from worker.subrequest import Subrequest, answered_inside
from wproxy.bodies import BodySource
from wproxy.failures import ClientError, UpstreamFailure
from wproxy.http import Response

# The bytes of a part that are read before its turn.
AHEAD = 65536
_FAR = float("inf")


class Signal:
    """A change that one task at a time waits for, again and again."""

    __slots__ = ("_loop", "_waiting")

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._waiting: Task | None = None

    def give(self) -> None:
        """Resume the task that waits, if one does."""
        if self._waiting is not None:
            self._loop.wake(self._waiting)

    async def wait(self) -> None:
        """Wait until it is given; this may also end for nothing."""
        task = self._waiting = self._loop.current()
        try:
            await park(None, 0, _FAR)
        finally:
            if self._waiting is task:  # the other one may wait by now, since this one has been woken
                self._waiting = None


class Inclusion:
    """A subrequest whose response is read as a part of another. is_over: whether all of it has been read or given up.

    is_empty: whether no byte has come. has_failed: whether that is for an error page of ours, in a request with a stub.
    failure: the reason to cut the whole response; None if there is none.
    """

    __slots__ = (
        "_changed",
        "_held",
        "_loop",
        "_pieces",
        "_task",
        "failure",
        "has_failed",
        "is_empty",
        "is_over",
        "request",
        "response",
    )

    def __init__(self, request: Subrequest, loop: Loop) -> None:
        """Start it."""
        self.request = request
        self.response: Response | None = None
        self.is_over = False
        self.is_empty = True
        self.has_failed = False
        self.failure: UpstreamFailure | None = None
        self._loop = loop
        self._pieces: deque[bytes] = deque()
        self._held = 0
        self._changed = Signal(loop)
        self._task = loop.spawn(self._run(), f"subrequest {request.path!r}")

    async def read(self) -> bytes:
        """Return the next piece; b"" at the end. Raises UpstreamFailure when the whole response has to be cut."""
        while not self._pieces:
            if self.failure is not None:
                raise self.failure
            if self.is_over:
                return b""
            await self._changed.wait()
        piece = self._pieces.popleft()
        self._held -= len(piece)
        self._changed.give()
        return piece

    def close(self) -> None:
        """Give up the rest."""
        self._pieces.clear()
        self._loop.cancel(self._task)

    async def _run(self) -> None:
        request = self.request
        try:
            response = self.response = await answered_inside(request)
            request.status, request.response_fields = response.fields.status, response.fields
            if response.tunnel is not None:
                self._fail("connection upgrade in subrequest")
                return
            if request.has_stub and response.error:
                self.has_failed = True
                return
            self._keep(response.body)
            if response.source is not None:
                await self._read_ahead(response.source)
        except CloseConnection as closing:
            request.status = closing.status
            self.failure = UpstreamFailure("error", f"a subrequest ended with {closing.status}", "sending to client")
        except ClientError as error:
            self._fail(error.reason)
        except UpstreamFailure:
            pass  # logged where it happened; the rest of the page follows
        finally:
            self.is_over = True
            if self.response is not None:
                self.response.close()
            else:
                request.status = request.status or 499
            request.finish()
            self._changed.give()

    async def _read_ahead(self, source: BodySource) -> None:
        while True:
            while self._held >= AHEAD:
                await self._changed.wait()
            piece = await source.read()
            if not piece:
                return
            self._keep(piece)

    def _keep(self, piece: bytes) -> None:
        if piece:
            self.is_empty = False
            self._pieces.append(piece)
            self._held += len(piece)
            self._changed.give()

    def _fail(self, text: str) -> None:
        log_request(self.request, "error", f"{text} while sending to client")
        self.failure = UpstreamFailure("error", text, "sending to client")

    def __repr__(self) -> str:
        return f"<inclusion of {self.request.path!r}, {self._held} bytes held{', over' if self.is_over else ''}>"


Part = bytes | BodySource | Inclusion


class Joined(Wrapper):
    """A body made of parts, one after the other."""

    __slots__ = ("_current", "_own", "_parts")

    def __init__(self, parts: Iterator[Part], own: BodySource | None) -> None:
        """parts: makes each when the one before it has been read. own: one that is to be closed in any case."""
        self._own = own
        self._unsent = NOTHING
        self._source: BodySource | None = None  # the part that may read ahead while the client has no room
        self._parts = parts
        self._current: BodySource | Inclusion | None = None

    async def read(self) -> bytes:
        """Return the next piece; b"" at the end. Raises UpstreamFailure."""
        while True:
            if self._current is not None:
                piece = await self._current.read()
                if piece:
                    return piece
                self._current.close()
                self._current = self._source = None
            part = next(self._parts, None)
            if part is None:
                return b""
            if not isinstance(part, bytes):
                self._current = part
                self._source = None if isinstance(part, Inclusion) else part
            elif part:
                return part

    def close(self) -> None:
        """Give up the part that is being read."""
        part, self._current, self._source = self._current, None, None
        for each in (part, self._own):
            if each is not None:
                each.close()
