"""Websockets over a stream of HTTP/2 (RFC 8441): the client's DATA to an upstream that has switched protocols, and back.

END_STREAM stands for the end of a TCP connection, RST_STREAM with CANCEL for its reset, in both directions.
"""

from __future__ import annotations

from typing import Final

from worker.client.http2.body import HTTP2RequestBody
from worker.loop import READ, WRITE, Loop, park
from worker.outlet import send_all
from worker.stream import HEAD_CHUNK, Stream
from worker.tunnel import CLIENT_TIMED_OUT, CLOSED, UPSTREAM_TIMED_OUT, End, Traffic, Tunnel, note_end
from wproxy.bodies import Outlet
from wproxy.failures import ClientError, ClientGone, Drained, TimedOut
from wproxy.http import Request

_NEVER: Final = float("inf")
_RESET: Final = End()  # not another end to be logged, but another object than CLOSED


class _Count:
    """The bytes of one direction."""

    __slots__ = ("moved",)

    def __init__(self) -> None:
        self.moved = 0


async def serve_tunnel(
    loop: Loop, outlet: Outlet, body: HTTP2RequestBody, request: Request, early: bytes, tunnel: Tunnel
) -> bool:
    """Carry bytes both ways until one side ends; return whether it has closed, as it should.

    early: the upstream's first bytes. Raises what the task of a request gets.
    """
    traffic = Traffic(loop)
    up, down = _Count(), _Count()
    body.timeout = _NEVER
    tasks = (
        loop.spawn(_to_client(tunnel, outlet, early, traffic, down), "tunnel to the client"),
        loop.spawn(_to_upstream(tunnel, body, traffic, up), "tunnel to the upstream"),
    )
    end = CLOSED
    try:
        end = await traffic.over(tunnel.timeouts)
    except ClientGone as gone:
        if not isinstance(gone, Drained):
            tunnel.upstream.reset_on_close()
        raise
    finally:
        for task in tasks:
            loop.cancel(task)
        note_end(request, end, down.moved, up.moved)
    return end is CLOSED


async def _to_client(tunnel: Tunnel, outlet: Outlet, early: bytes, traffic: Traffic, count: _Count) -> None:
    """Carry the upstream's bytes."""
    upstream, clock = tunnel.upstream, traffic.clock
    try:
        data = early
        while True:
            if data:
                await send_all(outlet, data, tunnel.timeouts.client)
                count.moved += len(data)
                traffic.last = clock.now
            data = await _receive(upstream)
            if not data:
                break
    except TimedOut:
        traffic.finish(End(CLIENT_TIMED_OUT, "send_timeout", "tun_cl_stalled"))
    except OSError:
        traffic.finish(_RESET)
    traffic.finish(CLOSED)


async def _to_upstream(tunnel: Tunnel, body: HTTP2RequestBody, traffic: Traffic, count: _Count) -> None:
    """Carry the client's bytes; the end of its side is that of the tunnel."""
    upstream, clock = tunnel.upstream, traffic.clock
    body.is_passed_on = True  # it keeps a small window
    try:
        while data := await body.read():
            count.moved += len(data)
            traffic.last = clock.now
            view = memoryview(data)
            while view:
                try:
                    sent = upstream.send(view)
                except BlockingIOError:
                    sent = -1
                if sent < 0:
                    await park(upstream, WRITE, tunnel.timeouts.upstream)
                else:
                    view = view[sent:]
    except TimedOut:
        traffic.finish(End(UPSTREAM_TIMED_OUT, tunnel.timeouts.send_setting, "tun_up_stalled"))
    except (OSError, ClientError):
        traffic.finish(_RESET)
    traffic.finish(CLOSED)


async def _receive(upstream: Stream) -> bytes:
    """Return the next bytes, b"" at the end. Raises OSError."""
    while True:
        try:
            return upstream.recv(HEAD_CHUNK)
        except BlockingIOError:
            pass
        await park(upstream, READ, _NEVER)
