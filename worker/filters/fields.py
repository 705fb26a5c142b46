"""What filters of bodies do to the fields of a response: copies, for the fields of responses that are alike are shared."""

from __future__ import annotations

import itertools
import re

from wproxy.http import ResponseFields

# One object: whoever finds it first among the lines knows that a filter has put it there already (nginx writes it once).
VARY = (b"Vary", b"Accept-Encoding")

# Where filters keep their results in `ResponseFields.wire`: numbers that are nobody else's. The variants of protocols are small.
_keys = itertools.count(1 << 16)

# A charset is no part of the type (nginx: ngx_http_upstream_copy_content_type).
_CHARSET = re.compile(rb"; *charset=", re.IGNORECASE).search


def next_key() -> int:
    """A key for `ResponseFields.wire`."""
    return next(_keys)


def copied(fields: ResponseFields) -> ResponseFields:
    """A copy with nothing kept in its `wire`."""
    changed = ResponseFields.__new__(ResponseFields)
    # Not made by its constructor: a Date that a filter added stands beside ours, so `wants_date` stays as it was.
    for slot in ResponseFields.__slots__:
        setattr(changed, slot, getattr(fields, slot))
    changed.wire = {}
    return changed


def line_of(fields: ResponseFields, name: bytes) -> bytes | None:
    """The value of the first line of that name, which is given in lower case; None without one."""
    return next((value for other, value in fields.lines if other.lower() == name), None)


def without(fields: ResponseFields, *names: bytes) -> None:
    """Remove all lines of these names, given in lower case, from a copy."""
    fields.lines = tuple(line for line in fields.lines if line[0].lower() not in names)


def has_type(fields: ResponseFields, types: frozenset[bytes] | None) -> bool:
    """Whether the response is of one of these types; None is any type, or none."""
    if types is None:
        return True
    content_type = fields.content_type
    if not content_type:
        return False
    kind = content_type.lower()
    charset = _CHARSET(kind) if b";" in kind else None
    # The configuration may have written it with its charset, in `types` and here.
    return kind in types or (charset is not None and kind[: charset.start()] in types)


def weaken_etag(fields: ResponseFields) -> None:
    """The body of a copy is not the same byte for byte any more (nginx: ngx_http_weak_etag). An ETag without quotes goes."""
    lines = []
    for line in fields.lines:
        name, value = line
        if name.lower() != b"etag" or value.startswith(b"W/"):
            lines.append(line)
        elif value.startswith(b'"'):
            lines.append((name, b"W/" + value))
    fields.lines = tuple(lines)


def forget_length(fields: ResponseFields) -> None:
    """A copy has a body of unknown length, and so no parts."""
    fields.content_length = -1
    fields.last_lines = ()


def vary_of(fields: ResponseFields) -> tuple[tuple[bytes, bytes], ...]:
    """The Vary that a filter has put before the other lines, for other fields to begin with; () where none has."""
    return (VARY,) if fields.lines and fields.lines[0] is VARY else ()


def say_vary(fields: ResponseFields) -> None:
    """Put Vary before the other lines of a copy, if no filter has."""
    if not vary_of(fields):
        fields.lines = (VARY, *fields.lines)
