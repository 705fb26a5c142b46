"""Heads of responses as field blocks, in the order of HTTP/1 heads (worker/http1/write.py).

Like those they are the same for all responses of one second that share their fields, and are made once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from worker.filters.fields import next_key
from worker.http1.chunked import may_be_trailer
from worker.http2.header_block import NOT_GUARDED, encode_fields, encode_guarded, encode_status
from wproxy.http import ResponseFields, http_date

_KEY: Final = next_key()
# Fields about a connection, which HTTP/2 forbids (RFC 9113, 8.2.2), and the proof of a websocket over HTTP/1 (RFC 8441, 5).
_DROPPED: Final = frozenset(
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


def head_block(fields: ResponseFields, date_line: bytes, never_indexed: frozenset[bytes]) -> bytes:
    """Return the block of a final head. date_line: the clock's, with its line end. never_indexed: see `Request`."""
    known: tuple[bytes, bytes, frozenset[bytes]] | None = fields.wire.get(_KEY)
    if known is not None and known[1] is date_line and known[2] is never_indexed:
        return known[0]
    block = make_block(fields, fields.status, date_line, never_indexed)
    fields.wire[_KEY] = block, date_line, never_indexed
    return block


def make_block(fields: ResponseFields, status: int, date_line: bytes, never_indexed: frozenset[bytes]) -> bytes:
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
    lines += _allowed((*fields.lines, *fields.last_lines))
    return encode_status(status) + _encode(lines, never_indexed)


def interim_block(status: int, lines: Lines, never_indexed: frozenset[bytes]) -> bytes:
    """Return the block of a head before the real one."""
    return encode_status(status) + _encode(_allowed(lines), never_indexed)


# The last fields after a body, the names that may not be indexed, and their block: calls that go well end alike, and a location
# returns the same tuple for them.
_last_trailers: tuple[tuple[tuple[bytes, bytes], ...], frozenset[bytes], bytes] = ((), NOT_GUARDED, b"")


def trailers_block(lines: tuple[tuple[bytes, bytes], ...], never_indexed: frozenset[bytes]) -> bytes:
    """Return the block of the fields after a body: framing, routing and the connection are no matter for them."""
    global _last_trailers
    known, guarded, block = _last_trailers
    if known is not lines or guarded is not never_indexed:
        passed = [(name, value.strip(b" \t")) for name, value in lines if may_be_trailer(name.lower())]
        block = _encode(passed, never_indexed)
        _last_trailers = lines, never_indexed, block
    return block


def _allowed(lines: Lines) -> list[tuple[bytes, bytes]]:
    """Return the fields without those that HTTP/2 forbids."""
    return [(name, value.strip(b" \t")) for name, value in lines if name.lower() not in _DROPPED]


def _encode(lines: list[tuple[bytes, bytes]], never_indexed: frozenset[bytes]) -> bytes:
    """Encode fields, of which some may be indexed on no hop."""
    return encode_guarded(lines, never_indexed) if never_indexed else encode_fields(lines)
