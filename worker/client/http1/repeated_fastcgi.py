"""A request that a client sends again and again over its connection, and that FastCGI answers on a new connection each time.

See `worker.client.http1.repeated_exchange`. The answers may have any body, as long as each comes in one record with the known
head, as that of most scripts does.
"""

from __future__ import annotations

from worker.client.ending import finish
from worker.client.http1.connection import Connection
from worker.client.http1.repeated_exchange import (
    RepeatedExchange,
    attempt_of,
    go_on,
    has_come,
    may_be_repeated,
    remembered_head,
)
from worker.fastcgi.records import HEADER, end_of_output
from worker.http1.chunked import encode_whole
from worker.http1.response import ResponseHead
from worker.http1.write import make_head
from worker.loop import READ, park
from worker.stream import Stream
from worker.upstream.connect import CannotConnect, begin_to_connect
from worker.upstream.exchange import leave
from worker.upstream.live_peer import LivePeer
from worker.upstream.passing import Passing
from worker.upstream.protocols.fastcgi import FastcgiConnection, FastcgiHeadPlan
from worker.upstream.sending import sending_failed
from worker.upstream.upload import begin_upload
from wproxy.failures import ClientGone, UpstreamFailure
from wproxy.http import Exchange, Request, Response, ResponseFields
from wproxy.route import Learn


def learning_fastcgi(passing: Passing) -> Learn:
    """Return what notes the exchanges of a location whose upstream speaks FastCGI."""
    plan = passing.head_plan
    assert isinstance(plan, FastcgiHeadPlan)
    key = plan.key

    def learn(exchange: Exchange, request: Request, response: Response) -> RepeatedFastcgi | None:
        """Return the repetition of a request that has just been answered; None if the next one may get another answer."""
        answer = request.upstream_head
        assert isinstance(exchange, Connection)
        if (
            not request.keepalive
            or not may_be_repeated(passing, exchange, request, response)
            or request.body is not None
            or not isinstance(answer, ResponseHead)
            or not all(is_local(peer) for peer in passing.group.peers)
        ):
            return None
        if not has_come(answer):
            return None
        known = passing.group.last_cgi_head
        upstream_head = remembered_head(exchange, request, key)
        if known is None or known[3] is not answer or upstream_head is None:
            return None
        return RepeatedFastcgi(passing, request, upstream_head, answer, response.fields)

    return learn


def is_local(peer: LivePeer) -> bool:
    """Whether a connection to a peer is nearly always there at once."""
    return peer.is_near or isinstance(peer.sockaddr, bytes)


