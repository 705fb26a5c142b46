"""Sending bodies, for any source and any protocol of the receiver (wproxy/bodies.py defines the words).

`Pieces` is the base of a source that only knows how to read; `Wrapper` is for one that reads another.
"""

from __future__ import annotations

from typing import Final

from worker.loop import FAIR_SHARE, give_way, sleep
from worker.rates import Pace, client_rate, rate_of
from wproxy.bodies import BodySource, Frame, Outlet
from wproxy.http import Request
from wproxy.native import mypyc_attr

NOTHING: Final = memoryview(b"")


@mypyc_attr(allow_interpreted_subclasses=True)
class Pieces:
    """A body that comes in pieces (a BodySource). A subclass sets `_unsent` to NOTHING, and implements read and close."""

    __slots__ = ("_unsent",)

    _unsent: memoryview

    async def read(self) -> bytes:
        """Return the next piece; b"" at the end. Raises UpstreamFailure."""
        raise NotImplementedError

    def close(self) -> None:
        """Give up the bytes that are held."""
        raise NotImplementedError

    def pass_on(self, outlet: Outlet, request: Request) -> bool:
        """Return False: it is sent piece by piece."""
        return False

    async def has_more(self, frame: Frame) -> bool:
        """Have the next bytes at hand; return whether there are any. Raises UpstreamFailure."""
        if not self._unsent:
            piece = await self.read()
            if not piece:
                return False
            self._unsent = memoryview(piece if frame is None else frame(piece))
        return True

    async def send(self, outlet: Outlet, frame: Frame, seconds: float, most: int) -> int:
        """Send the next bytes, at most so many; return how many, 0 at the end. Raises TimedOut, OSError, UpstreamFailure."""
        if not self._unsent and not await self.has_more(frame):
            return 0
        unsent = self._unsent
        while True:
            try:
                sent = outlet.send(unsent[:most])
                break
            except BlockingIOError:
                pass
            await self.wait_for_room(outlet, frame, seconds)
        self._unsent = unsent[sent:] if sent < len(unsent) else NOTHING
        return sent

    async def wait_for_room(self, outlet: Outlet, frame: Frame, seconds: float) -> None:
        """Wait until the outlet takes more. Raises TimedOut."""
        await outlet.room(seconds)

    def read_ahead(self) -> None:
        """Do nothing: every piece is sent as soon as it is read."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Wrapper(Pieces):
    """A body that is made from another one. _source: the other one; None when there is none, or no more."""

    __slots__ = ("_source",)

    _source: BodySource | None

    async def wait_for_room(self, outlet: Outlet, frame: Frame, seconds: float) -> None:
        """Wait until the outlet takes more, while the source reads ahead. Raises TimedOut."""
        if self._source is None:
            await outlet.room(seconds)
        else:
            await self._source.wait_for_room(outlet, None, seconds)

    def read_ahead(self) -> None:
        """Let the source read as fast as it can."""
        if self._source is not None:
            self._source.read_ahead()

    def close(self) -> None:
        """Give up the source."""
        if self._source is not None:
            self._source.close()


async def send_all(outlet: Outlet, data: bytes | memoryview, seconds: float) -> None:
    """Send everything; `seconds` limits the time between two pieces of progress. Raises TimedOut, OSError."""
    view = memoryview(data)
    while view:
        try:
            sent = outlet.send(view)
            view = view[sent:]
            continue
        except BlockingIOError:
            pass
        await outlet.room(seconds)


async def send_unsent(outlet: Outlet, request: Request, source: BodySource | None, frame: Frame, unsent: memoryview) -> None:
    """Send the part of a head and body at hand that an outlet did not take. Raises TimedOut, OSError.

    It has been counted as sent already. source: the body after it, which may read ahead meanwhile.
    """
    seconds = request.location.send_timeout
    size = request.bytes_sent
    body_size = request.body_bytes_sent
    while unsent:
        left = len(unsent)
        request.bytes_sent, request.body_bytes_sent = size - left, body_size - min(left, body_size)
        try:
            sent = outlet.send(unsent)
            unsent = unsent[sent:]
            continue
        except BlockingIOError:
            pass
        await (outlet.room(seconds) if source is None else source.wait_for_room(outlet, frame, seconds))
    request.bytes_sent, request.body_bytes_sent = size, body_size


async def send_body(outlet: Outlet, request: Request, source: BodySource, frame: Frame) -> None:
    """Send a body to its end; read nothing that there is no room for. Raises TimedOut, OSError, UpstreamFailure."""
    rate = client_rate(request)
    if rate:
        await send_at_rate(outlet, request, source, frame, rate)
        return
    seconds = request.location.send_timeout
    send = source.send
    moved = 0
    while sent := await send(outlet, frame, seconds, FAIR_SHARE):
        request.body_bytes_sent += sent
        request.bytes_sent += sent
        moved += sent
        if moved >= FAIR_SHARE:
            moved = 0
            await give_way()


async def send_at_rate(outlet: Outlet, request: Request, source: BodySource, frame: Frame, rate: int) -> None:
    """Send a body at a rate of bytes per second. An upstream is read as fast as it can, if that is allowed."""
    clock = request.client.clock
    seconds = request.location.send_timeout
    pace = Pace(rate, rate_of(request.location.limit_rate_after, request), request.started)
    # Before the pause: a body that has been sent to its end need not wait.
    while await source.has_more(frame):
        while not (allowed := pace.allowance(clock.now, request.bytes_sent)):
            source.read_ahead()
            if not await source.has_more(frame):
                return
            await sleep(pace.pause(clock.now, request.bytes_sent))
        sent = await source.send(outlet, frame, seconds, allowed)
        if not sent:
            return
        request.body_bytes_sent += sent
        request.bytes_sent += sent
        await give_way()
