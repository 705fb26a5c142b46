"""The output of `wproxy explain --last`: the decisions about a request that has been served, for people and for programs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence

from wproxy.decisions.ring import Decisions
from wproxy.explain import way_steps
from wproxy.shortened import shortened

_LONGEST_LINE = 100


def list_as_text(found: Sequence[Decisions]) -> str:
    """Return a line for each of the last requests."""
    if not found:
        return "no request is kept: is there an `explain_ring on`, and has a request come since?\n"
    return "".join(
        f"{one['request_id']}  {clock_time(one['at'])}  {one['status'] or '-':>3}  {one['seconds']:8.3f} s  "
        f"{shortened(one['request'], _LONGEST_LINE)}{'  ' + one['end_code'] if one['end_code'] else ''}\n"
        for one in found
    )


def as_json(found: object) -> str:
    """Return decisions for programs."""
    return json.dumps(found, indent=2, ensure_ascii=True) + "\n"


def as_text(found: Decisions, all_of_it: bool = False) -> str:
    """Return the decisions about one request. all_of_it: also locations that do not match, as far as they were kept."""
    return "\n".join(_lines(found, all_of_it)) + "\n"


def clock_time(at: float) -> str:
    """Return a moment as a local time with milliseconds."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at)) + f".{int(at % 1 * 1000):03}"


def _lines(found: Decisions, all_of_it: bool) -> Iterator[str]:
    yield f"request    {found['request']}, at {clock_time(found['at'])}, id {found['request_id']}"
    yield f"client     {found['client']}, connection *{found['connection']} of worker {found['worker']}"
    yield f"server     {found['server']} at {found['server_at']}" + (f": {found['server_why']}" if found["server_why"] else "")
    yield from way_steps(found["steps"], all_of_it)
    if found["is_cut"]:
        yield "  - (more did not fit into the ring)"
    yield f"location   {found['location']} at {found['location_at']}"
    for name in ("limit_req", "limit_conn", "cache"):
        if found[name]:
            yield f"{name:<10} {found[name]}"
    for number, attempt in enumerate(found["attempts"], 1):
        yield f"attempt {number}  {attempt['peer']}: {_attempt(attempt)}"
    for inner in found["subrequests"]:
        yield f"subrequest {inner['method']} {inner['uri']}: {inner['directive']} ({inner['at']})"
        yield from (f"    {line}" for line in way_steps(inner["steps"], all_of_it))
        yield f"    location   {inner['location']}"
    yield f"answer     {found['status'] or 'none'} after {found['seconds']:.3f} s, {found['bytes_sent']} bytes"
    if found["end_code"]:
        yield f"cause      {found['end_code']}" + (f": {found['end_cause']}" if found["end_cause"] else "")
    if found["trace_id"]:
        yield f"trace      {found['trace_id']}"


def _attempt(attempt: Decisions) -> str:
    words = [str(attempt["status"]) if attempt["status"] else "no answer"]
    words += [attempt["end_code"]] if attempt["end_code"] else []
    times = (("connected after", "connect"), ("head after", "header"), ("end after", "response"))
    words += [f"{text} {attempt[name]:.3f} s" for text, name in times if attempt[name] is not None]
    return ", ".join(words)