class RepeatedFastcgi(RepeatedExchange):
    """A request over FastCGI that repeats itself. channel: the new connection for it, while one is under way."""

    __slots__ = ("channel",)

    def __init__(
        self, passing: Passing, request: Request, upstream_head: bytes, answer: ResponseHead, fields: ResponseFields
    ) -> None:
        super().__init__(passing, request, upstream_head, answer, fields)
        self.channel: Stream | None = None

    async def serve(self, exchange: Exchange) -> Response | bytes:
        """Answer the request as often as it comes; return what has come in its place, or the response to one that needs more.

        The connection is idle when this begins. Raises what `proxy_request` raises, and ClientGone, TimedOut and OSError.
        """
        assert isinstance(exchange, Connection)
        connection = exchange
        passing, route, client, clients = self.passing, connection.routed_by, connection.client, connection.clients
        group, stream, clock = passing.group, connection.stream, client.clock
        loop, settings, make_stream = group.loop, passing.socket_settings, passing.protocol.stream
        head, upstream_head, known, fields = connection.head, self.upstream_head, self.answer, self.fields
        head_size, upstream_head_size, read_timeout = len(head), len(upstream_head), passing.read_timeout
        block, length, place = known.block, known.content_length, HEADER + len(known.block)
        is_chunked, variant = fields.content_length < 0, self.variant
        sample, is_logged = route.sample, route.write_log is not None
        next_request = connection.wait
        while True:
            # Wait for the request, and read it.
            await next_request
            try:
                data = stream.recv(connection.chunk)
            except BlockingIOError:
                continue
            if not data:
                raise ClientGone
            connection.idle = False
            if data != head:
                return data
            started = clock.now
            requests = client.requests + 1
            if requests >= connection.last_request or started >= connection.expires:
                return data
            peer = group.pick_at_once()
            if peer is None:
                return data
            client.requests = requests
            self.started = started
            self.peer = peer
            connection.repeating = self

            # Send it over a new connection, wait for the answer and read it.
            happened: list[Exception] | None = None
            channel: Stream | None = None
            is_there = False
            try:
                channel, is_there = begin_to_connect(loop, peer, settings, make_stream)
            except (UpstreamFailure, CannotConnect) as obstacle:
                happened = [obstacle]
            if channel is None or not is_there:
                if channel is not None:
                    channel.close()  # another attempt costs little, as this happens seldom
                return await go_on(passing, self.hand_over(connection), happened)
            if group.counts is not None:
                group.counts.connected(0.0)
            self.channel = channel
            try:
                sent = channel.send(upstream_head)
            except BlockingIOError:
                sent = 0
            except OSError as refusal:
                sent, happened = 0, [sending_failed(refusal)]
            if sent != upstream_head_size:
                request = self.hand_over(connection)
                attempt, upstream = attempt_of(request), upstream_of(request)
                attempt.bytes_sent = sent
                if happened is None:
                    upstream.is_whole, upstream.unsent = True, memoryview(upstream_head)[sent:]
                    begin_upload(attempt, upstream)
                return await go_on(passing, request, happened)
            answer = b""
            try:
                await park(channel, READ, read_timeout)
                answer = channel.recv(group.cgi_chunk)
            except BlockingIOError:
                pass
            except Exception as error:
                happened = [error]
            except BaseException:
                leave(attempt_of(connection.request or self.hand_over(connection)))
                raise
            received = len(answer)
            end = end_of_output(answer, received)
            left = end - place
            is_expected = left >= 0 and (length < 0 or left == length) and answer.startswith(block, HEADER)
            if not is_expected or connection.request is not None:
                # Another answer, only a part of it, or none, or somebody has asked for the request.
                request = connection.request or self.hand_over(connection)
                upstream_of(request).unread = answer
                return await go_on(passing, request, happened)

            # Close the upstream's connection, and answer the client.
            connection.repeating = None
            peer.counters.count_whole(known.status, received, sent, clock.now - started)
            group.answered_once(peer)
            channel.close()
            body = encode_whole(answer[place:end]) if is_chunked else answer[place:end]
            date_line = clock.date_line
            sent_last = fields.wire.get(variant)
            if sent_last is not None and sent_last[1] is date_line:
                reply = sent_last[0] + body
            else:
                reply = make_head(fields, variant, route.keepalive_timeout[1], date_line) + body
            size = len(reply)
            try:
                sent = stream.send(reply)
            except BlockingIOError:
                sent = 0
            except OSError:
                self.note(connection, received, body, size)
                raise
            if sent != size:
                self.note(connection, received, body, size)
                return Response(fields, reply[sent:])
            if is_logged:
                finish(clients, self.note(connection, received, body, size))
                connection.request = None
            else:
                clients.requests += 1
                if sample is not None:
                    sample((fields.status, head_size, size, clock.now - started))
            self.channel = None
            connection.idle = True

    def hand_over(self, exchange: Exchange) -> Request:
        """Return the request under way, with its attempt, as if it had been there from the beginning: the usual way goes on."""
        channel, self.channel = self.channel, None
        request = super().hand_over(exchange)
        attempt = attempt_of(request)
        if channel is None:
            attempt.connect_time = None
            attempt.bytes_sent = 0
        else:
            attempt.connection = connection = FastcgiConnection(channel)
            connection.requests = 1
            attempt.is_first = True
            attempt.connect_time = 0.0
        return request

    def note(self, connection: Connection, received: int, body: bytes, size: int) -> Request:
        """Return the request, which has been answered (`note_answer`). received: bytes of the answer. body: in its coding."""
        request = self.note_answer(connection, size)
        attempt = attempt_of(request)
        attempt.bytes_received = received
        attempt.response_length = received - HEADER - len(self.answer.block)
        request.body_bytes_sent = len(body)
        return request


def upstream_of(request: Request) -> FastcgiConnection:
    """Return the connection of a request that was handed over."""
    connection = attempt_of(request).connection
    assert isinstance(connection, FastcgiConnection)
    return connection
