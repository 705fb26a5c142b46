"""A client that connects, sends one request that asks to close, and leaves, as others from its address have done before.

As in `repeated_exchange`, the same bytes mean the same, here on another connection: a listener keeps the first heads of its
connections (`HeadLimits.known_heads`), and with such a head what became of it. A visit is served without reading the head and
without the objects of a request; they are made as soon as anything is not as it was (`hand_over`), and the usual way goes on.
"""

from __future__ import annotations

from worker.client.http1.connection import Connection
from worker.client.http1.repeated_exchange import (
    RepeatedExchange,
    attempt_of,
    go_on,
    has_come,
    is_expected,
    may_be_repeated,
    remembered_head,
)
from worker.http1.request import take_request_head
from worker.http1.response import ResponseHead
from worker.http1.write import UNCHUNKED, make_head
from worker.loop import READ
from worker.stream import HEAD_CHUNK
from worker.upstream.exchange import NON_IDEMPOTENT, leave
from worker.upstream.live_peer import LivePeer
from worker.upstream.passing import Passing
from worker.upstream.protocols.http1 import HTTP1Connection, HTTP1HeadPlan
from worker.upstream.sending import sending_failed
from wproxy.http import Exchange, Request, Response, ResponseFields
from wproxy.route import Route


class Visit:
    """A request after which its connection is closed, and its answer, from a connection that has come to its end.

    remote_addr: that of its client. For the rest see `RepeatedExchange`.
    """

    __slots__ = ("answer", "fields", "head", "passing", "remote_addr", "route", "upstream_head", "variant")

    def __init__(
        self, connection: Connection, passing: Passing, request: Request, upstream_head: bytes, answer: ResponseHead
    ) -> None:
        assert request.response_fields is not None
        self.passing = passing
        self.remote_addr = connection.client.remote_addr
        self.head: bytes = connection.head
        self.upstream_head = upstream_head
        self.answer = answer
        self.fields: ResponseFields = request.response_fields
        self.route: Route = request.route
        self.variant = UNCHUNKED if request.version == 10 or not request.route.chunked else 0


def note_visit(passing: Passing, connection: Connection, request: Request, response: Response) -> None:
    """Note a request that has just been answered, if one on another connection may be answered like it.

    It was the only one of its connection, after which nothing was left to be waited for.
    """
    answer, client, plan = request.upstream_head, connection.client, passing.head_plan
    known = connection.plan.limits.known_heads.get(connection.head)
    if (
        known is None
        or known.way is None
        or connection.last_request
        or connection.clients.draining
        or client.requests != 1
        or request.client is not client
        or client.find_server is not None
        or request.body is not None
        or request.method in NON_IDEMPOTENT
        or not isinstance(plan, HTTP1HeadPlan)
        or not plan.by_address
        or not may_be_repeated(passing, connection, request, response)
        or not isinstance(answer, ResponseHead)
        or not is_expected(answer, response, None)
    ):
        return
    if not has_come(answer):
        return
    upstream_head = remembered_head(connection, request, plan)
    if upstream_head is not None:
        known.visit = Visit(connection, passing, request, upstream_head, answer)


def begin_visit(connection: Connection, data: bytes) -> RepeatedVisit | None:
    """Return what answers the first bytes of a connection, if others have come with the same from this address."""
    known = connection.plan.limits.known_heads.get(data)
    if known is None:
        return None
    visit: Visit | None = known.visit
    if visit is None or visit.remote_addr != connection.client.remote_addr:
        return None
    peer = visit.passing.group.pick_at_once()
    return None if peer is None else RepeatedVisit(visit, peer, connection)


class RepeatedVisit(RepeatedExchange):
    """A visit that repeats an earlier one."""

    __slots__ = ("visit",)

    def __init__(self, visit: Visit, peer: LivePeer, connection: Connection) -> None:
        # Like RepeatedExchange.__init__, without the call and with more that is known.
        client = connection.client
        self.visit = visit
        self.passing = visit.passing
        self.upstream_head = visit.upstream_head
        self.answer = visit.answer
        self.fields = visit.fields
        self.variant = visit.variant
        self.body = b""
        self.started = client.clock.now
        self.peer = peer
        self.upstream = None
        client.requests = 1
        connection.repeating = self

    async def serve(self, exchange: Exchange) -> Response | bytes:
        """Answer the request; return b"" when nothing is left to be done, otherwise the response, or what is left of it.

        Raises what `proxy_request` raises, and ClientGone and OSError.
        """
        assert isinstance(exchange, Connection) and self.peer is not None
        connection, visit, passing, peer, known = exchange, self.visit, self.passing, self.peer, self.answer
        group, stream, clock, manner = passing.group, connection.stream, connection.client.clock, passing.manner
        assert manner is not None
        upstream: HTTP1Connection | None
        upstream = group.take_idle(peer, False, manner)  # type: ignore[assignment]  # all are of the protocol
        if upstream is None:
            return await go_on(passing, self.hand_over(connection))
        self.upstream = upstream
        upstream.requests += 1
        channel, sending, block = upstream.stream, self.upstream_head, known.block
        sending_size, answer_size = len(sending), len(block)
        happened: list[Exception] | None = None
        try:
            sent = channel.send(sending)
        except BlockingIOError:
            sent = 0
        except OSError as refusal:
            sent, happened = -1, [sending_failed(refusal)]
        if sent != sending_size:
            return await go_on(passing, self.hand_over_begun(connection, upstream, sending, sent), happened)
        answer = b""
        try:
            await upstream.answer(passing.read_timeout)
            answer = channel.recv(HEAD_CHUNK)
        except BlockingIOError:
            pass
        except Exception as error:
            happened = [error]
        except BaseException:
            leave(attempt_of(connection.request or self.hand_over(connection)))
            raise
        received = len(answer)
        if answer[:answer_size] != block or received != answer_size + known.plain_length or connection.request is not None:
            # Another answer, none, or somebody has asked for the request.
            upstream.unread = answer
            return await go_on(passing, connection.request or self.hand_over(connection), happened)

        # Keep the upstream's connection, and answer the client.
        connection.repeating = None
        seconds = clock.now - self.started
        peer.counters.count_whole(known.status, received, sending_size, seconds)
        group.take_back(peer, upstream, known.keepalive_timeout)
        fields, date_line, clients, route = self.fields, clock.date_line, connection.clients, visit.route
        sent_last = fields.wire.get(visit.variant)
        if sent_last is not None and sent_last[1] is date_line:
            reply = sent_last[0] + answer[answer_size:]
        else:
            reply = make_head(fields, visit.variant, route.keepalive_timeout[1], date_line) + answer[answer_size:]
        size = len(reply)
        try:
            sent = stream.send(reply)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.note_answer(connection, size)
            raise
        if sent != size or route.write_log is not None or not stream.armed & READ:
            self.note_answer(connection, size)
            return Response(fields, reply[sent:])
        clients.requests += 1
        sample = route.sample
        if sample is not None:
            sample((fields.status, len(visit.head), size, seconds))
        return b""

    def hand_over(self, exchange: Exchange) -> Request:
        """Return the request under way, with its attempt, as if it had been there from the beginning: the usual way goes on."""
        assert isinstance(exchange, Connection)
        if exchange.taken is None:
            take_request_head(self.visit.head, exchange.plan.limits, exchange)
        return super().hand_over(exchange)
