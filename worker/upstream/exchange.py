"""proxy_pass and the like: offer a request to one peer after another until one answers (proxy.md §3 and §4).

`proxy_request` reads as one exchange: choose a peer, take or open a connection, send, wait, receive the head. Every
failure is blamed on one side, and the policy of retries decides whether there is another round. Once a head has been returned
nothing is tried again: a later failure cuts the client's connection, so that the client cannot take a part for the whole.

The bytes on a connection are the business of its protocol (`PeerConnection`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from worker.content.accelerated import answer_elsewhere
from worker.http1.response import ResponseHead
from worker.logs import log_request
from worker.loop import READ, park
from worker.pages import error_response
from worker.stream import Stream
from worker.upstream.answers import SentElsewhere
from worker.upstream.connect import CannotConnect, begin_to_connect, established
from worker.upstream.failing import CONNECTING, READING_HEAD, call_failed, code_of, failure_of
from worker.upstream.failure_log import cause_of, log_failure, log_rest
from worker.upstream.incoming import receive_rest_of_head, respond
from worker.upstream.live_peer import LivePeer
from worker.upstream.manner import Manner, manner_of, socket_settings
from worker.upstream.opening import shared_connection
from worker.upstream.outgoing import body_at_hand, outgoing_of
from worker.upstream.passing import LiveAttempt, Passing, PeerConnection
from worker.upstream.peers import ANSWERED, FAILED, UNBLAMED, Group
from worker.upstream.pooled import Pooled, SharedPooled
from worker.upstream.sticky import Sticky
from worker.upstream.upload import NEVER, begin_upload
from wproxy.failures import TimedOut, UpstreamFailure
from wproxy.http import Attempt, Request, Response
from wproxy.request_body import BODILESS, EMPTY, Outgoing

# Sending one of these twice may have its effect twice (proxy.md §4.1).
NON_IDEMPOTENT: Final = frozenset((b"POST", b"LOCK", b"PATCH"))


async def proxy_request(
    passing: Passing, request: Request, begun: LiveAttempt | None = None, happened: list[Exception] | None = None
) -> Response:
    """Answer from an upstream. Raises ClientError and ClientGone for faults of the client.

    begun: the first attempt, where a `RepeatedExchange` has begun it; if it has a connection, the request has been sent on that.
    happened: the exceptions that it has met since, at most one.
    The whole good day is in this one coroutine: each further one would cost 0.3 us per request.
    """
    group = passing.group
    clock = request.client.clock
    if request.body is None and passing.reshape is None:
        # `body_for`, inlined for the most common requests.
        outgoing = BODILESS if request.fields.content_length < 0 else EMPTY
    else:
        body = None
        if request.body is not None and passing.reshape is None:
            body = body_at_hand(request, request.body)  # as most bodies are, and no coroutine has to be made for them
        if body is None:
            body = await body_for(passing, request)
            if body is None or body.consumed:
                return nothing_to_send(request, body)
        outgoing = body
    write_head = passing.head  # read first, as `send` is elsewhere
    head = write_head(request, outgoing.length)
    # If an error page or similar has led here, the attempts of the earlier location stay on record.
    attempts = request.attempts = [*request.attempts] if request.attempts else []
    tried = 0
    first_try = clock.now
    again: LivePeer | None = None
    if begun is not None:
        attempt, again = begun, begun.live_peer
        if begun.connection is None and not happened:
            begun = None
    while True:
        peer = again or group.pick(tried, request) or await group.wait_for_peer(tried, request)
        if peer is None:
            return no_live_upstreams(passing, request, head, tried)
        if again is None:
            attempt = LiveAttempt(passing, request, peer, outgoing, head, clock.now)
            if attempts:
                follow(request, attempt, group, tried)
            attempts.append(attempt)
        manner = passing.manner or manner_of(passing.settings, request, group.is_local)
        connection: PeerConnection | None
        if begun is not None:
            connection = begun.connection
        elif passing.is_pooled:
            connection = group.take_idle(peer, request.method in NON_IDEMPOTENT, manner)  # type: ignore[assignment]  # see Manner
        else:
            connection = None
        try:
            if connection is None:
                if passing.opens_plainly:
                    # `open_connection`, without its coroutines: they cost a new connection a twentieth of all.
                    attempt.connect_time = None
                    stream, is_there = begin_to_connect(group.loop, peer, passing.socket_settings, passing.protocol.stream)
                    if not is_there:
                        await established(stream, passing.connect_timeout)
                    # `opened`, inlined.
                    attempt.is_first = True
                    attempt.connect_time = connect_time = clock.now - attempt.started
                    if group.counts is not None:
                        group.counts.connected(connect_time)
                    make_connection = passing.protocol.connection
                    plain: PeerConnection = make_connection(stream)  # type: ignore[assignment]
                    if passing.is_pooled and group.keepalive:
                        group.opened(peer, plain, manner)
                    connection = plain
                else:
                    connection = await open_connection(attempt, passing.is_pooled)
            attempt.connection = connection
            if begun is not None:
                begun = None
                if happened:
                    raise happened.pop()
            elif connection.start(attempt):
                # The answer cannot be there yet: park first, and save a refused recv. The whole head must arrive in time.
                attempt.sent_at = clock.now
                await park(connection.channel, READ, passing.read_timeout)
            else:
                begin_upload(attempt, connection)
                await park(connection.channel, READ, NEVER)
            received = connection.receive_head(attempt) or await receive_rest_of_head(attempt, connection)
            if received.status in passing.noticed_statuses:
                refuse_answer(attempt, received, tried | peer.bit, first_try)
                stored = passing.cache.instead(attempt, received) if passing.cache is not None else None
                if stored is not None:
                    return stored
                if intercepts(passing, request, received.status):
                    return intercepted(attempt, received)
            response = respond(attempt, connection, received)
        except (UpstreamFailure, TimedOut, OSError) as error:
            failure = blame(error, attempt)
            again = peer if failure.is_dead_idle and may_repeat(attempt, failure) else None
            if again is None:
                give_up(attempt, failure)
                tried |= peer.bit
                if reason := why_not_next(attempt, failure, tried, first_try):
                    return failed(passing, request, failure, reason)
            elif group.counts is not None:
                group.counts.retried("up_dead_idle")
            continue
        except SentElsewhere as elsewhere:
            leave(attempt)
            target, kept = elsewhere.target, elsewhere.kept
        except CannotConnect as obstacle:
            leave(attempt)
            return cannot_connect(request, obstacle)
        except BaseException:
            leave(attempt)  # the client left, or it is our own fault
            raise
        else:
            return response if group.sticky is None else marked(request, response, group.sticky, peer)
        if passing.cache is not None:
            passing.cache.sent_elsewhere(request)
        return await answer_elsewhere(request, target, kept)


async def body_for(passing: Passing, request: Request) -> Outgoing | None:
    """Return the body that goes to the upstream; None when it could not be kept. Raises ClientError, ClientGone."""
    if passing.reshape is not None:
        return await passing.reshape(request)
    if request.body is None:
        return BODILESS if request.fields.content_length < 0 else EMPTY
    return body_at_hand(request, request.body) or await outgoing_of(request, request.body, passing.streaming)


def follow(request: Request, attempt: Attempt, group: Group, tried: int) -> None:
    """Mark an attempt that is not the first: another one of this location, or the first one after another location."""
    request.upstream_head = None
    if tried and group.counts is not None:
        group.counts.retried(request.attempts[-1].end_code)
    if not tried:
        attempt.begins_group = True
    elif group.retries is not None:
        attempt.is_retry = True
        group.retries.count_retry(int(group.clock.now))


async def open_connection(attempt: LiveAttempt, is_pooled: bool) -> PeerConnection:
    """Return what an attempt uses of a new connection to its peer. Raises UpstreamFailure, CannotConnect.

    is_pooled: whether further requests may use it.
    """
    passing = attempt.passing
    group = passing.group
    attempt.connect_time = None
    manner = passing.manner or manner_of(passing.settings, attempt.request, group.is_local, is_told=True)
    if manner.max_streams > 1 and is_pooled and group.keepalive:
        opener: Callable[[], Awaitable[SharedPooled]] = partial(open_one, attempt, manner, True)  # type: ignore[assignment]
        connection: Pooled = await shared_connection(group.loop, attempt.live_peer, manner, opener)
    else:
        connection = await open_one(attempt, manner, is_pooled)
    attempt.connect_time = attempt.request.client.clock.now - attempt.started
    return connection.join()  # type: ignore[return-value]  # what is joined belongs to the pool, and its requests to us


async def open_one(attempt: LiveAttempt, manner: Manner, is_pooled: bool) -> Pooled:
    """Return a new connection to the peer of an attempt. Raises UpstreamFailure, CannotConnect."""
    passing = attempt.passing
    if manner.secured is None:
        settings = socket_settings(manner)
        stream, is_there = begin_to_connect(passing.group.loop, attempt.live_peer, settings, passing.protocol.stream)
        if not is_there:
            await established(stream, passing.connect_timeout)
    else:
        from worker.upstream.tls.open import open_secured  # loaded with the location, if it needs it

        stream = await open_secured(attempt, manner)
    return opened(attempt, stream, manner, is_pooled)


def opened(attempt: LiveAttempt, stream: Stream, manner: Manner, is_pooled: bool) -> Pooled:
    """Return the connection on a stream that has just been connected for an attempt."""
    passing = attempt.passing
    group = passing.group
    attempt.is_first = True
    attempt.connect_time = connect_time = group.clock.now - attempt.started
    if group.counts is not None:
        group.counts.connected(connect_time)
    connection = passing.protocol.connection(stream)
    if is_pooled and group.keepalive:
        group.opened(attempt.live_peer, connection, manner)
    return connection


def refuse_answer(attempt: LiveAttempt, head: ResponseHead, tried: int, first_try: float) -> None:
    """Raise an UpstreamFailure if proxy_next_upstream asks for another peer after an answer with this status."""
    failure = failure_of(f"http_{head.status}", "upstream answered with a failure", READING_HEAD)
    reason = why_not_next(attempt, failure, tried, first_try)
    if not reason:
        attempt.header_time = attempt.request.client.clock.now - attempt.started
        attempt.request.upstream_head = head
        raise failure
    if attempt.passing.group.counts is not None:
        attempt.passing.group.counts.denied(reason)


def intercepts(passing: Passing, request: Request, status: int) -> bool:
    """Whether an error page of ours replaces an upstream's (nginx: ngx_http_upstream_intercept_errors)."""
    if not passing.protocol.has_pages:
        return True
    pages = request.route.error_pages
    return passing.intercepts and pages is not None and status in pages


