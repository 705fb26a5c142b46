"""proxy_pass: offer a request to one peer after another until one answers (proxy.md §3 and §4).

`proxy_request` reads as one exchange: choose a peer, take or open a connection, send, wait, receive the head. What fails is
blamed on somebody, and the policy of retries decides whether there is another round. Once a head has been returned nothing is
tried again: what fails from then on cuts the client's connection, so that it cannot take a part for the whole.
"""

from __future__ import annotations

from worker.content.accelerated import answer_elsewhere
from worker.http1.response import ResponseHead
from worker.logs import log_request
from worker.loop import READ, park
from worker.pages import error_response
from worker.stream import Stream
from worker.upstream.answers import SentElsewhere
from worker.upstream.connect import CannotConnect, connect
from worker.upstream.failing import CONNECTING, READING_HEAD, cause_of, failure_of, log_failure, log_rest
from worker.upstream.incoming import receive_head, receive_rest_of_head, respond
from worker.upstream.live_peer import LivePeer
from worker.upstream.manner import manner_of
from worker.upstream.outgoing import BODILESS, EMPTY, Outgoing, body_at_hand, outgoing_of
from worker.upstream.passing import Passing
from worker.upstream.peers import Group
from worker.upstream.sending import finish_request, start_request
from worker.upstream.sticky import Sticky
from wproxy.failures import TimedOut, UpstreamFailure
from wproxy.http import Attempt, Request, Response

# Sending one of these twice may do a thing twice (proxy.md §4.1).
NON_IDEMPOTENT = frozenset((b"POST", b"LOCK", b"PATCH"))


async def proxy_request(passing: Passing, request: Request) -> Response:
    """Answer from an upstream. Raises ClientError and ClientGone for what the client did.

    All of the good day is in this one coroutine: each further one would cost 0.3 us a request.
    """
    group = passing.group
    clock = request.client.clock
    if request.body is None and passing.reshape is None:
        outgoing = BODILESS if request.fields.content_length < 0 else EMPTY
    else:
        if passing.reshape is None:
            body = body_at_hand(request) or await outgoing_of(request, request.body)
        else:
            body = await passing.reshape(request)
        if body is None or body.consumed:
            return nothing_to_send(request, body)
        outgoing = body
    head = passing.head(request, outgoing.length)
    # Where an error page or the like has led here, the attempts of the location before stay on record.
    attempts = request.attempts = [*request.attempts] if request.attempts else []
    tried = 0
    first_try = clock.now
    again: LivePeer | None = None
    while True:
        peer = again or group.pick(tried, request) or await group.wait_for_peer(tried, request)
        if peer is None:
            return no_live_upstreams(passing, request)
        if again is None:
            attempt = Attempt(peer.name, clock.now)
            if attempts:
                follow(request, attempt, group, tried)
            attempts.append(attempt)
        upstream = group.take_idle(peer, request.method in NON_IDEMPOTENT, request, passing.manner)
        try:
            if upstream is None:
                upstream = await open_connection(passing, request, peer, attempt)
            unsent = start_request(head, outgoing, upstream, attempt)
            is_whole = True
            if unsent is not None or outgoing.has_more:
                is_whole = await finish_request(passing, outgoing, upstream, unsent, attempt)
            # The answer cannot be there yet: park first, and save a refused recv. The whole head must come in time.
            sent_at = clock.now
            await park(upstream, READ, passing.read_timeout)
            received = receive_head(passing, request, upstream, attempt)
            if received is None:
                received = await receive_rest_of_head(passing, request, upstream, attempt, sent_at + passing.read_timeout)
            if received[0].status in passing.noticed_statuses:
                refuse_answer(passing, request, received[0], attempt, outgoing, tried | peer.bit, first_try)
                if intercepts(request, received[0].status):
                    return intercepted(passing, request, received[0], upstream, peer, attempt)
            response = respond(passing, request, received, upstream, peer, attempt, is_whole)
        except (UpstreamFailure, TimedOut, OSError) as error:
            failure = blame(error, upstream, attempt)
            again = peer if failure.is_dead_idle and may_repeat(request, outgoing) else None
            if again is None:
                give_up(request, failure, group, peer, attempt)
                tried |= peer.bit
                if not may_try_next(passing, request, failure, outgoing, tried, first_try):
                    return failed(passing, request, failure)
        except BaseException as error:
            return await end_otherwise(passing, request, error, upstream, peer, attempt)
        else:
            return response if group.sticky is None else marked(request, response, group.sticky, peer)


