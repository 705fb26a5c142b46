"""What `wproxy why` prints: for people, and as JSON."""

from __future__ import annotations

import json
import time
from typing import Any

from wproxy.end_causes import END_CAUSES
from wproxy.shortened import shortened
from wproxy.why.groups import Findings, Group

# The requests of a group that are shown.
_SHOWN_REQUESTS = 4
_LONGEST_REQUEST = 80
_DAY = 86400


def fix_of(group: Group) -> str:
    """Return what to do about a group."""
    cause = END_CAUSES.get(group.code)
    return cause.fix if cause is not None else ""


def as_text(found: Findings, most: int) -> str:
    """Return the report for people, at most so many groups of it."""
    groups = found.sorted()
    width = max((len(str(group.count)) for group in groups), default=1)
    parts = [_entry(group, found, width) for group in groups[:most]]
    if len(groups) > most:
        parts.append(f"and {len(groups) - most} more: --top {len(groups)}\n")
    parts.append(f"{found.read} lines read, {found.not_understood} not understood\n")
    if found.odd:
        parts.append(f"the first of them: {found.odd[:200]}\n")
    return "".join(parts)


def _entry(group: Group, found: Findings, width: int) -> str:
    rate = group.rate(found.last)
    now = f", now {rate:.1f}/s" if rate >= 0.05 else ""
    span = _span(group.first, group.last, found.last)
    who = f" {group.who}" if group.who else ""
    lines = [f"{group.count:{width + 1}} {group.code}{who}  {span}{now}"]
    indent = " " * (width + 2)
    if group.requests:
        common = group.requests.most_common(_SHOWN_REQUESTS + 1)
        shown = ", ".join(f"{shortened(request, _LONGEST_REQUEST)} {count}" for request, count in common[:_SHOWN_REQUESTS])
        more = f", and {len(group.requests) - _SHOWN_REQUESTS} more" if len(common) > _SHOWN_REQUESTS else ""
        lines.append(f"{indent}{shown}{more}")
    cause = END_CAUSES.get(group.code)
    when = cause.when if cause is not None else "unknown"
    blamed = f" ({group.setting} {group.value}: {group.place})" if group.setting else ""
    lines.append(f"{indent}{when}{blamed}: {fix_of(group)}")
    return "".join(f"{line}\n" for line in lines)


def _span(first: float, last: float, end: float) -> str:
    """Return the time of a group: without the date if it is that of the end of the log."""
    form = "%H:%M:%S" if end - first < _DAY else "%Y-%m-%d %H:%M:%S"
    begin, until = (time.strftime(form, time.localtime(at)) for at in (first, last))
    return begin if begin == until else f"{begin} - {until}"


def as_json(found: Findings, most: int) -> str:
    """Return the groups for programs."""
    shown: list[dict[str, Any]] = [
        {
            "code": group.code,
            "who": group.who,
            "count": group.count,
            "first": _instant(group.first),
            "last": _instant(group.last),
            "where": group.place,
            "setting": f"{group.setting} {group.value}".strip(),
            "sample": group.sample,
            "requests": dict(group.requests.most_common(20)),
            "fix": fix_of(group),
        }
        for group in found.sorted()[:most]
    ]
    return json.dumps(shown, indent=2) + "\n"


def _instant(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
