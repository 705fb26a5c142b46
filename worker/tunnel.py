"""Tunnels: after 101 Switching Protocols, bytes both ways until one side is done (proxy.md §3.4).

Two one-way pumps, a task each. Traffic in either direction keeps both alive; the end of either side, once what it had said is
passed on, is the end of both.

Messages are small and few: they are read and sent. When a read fills its buffer there is more, and then the kernel moves it
through a pipe, until a pipeful is so small again that a read is cheaper.
"""

from __future__ import annotations

from typing import NamedTuple

from worker.loop import FAIR_SHARE, READ, WRITE, Loop, give_way, park
from worker.pipes import Pipe, is_plain, pool
from worker.stream import HEAD_CHUNK, Stream
from wproxy.failures import TimedOut


class Timeouts(NamedTuple):
    """Seconds: without traffic in either direction; until the upstream takes bytes; until the client does.

    idle_setting: the directive that the first comes from.
    """

    proxy_read_timeout: float
    proxy_send_timeout: float
    send_timeout: float
    idle_setting: str = "proxy_read_timeout"


class End(NamedTuple):
    """Why a tunnel ended: both empty when a side closed, else the message and the directive whose timer ran out."""

    why: str = ""
    setting: str = ""


CLOSED = End()
UPSTREAM_TIMED_OUT = "upstream timed out (110: Connection timed out)"
CLIENT_TIMED_OUT = "client timed out (110: Connection timed out)"


class _Traffic:
    """What the two directions share: when anything last moved, and how much."""

    __slots__ = ("last", "received", "sent")

    def __init__(self, now: float) -> None:
        self.last = now
        self.sent = 0  # to the client
        self.received = 0  # from the client


class _Ended(Exception):
    """The other direction has ended."""


async def run_tunnel(loop: Loop, client: Stream, upstream: Stream, early: bytes, timeouts: Timeouts) -> tuple[End, int, int]:
    """Carry bytes both ways until one side ends; neither stream is closed here.

    early: what the client had already sent after its request. Returns the end, and the bytes sent to and received from the
    client.
    """
    traffic = _Traffic(loop.clock.now)
    client.unexpected = upstream.unexpected = None
    main = loop.current()
    to_upstream = _Direction(client, upstream, traffic, timeouts, timeouts.proxy_send_timeout)
    to_client = _Direction(upstream, client, traffic, timeouts, timeouts.send_timeout)
    ends: list[End] = []

    async def carry_up() -> None:
        ends.append(await to_upstream.carry(early, End(UPSTREAM_TIMED_OUT, "proxy_send_timeout")))
        loop.interrupt(main, _Ended())

    up = loop.spawn(carry_up(), f"{main.name} tunnel")
    try:
        end = await to_client.carry(b"", End(CLIENT_TIMED_OUT, "send_timeout"))
    except _Ended:
        end = ends[0]
    finally:
        loop.cancel(up)
        traffic.received, traffic.sent = to_upstream.moved, to_client.moved
        to_upstream.close()
        to_client.close()
    return end, traffic.sent, traffic.received


class _Direction:
    """One way through a tunnel. moved: bytes taken from the source."""

    __slots__ = ("moved", "patience", "pipe", "source", "target", "timeouts", "traffic")

    def __init__(self, source: Stream, target: Stream, traffic: _Traffic, timeouts: Timeouts, patience: float) -> None:
        """patience: seconds until the target takes bytes."""
        self.source = source
        self.target = target
        self.traffic = traffic
        self.timeouts = timeouts
        self.patience = patience
        self.moved = 0
        self.pipe: Pipe | None = None

    async def carry(self, data: bytes, stalled: End) -> End:
        """Carry until the source ends or anything fails. data: what goes first; stalled: the end when nothing is taken."""
        source, target, traffic = self.source, self.target, self.traffic
        recv, send = source.recv, target.send
        clock = source.loop.clock
        idle = self.timeouts.proxy_read_timeout
        is_bulk = False
        share = 0
        while True:
            if data:
                size = len(data)
                self.moved += size
                # As for most messages all goes at once.
                try:
                    sent = send(data)
                except BlockingIOError:
                    sent = 0
                except OSError:
                    return CLOSED
                traffic.last = clock.now
                if sent < size:
                    try:
                        await self._push(memoryview(data)[sent:])
                    except TimedOut:
                        return stalled
                    except OSError:
                        return CLOSED
                is_bulk = size >= HEAD_CHUNK
                share += size
            if is_bulk:
                try:
                    moved = await self._pour()
                except TimedOut:
                    return stalled
                except OSError:
                    return CLOSED
                share += moved
                is_bulk = moved >= HEAD_CHUNK
                data = b""
                if share >= FAIR_SHARE:
                    share = 0
                    await give_way()
                if is_bulk:
                    continue
            # After a message there is nothing more, as a rule: a look before the next event would be refused.
            try:
                await park(source, READ, traffic.last + idle - clock.now)
            except TimedOut:
                # The other direction may have moved in the meantime.
                if clock.now - traffic.last >= idle:
                    return End(UPSTREAM_TIMED_OUT, self.timeouts.idle_setting)
                data = b""
                continue
            try:
                data = recv(HEAD_CHUNK)
            except BlockingIOError:
                data = b""
                continue
            except OSError:
                return CLOSED
            if not data:
                return CLOSED
            traffic.last = clock.now

    async def _pour(self) -> int:
        """Move what is there through a pipe; how much: 0 when it is nothing, or the end. Raises TimedOut, OSError."""
        if not (is_plain(self.source) and is_plain(self.target)):
            return 0
        pipe = self.pipe = pool.take()
        if pipe is None:
            return 0
        try:
            moved = pipe.fill(self.source.fd, pipe.capacity)
        except BlockingIOError:
            moved = 0
        self.moved += moved
        while pipe.held:
            try:
                pipe.drain(self.target.fd, pipe.held)
            except BlockingIOError:
                await park(self.target, WRITE, self.patience)
            self.traffic.last = self.source.loop.clock.now
        self.close()
        return moved

    async def _push(self, view: memoryview) -> None:
        """Send all of it; every piece taken is traffic. Raises TimedOut, OSError."""
        while view:
            try:
                view = view[self.target.send(view) :]
            except BlockingIOError:
                await park(self.target, WRITE, self.patience)
            else:
                self.traffic.last = self.target.loop.clock.now

    def close(self) -> None:
        """Give the pipe back."""
        if self.pipe is not None:
            pool.give_back(self.pipe)
            self.pipe = None