def intercepted(attempt: LiveAttempt, head: ResponseHead) -> Response:
    """Return the built-in page for an upstream's error, for error_page to replace, with the fields needed to log in."""
    request = attempt.request
    request.upstream_head = head
    attempt.status = head.status
    attempt.header_time = request.client.clock.now - attempt.started
    if attempt.passing.cache is not None:
        attempt.passing.cache.intercepted(request, head)
    if attempt.passing.protocol.has_pages:
        leave(attempt)
    else:
        give_back(attempt, head)
    response = mark_failure(attempt.passing.group, request, error_response(request, head.status, request.route.server_token))
    if head.status == 401:
        response.fields.lines = tuple((name, value) for lower, name, value in head.lines if lower == b"www-authenticate")
    return response


def cannot_connect(request: Request, error: CannotConnect) -> Response:
    """Return the answer when this machine has no connection to give to a request."""
    log_request(request, error.level, str(error), code=error.code)
    request.ends(error.code, str(error))
    return error_response(request, 500, request.route.server_token)


def marked(request: Request, response: Response, sticky: Sticky, peer: LivePeer) -> Response:
    """Return the response of a peer, with the cookie or record of `sticky`; close it if that raises."""
    try:
        sticky.mark(request, response, peer, True)
    except BaseException:
        response.close()
        raise
    return response


