"""Tunnels: after 101 Switching Protocols, bytes both ways until one side is done (proxy.md §3.4).

Two one-way pumps, a task each. Traffic in either direction keeps both alive; the end of either side, once what it had said is
passed on, is the end of both.
"""

from __future__ import annotations

from typing import NamedTuple

from worker.loop import FAIR_SHARE, READ, WRITE, Loop, give_way, park
from worker.stream import CHUNK, Stream
from wproxy.failures import TimedOut


class Timeouts(NamedTuple):
    """Seconds: without traffic in either direction; until the upstream takes bytes; until the client does."""

    proxy_read_timeout: float
    proxy_send_timeout: float
    send_timeout: float


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
    ends: list[End] = []
    main = loop.current()

    async def carry_up() -> None:
        stalled = End(UPSTREAM_TIMED_OUT, "proxy_send_timeout")
        ends.append(await _carry(client, upstream, early, traffic, False, timeouts, timeouts.proxy_send_timeout, stalled))
        loop.interrupt(main, _Ended())

    up = loop.spawn(carry_up(), f"{main.name} tunnel")
    stalled = End(CLIENT_TIMED_OUT, "send_timeout")
    try:
        end = await _carry(upstream, client, b"", traffic, True, timeouts, timeouts.send_timeout, stalled)
    except _Ended:
        end = ends[0]
    finally:
        loop.cancel(up)
    return end, traffic.sent, traffic.received


async def _carry(
    source: Stream,
    target: Stream,
    first: bytes,
    traffic: _Traffic,
    to_client: bool,
    timeouts: Timeouts,
    patience: float,
    stalled: End,
) -> End:
    """Carry one direction until its source ends or anything fails.

    patience: seconds until the target takes bytes; stalled: the end when it does not.
    """
    clock = source.loop.clock
    data = first
    moved = 0
    while True:
        if data:
            if to_client:
                traffic.sent += len(data)
            else:
                traffic.received += len(data)
            try:
                await _pass_on(target, data, traffic, patience)
            except TimedOut:
                return stalled
            except OSError:
                return CLOSED
            moved += len(data)
            if moved >= FAIR_SHARE:
                moved = 0
                await give_way()
        try:
            data = source.recv(CHUNK)
        except BlockingIOError:
            data = b""
            try:
                await park(source, READ, traffic.last + timeouts.proxy_read_timeout - clock.now)
            except TimedOut:
                # The other direction may have moved in the meantime.
                if clock.now - traffic.last >= timeouts.proxy_read_timeout:
                    return End(UPSTREAM_TIMED_OUT, "proxy_read_timeout")
            continue
        except OSError:
            return CLOSED
        if not data:
            return CLOSED
        traffic.last = clock.now


async def _pass_on(target: Stream, data: bytes, traffic: _Traffic, patience: float) -> None:
    """Send all of it; every piece taken is traffic. Raises TimedOut, OSError."""
    view = memoryview(data)
    while view:
        try:
            view = view[target.send(view) :]
        except BlockingIOError:
            await park(target, WRITE, patience)
        else:
            traffic.last = target.loop.clock.now
