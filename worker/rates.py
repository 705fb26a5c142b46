"""Rates in bytes per second: limit_rate and proxy_limit_rate (nginx: src/http/ngx_http_write_filter_module.c).

A response may be ahead of its rate by one second's worth, so that small ones go out at once.
"""

from __future__ import annotations

from typing import Final

from wproxy.directives.values import size
from wproxy.http import Request
from wproxy.template import Template

# The least size of a step of a limited response, in seconds' worth of bytes: less would be many system calls for nothing.
STEP: Final = 0.1


def rate_of(rate: int | Template, request: Request) -> int:
    """Return bytes per second, 0 for no limit; a template whose result is not a size means no limit either, as in nginx."""
    if isinstance(rate, int):
        return rate
    try:
        return size(rate.evaluate(request).decode("latin-1"))
    except ValueError:
        return 0


def client_rate(request: Request) -> int:
    """Return the rate of a response to its client: that of `set $limit_rate` or X-Accel-Limit-Rate, else the location's."""
    return rate_of(request.location.limit_rate, request) if request.limit_rate is None else request.limit_rate


class Pace:
    """The progress of a response with a rate. after: bytes that go first, without limit."""

    __slots__ = ("_after", "_began", "_rate")

    def __init__(self, rate: int, after: int, began: float) -> None:
        self._rate = rate
        self._after = after
        self._began = began

    def allowance(self, now: float, sent: int) -> int:
        """Return how many bytes may be sent now, after so many have been; 0 or less when it is not worth it yet."""
        allowed = int(self._rate * (now - self._began + 1.0)) - max(0, sent - self._after)
        return allowed if allowed >= self._step else 0

    def pause(self, now: float, sent: int) -> float:
        """Return the seconds until a step is allowed."""
        missing = self._step + max(0, sent - self._after) - self._rate * (now - self._began + 1.0)
        return max(0.001, missing / self._rate)

    @property
    def _step(self) -> int:
        return max(1, int(self._rate * STEP))