def give_back(attempt: LiveAttempt, head: ResponseHead) -> None:
    """End an exchange whose answer is nothing but a head."""
    attempt.response_time = attempt.header_time
    attempt.head = head
    assert attempt.connection is not None
    attempt.connection.body(attempt)
    attempt.passing.group.take_back(attempt.live_peer, attempt.connection, None, attempt)


def leave(attempt: LiveAttempt) -> None:
    """End an exchange whose rest is not wanted, which does not speak against the peer."""
    attempt.response_time = attempt.request.client.clock.now - attempt.started
    attempt.passing.group.release(attempt.live_peer, ANSWERED, attempt)
    attempt.close_connection()


# Policy.


def may_repeat(attempt: LiveAttempt, failure: UpstreamFailure) -> bool:
    """Whether a request that died with an idle connection may be sent once more, on a fresh one to the same peer.

    The peer may have closed the idle connection at this very moment: that is no fault and no attempt.
    """
    if attempt.outgoing.consumed:
        return False
    return not failure.sent or attempt.request.method not in NON_IDEMPOTENT or "non_idempotent" in attempt.passing.retries.words


def why_not_next(attempt: LiveAttempt, failure: UpstreamFailure, tried: int, first_try: float) -> str:
    """Return why no other peer may be tried after this failure; "" if one may (proxy.md §4.1)."""
    passing, request = attempt.passing, attempt.request
    words, tries, timeout, budget = passing.retries
    if failure.kind not in words or "off" in words:
        return "kind"
    if attempt.outgoing.consumed:
        return "body"
    if failure.sent and request.method in NON_IDEMPOTENT and "non_idempotent" not in words:
        return "non_idempotent"
    made = tried.bit_count()
    if made >= passing.group.tries:
        return "peers"
    if tries and made >= tries:
        return "tries"
    if timeout and request.client.clock.now - first_try >= timeout:
        return "timeout"
    return "" if budget is None or is_affordable(passing, request, failure) else "budget"


