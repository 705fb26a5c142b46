"""The field list of an upstream's response, as a head like that of HTTP/1; and the fields after its body.

The upstream is not trusted (see `worker.http1.response`): what cannot be a head is a 502, by UpstreamFailure("invalid_header").
The connection goes on: only the stream is broken. Fields about the connection, which HTTP/2 forbids, are dropped, as nginx does;
all else that HTTP/1 would read differently is refused.

Interim heads (1xx) are returned like all others; the caller skips 100, passes on 103, and takes 101 for a fault.
"""

from __future__ import annotations

import re
from typing import Final

from worker.http1.chunked import may_be_trailer
from worker.http1.fields import NAME_CONTROLS, RESPONSE_NAME, TOKEN, VALUE_BYTES, Field, join_repeated, parse_length, shown
from worker.http1.response import ResponseHead, without_repetitions
from worker.http2.header_block import HeaderList
from wproxy.failures import UpstreamFailure
from wproxy.http import REASONS

VERSION: Final = 20

_STATUS: Final = re.compile(rb"[1-9][0-9][0-9]").fullmatch
_NAME_FAULTS: Final = NAME_CONTROLS + b":ABCDEFGHIJKLMNOPQRSTUVWXYZ" + bytes(range(0x80, 0x100))
# Fields about one connection. None of them has a meaning in HTTP/2, so none may reach an HTTP/1 client.
_DROPPED: Final = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade", b"te"))
# HTTP/2 has no reason phrases, and HTTP/1 clients get the usual ones.
_REASONS: Final = {status: reason.encode() for status, reason in REASONS.items()}
# Values that are much the same from one response to the next are read once; a full table starts over.
_TABLE_ENTRIES: Final = 4096
_TABLE_BYTES: Final = 512


def read_response_head(fields: HeaderList, size: int, limit: int, is_all: bool = False) -> ResponseHead:
    """Return the head that these fields are; raises UpstreamFailure.

    size: bytes of all names and values, as the decoder counted them; limit: the most that are allowed. is_all: whether it ends
    its stream, so that a body which is not announced has the length 0.
    The length of a body is given by its stream: `content_length` is only what the upstream said, and a caller that gets another
    number of bytes must not pass on the response as whole. `keeps_alive` means nothing here.
    """
    if size > limit:
        raise UpstreamFailure("invalid_header", "upstream sent too big header", code="up_head_too_big")
    status = 0
    lines: list[Field] = []
    for name, value in fields:
        if name[:1] == b":":
            if name != b":status":
                raise _failure(f'upstream sent invalid header "{shown(name)}: {shown(value)}"')
            if status:
                raise _failure("upstream sent duplicate :status header")
            if lines:
                raise _failure("upstream sent :status header after others")
            if not _STATUS(value):
                raise _failure(f'upstream sent invalid :status "{shown(value)}"')
            status = int(value)
            continue
        if not status:
            raise _failure("upstream sent no :status header")
        field = _FIELDS.get((name, value)) or _read_field(name, value, RESPONSE_NAME)
        if field[0] not in _DROPPED:
            lines.append(field)
    if not status:
        raise _failure("upstream sent no :status header")
    values = {lower: value for lower, _, value in lines}
    kept = tuple(lines)
    ignored: tuple[str, ...] = ()
    if len(values) != len(kept):
        kept, ignored = without_repetitions(kept)
        values = join_repeated(kept)
    length = -1
    content_length = values.get(b"content-length")
    if content_length is not None:
        try:
            length = parse_length(content_length)
        except ValueError:
            raise _failure(f'upstream sent invalid "Content-Length" header: "{shown(content_length)}"') from None
    elif is_all and status not in (204, 304):
        length = 0
    head = ResponseHead(b"", status, _REASONS.get(status, b""), VERSION, kept, values, length, False)
    head.ignored = ignored
    return head


def read_response_trailers(fields: HeaderList, size: int, limit: int, end_stream: bool) -> tuple[Field, ...]:
    """Return the fields after a body, as far as they may be passed on; raises UpstreamFailure."""
    if not end_stream:
        raise _failure("upstream sent trailers without the END_STREAM flag")
    if size > limit:
        raise _failure("upstream sent too big trailers")
    trailers: list[Field] = []
    for name, value in fields:
        if name[:1] == b":":
            raise _failure(f'upstream sent pseudo-header in trailers: "{shown(name)}"')
        field = _FIELDS.get((name, value)) or _read_field(name, value, TOKEN)
        if field[0] not in _DROPPED and may_be_trailer(field[0]):
            trailers.append(field)
    return tuple(trailers)


# (name, value) -> field, for both kinds of names: only what is valid in trailers, too, is entered.
_FIELDS: dict[tuple[bytes, bytes], Field] = {}


def _read_field(name: bytes, value: bytes, good_names: bytes) -> Field:
    """Read a field that is not in the table; raises UpstreamFailure."""
    if (
        not name
        or name.translate(None, good_names)
        or name.translate(None, _NAME_FAULTS) != name
        or value.translate(None, VALUE_BYTES)
    ):
        raise _failure(f'upstream sent invalid header: "{shown(name)}: {shown(value)}"')
    field = (name, name, value.strip(b" \t"))
    if len(name) + len(value) <= _TABLE_BYTES and not name.translate(None, TOKEN):
        if len(_FIELDS) >= _TABLE_ENTRIES:
            _FIELDS.clear()
        _FIELDS[name, value] = field
    return field


def _failure(reason: str) -> UpstreamFailure:
    return UpstreamFailure("invalid_header", reason)
