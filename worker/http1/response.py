"""Response heads of HTTP/1: bytes of an upstream in, values out.

The upstream is not trusted to speak HTTP: an ambiguous head is a 502, never bytes relayed to the client (nginx relays an
unreadable status line raw, as HTTP/0.9). Heads are written to the client from these values.

`take_response_head` returns None while the head is incomplete and raises UpstreamFailure("invalid_header", ...), nothing else.
Interim heads (1xx) are returned like all others: the caller loops, and counts.

An upstream that repeats its last head byte for byte, as it does within one second of its Date, gets the same value again. So do
heads that are remembered for all connections to an upstream: a new connection, or a new second, begins with a known one.
"""

from __future__ import annotations

import re
from typing import Any, Final

from worker.http1.fields import (
    RESPONSE_FIELDS,
    RESPONSE_NAME,
    VALUE_BYTES,
    Field,
    InvalidField,
    join_repeated,
    parse_length,
    shown,
)
from wproxy.failures import UpstreamFailure
from wproxy.http import AnswerHead

# The ways in which a response's body ends (RFC 9112, 6.3). Plain numbers: comparing Enum members costs eight times as much.
NONE: Final = 0
LENGTH: Final = 1
CHUNKED: Final = 2
UNTIL_CLOSE: Final = 3

# status-line = HTTP-version SP status-code SP [ reason-phrase ]; like nginx we accept more than one space before the code, and a
# reason that is missing with its space.
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.([0-9]) ++([1-9][0-9][0-9])(?: ([^\r\n]*+))?+").fullmatch
_PREFIX: Final = b"HTTP/1."
_REASON_CONTROLS: Final = bytes(range(9)) + bytes(range(10, 0x20)) + b"\x7f"
_HEAD_END: Final = re.compile(rb"\n\r?+\n").search
_NAME, _VALUE = re.escape(RESPONSE_NAME), re.escape(VALUE_BYTES)
# The valid part of a field line, and the first invalid byte.
_FAULT: Final = re.compile(rb"([%b]++:[%b]*+|[%b]*+)([^%b])" % (_NAME, _VALUE, _NAME, _NAME), re.DOTALL)
_TIMEOUT: Final = re.compile(rb'(?:^|[, \t;])timeout[ \t]*+=[ \t]*+"?+([0-9]{1,9})(?![0-9])').search

# The first of these counts and later ones are dropped (proxy.md §3.1); all lines of other fields are kept.
_FIRST_COUNTS: Final = frozenset(
    (
        b"content-type",
        b"date",
        b"server",
        b"location",
        b"etag",
        b"last-modified",
        b"expires",
        b"refresh",
        b"status",
        b"x-accel-redirect",
        b"x-accel-expires",
        b"x-accel-limit-rate",
        b"x-accel-buffering",
        b"x-accel-charset",
    )
)


class ResponseHead(AnswerHead):
    """The head of a response: facts of its bytes. It is never changed; `cache` is for the use of its connection.

    reason: printable, otherwise b"". version: 10 or 11.
    lines: (lower-case name, name as spelled, value) in received order, including framing.
    values: lower-case name -> value, repeated lines joined.
    content_length: -1 without one. chunked: whether Transfer-Encoding is chunked.
    keeps_alive: 1.1 without `close` in Connection. keepalive_timeout: seconds of `Keep-Alive: timeout=N`.
    upgrade: the value of Upgrade. block: the exact bytes of the head; bytes that begin with them begin with this head.
    plain_length: the length of a body that is neither chunked nor missing nor of unknown length, whatever the method; otherwise
    -1.
    ignored: messages about repeated lines that were dropped.
    """

    __slots__ = (
        "block",
        "cache",
        "ignored",
        "keepalive_timeout",
        "keeps_alive",
        "plain_length",
        "reason",
        "upgrade",
    )

    def __init__(
        self,
        block: bytes,
        status: int,
        reason: bytes,
        version: int,
        lines: tuple[Field, ...],
        values: dict[bytes, bytes],
        content_length: int,
        chunked: bool,
    ) -> None:
        self.block = block
        self.status = status
        self.reason = reason
        self.version = version
        self.lines = lines
        self.values = values
        self.content_length = content_length
        self.chunked = chunked
        self.plain_length = content_length if status >= 200 and status not in (204, 304) and not chunked else -1
        self.upgrade = values.get(b"upgrade")
        connection = values.get(b"connection")
        # nginx looks for the word anywhere; closing a connection too often is the safe side.
        self.keeps_alive = version == 11 and (connection is None or b"close" not in connection.lower())
        self.keepalive_timeout: float | None = None
        keep_alive = values.get(b"keep-alive")
        if keep_alive is not None:
            timeout = _TIMEOUT(keep_alive.lower())
            if timeout is not None:
                self.keepalive_timeout = float(timeout[1])
        self.cache: dict[Any, Any] = {}
        self.ignored: tuple[str, ...] = ()

    def get(self, name: bytes) -> bytes | None:
        """Return the value of a field by its lower-case name; repeated lines are joined."""
        return self.values.get(name)

    def __repr__(self) -> str:
        return f"<response head {self.status} {[shown(name) for _, name, _ in self.lines]}>"


