"""Trace contexts: the fields traceparent and tracestate (W3C Trace Context), and the identity of a request in its trace.

`TraceContext` is what a request knows of its trace; it is made on first need, by a location that traces or by a variable.

Identifiers are lower-case hexadecimal digits, as in the fields.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from wproxy.http import Attempt, FieldsLike, Request

# The words of otel_trace_context: whether the request's context is read, and whether ours replaces it.
CONTEXTS = {"ignore": (False, False), "extract": (True, False), "inject": (False, True), "propagate": (True, True)}

SAMPLED = 1
RANDOM = 2

_TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_MEMBER = re.compile(rb"[a-z0-9][a-z0-9_*/@-]{0,255}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{1,256}")
_MOST_MEMBERS = 32
_NO_TRACE = b"0" * 32
_NO_SPAN = b"0" * 16


class Parent(NamedTuple):
    """The span that a request comes from: the identifiers, the flags, and the state of others, b"" if there is none."""

    trace_id: bytes
    span_id: bytes
    flags: int
    state: bytes


# Subrequests of one request that have spans: a page may include any number.
MOST_INNER = 100


class Inner(NamedTuple):
    """A subrequest that is over: times of the loop's clock, and what it was answered with."""

    started: float
    ended: float
    method: bytes
    path: bytes
    status: int
    end_code: str
    attempts: tuple[Attempt, ...]


class TraceContext:
    """The place of a request in its trace.

    sampled: whether its span is exported. parent: None without one that was taken over. has_begun: whether a location has decided
    about it: a variable may have been read before. inner: the subrequests that are over.
    """

    __slots__ = ("flags", "has_begun", "inner", "parent", "sampled", "span_id", "trace_id")

    def __init__(self, parent: Parent | None) -> None:
        self.parent = parent
        self.sampled = self.has_begun = False
        self.inner: list[Inner] = []
        self.span_id = new_span_id()
        if parent is None:
            self.trace_id = os.urandom(16).hex().encode()
            self.flags = RANDOM
        else:
            self.trace_id = parent.trace_id
            self.flags = parent.flags & RANDOM

    def note(self, request: Request, now: float) -> None:
        """Keep what is shown of a subrequest that is over."""
        if self.sampled and len(self.inner) < MOST_INNER:
            attempts = tuple(request.attempts)
            self.inner.append(
                Inner(request.started, now, request.method, request.path, request.status, request.end_code, attempts)
            )

    @property
    def all_flags(self) -> int:
        """The flags of our span."""
        return self.flags | SAMPLED if self.sampled else self.flags

    @property
    def state(self) -> bytes:
        """The value of tracestate, as it came; b"" if there is none."""
        return b"" if self.parent is None else self.parent.state

    @property
    def traceparent(self) -> bytes:
        """The value of traceparent for those after us."""
        return b"00-%b-%b-%02x" % (self.trace_id, self.span_id, self.all_flags)


def new_span_id() -> bytes:
    """Return a new identifier of a span."""
    return os.urandom(8).hex().encode()


def read_traceparent(value: bytes) -> tuple[bytes, bytes, int] | None:
    """Return the identifiers of trace and span, and the flags; None for a value that is to be ignored.

    A later version than ours may have more after a dash.
    """
    found = _TRACEPARENT.match(value)
    if found is None:
        return None
    version, trace_id, span_id, flags = found.groups()
    rest = value[found.end() :]
    if version == b"ff" or trace_id == _NO_TRACE or span_id == _NO_SPAN or (rest and (version == b"00" or rest[:1] != b"-")):
        return None
    return trace_id, span_id, int(flags, 16)


def read_tracestate(value: bytes) -> bytes:
    """Return the value as it is if all of its members are well formed; b"" for one that is to be dropped."""
    members = [member.strip(b" \t") for member in value.split(b",")]
    members = [member for member in members if member]
    if not members or len(members) > _MOST_MEMBERS or not all(map(_MEMBER.fullmatch, members)):
        return b""
    return value


def read_parent(fields: FieldsLike) -> Parent | None:
    """Return the span that a request says it comes from; None without a valid one."""
    values = [value for lower, _, value in fields.lines if lower == b"traceparent"]
    found = read_traceparent(values[0]) if len(values) == 1 else None
    if found is None:
        return None
    states = [value for lower, _, value in fields.lines if lower == b"tracestate"]
    return Parent(*found, read_tracestate(b",".join(states)) if states else b"")


def context_of(request: Request) -> TraceContext:
    """Return the trace context of a request; it is made if there is none. A subrequest has that of its client's request."""
    while request.main is not None:
        request = request.main
    context = request.trace_context
    if context is None:
        extracts, _ = CONTEXTS[request.location.otel_trace_context]
        context = request.trace_context = TraceContext(read_parent(request.fields) if extracts else None)
    return context
