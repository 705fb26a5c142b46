"""103 Early Hints of an upstream on their way to the client (RFC 8297; nginx: ngx_http_upstream_process_early_hints)."""

from __future__ import annotations

from worker.http1.response import ResponseHead
from wproxy.http import Request


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
