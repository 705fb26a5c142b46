"""Response heads for HTTP/1 clients: fields to bytes, in nginx's order (routing.md §5.1).

A head is the same for all responses of one second that share their fields, so it is made once per variant and kept on the fields
together with its Date line; for each response it only remains to check that this line is still the clock's.
"""

from __future__ import annotations

from typing import Final

from worker.http1.chunked import LAST_CHUNK
from wproxy.http import REASONS, Request, Response, ResponseFields, http_date, is_interim

# The bits of a variant: the properties of a head that depend on the request and not on the fields.
KEEPALIVE: Final = 1
UNCHUNKED: Final = 2
BODILESS: Final = 4


def make_head(fields: ResponseFields, variant: int, announced: float | None, date_line: bytes) -> bytes:
    """Return the head, including the blank line; `fields.wire[variant]` keeps it as (head, date_line) for the next time.

    announced: seconds for a Keep-Alive field, or None. date_line: the clock's, with its line end.
    """
    status = fields.status
    reason = REASONS.get(status, "").encode("ascii") if fields.reason is None else fields.reason
    head = b"HTTP/1.1 %03d %b\r\n" % (status, reason)
    if fields.server:
        head += b"Server: %b\r\n" % fields.server
    if fields.wants_date:
        head += date_line
    lines: list[bytes] = []
    if fields.content_type is not None:
        lines.append(b"Content-Type: " + fields.content_type)
    if fields.content_length >= 0 and status != 204:
        lines.append(b"Content-Length: %d" % fields.content_length)
    if fields.last_modified >= 0:
        lines.append(b"Last-Modified: " + http_date(fields.last_modified).encode("ascii"))
    if fields.location is not None and fields.owns_location:
        lines.append(b"Location: " + fields.location)
    if fields.content_length < 0 and not variant & (BODILESS | UNCHUNKED) and not is_interim(status):
        lines.append(b"Transfer-Encoding: chunked")
    if status == 101:
        lines.append(b"Connection: upgrade")
    elif variant & KEEPALIVE:
        lines.append(b"Connection: keep-alive")
        if announced is not None:
            lines.append(b"Keep-Alive: timeout=%d" % announced)
    else:
        lines.append(b"Connection: close")
    if fields.location is not None and not fields.owns_location:
        lines.append(b"Location: " + fields.location)
    lines.extend(name + b": " + value for name, value in (*fields.lines, *fields.last_lines))
    head += b"\r\n".join(lines) + b"\r\n\r\n"
    fields.wire[variant] = head, date_line
    return head


def last_chunk(request: Request, response: Response) -> bytes:
    """Return the end of a chunked body: the chunk of length 0, and the trailers that are known by now."""
    if response.trailers is None:
        return LAST_CHUNK
    request.response_trailers = response.trailers(request)
    lines = [name + b": " + value + b"\r\n" for name, value in request.response_trailers]
    return b"0\r\n" + b"".join(lines) + b"\r\n"
