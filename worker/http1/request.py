"""Request heads of HTTP/1: bytes in, values out.

`take_request_head` cuts one head from the front of a buffer. The values it returns are all that the rest of the worker
ever sees of these bytes: requests are written upstream from these values, never by copying what came in
(http1-security.md, posture). It returns None while the head is incomplete and raises ClientError, nothing else, for
everything that must not be served.

Five ways through, from the common to the rare; each gives the same answer as the next, only sooner:

  1. the connection repeats its last head byte for byte: the same values again (0.2 us); or it begins with the very head with
     which another one has begun: its values, without what that connection has derived from them;
  2. the header block has the form of the last ones (`HeadShape`): their bytes, but for some values;
  3. the header block is that of the last request, the request line differs: a line known to this worker, or one that is read;
  4. the line as in 3, and of the header block only values differ from the last one: only those lines are read;
  5. everything is read: the line as in 3, the fields through a table of field lines this worker has seen.

Comparing bytes is safe because a head ends where its own bytes say so: the bytes after it cannot change its meaning,
and a head that was accepted once is accepted again. Nothing in RequestLine depends on the fields, nothing in
RequestFields on the line. A rule that needs both (a Host for 1.1, Transfer-Encoding in 1.0) is `RequestFields.only_version`,
one test.

A head with a bare LF fails in 1 to 5, because no pattern there admits one; then the slow path looks for the head's
real end (it may be LF LF), turns its line ends into CRLF and reads it again. Bare CR is never a line end.

An incomplete head is refused as soon as it cannot become a good one, with the status the complete one would have got:
a TLS hello on a plain port must not wait for a timeout.
"""

from __future__ import annotations

from typing import Final

from worker.http1.head_memo import HeadMemo
from worker.http1.head_shape import HeadShape, learn_shape
from worker.http1.hosts import HOST_LINE
from worker.http1.request_fields import parse_request_fields, refusal_of_version, vary_request_fields
from worker.http1.request_line import (
    parse_request_line,
    read_line,
    refusal_of_long_line,
    version_of_refused_line,
)
from worker.http1.request_values import REMEMBERED_HEAD_BYTES, HeadLimits, KnownHead, RequestFields, RequestLine
from worker.http1.unusual_head import HEAD_END, is_still_begun, take_unusual_head
from wproxy.failures import ClientError

__all__ = [
    "HEAD_END",
    "HOST_LINE",
    "HeadLimits",
    "HeadMemo",
    "RequestFields",
    "RequestLine",
    "effective_host",
    "is_still_begun",
    "parse_request_fields",
    "parse_request_line",
    "take_request_head",
    "version_of_refused_line",
]

# A listener remembers so many first heads of connections, up to this size: 1 MB at worst.
KNOWN_HEADS: Final = 128
KNOWN_HEAD_BYTES: Final = 2048


def take_request_head(buffer: bytes, limits: HeadLimits, memo: HeadMemo) -> tuple[RequestLine, RequestFields, int] | None:
    """Cut the first head off the buffer: line, fields and the bytes consumed; None while it is incomplete.

    Raises ClientError. `memo` belongs to the connection, which always uses it with the same limits.
    """
    taken = memo.taken
    shape: HeadShape | None = None
    if taken is None:
        known = limits.known_heads.get(buffer)
        if known is not None:
            # Their bytes are kept once, however many connections are idle.
            memo.known = known
            memo.head = known.head
            memo.block = known.block
            memo.taken = taken = (known.line, known.fields.for_another_connection(), len(buffer))
            return taken
    else:
        shape = memo.shape
        if shape is not None:
            alike = shape.read(buffer, limits, taken[1])
            if alike is not None:
                memo.head = buffer
                memo.taken = alike
                return alike
        # `startswith` takes twice as many instructions, and a slice that is compared too.
        if buffer.removeprefix(memo.head) is not buffer:
            return taken
        if shape is not None:
            memo.shape = None
            memo.block = memo.head[len(taken[0].line) :]
    line_end = buffer.find(b"\r\n")
    if line_end <= 0:
        return take_unusual_head(buffer, limits, memo)
    same_block = taken is not None and buffer.startswith(memo.block, line_end)
    consumed = line_end + len(memo.block) if same_block else buffer.find(b"\r\n\r\n", line_end) + 4
    if consumed < 4:
        return take_unusual_head(buffer, limits, memo)
    raw = buffer[:line_end]
    try:
        if line_end + 2 > limits.line:
            raise refusal_of_long_line(raw, limits)
        line = limits.known_lines.get(raw) or read_line(raw, limits)
        if consumed > limits.total:
            raise ClientError(494, "client sent too large request", "large_client_header_buffers")
        raw_lines = memo.lines
        varied = None
        if same_block and taken is not None:
            fields = taken[1]
        else:
            raw_fields = buffer[line_end + 2 : consumed - 4] if consumed > line_end + 4 else b""
            before = None
            raw_lines = raw_fields.split(b"\r\n") if raw_fields and consumed <= REMEMBERED_HEAD_BYTES else None
            if taken is not None and raw_lines is not None:
                before = memo.lines or memo.block.split(b"\r\n")[1:-2]
                varied = vary_request_fields(raw_lines, before, taken[1], limits)
            fields = varied or parse_request_fields(raw_fields, limits, line.version, raw_lines)
            if before is None:
                raw_lines = None  # most connections never need the lines of their first block
        if fields.only_version and fields.only_version != line.version:
            raise refusal_of_version(fields, line.version)
    except ClientError:
        # Either the head is bad, or bare LFs made us read the wrong part of it.
        if buffer.count(b"\n", 0, consumed) == buffer.count(b"\r\n", 0, consumed):
            raise
        return take_unusual_head(buffer, limits, memo)
    if consumed <= REMEMBERED_HEAD_BYTES:
        if taken is None and consumed <= KNOWN_HEAD_BYTES:
            if len(limits.known_heads) >= KNOWN_HEADS:
                limits.known_heads.clear()
            memo.known = known = KnownHead(buffer[:consumed], line, fields)
            limits.known_heads[known.head] = known
        memo.head = buffer[:consumed]
        memo.block = buffer[line_end:consumed]
        memo.lines = raw_lines
        memo.taken = taken = (line, fields, consumed)
        if varied is not None and raw_lines is not None and consumed == len(buffer) <= limits.least:
            assert varied.difference is not None
            memo.shape = learn_shape(raw_lines, varied, varied.difference[0], shape)
            if memo.shape is not None:
                memo.block = b""
                memo.lines = None
        return taken
    return line, fields, consumed


def effective_host(line: RequestLine, fields: RequestFields) -> tuple[bytes | None, int | None]:
    """Return the host of a request, and the port if it names one: an absolute-form target beats Host (RFC 9112, 3.2.2)."""
    if line.authority is not None:
        return line.authority, line.authority_port
    return fields.host, fields.host_port
