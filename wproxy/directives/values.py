"""Readers of directive arguments: text in, value out, ValueError with nginx's words for an invalid one (routing.md §1.3)."""

from __future__ import annotations

import re
from collections.abc import Callable

_TIME_UNITS = {
    "y": 365 * 86400.0,
    "M": 30 * 86400.0,
    "w": 7 * 86400.0,
    "d": 86400.0,
    "h": 3600.0,
    "m": 60.0,
    "s": 1.0,
    "ms": 0.001,
}
_TIME_ORDER = list(_TIME_UNITS)
_TIME_PIECE = re.compile(r"([0-9]+)(ms|[yMwdhms])? *")
_SIZE = re.compile(r"([0-9]+)([kKmMgG]?)")
_SIZE_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def text(value: str) -> str:
    """Return the argument unchanged."""
    return value


def flag(value: str) -> bool:
    """Read `on` or `off`, ignoring case."""
    word = value.lower()
    if word not in ("on", "off"):
        raise ValueError(f'invalid value "{value}" in "%s" directive, it must be "on" or "off"')
    return word == "on"


def uri_or_off(value: str) -> bytes | None:
    """Return a URI of ours, as it is written; None for `off` and for an empty one."""
    return None if value in ("off", "") else value.encode("utf-8", "surrogateescape")


def number(least: int = 0, most: int = 2**31 - 1) -> Callable[[str], int]:
    """Return a reader of whole numbers within bounds."""

    def read(value: str) -> int:
        if not (value.isascii() and value.isdigit() and len(value) < 12):
            raise ValueError('"%s" directive invalid number')
        if not least <= int(value) <= most:
            raise ValueError(f"value must be between {least} and {most}")
        return int(value)

    return read


def size(value: str) -> int:
    """Return bytes: an integer with k, m or g."""
    match = _SIZE.fullmatch(value)
    if not match or len(match[1]) > 15:
        raise ValueError('"%s" directive invalid value')
    return int(match[1]) * _SIZE_UNITS[match[2].lower()]


def parse_time(value: str, units: str = "yMwdhms") -> float | None:
    """Return the seconds of `1h 30m`, `500ms`, `60`: units in descending order, each once; None when it is no time."""
    total, index, last, position = 0.0, 0, -1, 0
    while position < len(value):
        match = _TIME_PIECE.match(value, position)
        if not match or len(match[1]) > 12:
            return None
        unit = match[2] or "s"
        index = _TIME_ORDER.index(unit)
        if index <= last or (unit not in units and unit != "ms"):
            return None
        if match[2] is None and match.end() != len(value):
            return None
        total += int(match[1]) * _TIME_UNITS[unit]
        last, position = index, match.end()
    return total if value else None


def time(value: str) -> float:
    """Return seconds, for timers: weeks to milliseconds, no months or years."""
    seconds = parse_time(value, "wdhms")
    if seconds is None:
        raise ValueError('"%s" directive invalid value')
    return seconds


def words(allowed: tuple[str, ...]) -> Callable[..., frozenset[str]]:
    """Return a reader of a set of words."""

    def read(*values: str) -> frozenset[str]:
        lowered = [value.lower() for value in values]
        for value, low in zip(values, lowered, strict=True):
            if low not in allowed:
                raise ValueError(f'invalid value "{value}"')
        return frozenset(lowered)

    return read


def word(allowed: tuple[str, ...]) -> Callable[[str], str]:
    """Return a reader of one word out of several."""

    def read(value: str) -> str:
        if value.lower() not in allowed:
            raise ValueError(f'invalid value "{value}"')
        return value.lower()

    return read
