"""proxy_pass: offer a request to one peer after another until one answers (proxy.md §3 and §4).

`proxy_request` is the policy of retries, `exchange` one attempt. A response is returned as soon as its head is there and
may go to the client; its body follows through a `ProxiedBody`, at the client's pace. Once a head has been returned nothing
is tried again: what fails from then on cuts the client's connection, so that it cannot take a part for the whole.

A request body that fits client_body_buffer_size is read whole before a peer is chosen; it goes out with the head and can be
sent again. A larger one is streamed, and what has been taken from the client cannot be offered to another peer.
"""

from __future__ import annotations

from collections.abc import Callable

from worker.content.pages import error_response
from worker.http1.body import RequestBody, ResponseBody
from worker.http1.response import LENGTH, NONE, ResponseHead
from worker.logs import log_request
from worker.loop import READ, WRITE, park
from worker.stream import CHUNK, Stream
from worker.upstream.connect import CONNECTING, connect
from worker.upstream.peers import Group, LivePeer
from worker.upstream.protocols import NO_BODY, UNKNOWN_LENGTH
from wproxy.config.model import Location
from wproxy.failures import TimedOut, UpstreamFailure
from wproxy.http import Attempt, Request, Response, ResponseFields

SENDING = "sending request to upstream"
READING_HEAD = "reading response header from upstream"
READING = "reading upstream"

# Sending one of these twice may do a thing twice (proxy.md §4.1).
NON_IDEMPOTENT = frozenset((b"POST", b"LOCK", b"PATCH"))
_STATUS_OF = {"timeout": 504}
# How many 1xx heads before the real one.
MAX_INTERIM = 32


class Answered(Exception):
    """Raised in a task that is sending a body: the upstream has something to say already."""


class Outgoing:
    """A request as it goes upstream: the head, what of the body is at hand, and where the rest comes from.

    rest: None when `start` holds everything. length: as the protocol's request_head takes it.
    consumed: bytes were taken from the client that are no longer at hand.
    """

    __slots__ = ("at_hand", "consumed", "length", "rest")

    def __init__(self, length: int, at_hand: bytes, rest: RequestBody | None) -> None:
        self.length = length
        self.at_hand = at_hand
        self.rest = rest
        self.consumed = False


_BODILESS = Outgoing(NO_BODY, b"", None)


async def proxy_request(request: Request) -> Response:
    """Answer from the location's upstream. Raises ClientError and ClientGone for what the client did."""
    location = request.location
    group: Group = location.group
    body: RequestBody | None = request.body
    outgoing = _BODILESS if body is None else await collect_body(body, location)
    clock = request.client.clock
    tried = 0
    first_try = clock.now
    attempts = request.attempts = []
    again: LivePeer | None = None
    while True:
        peer = again or group.pick(tried)
        if peer is None:
            return no_live_upstreams(request, group)
        if again is None:
            attempt = Attempt(peer.name, clock.now)
            attempts.append(attempt)
        again = None
        try:
            upstream = group.take_idle(peer, must_stand=request.method in NON_IDEMPOTENT)
            if upstream is None:
                upstream = await open_connection(request, group, peer, attempt)
            return await exchange(request, outgoing, upstream, peer, attempt)
        except UpstreamFailure as failure:
            if failure.is_dead_idle and may_repeat(request, outgoing):
                again = peer
                continue
            attempt.status = _STATUS_OF.get(failure.kind, 502)
            attempt.response_time = clock.now - attempt.started
            if failure.is_dead_idle:
                group.count_success(peer)
            else:
                group.count_failure(peer)
            log_failure(request, failure, peer.name)
            tried |= peer.bit
            if not may_try_next(request, failure, outgoing, tried, first_try):
                return failed(request, failure)
        except BaseException:
            # The client left, or it is our own fault: nothing speaks against the peer.
            group.count_success(peer)
            raise


