"""The response times of a peer, for the methods that balance by time (nginx: ngx_http_upstream_least_time_module.c)."""

from __future__ import annotations

from wproxy.http import Attempt


def average(before: int, value: int) -> int:
    """Return the moving average of milliseconds: a new value counts for a twentieth."""
    return int(0.5 + 0.05 * value + 0.95 * before)


class Times:
    """The times of a peer in milliseconds: averages over successful requests, and those of active ones."""

    __slots__ = ("_age_sum", "_changed", "_checked", "count", "header", "inflight", "last_byte")

    def __init__(self) -> None:
        self.header = 0
        self.last_byte = 0
        self.inflight = 0  # the average age of active requests
        self.count = 0  # the number of active requests
        self._age_sum = 0  # the sum of their ages at `_changed`
        self._changed = 0
        self._checked = 0  # the time of the last choice after a rest of fail_timeout, in seconds

    def learn(self, attempt: Attempt) -> None:
        """Record a successful attempt."""
        if attempt.header_time is not None and attempt.response_time is not None:
            self.header = average(self.header, int(attempt.header_time * 1000))
            self.last_byte = average(self.last_byte, int(attempt.response_time * 1000))

    def chosen(self, now: int, fail_timeout: float) -> None:
        """Record that the peer gets a request."""
        if now - self._checked > fail_timeout:
            self._checked = now

    def faded(self, usual: int, now: int, fail_timeout: float) -> int:
        """Return the average, halved for each fail_timeout without a request, so that a slow peer gets another chance."""
        rest = now - self._checked
        if rest > fail_timeout:
            usual >>= min(int(rest / (fail_timeout + 1)), 63)
        return max(usual, self.inflight) if self.count else usual

    def look_at_inflight(self, milliseconds: int) -> None:
        """Include the ages of active requests in their average."""
        if self.count:
            self.inflight = average(self.inflight, self._age_sum // self.count + milliseconds - self._changed)

    def begin(self, milliseconds: int) -> None:
        """Count one more active request."""
        if self.count:
            self._age_sum += (milliseconds - self._changed) * self.count
        self._changed = milliseconds
        self.count += 1

    def end(self, milliseconds: int, age: int) -> None:
        """Remove a request of that age from the active ones."""
        if self.count <= 1:
            self.count = self._age_sum = 0
            return
        self._age_sum = max(0, self._age_sum + (milliseconds - self._changed) * self.count - age)
        self._changed = milliseconds
        self.count -= 1

    def __repr__(self) -> str:
        return f"<times: header {self.header} ms, last byte {self.last_byte} ms, {self.count} under way>"
