"""The life of an HTTP/2 connection: read, obey, wait, and end well.

One task reads; each request has its own (`HTTP2Connection.serve`). The end is in two steps: a first GOAWAY lets the client know,
a second one names the last request that is served. When those are answered, our side ends, and what the client still sends is
read and dropped.
"""

from __future__ import annotations

from typing import Final

from worker.client.ending import read_away
from worker.client.http2.connection import NEVER, HTTP2Connection
from worker.client.plan import ListenerPlan
from worker.http2.errors import NO_ERROR, PROTOCOL_ERROR, ConnectionFault
from worker.http2.frames import goaway_frame
from worker.loop import AT_HOME, READ, WRITE, give_way, park
from worker.stream import HEAD_CHUNK, Stream
from wproxy.failures import ClientGone, TimedOut
from wproxy.http import Client

CLIENT_CLOSED: Final = "client prematurely closed connection"


async def serve_http2(stream: Stream, client: Client, plan: ListenerPlan, received: bytes = b"") -> None:
    """Serve one client until one side is done; closes the stream. received: its first bytes."""
    connection = HTTP2Connection(stream, client, plan)
    clients = plan.clients
    clients.connections.add(connection)
    broken: str | None = None
    gone: str | None = None
    try:
        try:
            try:
                obeying = obey(connection, received)
                received = b""  # it need not be kept as long as the connection is
                await obeying
            except ConnectionFault as fault:
                connection.log("info", fault.reason)
                say_goodbye(connection, fault.code)
                broken = fault.reason
            except TimedOut:
                say_goodbye(connection, NO_ERROR)
            if broken is not None:
                await end_requests(connection, broken)
            await leave(connection)
        except GeneratorExit:
            # Its place is needed, or the worker ends.
            connection.sender.write_last(goaway_frame(connection.streams.leave(), NO_ERROR))
            raise
        except (ClientGone, OSError) as error:
            connection.sender.fail(error if isinstance(error, OSError) else ConnectionResetError())
            gone = str(error) or CLIENT_CLOSED
        if gone is not None:
            await end_requests(connection, gone)
    finally:
        clients.before_close()
        stream.close()
        connection.part()
        clients.ended(connection)


async def obey(connection: HTTP2Connection, data: bytes | None) -> None:
    """Read and obey frames until nothing is left to do. data: the first bytes.

    Raises ConnectionFault, TimedOut, ClientGone, OSError. (It also waits for them: an idle connection keeps each coroutine.)
    """
    sender = connection.sender
    while data is not None:
        connection.reader.feed(data)
        data = b""  # it need not be kept for the time of the wait
        while connection.receive():
            await give_way()
        if connection.is_over:
            return
        while data == b"":
            events = READ
            if sender.is_blocked:
                events = WRITE if sender.is_full() else READ | WRITE
            if connection.answered:
                connection.reset_answered(connection.loop.clock.now)  # also where other streams never let it wait in vain
            deadline = deadline_of(connection)
            try:
                if events == READ and deadline == NEVER:
                    await AT_HOME[NEVER]
                else:
                    await park(connection.stream, events, deadline - connection.loop.clock.now)
            except TimedOut:
                ring(connection)
            data = read_after_wait(connection, events)


def read_after_wait(connection: HTTP2Connection, events: int) -> bytes | None:
    """Return what the client has sent; b"" when that is nothing, None when the connection is over. events: those waited for.

    Raises ConnectionFault, ClientGone, OSError.
    """
    sender = connection.sender
    was_called = connection.is_called
    if events != READ:
        sender.flush()
    connection.is_called = False
    if sender.failure is not None:
        raise sender.failure
    if connection.fault is not None:
        raise connection.fault
    if was_called:
        return None if connection.is_over else b""
    if sender.is_full():
        return b""
    try:
        data = connection.stream.recv(connection.most)
    except BlockingIOError:
        return None if connection.is_over else b""
    if not data:
        raise ClientGone(CLIENT_CLOSED)
    # Much comes at once only where bodies do.
    connection.most = connection.largest_read if len(data) == connection.most else HEAD_CHUNK
    return data


def deadline_of(connection: HTTP2Connection) -> float:
    """Return the time until which the client may be silent, or at which a stream is to be reset."""
    deadline = connection.leaves_at
    if connection.answered:
        deadline = min(deadline, next(iter(connection.answered.values())))
    # What only waits for the end of this turn has no deadline yet: if the socket does not take it, the task is called.
    is_blocked = connection.sender.is_blocked
    if connection.streams.busy and not is_blocked and not connection.reader.in_block:
        return deadline
    plan = connection.plan
    if connection.reader.in_block or not connection.streams.busy:
        deadline = min(deadline, connection.begun_at + plan.header_timeout)
    if is_blocked:
        deadline = min(deadline, connection.sender.progressed_at + plan.default.locations.fallback.send_timeout)
    if not connection.streams.busy:
        deadline = min(deadline, connection.idle_since + connection.patience)
    return deadline


def ring(connection: HTTP2Connection) -> None:
    """Do what is due. Raises ConnectionFault, TimedOut, ClientGone."""
    now = connection.loop.clock.now
    plan = connection.plan
    if now >= connection.leaves_at:
        connection.settle_leaving()
    if connection.answered:
        connection.reset_answered(now)
    if now >= connection.begun_at + plan.header_timeout and (connection.reader.in_block or not connection.streams.busy):
        setting = plan.default.described("client_header_timeout")
        raise ConnectionFault(PROTOCOL_ERROR, f"client timed out (110: Connection timed out){setting}")
    if connection.sender.unsent and now >= connection.sender.progressed_at + plan.default.locations.fallback.send_timeout:
        raise ClientGone("client timed out (110: Connection timed out) while sending response to client")
    if not connection.streams.busy and now >= connection.idle_since + connection.patience:
        raise TimedOut


def say_goodbye(connection: HTTP2Connection, code: int) -> None:
    """Send the last GOAWAY."""
    connection.sender.write_first(goaway_frame(connection.streams.leave(), code))


async def end_requests(connection: HTTP2Connection, reason: str) -> None:
    """End what is under way for a client that is gone, or has to go; wait for what goes on without it."""
    connection.is_ending = True
    for exchange in list(connection.exchanges):
        connection.streams.reset_by_peer(exchange.number)
        connection.leave_alone(exchange, reason)
    while connection.streams.busy:
        await park(None, 0, NEVER)


async def leave(connection: HTTP2Connection) -> None:
    """Send what is left, end our side, and read the client's rest away. Raises OSError."""
    stream, sender = connection.stream, connection.sender
    location = connection.plan.default.locations.fallback
    sender.flush()
    try:
        while sender.unsent:
            await park(stream, WRITE, location.send_timeout)
            sender.flush()
        await stream.drained(location.send_timeout)
    except TimedOut:
        return
    if sender.failure is None and location.lingering_close != "off":
        connection.clients.before_close()
        await read_away(stream, location)