def follow(request: Request, attempt: Attempt, group: Group, tried: int) -> None:
    """An attempt that is not the first: one more of this location's, or the first after another location's."""
    request.upstream_head = None
    if not tried:
        attempt.begins_group = True
    elif group.retries is not None:
        attempt.is_retry = True
        group.retries.count_retry(int(group.clock.now))


async def open_connection(passing: Passing, request: Request, peer: LivePeer, attempt: Attempt) -> Stream:
    """A new connection to the peer. Raises UpstreamFailure, CannotConnect."""
    group = passing.group
    manner = passing.manner or manner_of(request, group.is_local, is_told=True)
    upstream = await connect(group.loop, group, peer, passing.connect_timeout, manner.local, manner.keepalive)
    attempt.connect_time = request.client.clock.now - attempt.started
    group.opened(upstream, manner)
    return upstream


def refuse_answer(
    passing: Passing, request: Request, head: ResponseHead, attempt: Attempt, outgoing: Outgoing, tried: int, first_try: float
) -> None:
    """Raise an UpstreamFailure if proxy_next_upstream has another peer asked after an answer of this status."""
    failure = failure_of(f"http_{head.status}", "upstream answered with a failure", READING_HEAD)
    if may_try_next(passing, request, failure, outgoing, tried, first_try):
        attempt.header_time = request.client.clock.now - attempt.started
        request.upstream_head = head
        raise failure


def intercepts(request: Request, status: int) -> bool:
    """Whether an error page of ours stands for this answer of an upstream (nginx: ngx_http_upstream_intercept_errors)."""
    pages = request.route.error_pages
    return request.location.proxy_intercept_errors and pages is not None and status in pages


def intercepted(
    passing: Passing, request: Request, head: ResponseHead, upstream: Stream, peer: LivePeer, attempt: Attempt
) -> Response:
    """The built-in page for an upstream's error, for error_page to replace. What a client needs to log in goes with it."""
    request.upstream_head = head
    attempt.status = head.status
    attempt.header_time = request.client.clock.now - attempt.started
    leave(passing, request, upstream, peer, attempt)
    response = mark_failure(passing.group, request, error_response(request, head.status, request.route.server_token))
    if head.status == 401:
        response.fields.lines = tuple((name, value) for lower, name, value in head.lines if lower == b"www-authenticate")
    return response


async def end_otherwise(
    passing: Passing, request: Request, error: BaseException, upstream: Stream | None, peer: LivePeer, attempt: Attempt
) -> Response:
    """The answer when an exchange has ended in a way that does not speak against the peer. Raises what we cannot answer."""
    if isinstance(error, SentElsewhere):
        leave(passing, request, upstream, peer, attempt)
        return await answer_elsewhere(request, error)
    if isinstance(error, CannotConnect):
        leave(passing, request, upstream, peer, attempt)
        log_request(request, error.level, str(error))
        return error_response(request, 500, request.route.server_token)
    # The client left, or it is our own fault.
    passing.group.count_success(peer, attempt)
    if upstream is not None:
        upstream.close()
    raise error


def marked(request: Request, response: Response, sticky: Sticky, peer: LivePeer) -> Response:
    """The response of a peer, with what `sticky` has to say of it; closes it when that raises."""
    try:
        sticky.mark(request, response, peer, True)
    except BaseException:
        response.close()
        raise
    return response


def leave(passing: Passing, request: Request, upstream: Stream | None, peer: LivePeer, attempt: Attempt) -> None:
    """End an exchange that went well, the rest of which nobody wants."""
    attempt.response_time = request.client.clock.now - attempt.started
    passing.group.count_success(peer, attempt)
    if upstream is not None:
        upstream.close()


# Policy.


def may_repeat(request: Request, outgoing: Outgoing) -> bool:
    """Whether a request that died with an idle connection may be sent once more, on a fresh one to the same peer.

    The peer may have closed the idle connection at this very moment: that is nobody's fault and no attempt.
    """
    if outgoing.consumed:
        return False
    return request.method not in NON_IDEMPOTENT or "non_idempotent" in request.location.proxy_next_upstream


def may_try_next(
    passing: Passing, request: Request, failure: UpstreamFailure, outgoing: Outgoing, tried: int, first_try: float
) -> bool:
    """Whether another peer may be asked after this failure (proxy.md §4.1)."""
    location = passing.location
    words = location.proxy_next_upstream
    if failure.kind not in words or "off" in words or outgoing.consumed:
        return False
    if failure.sent and request.method in NON_IDEMPOTENT and "non_idempotent" not in words:
        return False
    tries = location.proxy_next_upstream_tries
    made = tried.bit_count()
    if made >= passing.group.tries or (tries and made >= tries):
        return False
    limit = location.proxy_next_upstream_timeout
    if limit and request.client.clock.now - first_try >= limit:
        return False
    return location.proxy_next_upstream_budget is None or is_affordable(passing, request, failure)


