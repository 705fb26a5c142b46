"""Parts of a body: Range, If-Range and multipart/byteranges (routing.md §5.5; nginx: ngx_http_range_filter_module.c).

Pure functions: which parts are asked for, and how several parts are framed.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable
from typing import NamedTuple

from wproxy.dates import parse_http_date

# The first byte of a part, and the byte after its last.
Part = tuple[int, int]

# Beyond this many bytes of frames and overlaps a request for parts costs more than the whole body, which is then sent instead.
FRAME = 256
ALLOWANCE = 4096

_LARGEST = 2**63 - 1
_ITEM = re.compile(rb" *+(?:([0-9]++) *+- *+([0-9]*+)|-([0-9]++)) *+(?:,|\Z)").match


class Unsatisfiable(Exception):
    """416: none of the parts asked for exists, or the Range cannot be read."""


def parse_ranges(value: bytes, length: int, most: int, is_default: bool) -> list[Part] | None:
    """Return the parts of a body of that length that a Range asks for, or None for the whole body. Raises Unsatisfiable.

    most: `max_ranges`; is_default: it was not set, so the parts must not cost more than the whole.
    """
    if len(value) < 7 or value[:6].lower() != b"bytes=":
        return None
    parts: list[Part] = []
    position, total = 6, 0
    while True:
        match = _ITEM(value, position)
        if match is None:
            raise Unsatisfiable
        first, last, suffix = match.groups()
        if suffix is not None:
            begin, end = max(0, length - _number(suffix)), length
        else:
            begin = _number(first)
            end = min(_number(last) + 1, length) if last else length
        if begin < end:
            if len(parts) == most:
                return None
            parts.append((begin, end))
            total += end - begin
        elif begin == 0:
            return None
        if not match[0].endswith(b","):
            break
        position = match.end()
    if not parts:
        raise Unsatisfiable
    if len(parts) > 1 and (total > length or (is_default and total + FRAME * len(parts) > length + ALLOWANCE)):
        return None
    return parts


def _number(digits: bytes) -> int:
    significant = digits.lstrip(b"0") or b"0"
    if len(significant) > 19 or int(significant) > _LARGEST:
        raise Unsatisfiable
    return int(significant)


def still_holds(if_range: bytes, etag: bytes, modified: int) -> bool:
    """Whether If-Range allows parts: its ETag is exactly this one, or its date exactly this time."""
    if len(if_range) >= 2 and if_range.endswith(b'"'):
        return if_range == etag
    return parse_http_date(if_range) == modified


_boundaries = itertools.count(int.from_bytes(os.urandom(4), "big"))


def next_boundary() -> bytes:
    """Return 20 digits, different each time."""
    return b"%020d" % next(_boundaries)


def frame_parts(parts: list[Part], length: int, content_type: bytes, boundary: bytes) -> tuple[list[bytes | Part], int]:
    """Return a multipart/byteranges body: texts and the parts of the file between them, in order, and its length in bytes."""
    begin = b"\r\n--%b\r\n" % boundary
    if content_type:
        begin += b"Content-Type: %b\r\n" % content_type
    pieces: list[bytes | Part] = []
    size = 0
    for first, end in parts:
        head = b"%bContent-Range: bytes %d-%d/%d\r\n\r\n" % (begin, first, end - 1, length)
        pieces += (head, (first, end))
        size += len(head) + end - first
    last = b"\r\n--%b--\r\n" % boundary
    return [*pieces, last], size + len(last)


class Partial(NamedTuple):
    """The body of a 206, and what its head says of it. content_type: that of the body, None for the one of the whole.

    lines: Content-Range, where there is one part. pieces: texts, and parts of the whole; size: their bytes.
    """

    content_type: bytes | None
    lines: tuple[tuple[bytes, bytes], ...]
    pieces: tuple[bytes | Part, ...]
    size: int


def in_parts(parts: list[Part], length: int, type_of_parts: Callable[[], bytes]) -> Partial:
    """Return the body of a 206: one part of a body of that length, or several in a multipart/byteranges.

    type_of_parts: returns the type of each of several.
    """
    if len(parts) == 1:
        begin, end = parts[0]
        return Partial(None, ((b"Content-Range", b"bytes %d-%d/%d" % (begin, end - 1, length)),), (parts[0],), end - begin)
    boundary = next_boundary()
    pieces, size = frame_parts(parts, length, type_of_parts(), boundary)
    return Partial(b"multipart/byteranges; boundary=" + boundary, (), tuple(pieces), size)
