"""Tunnels of an HTTP/1 client: bytes from stream to stream, both ways, until one side is done (proxy.md §3.4).

Messages are small and few. For each one the loop calls `relay` of a direction, which reads and sends it: no task is resumed or
parked for it. Only if that is not enough, because the target has no room or because a read has filled its buffer, a task takes
over: it sends the rest, and lets the kernel move the following bytes through a pipe, until a pipeful is so small again that a
read is cheaper.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final

from worker.client.http1.connection import Connection
from worker.loop import FAIR_SHARE, WRITE, Task, give_way, park
from worker.pipes import Pipe, pool
from worker.stream import HEAD_CHUNK, SMALL_CHUNK, Stream
from worker.tunnel import CLIENT_TIMED_OUT, CLOSED, UPSTREAM_TIMED_OUT, End, Traffic, Tunnel, note_end
from wproxy.failures import TimedOut
from wproxy.http import Request

_read: Final = os.read
_write: Final = os.write


async def serve_tunnel(connection: Connection, request: Request, tunnel: Tunnel) -> None:
    """Carry bytes both ways until one side closes; the connection ends with it."""
    request.keepalive = False
    client, upstream, timeouts = connection.stream, tunnel.upstream, tunnel.timeouts
    body = request.body
    traffic = Traffic(client.loop)
    up_stalled = End(UPSTREAM_TIMED_OUT, timeouts.send_setting, "tun_up_stalled")
    to_upstream = _Direction(client, upstream, traffic, timeouts.upstream, up_stalled)
    to_client = _Direction(upstream, client, traffic, timeouts.client, End(CLIENT_TIMED_OUT, "send_timeout", "tun_cl_stalled"))
    try:
        to_client.start(b"")
        if await traffic.uploaded(tunnel):
            to_upstream.start(connection.buffer if body is None else body.leftover)
        connection.buffer = b""
        end = await traffic.over(timeouts)
    finally:
        to_upstream.close()
        to_client.close()
    with suppress(TimedOut):
        await client.finished(request.location.send_timeout)
        await upstream.finished(timeouts.upstream)
    note_end(request, end, to_client.moved, to_upstream.moved)


class _Direction:
    """One direction of a tunnel. moved: bytes taken from the source. _most: the size of a read, small until one has filled it."""

    __slots__ = (
        "_clock", "_finish", "_most", "_patience", "_pipe", "_source", "_stalled", "_target", "_task",
        "_traffic", "moved",
    )  # fmt: skip

    def __init__(
        self,
        source: Stream,
        target: Stream,
        traffic: Traffic,
        patience: float,
        stalled: End,
    ) -> None:
        """patience: seconds until the target takes bytes; stalled: the end when it does not."""
        self._source = source
        self._target = target
        self._clock = source.loop.clock
        self._traffic = traffic
        self._patience = patience
        self._stalled = stalled
        self._finish = traffic.finish
        self._task: Task | None = None
        self._pipe: Pipe | None = None
        self._most = SMALL_CHUNK
        self.moved = 0

    def start(self, early: bytes) -> None:
        """Begin. early: the bytes that go first."""
        self._source.unexpected = None
        if early:
            self.moved = len(early)
            self._take_over(early)
        else:
            self._listen()

    def relay(self, source: Stream) -> bool:
        """Read the bytes that have arrived and send them on (Stream.unexpected); both streams are those of their descriptors.

        As `Stream.recv` and `send` do, without the calls: 900 of 5,800 instructions.
        Always return True: if the loop is not to report more, it finds no callback the next time.
        """
        try:
            data = _read(source.kernel_fd, self._most)
        except BlockingIOError:
            return True
        except OSError:
            data = b""
        if not data:
            self._finish(CLOSED)
            return True
        size = len(data)
        self.moved += size
        try:
            sent = _write(self._target.kernel_fd, data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._finish(CLOSED)
            return True
        self._traffic.last = self._clock.now
        if sent < size or size >= self._most:
            self._go_on(data, sent)
        return True

    def relay_between_streams(self, source: Stream) -> bool:
        """As `relay`, where one of the streams changes its bytes on their way."""
        try:
            data = source.recv(self._most)
        except BlockingIOError:
            return True
        except OSError:
            data = b""
        if not data:
            self._finish(CLOSED)
            return True
        self.moved += len(data)
        try:
            sent = self._target.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._finish(CLOSED)
            return True
        self._traffic.last = self._clock.now
        if sent < len(data) or len(data) >= self._most:
            self._go_on(data, sent)
        return True

    def _go_on(self, data: bytes, sent: int) -> None:
        """Continue after a message that was not sent whole, or that has filled the buffer of the read."""
        if sent == len(data) and self._most < HEAD_CHUNK:
            self._most = HEAD_CHUNK
            self._listen()  # there is more, perhaps, which the loop reports
        else:
            self._take_over(data[sent:])

    def _listen(self) -> None:
        source = self._source
        if source.kernel_fd >= 0 and self._target.kernel_fd >= 0:
            source.unexpected = self.relay
            source.loop.listen_for_arrivals(source)
        else:
            source.unexpected = self.relay_between_streams
            source.loop.listen(source)

    def _take_over(self, data: bytes) -> None:
        """Let a task continue, which has its first turn in this turn of the loop."""
        self._source.unexpected = None
        self._task = self._source.loop.spawn(self._carry(data), "tunnel")

    async def _carry(self, data: bytes) -> None:
        """Send this and the bytes after it, as long as they are many."""
        try:
            await self._push(memoryview(data))
            moved = len(data)
            while (poured := await self._pour()) >= HEAD_CHUNK:
                moved += poured
                if moved >= FAIR_SHARE:
                    moved = 0
                    await give_way()
        except TimedOut:
            self._finish(self._stalled)
        except OSError:
            self._finish(CLOSED)
        else:
            self._task = None
            self._listen()

    async def _pour(self) -> int:
        """Move available bytes through a pipe; return how many, 0 if there are none, or at the end. Raises TimedOut, OSError."""
        if self._source.kernel_fd < 0 or self._target.kernel_fd < 0:
            return 0
        pipe = self._pipe = pool.take()
        if pipe is None:
            return 0
        try:
            moved = pipe.fill(self._source.fd, pipe.capacity)
        except BlockingIOError:
            moved = 0
        self.moved += moved
        while pipe.held:
            try:
                pipe.drain(self._target.fd, pipe.held)
                has_room = True
            except BlockingIOError:
                has_room = False
            if not has_room:
                await park(self._target, WRITE, self._patience)
            self._traffic.last = self._clock.now
        self._give_back_pipe()
        return moved

    async def _push(self, view: memoryview) -> None:
        """Send all of it; every piece taken is traffic. Raises TimedOut, OSError."""
        while view:
            try:
                sent = self._target.send(view)
            except BlockingIOError:
                sent = 0
            if not sent:
                await park(self._target, WRITE, self._patience)
                continue
            view = view[sent:]
            self._traffic.last = self._clock.now

    def _give_back_pipe(self) -> None:
        if self._pipe is not None:
            pool.give_back(self._pipe)
            self._pipe = None

    def close(self) -> None:
        """Stop."""
        self._source.unexpected = None
        if self._task is not None:
            self._source.loop.cancel(self._task)
        self._give_back_pipe()
