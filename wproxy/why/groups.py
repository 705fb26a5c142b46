"""Counts of an error log by (end cause, peer or server, setting), in bounded memory."""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from wproxy.why.causes import NOTHING, cause_of
from wproxy.why.lines import Line, read_line

# More groups than that share one, without a name; and so do the requests of a group.
MOST_GROUPS = 10_000
MOST_REQUESTS = 1_000
OTHER = "_other"
# The rate of a group is that of its last seconds.
RECENT = 60.0
_MOST_RECENT = 10_000

_PEER = re.compile(r"\w+://(unix:[^:]*|[^/]*)")
_NAME = re.compile(r"^(\S+) could not be resolved|to resolve (\S+)")


@dataclass(slots=True)
class Group:
    """The lines of one cause. who: the peer, the server or the name. recent: the times of its last lines."""

    code: str
    who: str
    setting: str
    value: str
    place: str
    sample: str
    first: float
    last: float
    count: int = 0
    requests: Counter[str] = field(default_factory=Counter)
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=_MOST_RECENT))

    def rate(self, now: float) -> float:
        """Return the lines a second in the time before this one; 0 if there is none."""
        return sum(at > now - RECENT for at in self.recent) / RECENT


@dataclass(slots=True)
class Findings:
    """The groups of a log, and the number of lines read, of those of no failure, and of those that were not understood.

    last: the time of the last line. odd: the first line that was not understood.
    """

    groups: dict[tuple[str, str, str, str], Group] = field(default_factory=dict)
    read: int = 0
    not_understood: int = 0
    last: float = 0.0
    odd: str = ""

    def sorted(self) -> list[Group]:
        """Return the groups, the largest first."""
        return sorted(self.groups.values(), key=lambda group: (-group.count, group.code, group.who))


def who_of(line: Line, code: str) -> str:
    """Return the peer that a line is about, or the name that was looked up, or the server."""
    if code.startswith("dns"):
        name = _NAME.search(line.text)
        if name is not None:
            return name[1] or name[2]
    if code.startswith(("up_", "tun_")):
        peer = _PEER.match(line.details.get("upstream", ""))
        if peer is not None:
            return peer[1]
    return line.details.get("server", "")


def request_of(line: Line) -> str:
    """Return the method and the path of a request, without arguments; empty if there is none."""
    words = line.details.get("request", "").split(" ")
    return f"{words[0]} {words[1].partition('?')[0]}"[:200] if len(words) > 1 else ""


def gather(raw_lines: Iterable[str], since: float = 0.0, findings: Findings | None = None) -> Findings:
    """Count lines, those before `since` (unix seconds) left out."""
    found = Findings() if findings is None else findings
    for raw in raw_lines:
        raw = raw.rstrip("\r\n")
        if not raw:
            continue
        line = read_line(raw)
        if line is not None and line.at < since:
            continue
        found.read += 1
        code = None if line is None else cause_of(line)
        if line is None or code is None:
            if raw[0] not in "\t ":  # the traceback of a bug belongs to the line before it
                found.not_understood += 1
                found.odd = found.odd or raw
            continue
        found.last = max(found.last, line.at)
        if code != NOTHING:
            _count(found, line, code, raw)
    return found


def _count(found: Findings, line: Line, code: str, raw: str) -> None:
    key = (code, who_of(line, code), line.setting, line.place)
    group = found.groups.get(key)
    if group is None:
        if len(found.groups) >= MOST_GROUPS:
            key = (code, OTHER, "", "")
        group = found.groups.setdefault(key, Group(*key[:3], line.value, key[3], raw, line.at, line.at))
    group.count += 1
    group.first = min(group.first, line.at)
    group.last = max(group.last, line.at)
    group.recent.append(line.at)
    request = request_of(line)
    if request:
        known = request in group.requests or len(group.requests) < MOST_REQUESTS
        group.requests[request if known else OTHER] += 1
