"""The choice between HTTP/1 and HTTP/2 on a clear connection, by the first bytes of its client (RFC 9113, 3.3).

Only a listener with `http2 on` asks: one without it pays nothing. (With TLS the choice is made in the handshake, by ALPN.)
"""

from __future__ import annotations

from worker.client.http1.serve import serve_connection
from worker.client.http2.serve import serve_http2
from worker.client.plan import ListenerPlan
from worker.http2.frames import PREFACE, may_begin_preface
from worker.loop import READ, GoesOn, park
from worker.stream import HEAD_CHUNK, Stream
from wproxy.failures import ClientGone, TimedOut
from wproxy.http import Client, Request


class NewConnection:
    """A client that has not said yet what it speaks (ClientConnection)."""

    __slots__ = ("idle_since", "is_reading", "stream", "task")

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.task = stream.loop.current()
        self.idle_since = stream.loop.clock.now
        self.is_reading = False

    @property
    def idle(self) -> bool:
        """Whether nothing has arrived."""
        return not self.is_reading

    @property
    def waits(self) -> bool:
        """See `ClientConnection.waits`."""
        return self.idle

    @property
    def begun(self) -> int:
        """See `ClientConnection.begun`."""
        return int(self.is_reading)

    @property
    def under_way(self) -> tuple[Request, ...]:
        """Return nothing: no request has begun."""
        return ()

    def may_leave(self, now: float) -> bool:
        """Whether it may be closed: nothing has arrived."""
        return self.idle and self.task.parked

    def drain(self, now: float) -> None:
        """Do nothing: its first request may be under way."""

    def cut(self, reason: ClientGone) -> None:
        """Do nothing: there is no request yet."""


async def serve_clear(stream: Stream, client: Client, plan: ListenerPlan) -> None:
    """Serve one client in the protocol that it begins with; closes the stream."""
    clients = plan.clients
    connection = NewConnection(stream)
    clients.connections.add(connection)
    received = b""
    is_handed_on = False
    try:
        received = await first_bytes(connection, client, plan)
        is_handed_on = bool(received)
    except OSError:
        pass
    finally:
        if is_handed_on:
            clients.connections.discard(connection)
        else:
            stream.close()
            clients.ended(connection)
    if received:
        serve = serve_http2 if received.startswith(PREFACE) else serve_connection
        raise GoesOn(serve(stream, client, plan, received))


async def first_bytes(connection: NewConnection, client: Client, plan: ListenerPlan) -> bytes:
    """Return enough bytes to tell the protocol, or as many as come in time; b"" if there are none. Raises OSError."""
    stream = connection.stream
    received = b""
    while len(received) < len(PREFACE) and may_begin_preface(received):
        try:
            await park(stream, READ, client.started + plan.header_timeout - client.clock.now)
            data = stream.recv(HEAD_CHUNK)
        except BlockingIOError:
            continue
        except TimedOut:
            break
        if not data:
            break
        connection.is_reading = True
        received += data
    return received
