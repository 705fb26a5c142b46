"""The states of the last minute (worker/dashboard/snapshot.py): rates and percentiles are differences of two of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from wproxy.counters.totals import Histogram

State = dict[str, Any]

# The seconds that rates and percentiles are about.
RATE_SPAN = 10.0
QUANTILE_SPAN = 60.0
MOST_STATES = 61


class History:
    """Some states, the last one first."""

    def __init__(self) -> None:
        self._states: deque[State] = deque(maxlen=MOST_STATES)

    def add(self, state: State) -> None:
        """Note the newest state. After a restart counts begin again, and so does the history."""
        if self._states and self._states[0]["head"]["started"] != state["head"]["started"]:
            self._states.clear()
        self._states.appendleft(state)

    @property
    def now(self) -> State:
        """The newest state."""
        return self._states[0]

    def _before(self, seconds: float) -> State:
        """Return the oldest state that is at most so old."""
        now = self.now["now"]
        return [state for state in self._states if now - state["now"] <= seconds + 0.5][-1]

    def rate(self, read: Callable[[State], float]) -> float:
        """Return by how much a number has grown a second; 0 with a single state."""
        old = self._before(RATE_SPAN)
        span = self.now["now"] - old["now"]
        return max(0.0, read(self.now) - read(old)) / span if span > 0 else 0.0

    def quantiles(self, read: Callable[[State], Sequence[int]], shares: Sequence[float]) -> list[float | None]:
        """Return percentiles of durations that have come in the last minute; None without any.

        With a single state: of all durations there were.
        """
        now, old = read(self.now), read(self._before(QUANTILE_SPAN))
        if not now:
            return [None] * len(shares)
        times = Histogram(tuple(now))
        if len(self._states) > 1 and len(old) == len(now):
            times = times - Histogram(tuple(old))
        return [times.quantile(share) if times.count else None for share in shares]
