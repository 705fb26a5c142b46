"""A peer's answer on its way to the client: its head, the bytes that came with it, and the rest of its body.

A response is passed on as soon as its head is there; a body that came with the head goes out with it, the rest follows through a
`ProxiedBody` at the client's pace. When the last byte has been read, or the rest is not wanted, the connection goes back to the
pool or is closed.
"""

from __future__ import annotations

from worker.http1.response import ResponseHead
from worker.loop import READ, park
from worker.rates import rate_of
from worker.tunnel import Timeouts, Tunnel
from worker.upstream.answers import client_fields
from worker.upstream.failing import READING_HEAD, failure_of
from worker.upstream.passing import LiveAttempt, Passing, PeerConnection
from worker.upstream.peers import ANSWERED
from worker.upstream.proxied_body import ProxiedBody
from worker.upstream.upload import NEVER
from wproxy.http import Response, ResponseFields


async def receive_rest_of_head(attempt: LiveAttempt, connection: PeerConnection) -> ResponseHead:
    """Read on until the head is complete. Raises UpstreamFailure, TimedOut, OSError."""
    clock = attempt.request.client.clock
    while True:
        # The time starts at the end of the request.
        is_sent = attempt.upload is None
        seconds = attempt.sent_at + attempt.passing.read_timeout - clock.now if is_sent else NEVER
        await park(connection.channel, READ, seconds)
        head = connection.receive_head(attempt)
        if head is not None:
            return head


def respond(attempt: LiveAttempt, connection: PeerConnection, head: ResponseHead) -> Response:
    """Return the response for the client. Raises UpstreamFailure when the body is broken already."""
    attempt.head = head
    passing, request = attempt.passing, attempt.request
    request.upstream_head = head
    attempt.status = head.status
    attempt.header_time = header_time = request.client.clock.now - attempt.started
    fields = head.cache.get(passing.answer_plan)
    if fields is None:
        fields = client_fields(head, passing.answer_plan, request)
    body = connection.body(attempt)
    if not isinstance(body, bytes):
        source = ProxiedBody(attempt, connection, body)
        if passing.buffering.at_once and b"x-accel-buffering" not in head.values:
            source.may_read_ahead = True  # as `regulate` finds for nearly every answer
        else:
            regulate(source, passing, head)
        return Response(fields, body.at_hand, source)
    if head.status == 101:
        return switch_protocols(attempt, connection, fields, body)
    if attempt.upload is not None:
        attempt.end_upload()
    attempt.response_time = header_time
    passing.group.take_back(attempt.live_peer, connection, head.keepalive_timeout, attempt)
    return Response(fields, body) if body else Response(fields, bodiless=attempt.is_bodiless)


def regulate(source: ProxiedBody, passing: Passing, head: ResponseHead) -> None:
    """Apply the location's settings for reading ahead and for rates, and the upstream's X-Accel-Buffering."""
    request = source.request
    if not passing.buffering.applies(head):
        # nginx sends an unbuffered response as fast as it arrives, regardless of limit_rate.
        request.limit_rate = 0
        return
    source.read_rate = rate_of(passing.buffering.rate, request)
    source.may_read_ahead = not source.read_rate


def switch_protocols(attempt: LiveAttempt, connection: PeerConnection, fields: ResponseFields, early: bytes) -> Response:
    """Return the response to a 101: a tunnel from here on. Raises UpstreamFailure if the client did not ask for one.

    (http1-security.md, responses.)
    """
    passing, request = attempt.passing, attempt.request
    if request.fields.upgrade is None or not passing.head_plan.asks_to_upgrade(request):
        raise failure_of("invalid_header", "upstream sent 101 to a request without Upgrade", READING_HEAD)
    ended = False
    connection.stream.send_without_delay()

    def end() -> None:
        nonlocal ended
        if ended:
            return
        ended = True
        attempt.response_time = request.client.clock.now - attempt.started
        passing.group.release(attempt.live_peer, ANSWERED, attempt)
        attempt.close_connection()

    settings = passing.settings
    idle, word = passing.read_timeout, "read_timeout"
    if passing.tunnel_timeout is not None:
        idle, word = passing.tunnel_timeout, "tunnel_timeout"
    timeouts = Timeouts(
        idle,
        passing.send_timeout,
        passing.location.send_timeout,
        f"{settings.module}_{word}",
        f"{settings.module}_send_timeout",
    )
    return Response(
        fields, early, bodiless=True, tunnel=Tunnel(connection.stream, timeouts, lambda: attempt.upload is not None, end)
    )
