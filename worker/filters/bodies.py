"""Bodies that are changed on their way, a slice at a time.

A `Change` takes bytes and gives others. `change_body` applies one to a response: what is whole and small is changed at once and
goes out with the head; anything else becomes a `ChangedBody` around its source, so that a body of any size takes the memory of
a few slices, and others have their turn after each.

What a change holds back (a compressor waits for more to see repetitions in) must not be held back from a client while the
upstream thinks: events would come late or never. So before a source is waited for, the change is flushed. Whether it would be
waited for is seen without a system call: `Paced` takes the first step of the source's coroutine and looks what it asks the loop
for; the wait itself is passed on to the loop later.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Protocol

from worker.loop import give_way
from worker.outlet import NOTHING, Wrapper
from wproxy.bodies import BodySource
from wproxy.failures import UpstreamFailure
from wproxy.http import Response

# How much is changed at once: a millisecond or so of work for a fast compressor.
SLICE = 32768
# Less than this waits for more before it is sent, unless the source is waited for (nginx: postpone_output).
ENOUGH = 1460


class Change(Protocol):
    """Changes one body. more: there is output left that needs no further input; `feed(b"")` gives it."""

    more: bool

    def feed(self, data: bytes | memoryview) -> bytes:
        """Take the next bytes; what of the output is ready. Raises UpstreamFailure when there can be no more."""

    def flush(self) -> bytes:
        """What can be given now although more is to come."""

    def finish(self) -> bytes:
        """The rest, after the last bytes. Raises UpstreamFailure when an end is missing."""


def change_body(response: Response, change: Change, at_once: bool = True) -> None:
    """Let the change have the body of the response. at_once: a small one now; else, because it may fail, when it is sent."""
    body, source = response.body, response.source
    if source is None and at_once and len(body) <= SLICE:
        response.body = change.feed(body) + change.finish() if body else change.finish()
        return
    response.source = ChangedBody(body, source, change)
    response.body = b""


class ChangedBody(Wrapper):
    """A body that is changed while it is read."""

    __slots__ = ("_change", "_failure", "_is_flushed", "_is_over", "_left", "_paced", "_work")

    def __init__(self, at_hand: bytes, source: BodySource | None, change: Change) -> None:
        """at_hand: what comes before the source's pieces. source: None when that is all."""
        self._unsent = NOTHING
        self._source = source
        self._left = memoryview(at_hand)
        self._paced = None if source is None else Paced(source)
        self._change = change
        self._work = 0  # bytes changed since others had their turn
        self._is_flushed = True
        self._is_over = False
        self._failure: UpstreamFailure | None = None

    async def read(self) -> bytes:
        """The next piece, b"" at the end. Raises UpstreamFailure, when all that was made of what came before has been given."""
        if self._failure is not None:
            raise self._failure
        gathered: list[bytes] = []
        try:
            return await self._gather(gathered)
        except UpstreamFailure as failure:
            self._failure = failure
            if not self._is_flushed:
                gathered.append(self._change.flush())
            output = b"".join(gathered)
            if output:
                return output
            raise

    async def _gather(self, gathered: list[bytes]) -> bytes:
        """The next piece. gathered: where what there is of it stays when it does not come to be whole."""
        change = self._change
        output = b""
        while not self._is_over:
            if self._work >= SLICE:
                self._work = 0
                await give_way()
            if self._left or change.more:
                data = self._left[:SLICE] if not change.more else b""
                self._left = self._left[len(data) :]
                changed = change.feed(data)
                self._work += max(len(data), len(changed))
                self._is_flushed = False
            else:
                changed = await self._next_piece()
            output = output + changed if output else changed
            gathered[:] = (output,)
            if output and (self._is_flushed or len(output) >= ENOUGH):
                return output
        return output

    async def _next_piece(self) -> bytes:
        """Get more to change; what there is to send before that or at the end."""
        piece = b"" if self._paced is None else await self._paced.read()
        if piece is None:
            if self._is_flushed:
                return b""
            self._is_flushed = True
            return self._change.flush()
        if piece:
            self._left = memoryview(piece)
            return b""
        self._is_over = True
        return self._change.finish()

    def close(self) -> None:
        """Give up the source."""
        self._is_over = True
        if self._paced is not None:
            self._paced.close()

    def __repr__(self) -> str:
        return f"<changed body {self._change}{' over' if self._is_over else ''}>"


class Paced:
    """Reads a source and tells when it is going to wait."""

    __slots__ = ("_reading", "_source", "_wanted")

    def __init__(self, source: BodySource) -> None:
        self._source = source
        self._reading: Coroutine[Any, Any, bytes] | None = None  # begun, and about to wait
        self._wanted: Any = None  # what it asks the loop for

    @types.coroutine
    def read(self) -> Generator[Any, Any, bytes | None]:
        """The next piece, b"" at the end; None, once for each piece, before it has to wait. Raises what the source raises."""
        reading, wanted = self._reading, self._wanted
        is_told = reading is not None
        self._reading = None
        resume: Callable[[], Any]
        if reading is None:
            reading = self._source.read()
            resume = _resuming(reading, None)
        else:
            # What it was about to wait for may have come, and been read ahead, while what it gave before was sent.
            resume = _resuming(reading, None)
        while True:
            try:
                wanted = resume()
            except StopIteration as end:
                piece: bytes = end.value
                return piece
            # Without a stream it only lets others have their turn.
            if wanted[0] is not None and not is_told:
                self._reading, self._wanted = reading, wanted
                return None
            resume = yield from _waiting(reading, wanted)

    def close(self) -> None:
        """Give up what is being read, and the source."""
        if self._reading is not None:
            self._reading.close()
            self._reading = None
        self._source.close()


def _waiting(reading: Coroutine[Any, Any, bytes], wanted: Any) -> Generator[Any, Any, Callable[[], Any]]:
    """Wait for what a coroutine wants; how to go on with it afterwards."""
    try:
        yield wanted
    except BaseException as error:
        return _resuming(reading, error)
    return _resuming(reading, None)


def _resuming(reading: Coroutine[Any, Any, bytes], error: BaseException | None) -> Callable[[], Any]:
    return (lambda: reading.send(None)) if error is None else (lambda: reading.throw(error))
