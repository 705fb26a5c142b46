"""Variables of the time of day."""

from __future__ import annotations

import time
from collections.abc import Callable

from wproxy.http import MONTHS, Clock, Request
from wproxy.variables.registry import REQUEST, variable


@variable("msec", REQUEST)
def msec(request: Request) -> bytes:
    return b"%.3f" % request.client.clock.wall


class _PerSecond:
    """A text that changes once a second: made on the first request in a new second, as the clock's line for Date is."""

    def __init__(self, make: Callable[[int], str]) -> None:
        self.make = make
        self.date_line = b""
        self.text = b""

    def at(self, clock: Clock) -> bytes:
        date_line = clock.date_line
        if date_line is not self.date_line:
            self.date_line = date_line
            self.text = self.make(int(clock.wall)).encode("ascii")
        return self.text


def _local(second: int) -> str:
    at = time.localtime(second)
    return f"{at.tm_mday:02}/{MONTHS[at.tm_mon - 1]}/{at.tm_year}:{at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02} {_zone(at)}"


def _iso8601(second: int) -> str:
    at = time.localtime(second)
    zone = _zone(at)
    return time.strftime("%Y-%m-%dT%H:%M:%S", at) + f"{zone[:3]}:{zone[3:]}"


def _zone(at: time.struct_time) -> str:
    minutes = at.tm_gmtoff // 60
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}{abs(minutes) % 60:02}"


def error_log_time(second: int) -> str:
    """Return `2026/11/22 13:50:59`, local time, as it begins a line of the error log."""
    return time.strftime("%Y/%m/%d %H:%M:%S", time.localtime(second))


_TIME_LOCAL = _PerSecond(_local)
_TIME_ISO8601 = _PerSecond(_iso8601)


@variable("time_local", REQUEST)
def time_local(request: Request) -> bytes:
    return _TIME_LOCAL.at(request.client.clock)


@variable("time_iso8601", REQUEST)
def time_iso8601(request: Request) -> bytes:
    return _TIME_ISO8601.at(request.client.clock)
