"""Tunnels: after 101 Switching Protocols, bytes both ways until one side is done (proxy.md §3.4).

The two directions are independent. Traffic in either one keeps both alive; the end of either side, once its bytes are passed on,
is the end of both. This is what the tunnels of every client protocol share; how bytes get to the client and back is the
protocol's own (`worker/client/`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from worker.logs import log_request
from worker.loop import Event, Loop
from worker.stream import Stream
from wproxy.http import Request, Response


class Timeouts(NamedTuple):
    """Seconds: without traffic in either direction; until the upstream takes bytes; until the client does.

    idle_setting, send_setting: the directives of the first two.
    """

    idle: float
    upstream: float
    client: float
    idle_setting: str
    send_setting: str


class End(NamedTuple):
    """The reason why a tunnel ended: all empty when a side closed.

    why: the message. setting: the directive whose timer expired. code: the word of `wproxy.end_causes`.
    """

    why: str = ""
    setting: str = ""
    code: str = ""


CLOSED: Final = End()
UPSTREAM_TIMED_OUT: Final = "upstream timed out (110: Connection timed out)"
CLIENT_TIMED_OUT = "client timed out (110: Connection timed out)"


class Tunnel:
    """The upstream's side of a tunnel, its timers, and what to do when it ends.

    is_uploading: tells whether the body of the request is still being sent. The client's further bytes follow it, and the task
    that serves the tunnel is woken for that.
    """

    __slots__ = ("end", "is_uploading", "timeouts", "upstream")

    def __init__(self, upstream: Stream, timeouts: Timeouts, is_uploading: Callable[[], bool], end: Callable[[], None]) -> None:
        self.upstream = upstream
        self.timeouts = timeouts
        self.is_uploading = is_uploading
        self.end = end


def tunnel_of(response: Response) -> Tunnel | None:
    """Return the tunnel that a response opens, if it does."""
    tunnel = response.tunnel
    assert tunnel is None or isinstance(tunnel, Tunnel), "there is one kind of them: words only know that it can be closed"
    return tunnel


class Traffic:
    """The shared state of the two directions: the time of the last traffic, and the end."""

    __slots__ = ("clock", "end", "is_over", "last")

    def __init__(self, loop: Loop) -> None:
        self.clock = loop.clock
        self.last = loop.clock.now
        self.is_over = Event(loop)
        self.end = CLOSED

    def finish(self, end: End) -> None:
        """Record this end, if there was none before."""
        if not self.is_over.is_set:
            self.end = end
            self.is_over.set()

    async def uploaded(self, tunnel: Tunnel) -> bool:
        """Wait until the body of the request has been sent; return False when the tunnel is over before."""
        while tunnel.is_uploading() and not self.is_over.is_set:
            await self.is_over.wait()
        return not self.is_over.is_set

    async def over(self, timeouts: Timeouts) -> End:
        """Wait until a side ends, or the limit of time without traffic is reached; return which."""
        while True:
            left = self.last + timeouts.idle - self.clock.now
            if left <= 0:
                return End(UPSTREAM_TIMED_OUT, timeouts.idle_setting, "tun_idle")
            if await self.is_over.wait(left):
                return self.end


def note_end(request: Request, end: End, sent: int, received: int) -> None:
    """Count and log a tunnel that is over. sent, received: bytes to and from the client."""
    request.body_bytes_sent += sent
    request.bytes_sent += sent
    attempt = request.attempts[-1]
    attempt.bytes_received += sent
    attempt.bytes_sent += received
    if end.why:
        setting = request.location.described(end.setting)
        request.ends(end.code, f"{end.why}{setting}")
        log_request(request, "info", f"{end.why} while proxying upgraded connection", setting, end.code)
