"""Interim heads of an upstream: 103 Early Hints go on to the client (RFC 8297; nginx: ngx_http_upstream_process_early_hints)."""

from __future__ import annotations

from worker.http1.response import ResponseHead
from worker.upstream.failing import READING_HEAD, TOO_BIG_HEADER, failure_of
from worker.upstream.passing import LiveAttempt
from wproxy.http import Request

# The limit of 1xx heads before the real one.
MAX_INTERIM = 32


def note_interim(attempt: LiveAttempt, head: ResponseHead, size: int) -> None:
    """Count an interim head of so many bytes. Raises UpstreamFailure if there are too many, ClientGone.

    It is dropped: 100 and 102 of a confused upstream (http1-security.md, responses). 103 is passed on if early_hints asks for it.
    """
    passing = attempt.passing
    attempt.interim_heads += 1
    attempt.interim_bytes += size
    if attempt.interim_bytes > passing.buffer_size:
        raise failure_of("invalid_header", TOO_BIG_HEADER, READING_HEAD, "up_head_too_big")
    if attempt.interim_heads > MAX_INTERIM:
        raise failure_of("invalid_header", "upstream sent too many interim responses", READING_HEAD)
    if head.status == 103:
        if head.version < 11:
            raise failure_of("invalid_header", "upstream sent HTTP/1.0 response with early hints", READING_HEAD)
        if passing.location.early_hints:
            pass_hints(attempt.request, head, passing.answer_plan.hidden)


def pass_hints(request: Request, head: ResponseHead, hidden: frozenset[bytes]) -> None:
    """Send a 103 on, when early_hints says so and the client can read one. Raises ClientGone.

    hidden: names of fields, in lower case, that it does not get.
    """
    location = request.location
    if request.version < 11 or request.exchange is None:
        return
    if not any(template.evaluate(request) not in (b"", b"0") for template in location.early_hints or ()):
        return
    lines = tuple((name, value) for lower, name, value in head.lines if lower not in hidden)
    try:
        request.bytes_sent += request.exchange.interim(103, lines)
    except BlockingIOError:
        pass  # there is no room, and it is only a hint