async def collect_body(body: RequestBody, location: Location) -> Outgoing:
    """Read a body as far as it fits the buffer. Raises ClientError and ClientGone."""
    # An HTTP/1.0 upstream can't be told the end of a body of unknown length: all of it is read first.
    enough = location.client_body_buffer_size
    if body.length < 0 and location.proxy_http_version == 10:
        enough = location.client_max_body_size or 1 << 30
    if body.length > enough:
        return Outgoing(body.length, b"", body)
    pieces: list[bytes] = []
    size = 0
    while size <= enough:
        piece = await body.read()
        if not piece:
            return Outgoing(size, b"".join(pieces), None)
        pieces.append(piece)
        size += len(piece)
    return Outgoing(UNKNOWN_LENGTH if body.length < 0 else body.length, b"".join(pieces), body)


def may_try_next(request: Request, failure: UpstreamFailure, outgoing: Outgoing, tried: int, first_try: float) -> bool:
    """Whether another peer may be asked after this failure (proxy.md §4.1)."""
    location = request.location
    words = location.proxy_next_upstream
    if failure.kind not in words or "off" in words or outgoing.consumed:
        return False
    if failure.sent and request.method in NON_IDEMPOTENT and "non_idempotent" not in words:
        return False
    tries = location.proxy_next_upstream_tries
    made = tried.bit_count()
    if made >= location.group.tries or (tries and made >= tries):
        return False
    limit = location.proxy_next_upstream_timeout
    return not limit or request.client.clock.now - first_try < limit


async def open_connection(request: Request, group: Group, peer: LivePeer, attempt: Attempt) -> Stream:
    """A new connection to the peer. Raises UpstreamFailure."""
    upstream = await connect(request.client.worker.loop, group, peer, request.location.proxy_connect_timeout)
    attempt.connect_time = request.client.clock.now - attempt.started
    return upstream


def may_repeat(request: Request, outgoing: Outgoing) -> bool:
    """Whether a request that died with an idle connection may be sent once more, on a fresh one to the same peer.

    The peer may have closed the idle connection at this very moment: that is nobody's fault and no attempt.
    """
    if outgoing.consumed:
        return False
    return request.method not in NON_IDEMPOTENT or "non_idempotent" in request.location.proxy_next_upstream


async def exchange(
    request: Request, outgoing: Outgoing, upstream: Stream, peer: LivePeer, attempt: Attempt
) -> Response:
    """One request on one connection: send it, read the head of the answer, hand over the body.

    Raises UpstreamFailure; the connection is then closed, as it is by any other exception.
    """
    location = request.location
    clock = request.client.clock
    buffer = b""
    try:
        unsent = start_request(request, outgoing, upstream)
        whole = True
        if unsent is not None or outgoing.rest is not None:
            whole = await finish_request(outgoing, upstream, unsent, location)
        # The whole head must be there in time. It cannot be there yet: park first, and save a refused recv.
        seconds = location.proxy_read_timeout
        deadline = clock.now + seconds
        while True:
            await park(upstream, READ, seconds)
            try:
                data = upstream.recv(CHUNK)
            except BlockingIOError:
                data = None
            if data is not None:
                if not data:
                    raise failure_of("error", "upstream prematurely closed connection", READING_HEAD)
                attempt.bytes_received += len(data)
                buffer = buffer + data if buffer else data
                head, consumed = take_final_head(buffer, upstream, attempt, location)
                if head is not None:
                    return respond(request, head, buffer[consumed:], upstream, peer, attempt, whole)
                buffer = buffer[consumed:]
            seconds = deadline - clock.now
    except UpstreamFailure as failure:
        # Without a byte of an answer, a connection that had served before may have died in idleness.
        failure.is_dead_idle = failure.kind == "error" and not attempt.bytes_received and upstream.requests > 1
        upstream.close()
        raise
    except TimedOut:
        upstream.close()
        raise failure_of("timeout", "upstream timed out (110: Connection timed out)", READING_HEAD) from None
    except OSError as error:
        upstream.close()
        reset = failure_of("error", f"recv() failed ({error.errno}: {error.strerror})", READING_HEAD)
        reset.is_dead_idle = not attempt.bytes_received and upstream.requests > 1
        raise reset from None
    except BaseException:
        upstream.close()
        raise