# A group remembers so many heads, up to this size: 0.3 MB at worst.
KNOWN_HEADS: Final = 32
KNOWN_HEAD_BYTES: Final = 2048


def take_response_head(
    buffer: bytes, limit: int, last: ResponseHead | None, known: dict[bytes, ResponseHead] | None = None
) -> tuple[ResponseHead, int] | None:
    """Cut the first head off the buffer: the head and the bytes consumed; None while it is incomplete.

    last: the previous head on this connection, if any. known: good heads by their bytes, to which a new one is added.
    limit: bytes of the whole head. Raises UpstreamFailure.
    """
    if last is not None and buffer.startswith(last.block):
        return last, len(last.block)
    end = buffer.find(b"\r\n\r\n")
    if 0 <= end <= limit - 4:
        block = buffer[: end + 4]
        try:
            if known is None or end > KNOWN_HEAD_BYTES:
                return parse_response_head(block), end + 4
            head = known.get(block)
            if head is None:
                head = parse_response_head(block)
                if len(known) >= KNOWN_HEADS:
                    known.clear()
                known[block] = head
            return head, end + 4
        except UpstreamFailure:
            # Either the head is bad, or bare LFs made us read the wrong part of it.
            if block.count(b"\n") == block.count(b"\r\n"):
                raise
    return _take_unusual_head(buffer, limit)


def up_to_fault(raw: bytes) -> str:
    """Return an invalid field line as nginx shows it: up to the invalid byte, and that one as `\\x20...`."""
    fault = _FAULT.match(raw)
    if fault is None:  # only a colon is missing
        return shown(raw)
    return f"{shown(fault[1])}\\x{fault[2][0]:02x}..."


def parse_response_head(block: bytes, original: bytes | None = None) -> ResponseHead:
    """Read a complete head whose line ends are CRLF; raises UpstreamFailure.

    original: its bytes as received, if they had other line ends.
    """
    status_line, *raw_lines = block[:-4].split(b"\r\n")
    version, status, reason = _STATUS_LINES.get(status_line) or read_status_line(status_line)
    lines, values, length, chunked, ignored = read_response_fields(raw_lines)
    exact = block if original is None else original
    head = ResponseHead(exact, status, reason, version, lines, values, length, chunked)
    head.ignored = ignored
    return head


def read_response_fields(
    raw_lines: list[bytes],
) -> tuple[tuple[Field, ...], dict[bytes, bytes], int, bool, tuple[str, ...]]:
    """Return lines, values, content_length, chunked and ignored of a ResponseHead. Raises UpstreamFailure."""
    try:
        # This policy drops no line; the filter only tells the types so.
        lines: tuple[Field, ...] = tuple(filter(None, map(RESPONSE_FIELDS.__getitem__, raw_lines)))
    except InvalidField as bad:
        raise UpstreamFailure("invalid_header", f'upstream sent invalid header: "{up_to_fault(bad.raw)}"') from None
    values = {lower: value for lower, _, value in lines}
    ignored: tuple[str, ...] = ()
    if len(values) != len(lines):
        lines, ignored = without_repetitions(lines)
        values = join_repeated(lines)
    length = -1
    content_length = values.get(b"content-length")
    if content_length is not None:
        try:
            length = parse_length(content_length)
        except ValueError:
            raise UpstreamFailure(
                "invalid_header", f'upstream sent invalid "Content-Length" header: "{shown(content_length)}"'
            ) from None
    coding = values.get(b"transfer-encoding")
    if coding is not None:
        if coding.lower() != b"chunked":
            raise UpstreamFailure("invalid_header", f'upstream sent unknown "Transfer-Encoding": "{shown(coding)}"')
        if content_length is not None:
            raise UpstreamFailure(
                "invalid_header",
                'upstream sent "Content-Length" and "Transfer-Encoding" headers at the same time',
            )
    return lines, values, length, coding is not None, ignored