def is_affordable(passing: Passing, request: Request, failure: UpstreamFailure) -> bool:
    """Whether the upstream's budget has room for one more retry; said in the log and in the end cause when it has not."""
    location, group = passing.location, passing.group
    budget = location.proxy_next_upstream_budget
    if budget is None or group.retries is None or group.retries.allows(budget, int(request.client.clock.now)):
        return True
    failure.why_last = f"the retries of upstream {group.name} are used up{location.described('proxy_next_upstream_budget')}"
    log_request(request, "error", f"no other peer is tried, {failure.why_last}")
    request.end_cause = cause_of(request, failure)
    return False


# Failures.


def blame(error: UpstreamFailure | TimedOut | OSError, upstream: Stream | None, attempt: Attempt) -> UpstreamFailure:
    """What happened in words of proxy_next_upstream. The connection, if there was one, is closed."""
    if isinstance(error, TimedOut):
        failure = failure_of("timeout", "upstream timed out (110: Connection timed out)", READING_HEAD)
    elif isinstance(error, OSError):
        failure = failure_of("error", f"recv() failed ({error.errno}: {error.strerror})", READING_HEAD)
    else:
        failure = error
        if not failure.doing:  # a parser's
            failure.doing, failure.sent = READING_HEAD, True
    if upstream is not None:
        upstream.close()
        # Without a byte of an answer, a connection that had served before may have died in idleness.
        failure.is_dead_idle = failure.kind == "error" and not attempt.bytes_received and upstream.requests > 1
    return failure


def give_up(request: Request, failure: UpstreamFailure, group: Group, peer: LivePeer, attempt: Attempt) -> None:
    """Count and log an attempt that failed."""
    attempt.status = status_of(failure)
    attempt.response_time = request.client.clock.now - attempt.started
    log_failure(request, failure, peer.name)
    if failure.is_dead_idle or failure.kind in ("http_403", "http_404"):
        group.count_success(peer, attempt, is_answer=False)
    elif group.count_failure(peer, attempt):
        log_rest(request, failure, peer.name)


def status_of(failure: UpstreamFailure) -> int:
    """The status of an answer that is retried; 504 for a timer; 502 for everything else."""
    if failure.kind.startswith("http_"):
        return int(failure.kind[5:])
    return 504 if failure.kind == "timeout" else 502


def failed(passing: Passing, request: Request, failure: UpstreamFailure) -> Response:
    """The answer when the last attempt has failed."""
    request.end_cause = cause_of(request, failure)
    return mark_failure(passing.group, request, error_response(request, status_of(failure), request.route.server_token))


def mark_failure(group: Group, request: Request, response: Response) -> Response:
    """A response of ours in place of a peer's; the cookie of `sticky` tells of the last one that was asked, as nginx's does."""
    if group.sticky is not None:
        peers = {peer.name: peer for peer in group.peers}
        last = next((peers[attempt.peer] for attempt in reversed(request.attempts) if attempt.peer in peers), None)
        if last is not None:
            group.sticky.mark(request, response, last, False)
    return response


def nothing_to_send(request: Request, body: Outgoing | None) -> Response:
    """The answer when a body cannot be sent.

    body: None when the disk has no room for it, or the like, and why has been logged. Otherwise an error page or the like has
    led here, after another upstream took what no buffer holds.
    """
    if body is None:
        request.end_cause = "the request body could not be written to a temporary file"
        return error_response(request, 500, request.route.server_token)
    text = "the request body has gone to another upstream already and was not kept (proxy_request_buffering off)"
    log_request(request, "error", text)
    request.end_cause = text
    request.keepalive = False
    return error_response(request, 502, request.route.server_token)


def no_live_upstreams(passing: Passing, request: Request) -> Response:
    """No peer is left to ask."""
    group = passing.group
    attempt = Attempt(group.name, request.client.clock.now)
    attempt.status, attempt.response_time = 502, 0.0
    request.attempts = [*request.attempts, attempt]
    failure = UpstreamFailure("nolive", "no live upstreams", CONNECTING)
    log_failure(request, failure, group.name)
    return failed(passing, request, failure)
