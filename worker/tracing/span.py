"""A span as a value: everything that is exported of it."""

from __future__ import annotations

from typing import NamedTuple

# Kinds of spans.
SERVER = 2
CLIENT = 3

Value = str | int | tuple[str, ...]


class Span(NamedTuple):
    """One span. Identifiers are hexadecimal digits; parent: b"" for the first of a trace; times: unix nanoseconds.

    attributes: names and values. error: None if it has ended well, else the description of its status. flags: those of W3C, and
    whether the parent is another machine's.
    """

    trace_id: bytes
    span_id: bytes
    state: bytes
    parent: bytes
    name: str
    kind: int
    start: int
    end: int
    attributes: list[tuple[str, Value]]
    error: str | None
    flags: int


# The bits of flags beyond those of W3C: whether it is known that the parent is remote, and whether it is.
PARENT_IS_KNOWN = 0x100
PARENT_IS_REMOTE = 0x200
