"""Tunnels: after 101 Switching Protocols, bytes both ways until one side is done (proxy.md §3.4)."""

from __future__ import annotations

from worker.loop import READ, WRITE, Loop, park
from worker.stream import CHUNK, Stream
from wproxy.failures import TimedOut


class _Traffic:
    """What the two directions of a tunnel share: when anything last moved, and how much."""

    __slots__ = ("last", "received", "sent")

    def __init__(self, now: float) -> None:
        self.last = now
        self.sent = 0  # to the client
        self.received = 0  # from the client


async def run_tunnel(
    loop: Loop, client: Stream, upstream: Stream, early: bytes, idle_timeout: float, write_timeout: float
) -> tuple[str, int, int]:
    """Carry bytes both ways until one side ends; neither stream is closed here.

    early: what the client had already sent after its request. idle_timeout: seconds without traffic in either direction.
    Returns why it ended ("" when a side closed), and the bytes sent to and received from the client.
    """
    traffic = _Traffic(loop.clock.now)
    client.unexpected = upstream.unexpected = None
    outcome: list[str] = []
    main = loop.current()

    async def carry_up() -> None:
        outcome.append(await _carry(client, upstream, early, traffic, False, idle_timeout, write_timeout))
        loop.interrupt(main, _Ended())

    up = loop.spawn(carry_up(), f"{main.name} tunnel")
    try:
        why = await _carry(upstream, client, b"", traffic, True, idle_timeout, write_timeout)
    except _Ended:
        why = outcome[0] if outcome else ""
    finally:
        loop.cancel(up)
    return why, traffic.sent, traffic.received


class _Ended(Exception):
    """The other direction of the tunnel has ended."""



async def _carry(
    source: Stream, target: Stream, first: bytes, traffic: _Traffic, to_client: bool, idle_timeout: float, write_timeout: float
) -> str:
    """Carry one direction until its source ends or anything fails; why, "" for a plain end."""
    clock = source.loop.clock
    data = first
    while True:
        if data:
            view = memoryview(data)
            if to_client:
                traffic.sent += len(data)
            else:
                traffic.received += len(data)
            while view:
                try:
                    view = view[target.send(view) :]
                    traffic.last = clock.now
                except BlockingIOError:
                    try:
                        await park(target, WRITE, write_timeout)
                    except TimedOut:
                        return "client timed out" if to_client else "upstream timed out (110: Connection timed out)"
                except OSError:
                    return ""
        try:
            data = source.recv(CHUNK)
        except BlockingIOError:
            data = b""
            try:
                await park(source, READ, traffic.last + idle_timeout - clock.now)
            except TimedOut:
                # The other direction may have moved in the meantime: traffic either way keeps both alive.
                if clock.now - traffic.last >= idle_timeout:
                    return "upstream timed out (110: Connection timed out)"
            continue
        except OSError:
            return ""
        if not data:
            return ""
        traffic.last = clock.now