def start_request(request: Request, outgoing: Outgoing, upstream: Stream) -> memoryview | None:
    """Send the head, and the body if it is at hand; what the socket did not take, or None. Raises UpstreamFailure."""
    upstream.requests += 1
    start = request.location.protocol.request_head(request, outgoing.length)
    if outgoing.rest is None:
        start += outgoing.at_hand
    try:
        sent = upstream.send(start)
    except BlockingIOError:
        sent = 0
    except OSError as error:
        raise sending_failed(error) from None
    return None if sent == len(start) else memoryview(start)[sent:]


def take_final_head(
    buffer: bytes, upstream: Stream, attempt: Attempt, location: Location
) -> tuple[ResponseHead | None, int]:
    """The head of the answer, and how much of the buffer is used; None while it is not there.

    Interim heads are read and forgotten: 100 and 102 of a confused upstream, 103 early hints (http1-security.md, responses).
    Raises UpstreamFailure.
    """
    limit = location.proxy_buffer_size
    position = 0
    while True:
        try:
            taken = location.protocol.take_head(buffer[position:] if position else buffer, limit, upstream.last_head)
        except UpstreamFailure as failure:
            failure.doing, failure.sent = READING_HEAD, True
            raise
        if taken is None:
            return None, position
        head, consumed = taken
        position += consumed
        if head.status >= 200 or head.status == 101:
            return head, position
        attempt.interim_heads += 1
        if attempt.interim_heads > MAX_INTERIM:
            raise failure_of("invalid_header", "upstream sent too many interim responses", READING_HEAD)


async def finish_request(
    outgoing: Outgoing, upstream: Stream, unsent: memoryview | None, location: Location
) -> bool:
    """Send what `start_request` could not, and the rest of the body as the client delivers it.

    True when all of it was sent; False when the upstream began to answer before that.
    Raises UpstreamFailure, ClientError, ClientGone.
    """
    task = upstream.loop.current()
    unexpected = upstream.unexpected

    def answered(stream: Stream) -> bool:
        upstream.unexpected = unexpected
        upstream.loop.interrupt(task, Answered())
        return False

    upstream.unexpected = answered
    encode = location.protocol.encode_body if outgoing.length == UNKNOWN_LENGTH else bytes
    try:
        if unsent is not None:
            await push(upstream, unsent, location)
        body = outgoing.rest
        if body is not None:
            if outgoing.at_hand:
                await push(upstream, encode(outgoing.at_hand), location)
            while piece := await body.read():
                outgoing.consumed = True
                await push(upstream, encode(piece), location)
            if outgoing.length == UNKNOWN_LENGTH:
                await push(upstream, location.protocol.end_of_body, location)
        return True
    except Answered:
        return False
    except TimedOut:
        raise failure_of("timeout", "upstream timed out (110: Connection timed out)", SENDING) from None
    except OSError as error:
        if upstream.has_departed():
            raise sending_failed(error) from None
        return False  # it closed its side for sending, but has answered first
    finally:
        upstream.unexpected = unexpected


async def push(upstream: Stream, data: bytes | memoryview, location: Location) -> None:
    """Send all of this to the upstream; proxy_send_timeout is between two pieces of progress."""
    view = memoryview(data)
    while view:
        try:
            view = view[upstream.send(view) :]
        except BlockingIOError:
            await park(upstream, WRITE, location.proxy_send_timeout)


