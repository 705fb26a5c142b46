"""The command `wproxy why`: from its arguments to its output."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from datetime import datetime

from wproxy.directives.values import parse_time
from wproxy.why.groups import Findings, gather
from wproxy.why.report import as_json, as_text

_GZIP = b"\x1f\x8b"


def run_why(given: argparse.Namespace, now: float) -> int:
    """Group the error logs that are named, and print the groups; return the exit code. now: unix seconds."""
    try:
        since = read_since(given.since, now) if given.since else 0.0
    except ValueError as error:
        return _refuse(str(error))
    found = Findings()
    for path in given.log:
        try:
            gather(_lines_of(path), since, found)
        except (OSError, EOFError) as error:
            reason = getattr(error, "strerror", None) or "it is not whole"
            return _refuse(f'cannot read "{path}": {reason}')
    text = as_json(found, given.top) if given.json else as_text(found, given.top)
    sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace"))
    sys.stdout.buffer.flush()
    return 0


def read_since(text: str, now: float) -> float:
    """Return the unix time of 10m, 2h, 14:03, 14:03:07, 2026-05-13 or 2026-05-13T14:03; raises ValueError."""
    seconds = parse_time(text)
    if seconds is not None:
        return now - seconds
    today = datetime.fromtimestamp(now)
    for form in ("%H:%M", "%H:%M:%S"):
        try:
            at = datetime.strptime(text, form)
        except ValueError:
            continue
        return today.replace(hour=at.hour, minute=at.minute, second=at.second, microsecond=0).timestamp()
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise ValueError(f'"{text}" is no time: write 10m, 14:03 or 2026-05-13T14:03') from None


def _lines_of(path: str) -> Iterator[str]:
    """Read the lines of a file, compressed or not; `-` is standard input. Raises OSError, EOFError."""
    if path == "-":
        for line in sys.stdin.buffer:
            yield line.decode("utf-8", "backslashreplace")
        return
    with open(path, "rb") as file:
        if file.peek(2)[:2] == _GZIP:
            import gzip

            with gzip.open(file) as whole:
                for line in whole:
                    yield line.decode("utf-8", "backslashreplace")
        else:
            for line in file:
                yield line.decode("utf-8", "backslashreplace")


def _refuse(reason: str) -> int:
    sys.stderr.write(f"wproxy: [error] {reason}\n")
    return 1
