"""Heads of responses as field blocks, in the order of HTTP/1 heads (worker/http1/write.py).

Like those they are the same for all responses of one second that share their fields, and are made once.
"""

from __future__ import annotations

from collections.abc import Iterable

from worker.filters.fields import next_key
from worker.http1.chunked import may_be_trailer
from worker.http2.header_block import encode_fields, encode_status
from wproxy.http import ResponseFields, http_date

_KEY = next_key()
# Fields about a connection, which HTTP/2 forbids (RFC 9113, 8.2.2), and the proof of a websocket over HTTP/1 (RFC 8441, 5).
_DROPPED = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"transfer-encoding",
        b"upgrade",
        b"te",
        b"http2-settings",
        b"sec-websocket-accept",
    )
)

Lines = Iterable[tuple[bytes, bytes]]


def head_block(fields: ResponseFields, date_line: bytes) -> bytes:
    """Return the block of a final head. date_line: the clock's, with its line end."""
    known: tuple[bytes, bytes] | None = fields.wire.get(_KEY)
    if known is not None and known[1] is date_line:
        return known[0]
    block = make_block(fields, fields.status, date_line)
    fields.wire[_KEY] = block, date_line
    return block


def make_block(fields: ResponseFields, status: int, date_line: bytes) -> bytes:
    """Make the block of these fields with any status."""
    lines: list[tuple[bytes, bytes]] = []
    if fields.server:
        lines.append((b"server", fields.server))
    if fields.wants_date:
        lines.append((b"date", date_line[6:-2]))
    if fields.content_type is not None:
        lines.append((b"content-type", fields.content_type))
    if fields.content_length >= 0 and status != 204:
        lines.append((b"content-length", b"%d" % fields.content_length))
    if fields.last_modified >= 0:
        lines.append((b"last-modified", http_date(fields.last_modified).encode("ascii")))
    if fields.location is not None:
        lines.append((b"location", fields.location))
    return encode_status(status) + encode_fields(lines) + lines_block((*fields.lines, *fields.last_lines))


def lines_block(lines: Lines) -> bytes:
    """Return the block of further fields, without those that HTTP/2 forbids."""
    return encode_fields([(name, value.strip(b" \t")) for name, value in lines if name.lower() not in _DROPPED])


def interim_block(status: int, lines: Lines) -> bytes:
    """Return the block of a head before the real one."""
    return encode_status(status) + lines_block(lines)


# The last fields after a body, and their block: calls that go well end alike, and a location returns the same tuple for them.
_last_trailers: tuple[tuple[tuple[bytes, bytes], ...], bytes] = ((), b"")


def trailers_block(lines: tuple[tuple[bytes, bytes], ...]) -> bytes:
    """Return the block of the fields after a body: framing, routing and the connection are no matter for them."""
    global _last_trailers
    known, block = _last_trailers
    if known is not lines:
        block = _make_trailers_block(lines)
        _last_trailers = lines, block
    return block


def _make_trailers_block(lines: Lines) -> bytes:
    return encode_fields([(name, value.strip(b" \t")) for name, value in lines if may_be_trailer(name.lower())])