def respond(
    request: Request,
    head: ResponseHead,
    rest: bytes,
    upstream: Stream,
    peer: LivePeer,
    attempt: Attempt,
    whole: bool,
) -> Response:
    """The response for the client from a head and what came with it. Raises UpstreamFailure when its body is broken already."""
    location = request.location
    group: Group = location.group
    upstream.last_head = head
    attempt.status = head.status
    attempt.header_time = request.client.clock.now - attempt.started
    fields = head.cache.get(location)
    if fields is None:
        fields = head.cache[location] = client_fields(head, location)
    request.upstream_head = head
    if head.status == 101:
        return switch_protocols(request, head, fields, rest, upstream, peer, attempt)
    kind, length = location.protocol.body_of(head, request.method)
    if kind == NONE:
        finish_attempt(request, group, peer, upstream, head, attempt, whole and not rest)
        return Response(fields, bodiless=not length or request.method == b"HEAD")
    if kind == LENGTH and length == len(rest):
        # All of it came with the head, as most bodies do.
        attempt.response_length = length
        finish_attempt(request, group, peer, upstream, head, attempt, whole)
        return Response(fields, rest)
    body = ResponseBody(upstream, rest, kind, length, location.proxy_read_timeout)
    try:
        at_hand = body.take_at_hand()
    except UpstreamFailure as failure:
        failure.doing, failure.sent = READING, True
        raise
    if body.finished:
        attempt.response_length = body.received
        finish_attempt(request, group, peer, upstream, head, attempt, whole and not body.surplus)
        return Response(fields, at_hand)
    return Response(fields, at_hand, ProxiedBody(request, body, head, peer, attempt, whole))


def client_fields(head: ResponseHead, location: Location) -> ResponseFields:
    """What of an upstream's head goes to the client (proxy.md §3.2)."""
    hidden = location.hidden
    connection = head.values.get(b"connection")
    if connection:
        named = frozenset(option.strip(b" \t").lower() for option in connection.split(b","))
        hidden = hidden | (named - _KEPT_WHEN_NAMED)
    content_type = None
    lines = []
    for lower, name, value in head.lines:
        if lower == b"content-type":
            content_type = value
        elif lower not in hidden:
            lines.append((name, value))
    server = b"" if b"server" not in location.hidden else location.server_token
    return ResponseFields(
        head.status,
        tuple(lines),
        content_type=content_type,
        content_length=head.content_length,
        server=server,
        reason=head.reason,
    )


# What an upstream cannot make us remove by naming it in Connection.
_KEPT_WHEN_NAMED = frozenset((b"content-type", b"set-cookie", b"location", b"www-authenticate", b"upgrade", b"server", b"date"))


def finish_attempt(
    request: Request,
    group: Group,
    peer: LivePeer,
    upstream: Stream,
    head: ResponseHead,
    attempt: Attempt,
    is_clean: bool,
) -> None:
    """A response was read to its end: give the connection back to the pool, or close it."""
    attempt.response_time = request.client.clock.now - attempt.started
    group.count_success(peer)
    if is_clean and head.keeps_alive:
        group.keep(peer, upstream, head.keepalive_timeout)
    else:
        upstream.close()


class ProxiedBody:
    """The rest of a proxied response's body. Whoever reads it to the end or closes it gives the connection back."""

    __slots__ = ("attempt", "body", "head", "is_over", "peer", "request", "whole")

    def __init__(
        self, request: Request, body: ResponseBody, head: ResponseHead, peer: LivePeer, attempt: Attempt, whole: bool
    ) -> None:
        self.request = request
        self.body = body
        self.head = head
        self.peer = peer
        self.attempt = attempt
        self.whole = whole
        self.is_over = False

    async def read(self) -> bytes:
        """The next piece, b"" at the end. Raises UpstreamFailure, after logging it: the response is cut."""
        if self.is_over:
            return b""
        body = self.body
        try:
            piece = await body.read()
        except UpstreamFailure as failure:
            failure.doing = READING
            self.request.end_cause = cause_of(self.request, failure)
            log_failure(self.request, failure, self.peer.name)
            self.close()
            raise
        if body.finished:
            self.is_over = True
            request = self.request
            clean = self.whole and not body.surplus
            group: Group = request.location.group
            self.attempt.response_length = body.received
            finish_attempt(request, group, self.peer, body.stream, self.head, self.attempt, clean)
        return piece

    def close(self) -> None:
        """Give up what has not been read; the connection cannot be used again."""
        if not self.is_over:
            self.is_over = True
            self.attempt.response_length = self.body.received
            self.attempt.response_time = self.request.client.clock.now - self.attempt.started
            self.request.location.group.count_success(self.peer)
            self.body.stream.close()