def is_affordable(passing: Passing, request: Request, failure: UpstreamFailure) -> bool:
    """Whether the upstream's budget allows one more retry; if not, log it and set the end cause."""
    group, budget = passing.group, passing.retries.budget
    if budget is None or group.retries is None or group.retries.allows(budget, int(request.client.clock.now)):
        return True
    setting = passing.settings.described("next_upstream_budget")
    failure.why_last = f"the retries of upstream {group.name} are used up{setting}"
    log_request(request, "error", f"no other peer is tried, {failure.why_last}")
    request.ends(code_of(failure), cause_of(passing, failure))
    return False


# Failures.


def blame(error: UpstreamFailure | TimedOut | OSError, attempt: LiveAttempt) -> UpstreamFailure:
    """Return the failure in words of proxy_next_upstream. The connection, if there was one, is closed."""
    if isinstance(error, TimedOut):
        failure = failure_of("timeout", "upstream timed out (110: Connection timed out)", READING_HEAD)
    elif isinstance(error, OSError):
        failure = failure_of("error", call_failed("recv()", error), READING_HEAD, "up_reset")
    else:
        failure = error
        if not failure.doing:  # from a parser
            failure.doing, failure.sent = READING_HEAD, True
    connection = attempt.connection
    if connection is not None:
        attempt.close_connection()
        attempt.connection = None
        # Without a byte of an answer, a reused connection may have died while idle.
        is_reused = connection.requests > 1 and not failure.is_refusal
        failure.is_dead_idle = failure.kind == "error" and not attempt.bytes_received and (is_reused or failure.is_put_off)
    # Frames in its traceback have the failure itself: with them, all that the request had would wait for the collector.
    failure.__traceback__ = failure.__context__ = None
    return failure


def give_up(attempt: LiveAttempt, failure: UpstreamFailure) -> None:
    """Count and log an attempt that failed."""
    passing, request = attempt.passing, attempt.request
    attempt.status = status_of(failure)
    attempt.end_code = code_of(failure)
    attempt.response_time = request.client.clock.now - attempt.started
    log_failure(passing, request, failure)
    is_blameless = failure.is_dead_idle or failure.kind in ("http_403", "http_404")
    peer = attempt.live_peer
    if passing.group.release(peer, UNBLAMED if is_blameless else FAILED, attempt):
        peer.counters.rests(attempt.end_code, peer.health.fails)
        log_rest(request, failure)


def status_of(failure: UpstreamFailure) -> int:
    """Return the status of an answer that is retried; 504 for a timer; 502 for everything else."""
    if failure.kind.startswith("http_"):
        return int(failure.kind[5:])
    return 504 if failure.kind == "timeout" else 502


def failed(passing: Passing, request: Request, failure: UpstreamFailure, why_last: str = "") -> Response:
    """Return the answer when the last attempt has failed. why_last: why there is no other one."""
    if why_last and passing.group.counts is not None:
        passing.group.counts.denied(why_last)
    stored = passing.cache.after_failure(passing, request, failure) if passing.cache is not None else None
    if stored is not None:
        return stored
    request.ends(code_of(failure), cause_of(passing, failure))
    return mark_failure(passing.group, request, error_response(request, status_of(failure), request.route.server_token))


def mark_failure(group: Group, request: Request, response: Response) -> Response:
    """Return our response in place of a peer's; the cookie of `sticky` names the last peer that was tried, as in nginx."""
    if group.sticky is not None:
        peers = {peer.name: peer for peer in group.peers}
        last = next((peers[attempt.peer] for attempt in reversed(request.attempts) if attempt.peer in peers), None)
        if last is not None:
            group.sticky.mark(request, response, last, False)
    return response


def nothing_to_send(request: Request, body: Outgoing | None) -> Response:
    """Return the answer when a body cannot be sent.

    body: None when the disk has no room for it, or the like, which has been logged. Otherwise an error page or the like has led
    here, after another upstream consumed bytes that no buffer holds.
    """
    if body is None:
        request.ends("disk", "the request body could not be written to a temporary file")
        return error_response(request, 500, request.route.server_token)
    text = "the request body has gone to another upstream already and was not kept (proxy_request_buffering off)"
    log_request(request, "error", text, code="up_body_spent")
    request.ends("up_body_spent", text)
    request.keepalive = False
    return error_response(request, 502, request.route.server_token)


def no_live_upstreams(passing: Passing, request: Request, head: bytes, tried: int) -> Response:
    """Return the answer when there is no peer left to try."""
    group = passing.group
    attempt = Attempt(group.name, request.client.clock.now, passing.scheme)
    attempt.request_head = passing.protocol.shown(head)
    attempt.status, attempt.response_time, attempt.connect_time = 502, 0.0, None
    request.attempts = [*request.attempts, attempt]
    failure = UpstreamFailure("nolive", "no live upstreams", CONNECTING, group.why_no_peer(tried))
    attempt.end_code = failure.code
    if group.counts is not None:
        group.counts.no_live(failure.code)
    log_failure(passing, request, failure)
    return failed(passing, request, failure)
