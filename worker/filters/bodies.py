"""Bodies that are changed on their way, a slice at a time.

A `Change` takes bytes and returns others. `change_body` applies one to a response: a complete, small body is changed at once and
goes out with the head; any other becomes a `ChangedBody` around its source, so that a body of any size takes the memory of a few
slices, and other tasks have their turn after each.

Output that a change holds back (a compressor waits for more input to find repetitions) must not be held back from a client while
the upstream is thinking: events would arrive late or never. So the change is flushed before a wait for the source. `Paced` finds
out without a system call whether there would be a wait: it takes the first step of the source's coroutine and looks at its
request to the loop; the wait itself is passed on to the loop later.
"""

from __future__ import annotations

import types
from collections.abc import Coroutine, Generator
from typing import Any, Protocol

from worker.loop import give_way
from worker.outlet import NOTHING, Wrapper
from wproxy.bodies import BodySource
from wproxy.failures import UpstreamFailure
from wproxy.http import Response

# The number of bytes that are changed at once: a millisecond or so of work for a fast compressor.
SLICE = 32768
# Less output than this waits for more before it is sent, unless the source has to be waited for (nginx: postpone_output).
ENOUGH = 1460


class Change(Protocol):
    """Changes one body. more: whether there is output left that needs no further input; `feed(b"")` returns it."""

    more: bool

    def feed(self, data: bytes | memoryview) -> bytes:
        """Take the next bytes; return the output that is ready. Raises UpstreamFailure when there can be no more."""

    def flush(self) -> bytes:
        """Return the output that can be given now although more input will follow."""

    def finish(self) -> bytes:
        """Return the rest, after the last bytes. Raises UpstreamFailure when an end is missing."""


def change_body(response: Response, change: Change, at_once: bool = True) -> None:
    """Apply the change to the body of the response. at_once: a small one now; otherwise, as it may fail, when it is sent."""
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
        """at_hand: the bytes before the source's pieces. source: None if there are no others."""
        self._unsent = NOTHING
        self._source = source
        self._left = memoryview(at_hand)
        self._paced = None if source is None else Paced(source)
        self._change = change
        self._work = 0  # bytes changed since other tasks had their turn
        self._is_flushed = True
        self._is_over = False
        self._failure: UpstreamFailure | None = None

    async def read(self) -> bytes:
        """Return the next piece, b"" at the end. Raises UpstreamFailure, after all output of earlier input."""
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
        """Return the next piece. gathered: gets the output so far, which stays there when the piece cannot be completed."""
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
        """Get more to change; return the output to send before that or at the end."""
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
        """Give up the source. Frames in the traceback of a failure have this body: with them it would wait for the collector."""
        self._is_over = True
        self._failure = None
        if self._paced is not None:
            self._paced.close()

    def __repr__(self) -> str:
        return f"<changed body {self._change}{' over' if self._is_over else ''}>"


class Paced:
    """Reads a source and announces a wait."""

    __slots__ = ("_reading", "_source")

    def __init__(self, source: BodySource) -> None:
        self._source = source
        self._reading: Coroutine[Any, Any, bytes] | None = None  # started, and about to wait

    @types.coroutine
    def read(self) -> Generator[Any, Any, bytes | None]:
        """Return the next piece, b"" at the end; None, once per piece, before a wait. Raises the exceptions of the source."""
        # The thing that a read was about to wait for may have come, and been read ahead, while its last piece was sent.
        reading = self._reading
        is_told = reading is not None
        self._reading = None
        if reading is None:
            reading = self._source.read()
        interruption: BaseException | None = None
        while True:
            try:
                wanted = reading.send(None) if interruption is None else reading.throw(interruption)
            except StopIteration as end:
                piece: bytes = end.value
                return piece
            finally:
                interruption = None  # its traceback has this frame: with it, the body would wait for the collector
            # Without a stream it only gives other tasks their turn.
            if wanted[0] is not None and not is_told:
                self._reading = reading
                return None
            try:
                yield wanted
            except BaseException as error:
                interruption = error  # thrown below, where it is no longer being handled

    def close(self) -> None:
        """Give up the read in progress, and the source."""
        if self._reading is not None:
            self._reading.close()
            self._reading = None
        self._source.close()
