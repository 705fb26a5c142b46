"""103 Early Hints of an upstream on their way to the client (RFC 8297; nginx: ngx_http_upstream_process_early_hints)."""

from __future__ import annotations

from worker.http1.response import ResponseHead
from wproxy.failures import ClientGone
from wproxy.http import Request


def pass_hints(request: Request, head: ResponseHead, hidden: frozenset[bytes]) -> None:
    """Send a 103 on, when early_hints says so and the client can read one. Raises ClientGone.

    hidden: names of fields, in lower case, that it does not get.
    """
    location = request.location
    if request.version < 11 or request.client.send_interim is None:
        return
    if not any(template.evaluate(request) not in (b"", b"0") for template in location.early_hints or ()):
        return
    lines = [name + b": " + value + b"\r\n" for lower, name, value in head.lines if lower not in hidden]
    data = b"HTTP/1.1 103 Early Hints\r\n" + b"".join(lines) + b"\r\n"
    try:
        sent = request.client.send_interim(data)
    except BlockingIOError:
        return  # there is no room for what is only a help
    except OSError:
        raise ClientGone from None
    if sent != len(data):
        raise ClientGone("client did not take an early hint")  # half a head is out, and nothing can follow it
    request.bytes_sent += sent
