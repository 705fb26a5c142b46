"""The header of the PROXY protocol at the beginning of a connection (`listen ... proxy_protocol`), before TLS, HTTP/1 and HTTP/2.

It is read off the socket to its last byte and no further, so whoever serves the connection afterwards finds it as if it had just
been accepted. A connection that begins otherwise is closed: there is nobody yet to whom an error could be told.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Coroutine
from typing import Any

from worker.client.plan import ListenerPlan
from worker.loop import READ, GoesOn, park
from worker.stream import Stream
from wproxy.failures import ClientGone, TimedOut
from wproxy.http import Client, Request
from wproxy.proxy_protocol import LONGEST, BrokenProxyHeader, ProxyHeader, take_proxy_header

Serve = Callable[[Stream, Client, ListenerPlan], Coroutine[Any, Any, None]]

_DOING = "while reading PROXY protocol"


class BeginningConnection:
    """A connection whose header is still to come: it may be closed like one without a request."""

    idle = waits = True
    is_reading = False
    begun = 0

    def __init__(self, stream: Stream, client: Client) -> None:
        self.task = stream.loop.current()
        self.idle_since = client.started

    @property
    def under_way(self) -> tuple[Request, ...]:
        """Return nothing: no request has begun."""
        return ()

    def may_leave(self, now: float) -> bool:
        """Whether it may be closed: it must, it has not asked for anything."""
        return self.task.parked

    def drain(self, now: float) -> None:
        """Let it come: nginx serves the first request of a connection that it has accepted."""

    def cut(self, reason: ClientGone) -> None:
        """Do nothing: there is no request yet."""


def after_proxy_header(serve: Serve) -> Serve:
    """Return a function that reads the header, and then serves the connection with this one."""

    async def serve_after_header(stream: Stream, client: Client, plan: ListenerPlan) -> None:
        connection = BeginningConnection(stream, client)
        plan.clients.connections.add(connection)
        is_served = False
        try:
            client.proxy_protocol = await read_header(stream, client.started + plan.header_timeout)
            is_served = True
        except BrokenProxyHeader as error:
            tell(plan, client, "error", str(error))
        except TimedOut:
            tell(plan, client, "info", "client timed out (110: Connection timed out)")
        except ClientGone:
            tell(plan, client, "info", "client closed connection")
        except OSError as error:
            tell(plan, client, "info", f"recv() failed ({error.errno}: {error.strerror})")
        finally:
            if is_served:
                plan.clients.connections.discard(connection)
            else:
                stream.close()
                plan.clients.ended(connection)
        if is_served:
            raise GoesOn(serve(stream, client, plan))

    return serve_after_header


async def read_header(stream: Stream, deadline: float) -> ProxyHeader | None:
    """Read a header; None when it says nothing. Raises BrokenProxyHeader, TimedOut, ClientGone, OSError.

    A header that arrives in pieces is taken piece by piece: bytes that stay in the socket would be reported again and again.
    """
    begun = b""
    while True:
        await park(stream, READ, deadline - stream.loop.clock.now)
        try:
            data = stream.sock.recv(LONGEST - len(begun), socket.MSG_PEEK)
        except BlockingIOError:
            continue
        if not data:
            raise ClientGone
        whole = begun + data
        try:
            taken = take_proxy_header(whole)
        except BrokenProxyHeader:
            stream.sock.recv(len(data))  # the client sees an end, as with nginx: to close with bytes unread is to reset
            raise
        if taken is not None:
            header, length = taken
            stream.sock.recv(length - len(begun))
            return header
        if len(whole) >= LONGEST:
            raise BrokenProxyHeader("header is too large")
        stream.sock.recv(len(data))
        begun = whole


def tell(plan: ListenerPlan, client: Client, level: str, text: str) -> None:
    """Log why a connection is closed, with what nginx adds to a line about a connection; nothing for an empty text."""
    if text:
        where = f"client: {client.remote_addr.decode('latin-1')}, server: {client.listener.address}"
        plan.log.write(level, f"{text} {_DOING}, {where}", client.serial)
