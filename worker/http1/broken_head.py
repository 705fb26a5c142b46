"""The readable part of a request whose head cannot be served, or has not arrived completely: for logs and error pages.

As in nginx, the head is read up to the first invalid line, and the lines before it count.
"""

from __future__ import annotations

import re
from typing import Final

from worker.http1.fields import Field
from worker.http1.hosts import HOST_LINE
from worker.http1.request_values import RequestFields

_GOOD_LINE: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]++):[ \t]*+([^\x00-\x08\x0a-\x1f\x7f]*+)\r?\n").match


def read_what_there_is(head: bytes) -> tuple[RequestFields, int]:
    """Read the fields of a head after its request line; return them, and the bytes up to the first invalid line.

    An invalid Host is reported, but not used as one.
    """
    at = head.find(b"\n") + 1
    lines: list[Field] = []
    values: dict[bytes, bytes] = {}
    host = None
    while at and (line := _GOOD_LINE(head, at)) is not None:
        name, value = line[1], line[2].rstrip(b" \t")
        lower = name.lower()
        if lower == b"host" and host is not None:  # this is the invalid line: the first Host stays
            at = line.end()
            break
        lines.append((lower, name, value))
        values[lower] = values[lower] + b", " + value if lower in values else value
        begun, at = at, line.end()
        if lower == b"host":
            found = HOST_LINE(head, begun - 1, at)
            if found is None:
                break
            host = found[1].lower().removesuffix(b".")
    else:
        at = len(head) if head.startswith((b"\r\n", b"\n"), at) else at
    return RequestFields(tuple(lines), values, host, None, -1, False), at
