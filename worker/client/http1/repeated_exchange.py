"""A client that sends one request again and again over its connection, and an upstream that answers it.

The same bytes as before mean the same (worker/http1/request.py, way 1): their values, their location, the head for the upstream.
So once a connection has repeated a request that a location only passes on, it is served here: one coroutine, with everything that
does not change at hand, and without the objects of a request, an attempt and a response. Nobody misses them while all goes well.
As soon as anything is not as it was, or somebody asks for the request, they are made as if they had been there from the
beginning (`hand_over`), and the usual way goes on from that point (`proxy_request`, `serve_connection`).

Reading a request, choosing the head of the answer and counting it are written out here and in the repetitions beside this one: to
call a function costs 300 instructions, and a `return` takes 12,000 in all.

What a repeated request may find changed, and what is looked at each time: the limits of its connection, the peers, their health
and idle connections, the clock's date, the head of the answer and its length. Everything else belongs to the head of the request
and to its location, which do not change. An answer with another head that the upstream has sent before is passed on here, too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from worker.client.ending import finish
from worker.client.http1.connection import Connection
from worker.client.http1.new_request import accept_body, make_request
from worker.http1.response import ResponseHead
from worker.http1.write import KEEPALIVE, UNCHUNKED, make_head
from worker.phases import settle
from worker.stream import HEAD_CHUNK
from worker.upstream.exchange import NON_IDEMPOTENT, leave, proxy_request
from worker.upstream.live_peer import LivePeer
from worker.upstream.outgoing import body_at_hand
from worker.upstream.passing import LiveAttempt, Passing, PeerConnection
from worker.upstream.protocols.http1 import HTTP1Connection
from worker.upstream.sending import sending_failed
from worker.upstream.upload import begin_upload
from wproxy.failures import ClientGone
from wproxy.http import Exchange, Request, Response, ResponseFields
from wproxy.request_body import BODILESS, EMPTY, Outgoing
from wproxy.route import Repetition

# In the cache of an answer's head: that it has come.
_HAS_COME: Final = object()

# Passes on the answer of a repeated exchange: gets the connections of the client and of the upstream, and what the latter has
# said so far, the known head and a part of the body; returns None when all of it is out and counted, otherwise what is left.
Passage = Callable[["RepeatedExchange", Connection, HTTP1Connection, bytes], Response | None]


def learn_exchange(
    passing: Passing, connection: Connection, request: Request, response: Response, passage: Passage | None
) -> RepeatedExchange | None:
    """Return the repetition of a request that has just been answered; None if the next one may get another answer.

    Its head is the last one that the connection has taken. passage: passes on the body of its answer, if that comes later.
    """
    answer = request.upstream_head
    if (
        not request.keepalive
        or not may_be_repeated(passing, connection, request, response)
        or (request.body is not None and (request.body.data is None or request.body.kept is not None))
        or not isinstance(answer, ResponseHead)
        or not is_expected(answer, response, passage)
    ):
        return None
    upstream_head = remembered_head(connection, request, passing.head_plan)
    if upstream_head is None:
        return None
    return RepeatedExchange(passing, request, upstream_head, answer, response.fields, passage)


def may_be_repeated(passing: Passing, connection: Connection, request: Request, response: Response) -> bool:
    """Whether a request that has just been answered would be answered in the same way if it came again."""
    answer, own = request.upstream_head, connection.routed_fields
    return (
        connection.routed_line is request.line
        and own is request.fields
        and own is not None
        and request.route is connection.routed_by
        and request.limit_rate is None
        and not request.end_code
        and request.trace is None
        and request.method != b"HEAD"
        and not own.chunked
        and not own.expects_continue
        and isinstance(answer, ResponseHead)
        and answer.cache.get(passing.answer_plan) is response.fields
        and not is_unusual(passing, answer)
        and response.source is None
        and not response.bodiless
        and passing.group.picks_at_once()
    )


def is_unusual(passing: Passing, answer: ResponseHead) -> bool:
    """Whether there is more to be done about an answer with this head than to pass it on."""
    status = answer.status
    ignored, size = answer.ignored, len(answer.block)
    return status >= 400 or status in passing.noticed_statuses or bool(ignored) or size > passing.buffer_size


def has_come(answer: ResponseHead) -> bool:
    """Whether the head of an answer has come before, so that it may well come again; note that it has now. (Many never do.)"""
    if _HAS_COME in answer.cache:
        return True
    answer.cache[_HAS_COME] = True
    return False


def is_expected(answer: ResponseHead, response: Response, passage: Passage | None) -> bool:
    """Whether an answer has come on a connection that is kept, as a whole, or with a rest that is passed on; so it may again."""
    size = answer.plain_length
    return answer.keeps_alive and (passage is not None or (size == len(response.body) and size + len(answer.block) <= HEAD_CHUNK))


def remembered_head(connection: Connection, request: Request, key: object) -> bytes | None:
    """Return the head for the upstream that is kept with the last header block, if it is that of this request."""
    own = connection.routed_fields
    assert own is not None
    remembered = own.upstream_head(key)
    if remembered is None or remembered[0] is not request.line or remembered[1] != own.content_length:
        return None
    head: bytes = remembered[-1]
    return head


class RepeatedExchange(Repetition):
    """A request that repeats itself, with what does not change.

    upstream_head: what goes to the upstream. answer: the last head that has come back; fields: those for the client; variant:
    that of its head. passage: passes on a body that comes after this head. While a repetition is under way: started: since when;
    peer, upstream: where it was sent, the latter None if there is no connection; body: the bytes of its body.
    """

    __slots__ = ("answer", "body", "fields", "passage", "passing", "peer", "started", "upstream", "upstream_head", "variant")

    def __init__(
        self,
        passing: Passing,
        request: Request,
        upstream_head: bytes,
        answer: ResponseHead,
        fields: ResponseFields,
        passage: Passage | None = None,
    ) -> None:
        self.passing = passing
        self.passage = passage
        self.upstream_head: bytes = upstream_head
        self.answer = answer
        self.fields = fields
        self.variant = KEEPALIVE | (UNCHUNKED if request.version == 10 or not request.route.chunked else 0)
        self.started = 0.0
        self.body = b""
        self.peer: LivePeer | None = None
        self.upstream: PeerConnection | None = None

    async def serve(self, exchange: Exchange) -> Response | bytes:
        """Answer the request as often as it comes; return what has come in its place, or the response to one that needs more.

        The connection is idle when this begins. Raises what `proxy_request` raises, and ClientGone, TimedOut and OSError.
        """
        assert isinstance(exchange, Connection)
        connection, passing = exchange, self.passing
        taken, manner = connection.taken, passing.manner
        assert taken is not None and manner is not None
        route, client, clients, group = connection.routed_by, connection.client, connection.clients, passing.group
        stream, clock = connection.stream, client.clock
        line, own, head_size = taken
        head, known, fields = connection.head, self.answer, self.fields
        sending, sending_size, body_size = self.upstream_head, len(self.upstream_head), max(0, own.content_length)
        whole_request = head_size + body_size
        block, whole_answer = known.block, len(known.block) + known.plain_length
        answer_size, variant, read_timeout = len(block), self.variant, passing.read_timeout
        must_stand = line.method in NON_IDEMPOTENT
        sample, is_logged = route.sample, route.write_log is not None
        next_request = connection.wait
        happened: list[Exception] | None = None
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
            if len(data) != whole_request or (data != head if not body_size else data[:head_size] != head):
                if not self.take_alike(connection, data):
                    return data
                head, whole_request = data, len(data)
                sending, sending_size = self.upstream_head, len(self.upstream_head)
            started = clock.now
            requests = client.requests + 1
            if requests >= connection.last_request or started >= connection.expires:
                return data
            peer = group.pick_at_once()
            if peer is None:
                return data
            client.requests = requests
            if body_size:
                self.body = data[head_size:]
                sending = self.upstream_head + self.body
                sending_size = len(sending)

            # Send it to the upstream, wait for the answer and read it.
            self.started = started
            self.peer = peer
            upstream: HTTP1Connection | None
            upstream = group.take_idle(peer, must_stand, manner)  # type: ignore[assignment]  # all are of the protocol
            self.upstream = upstream
            connection.repeating = self
            if upstream is None:
                return await go_on(passing, self.hand_over(connection))
            upstream.requests += 1
            channel = upstream.stream
            try:
                sent = channel.send(sending)
            except BlockingIOError:
                sent = 0
            except OSError as refusal:
                sent, happened = -1, [sending_failed(refusal)]
            if sent != sending_size:
                return await go_on(passing, self.hand_over_begun(connection, upstream, sending, sent), happened)
            try:
                await upstream.answer(read_timeout)
                answer = channel.recv(upstream.chunk)
            except BlockingIOError:
                answer = b""
            except Exception as error:
                answer, happened = b"", [error]
            except BaseException:
                leave(attempt_of(connection.request or self.hand_over(connection)))
                raise
            if answer[:answer_size] != block or len(answer) != whole_answer or connection.request is not None:
                if self.passage is not None and answer[:answer_size] == block and connection.request is None:
                    response = self.passage(self, connection, upstream, answer)
                    if response is None:
                        continue
                    return response
                if connection.request is not None or not self.knows(answer, upstream.chunk):
                    # An unknown answer, none, or somebody has asked for the request.
                    upstream.unread = answer
                    return await go_on(passing, connection.request or self.hand_over(connection), happened)
                known, fields = self.answer, self.fields
                block, whole_answer, answer_size = known.block, len(answer), len(known.block)

            # Keep the upstream's connection, and answer the client.
            connection.repeating = None
            peer.counters.count_whole(known.status, whole_answer, sending_size, clock.now - started)
            group.take_back(peer, upstream, known.keepalive_timeout)
            date_line = clock.date_line
            sent_last = fields.wire.get(variant)
            if sent_last is not None and sent_last[1] is date_line:
                reply = sent_last[0] + answer[answer_size:]
            else:
                reply = make_head(fields, variant, route.keepalive_timeout[1], date_line) + answer[answer_size:]
            size = len(reply)
            try:
                sent = stream.send(reply)
            except BlockingIOError:
                sent = 0
            except OSError:
                self.note_answer(connection, size)
                raise
            if sent != size:
                self.note_answer(connection, size)
                return Response(fields, reply[sent:])
            if is_logged:
                finish(clients, self.note_answer(connection, size))
                connection.request = None
            else:
                clients.requests += 1
                if sample is not None:
                    sample((fields.status, whole_request, size, clock.now - started))
            if body_size:
                self.body = b""
            connection.idle = True

    def take_alike(self, connection: Connection, data: bytes) -> bool:
        """Take a request that is not the same, and compose its head for the upstream; return whether it is served here, too."""
        return False

    def knows(self, answer: bytes, chunk: int) -> bool:
        """Return whether an answer is another one with a known head, and has come whole; then it is the one that is expected.

        chunk: the size of the read that it comes from; with one that is full there may be more to come.
        """
        passing = self.passing
        end = answer.find(b"\r\n\r\n") + 4
        head = passing.group.known_heads.get(answer[:end])
        if head is None or end + head.plain_length != len(answer) or len(answer) >= chunk:
            return False
        fields: ResponseFields | None = head.cache.get(passing.answer_plan)
        if fields is None or not head.keeps_alive or is_unusual(passing, head):
            return False
        self.answer, self.fields, self.passage = head, fields, None
        return True

    def hand_over(self, exchange: Exchange) -> Request:
        """Return the request under way, with its attempt, as if it had been there from the beginning: the usual way goes on."""
        assert isinstance(exchange, Connection) and self.peer is not None
        connection, taken = exchange, exchange.taken
        assert taken is not None
        connection.repeating = connection.repetition = None
        connection.client.requests -= 1  # it is counted again
        request = connection.request = make_request(connection, taken)
        request.started = self.started
        outgoing: Outgoing | None = BODILESS if request.fields.content_length < 0 else EMPTY
        if self.body:
            connection.buffer = self.body
            accept_body(connection, request, taken[1])
        if request.body is not None:
            outgoing = body_at_hand(request, request.body)
        assert outgoing is not None
        attempt = LiveAttempt(self.passing, request, self.peer, outgoing, self.upstream_head, self.started)
        attempt.connection = self.upstream
        attempt.bytes_sent = len(self.upstream_head) + len(self.body)
        attempt.sent_at = self.started
        request.attempts = [attempt]
        self.body = b""
        self.upstream = self.peer = None
        return request

    def hand_over_begun(self, connection: Connection, upstream: HTTP1Connection, sending: bytes, sent: int) -> Request:
        """Return the same when the upstream has taken only so many of the bytes for it; -1: it has taken none, and has failed."""
        request = self.hand_over(connection)
        if sent >= 0:
            attempt = attempt_of(request)
            attempt.bytes_sent = sent
            upstream.unsent = memoryview(sending)[sent:]
            begin_upload(attempt, upstream)
        return request

    def note_answer(self, connection: Connection, size: int) -> Request:
        """Return the request, which has been answered, as it would be by now: for logs, and for what follows an answer.

        size: the bytes for the client.
        """
        repetition = connection.repetition
        request = self.hand_over(connection)
        connection.repetition = repetition
        attempt, answer = attempt_of(request), self.answer
        attempt.head = request.upstream_head = answer
        attempt.status = answer.status
        attempt.response_length = answer.plain_length
        attempt.bytes_received = len(answer.block) + answer.plain_length
        attempt.header_time = attempt.response_time = connection.client.clock.now - self.started
        request.status = self.fields.status
        request.response_fields = self.fields
        request.replied = True
        request.bytes_sent = size
        request.body_bytes_sent = answer.plain_length
        return request


def attempt_of(request: Request) -> LiveAttempt:
    """Return the attempt of a request that was handed over."""
    attempt = request.attempts[0]
    assert isinstance(attempt, LiveAttempt)
    return attempt


async def go_on(passing: Passing, request: Request, happened: list[Exception] | None = None) -> Response:
    """Go the usual way from here with a request that was handed over, through error pages and filters (see `proxy_request`)."""
    response = await proxy_request(passing, request, attempt_of(request), happened)
    if response.error and request.route.error_pages:
        response = await settle(request, response)
    change = request.route.filter
    return response if change is None else change(request, response)
