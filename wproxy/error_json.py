"""A line of an error log as JSON, in the form of nginx Plus: absent parts are left out, and a line has at most LONGEST bytes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

LONGEST = 2048

_ERRNO = re.compile(r"(.*?) \((\d+): ([^()]*)\)(.*)", re.DOTALL)
# What a request was doing, in nginx's words: "... while connecting to upstream".
_DOING = re.compile(r"(.*) while ([a-z][a-zA-Z ]*)", re.DOTALL)
# A string is never cut to less than this.
_LEAST = 32


def json_line(wall: float, level: str, pid: int, serial: int, text: str, details: Mapping[str, Any]) -> bytes:
    """Return a line without its end.

    wall: unix time. serial: the number of the client connection, 0 for none. text: nginx's message. details: what is known of the
    request, by name.
    """
    shown: dict[str, Any] = {
        "level": level,
        "timestamp": datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds"),
        "pid": pid,
        "tid": pid,
    }
    if serial:
        shown["cnum"] = serial
    doing = _DOING.fullmatch(text)
    message = doing[1] if doing is not None else text
    errno = _ERRNO.fullmatch(message)
    shown["msg"] = errno[1] + errno[4] if errno is not None else message
    shown |= {name: value for name, value in details.items() if value}
    if doing is not None:
        shown["doing"] = doing[2]
    if errno is not None:
        shown["errno"], shown["errtext"] = int(errno[2]), errno[3]
    return _fitting(shown)


def _fitting(shown: dict[str, Any]) -> bytes:
    """Return JSON; if it is too long, with its longest strings cut, and `truncated`."""
    line = _dump(shown)
    while len(line) >= LONGEST:
        shown["truncated"] = 1
        longest = max((name for name, value in shown.items() if isinstance(value, str)), key=lambda name: len(shown[name]))
        value = shown[longest]
        if len(value) <= _LEAST:
            break
        # Escapes make a string longer than it is: half of it goes at least when much is too much.
        shown[longest] = value[: max(_LEAST, min(len(value) * 3 // 4, len(value) - (len(line) - LONGEST)))]
        line = _dump(shown)
    return line


def _dump(shown: dict[str, Any]) -> bytes:
    return json.dumps(shown, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
