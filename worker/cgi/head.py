"""Heads of CGI responses: field lines without a status line, bytes in, values out (RFC 3875, 6; protocols.md §4).

`Status: 404 Not Found` is the status; without it a Location makes a 302, and anything else is a 200. Unlike RFC 3875 and like
nginx, a Location without a host is not followed here: the client gets it. uwsgi and SCGI servers may begin with a status line.
"""

from __future__ import annotations

import re
from typing import Final

from worker.http1.fields import shown
from worker.http1.response import ResponseHead, read_response_fields, read_status_line
from wproxy.failures import UpstreamFailure
from wproxy.http import REASONS

_HEAD_END: Final = re.compile(rb"(?:\A|\n)\r?+\n").search
_STATUS: Final = re.compile(rb"([1-9][0-9][0-9])(?: ++([^\x00-\x1f\x7f]*+))?+").fullmatch
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[0-9] ++[1-9][0-9][0-9](?: |\Z)").match

# Heads already read, by their bytes: an application writes few different ones. Larger ones are read each time.
_KNOWN: tuple[dict[bytes, ResponseHead], dict[bytes, ResponseHead]] = ({}, {})
_KNOWN_LIMIT: Final = 256
_KNOWN_BYTES: Final = 1024


def take_cgi_head(buffer: bytes, limit: int, may_be_http: bool = False) -> tuple[ResponseHead, int] | None:
    """Cut the head off the buffer: the head and the bytes consumed; None while it is incomplete.

    limit: the most bytes of a head. may_be_http: whether it may begin with a status line. Raises UpstreamFailure.
    """
    end = buffer.find(b"\r\n\r\n")
    consumed = end + 4
    if end >= 0 and consumed <= limit:
        known = _KNOWN[may_be_http].get(buffer[:consumed])
        if known is not None:
            return known, consumed
    found = _HEAD_END(buffer)
    if found is None:
        if len(buffer) >= limit:
            raise UpstreamFailure("invalid_header", "upstream sent too big header", code="up_head_too_big")
        return None
    consumed = found.end()
    if consumed > limit:
        raise UpstreamFailure("invalid_header", "upstream sent too big header", code="up_head_too_big")
    block = buffer[:consumed]
    head = parse_cgi_head(block, may_be_http)
    if consumed <= _KNOWN_BYTES:
        table = _KNOWN[may_be_http]
        if len(table) >= _KNOWN_LIMIT:
            table.clear()
        table[block] = head
    return head, consumed


def parse_cgi_head(block: bytes, may_be_http: bool = False) -> ResponseHead:
    """Read a complete head, up to and with its empty line. Raises UpstreamFailure."""
    raw_lines = [line.removesuffix(b"\r") for line in block.split(b"\n")[:-2]]
    status_line = raw_lines.pop(0) if may_be_http and raw_lines and _STATUS_LINE(raw_lines[0]) else None
    # A coding is the business of HTTP: whatever a program says of it, its bytes are the body.
    lines, values, length, _, ignored = read_response_fields(raw_lines)
    if status_line is not None:
        _, status, reason = read_status_line(status_line)
    elif b"status" in values:
        status, reason = _read_status(values[b"status"])
    elif b"location" in values:
        status, reason = 302, b"Moved Temporarily"
    else:
        status, reason = 200, b"OK"
    if status < 200 and status != 101:
        raise UpstreamFailure("invalid_header", f"upstream sent an interim status: {status}")
    head = ResponseHead(block, status, reason, 11, lines, values, length, False)
    head.ignored = ignored
    return head


def _read_status(value: bytes) -> tuple[int, bytes]:
    """Return status and reason of a Status field; without a reason it is the usual one. Raises UpstreamFailure."""
    match = _STATUS(value)
    if match is None:
        raise UpstreamFailure("invalid_header", f'upstream sent invalid status "{shown(value)}"')
    status = int(match[1])
    return status, match[2] or REASONS.get(status, "").encode("ascii")
