"""Lines of an error log: nginx's text, or JSON.

    DATE [level] pid#tid: *cnum TEXT, client: .., server: .., request: "..", upstream: "..", host: ".." (SETTING VALUE: PLACE)

The parts are split off from the right, since the text may hold commas and quotes of a client's choice.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

_HEAD = re.compile(r"(\d{4}/\d\d/\d\d \d\d:\d\d:\d\d) \[(\w+)\] \d+#\d+: (?:\*\d+ )?(.*)", re.DOTALL)
# The place has a column where the configuration is TOML.
_SETTING = re.compile(r"(.*) \((\w+) ([^()]*): ([^()]+:\d+(?::\d+)?|default)\)", re.DOTALL)
# nginx cuts lines at 2048 bytes; the part that is cut has no closing quote.
_LONGEST = 2040
# The parts after the text, from the last to the first.
_QUOTED = ("referrer", "host", "upstream", "subrequest", "request")
_PLAIN = ("server", "client")


class Line(NamedTuple):
    """One line. at: unix seconds. text: nginx's message, with what went on: "recv() failed (104: ...) while reading upstream".

    details: the parts after it, by name. code: the end cause, if the line names it. setting, value, place: the directive behind.
    """

    at: float
    level: str
    text: str
    details: dict[str, str]
    code: str = ""
    setting: str = ""
    value: str = ""
    place: str = ""


def read_line(raw: str) -> Line | None:
    """Return a line; None if it is none of an error log."""
    if raw.startswith("{"):
        return _read_json(raw)
    head = _HEAD.fullmatch(raw)
    if head is None:
        return None
    text, details = head[3], {}
    setting = value = place = ""
    blamed = _SETTING.fullmatch(text)
    if blamed is not None:
        text, setting, value, place = blamed.groups()
    for name in _QUOTED:
        begin, found, rest = text.rpartition(f', {name}: "')
        is_whole = rest.endswith('"')
        if found and (is_whole or len(raw) >= _LONGEST) and ", client: " in begin:
            text, details[name] = begin, rest[:-1] if is_whole else rest
    for name in _PLAIN:
        begin, found, rest = text.rpartition(f", {name}: ")
        if found:
            text, details[name] = begin, rest
    return Line(_seconds(head[1]), head[2], text, details, "", setting, value, place)


@lru_cache(64)
def _seconds(text: str) -> float:
    """Return the unix time of nginx's local time; 0 for a time that there is not."""
    try:
        return datetime.strptime(text, "%Y/%m/%d %H:%M:%S").timestamp()
    except ValueError:
        return 0.0


def _read_json(raw: str) -> Line | None:
    try:
        found: Any = json.loads(raw)
        at = datetime.fromisoformat(found["timestamp"]).timestamp()
        text, level = str(found["msg"]), str(found["level"])
    except (ValueError, KeyError, TypeError):
        return None
    if "errno" in found:
        text += f" ({found['errno']}: {found.get('errtext', '')})"
    if found.get("doing"):
        text += f" while {found['doing']}"
    setting = found.get("setting")
    if not isinstance(setting, dict):
        setting = {}
    details = {name: str(found[name]) for name in (*_PLAIN, *_QUOTED) if name in found}
    blamed = (str(setting.get(key, "")) for key in ("name", "value", "at"))
    return Line(at, level, text, details, str(found.get("code", "")), *blamed)