def body_of(head: ResponseHead, method: bytes) -> tuple[int, int]:
    """Return how the body of the response to a request of this method ends, and its length if that is known.

    A length of 0 is NONE: there is nothing to read.
    """
    status = head.status
    if method == b"HEAD" or status < 200 or status == 204 or status == 304:
        return NONE, 0
    if head.chunked:
        return CHUNKED, -1
    length = head.content_length
    if length > 0:
        return LENGTH, length
    return (NONE, 0) if length == 0 else (UNTIL_CLOSE, -1)


# Status lines already read: there are few, and the pattern costs a quarter of a head.
_STATUS_LINES: dict[bytes, tuple[int, int, bytes]] = {}
_STATUS_LINES_LIMIT: Final = 256


def read_status_line(raw: bytes) -> tuple[int, int, bytes]:
    """Read a status line that is not in the table, and remember it there."""
    read = _parse_status_line(raw)
    if len(raw) <= 64:
        if len(_STATUS_LINES) >= _STATUS_LINES_LIMIT:
            _STATUS_LINES.clear()
        _STATUS_LINES[raw] = read
    return read


def _parse_status_line(raw: bytes) -> tuple[int, int, bytes]:
    """Return version (10 or 11), status and reason; raises UpstreamFailure."""
    match = _STATUS_LINE(raw)
    if match is None:
        raise UpstreamFailure("invalid_header", f'upstream sent no valid HTTP/1.0 header: "{shown(raw)}"')
    minor, status, reason = match.groups()
    if not reason or len(reason.translate(None, _REASON_CONTROLS)) != len(reason):
        reason = b""
    return 10 if minor == b"0" else 11, int(status), reason


def without_repetitions(lines: tuple[Field, ...]) -> tuple[tuple[Field, ...], tuple[str, ...]]:
    """Return the lines without repetitions of fields that count once, and messages about the dropped ones.

    Raises UpstreamFailure if dropping is not safe.
    """
    first: dict[bytes, Field] = {}
    kept: list[Field] = []
    ignored: list[str] = []
    for field in lines:
        lower, name, value = field
        before = first.get(lower)
        if before is not None:
            duplicate = f'upstream sent duplicate header line: "{shown(name)}: {shown(value)}"'
            if lower == b"content-length" or lower == b"transfer-encoding":
                raise UpstreamFailure("invalid_header", duplicate)
            if lower in _FIRST_COUNTS:
                ignored.append(f'{duplicate}, previous value: "{shown(before[1])}: {shown(before[2])}", ignored')
                continue
        first.setdefault(lower, field)
        kept.append(field)
    return tuple(kept), tuple(ignored)


def _take_unusual_head(buffer: bytes, limit: int) -> tuple[ResponseHead, int] | None:
    """Cut a head that has bare LFs, is too big, or is incomplete."""
    found = _HEAD_END(buffer)
    if found is None:
        _check_begun(buffer)
        if len(buffer) >= limit:
            raise UpstreamFailure("invalid_header", "upstream sent too big header", code="up_head_too_big")
        return None
    consumed = found.end()
    head = block = buffer[:consumed]
    if head.count(b"\n") != head.count(b"\r\n"):
        # CR CR LF keeps its first CR through this and is refused like any bare CR.
        block = head.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    if consumed > limit:
        _check_begun(block)
        raise UpstreamFailure("invalid_header", "upstream sent too big header", code="up_head_too_big")
    return parse_response_head(block, head), consumed


def _check_begun(buffer: bytes) -> None:
    """Raise UpstreamFailure when an incomplete head does not begin like HTTP: a banner must not wait for a timeout."""
    if not buffer.startswith(_PREFIX[: len(buffer)]):
        raise UpstreamFailure("invalid_header", f'upstream sent no valid HTTP/1.0 header: "{shown(buffer[:64])}"')
    line_end = buffer.find(b"\n")
    if line_end >= 0:
        _parse_status_line(buffer[:line_end].removesuffix(b"\r"))
