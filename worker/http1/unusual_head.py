"""Request heads other than complete lines that end with CRLF: incomplete ones, after empty lines, with bare LFs."""

from __future__ import annotations

import re
from typing import Final

from worker.http1.head_memo import BegunHead, HeadMemo
from worker.http1.request_fields import parse_request_fields, refusal_of_long_field, refusal_of_version
from worker.http1.request_line import may_begin_line, read_line, refusal_of_line, refusal_of_long_line
from worker.http1.request_values import HeadLimits, RequestFields, RequestLine
from wproxy.failures import ClientError

# Browsers of the nineties sent a CRLF after a POST body; RFC 9112, 2.2 asks to skip "at least one". nginx skips any
# number.
LEADING_LINE_ENDS: Final = 8

# The end of a head whose line ends may be LF: a line end and an empty line.
HEAD_END: Final = re.compile(rb"\n\r?+\n").search


def take_unusual_head(buffer: bytes, limits: HeadLimits, memo: HeadMemo) -> tuple[RequestLine, RequestFields, int] | None:
    """Cut a head that begins with line ends, has bare LFs, or is incomplete."""
    start = _skip_line_ends(buffer)
    found = HEAD_END(buffer, start)
    if found is None:
        memo.begun_head = _check_begun(buffer, start, limits)
        return None
    consumed = found.end()
    head = buffer[start:consumed]
    if head.count(b"\n") != head.count(b"\r\n"):
        memo.bare_lf += 1
        # CR CR LF keeps its first CR through this and is refused like any bare CR.
        head = head.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    line_end = head.find(b"\r\n")
    raw = head[:line_end]
    if line_end + 2 > limits.line:
        raise refusal_of_long_line(raw, limits)
    line = limits.known_lines.get(raw) or read_line(raw, limits)
    if consumed > limits.total:
        raise ClientError(494, "client sent too large request", "large_client_header_buffers")
    raw_fields = head[line_end + 2 : -4] if len(head) > line_end + 4 else b""
    fields = parse_request_fields(raw_fields, limits, line.version)
    if fields.only_version and fields.only_version != line.version:
        raise refusal_of_version(fields, line.version)
    return line, fields, consumed


def _skip_line_ends(buffer: bytes) -> int:
    """Return the position of the request line: after at most eight empty lines; raises ClientError."""
    start = 0
    for _ in range(LEADING_LINE_ENDS + 1):
        if buffer.startswith(b"\r\n", start):
            start += 2
        elif buffer.startswith(b"\n", start):
            start += 1
        else:
            return start
    raise ClientError(400, "client sent invalid request")


def is_still_begun(buffer: bytes, limits: HeadLimits, memo: HeadMemo) -> bool:
    """Whether a head that was incomplete still is, and within all limits; False if it has to be read to know.

    Only the new bytes are looked at: otherwise a head that came byte by byte would cost the square of its size.
    """
    begun = memo.begun_head
    if begun is None:
        return False
    size = len(buffer)
    newline = buffer.find(b"\n", begun.size)
    while newline >= 0:
        if not 1 < newline - begun.line < limits.field - 1:
            return False  # perhaps an empty line, which is the end, or too long a field
        begun.lines += 1
        begun.line = newline + 1
        newline = buffer.find(b"\n", begun.line)
    begun.size = size
    return size - begun.line < limits.field and size < limits.total and begun.lines <= limits.count


def _check_begun(buffer: bytes, start: int, limits: HeadLimits) -> BegunHead | None:
    """Raise ClientError when an incomplete head can no longer become valid; return its state after a valid first line.

    The order of the checks is that of a complete head, so that the status does not depend on how the bytes arrive.
    """
    if buffer.startswith(b"\r", start) and len(buffer) == start + 1:
        return None  # perhaps another empty line
    line_end = buffer.find(b"\n", start)
    if line_end < 0:
        begun = buffer[start:]
        if len(begun) + 1 > limits.line:
            raise refusal_of_long_line(begun.removesuffix(b"\r"), limits)
        if not may_begin_line(begun):
            raise refusal_of_line(begun)
        return None
    raw = buffer[start:line_end]
    if raw.endswith(b"\r"):
        raw = raw[:-1]
    if len(raw) + 2 > limits.line:
        raise refusal_of_long_line(raw, limits)
    if raw not in limits.known_lines:
        read_line(raw, limits)
    if len(buffer) >= limits.total:
        raise ClientError(494, "client sent too large request", "large_client_header_buffers")
    if buffer.count(b"\n", line_end + 1) > limits.count:
        raise ClientError(494, "client sent too many header lines", "max_headers")
    if len(buffer) - line_end > limits.field:
        *complete, begun = buffer[line_end + 1 :].split(b"\n")
        for raw_line in complete:
            if len(raw_line.removesuffix(b"\r")) + 2 > limits.field:
                raise refusal_of_long_field(raw_line)
        if len(begun) + 1 > limits.field:
            raise refusal_of_long_field(begun)
    return BegunHead(len(buffer), buffer.rfind(b"\n") + 1, buffer.count(b"\n", line_end + 1))