def switch_protocols(
    request: Request,
    head: ResponseHead,
    fields: ResponseFields,
    rest: bytes,
    upstream: Stream,
    peer: LivePeer,
    attempt: Attempt,
) -> Response:
    """A 101: a tunnel from here on. One that nobody asked for is no valid answer (http1-security.md, responses)."""
    if request.fields.upgrade is None:
        raise failure_of("invalid_header", "upstream sent 101 to a request without Upgrade", READING_HEAD)
    group: Group = request.location.group

    ended = False

    def end() -> None:
        nonlocal ended
        if ended:
            return
        ended = True
        attempt.response_time = request.client.clock.now - attempt.started
        group.count_success(peer)
        upstream.close()

    return Response(fields, rest, bodiless=True, tunnel=Tunnel(upstream, end))


class Tunnel:
    """The upstream's side of a tunnel, and what to do when it ends."""

    __slots__ = ("end", "upstream")

    def __init__(self, upstream: Stream, end: Callable[[], None]) -> None:
        self.upstream = upstream
        self.end = end


# Failures.


def failure_of(kind: str, reason: str, doing: str) -> UpstreamFailure:
    """A failure after the request, or a part of it, was sent."""
    failure = UpstreamFailure(kind, reason, doing)
    failure.sent = True
    return failure


def sending_failed(error: OSError) -> UpstreamFailure:
    """A send that the system refused: the other side has closed."""
    return failure_of("error", f"send() failed ({error.errno}: {error.strerror})", SENDING)


def failed(request: Request, failure: UpstreamFailure) -> Response:
    """The answer when the last attempt has failed: 504 for a timer, 502 for everything else."""
    request.end_cause = cause_of(request, failure)
    return error_response(request, _STATUS_OF.get(failure.kind, 502), request.location.server_token)


def no_live_upstreams(request: Request, group: Group) -> Response:
    """No peer is left to ask."""
    attempt = Attempt(group.name, request.client.clock.now)
    attempt.status, attempt.response_time = 502, 0.0
    request.attempts = [*request.attempts, attempt]
    failure = UpstreamFailure("nolive", "no live upstreams", CONNECTING)
    log_failure(request, failure, group.name)
    return failed(request, failure)


# The timer behind a timeout, by what was going on.
_TIMERS = {
    CONNECTING: "proxy_connect_timeout",
    SENDING: "proxy_send_timeout",
    READING_HEAD: "proxy_read_timeout",
    READING: "proxy_read_timeout",
}


def blamed_setting(request: Request, failure: UpstreamFailure) -> str:
    """` (proxy_read_timeout 60: FILE:LINE:COLUMN)` for a timer or limit that was reached; empty otherwise."""
    if failure.kind == "timeout":
        name = _TIMERS[failure.doing]
    elif failure.reason == "upstream sent too big header":
        name = "proxy_buffer_size"
    else:
        return ""
    location = request.location
    return f" ({name} {getattr(location, name):g}: {location.origin(name)})"


def cause_of(request: Request, failure: UpstreamFailure) -> str:
    """The end cause of a request that failed like this."""
    return f"upstream: {failure.reason} while {failure.doing}{blamed_setting(request, failure)}"


def log_failure(request: Request, failure: UpstreamFailure, peer: str) -> None:
    """nginx's line for a failed attempt (proxy.md §4.3), with the setting behind it."""
    colon = ":" if peer.startswith("unix:") else ""
    upstream = f"http://{peer}{colon}{request.line.origin.decode('latin-1')}"
    text = f"{failure.reason}{blamed_setting(request, failure)} while {failure.doing}"
    log_request(request, "error", text, upstream)
