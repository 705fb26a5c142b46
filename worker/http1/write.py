"""Response heads for HTTP/1 clients: fields to bytes, in nginx's order (routing.md §5.1).

Everything but the Date is the same for all responses that share their fields, so a head is made once per variant and kept on
the fields; what is left per response is to join three pieces.
"""

from __future__ import annotations

from wproxy.http import REASONS, ResponseFields

# Bits of a variant: what in a head depends on the request and not on the fields.
KEEPALIVE = 1
HTTP_10 = 2
BODILESS = 4


def head_pieces(fields: ResponseFields, variant: int, announced: float | None) -> tuple[bytes, bytes]:
    """What stands before the Date line and after it, the blank line included.

    announced: seconds for a Keep-Alive field, or None. Kept on the fields for the next time.
    """
    pieces = fields.wire.get(variant)
    if pieces is None:
        pieces = fields.wire[variant] = _make_pieces(fields, variant, announced)
    made: tuple[bytes, bytes] = pieces
    return made


def _make_pieces(fields: ResponseFields, variant: int, announced: float | None) -> tuple[bytes, bytes]:
    status = fields.status
    reason = REASONS.get(status, "").encode("ascii") if fields.reason is None else fields.reason
    before = b"HTTP/1.1 %d %b\r\n" % (status, reason)
    if fields.server:
        before += b"Server: %b\r\n" % fields.server
    lines: list[bytes] = []
    if fields.content_type is not None:
        lines.append(b"Content-Type: " + fields.content_type)
    if fields.content_length >= 0 and status != 204:
        lines.append(b"Content-Length: %d" % fields.content_length)
    elif not variant & (BODILESS | HTTP_10) and status >= 200:
        lines.append(b"Transfer-Encoding: chunked")
    if fields.location is not None:
        lines.append(b"Location: " + fields.location)
    if status == 101:
        lines.append(b"Connection: upgrade")
    elif variant & KEEPALIVE:
        lines.append(b"Connection: keep-alive")
        if announced is not None:
            lines.append(b"Keep-Alive: timeout=%d" % announced)
    else:
        lines.append(b"Connection: close")
    lines.extend(name + b": " + value for name, value in fields.lines)
    return before, b"\r\n".join(lines) + b"\r\n\r\n"
