"""Changes that filters of bodies make to the fields of a response: on copies, because equal responses share their fields."""

from __future__ import annotations

import itertools
import re
from typing import Final

from wproxy.http import ResponseFields

# One object: a filter that finds it first among the lines knows that another has added it already (nginx writes it once).
VARY = (b"Vary", b"Accept-Encoding")

# Keys under which filters keep their results in `ResponseFields.wire`: unique numbers, above the small ones of the protocols'
# variants.
_keys: Final = itertools.count(1 << 16)

# A charset is not part of the type (nginx: ngx_http_upstream_copy_content_type).
_CHARSET: Final = re.compile(rb"; *charset=", re.IGNORECASE).search


def next_key() -> int:
    """Return a new key for `ResponseFields.wire`."""
    return next(_keys)


def copied(fields: ResponseFields) -> ResponseFields:
    """Return a copy with an empty `wire`."""
    changed = ResponseFields(
        fields.status,
        fields.lines,
        content_type=fields.content_type,
        content_length=fields.content_length,
        server=fields.server,
        reason=fields.reason,
        location=fields.location,
        last_modified=fields.last_modified,
        last_lines=fields.last_lines,
        owns_location=fields.owns_location,
    )
    changed.wants_date = fields.wants_date  # a Date that a filter added stays next to ours
    return changed


def line_of(fields: ResponseFields, name: bytes) -> bytes | None:
    """Return the value of the first line of that name, which is in lower case; None if there is no such line."""
    return next((value for other, value in fields.lines if other.lower() == name), None)


def without(fields: ResponseFields, *names: bytes) -> None:
    """Remove all lines of these names, given in lower case, from a copy."""
    fields.lines = tuple(line for line in fields.lines if line[0].lower() not in names)


def has_type(fields: ResponseFields, types: frozenset[bytes] | None) -> bool:
    """Whether the response is of one of these types; None matches any type, and a missing one."""
    if types is None:
        return True
    content_type = fields.content_type
    if not content_type:
        return False
    kind = content_type.lower()
    charset = _CHARSET(kind) if b";" in kind else None
    # The configuration may have written the type with its charset, in `types` and here.
    return kind in types or (charset is not None and kind[: charset.start()] in types)


def weaken_etag(fields: ResponseFields) -> None:
    """Weaken the ETag of a copy whose body changes (nginx: ngx_http_weak_etag); drop one without quotes."""
    lines = []
    for line in fields.lines:
        name, value = line
        if name.lower() != b"etag" or value.startswith(b"W/"):
            lines.append(line)
        elif value.startswith(b'"'):
            lines.append((name, b"W/" + value))
    fields.lines = tuple(lines)


def forget_length(fields: ResponseFields) -> None:
    """Give a copy a body of unknown length, and so without parts."""
    fields.content_length = -1
    fields.last_lines = ()


def vary_of(fields: ResponseFields) -> tuple[tuple[bytes, bytes], ...]:
    """Return the Vary that a filter has put before the other lines, as the start of other fields; () if there is none."""
    # The value, and not the line: compiled, a tuple is a new object each time. Upstreams say the same in bytes of their own.
    return (VARY,) if fields.lines and fields.lines[0][1] is VARY[1] else ()


def say_vary(fields: ResponseFields) -> None:
    """Put Vary before the other lines of a copy, unless a filter has done so."""
    if not vary_of(fields):
        fields.lines = (VARY, *fields.lines)
