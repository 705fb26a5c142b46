"""`proxy_next_upstream_budget`: a limit for retries, so that they do not finish off an upstream in trouble.

When everything fails, every try of every request is repeated on the next peer, and the load on the remaining peers doubles or
triples just then. A budget allows retries for a share of the requests of the last WINDOW seconds, and a few per second besides,
so that a server with little load may retry at all (Finagle's RetryBudget; Envoy limits concurrent retries instead, and not their
rate).

The counting. A request counts when its first try is over, a retry when it is begun. Replacing a dead idle connection with a fresh
one to the same peer counts as neither.

There is one budget for each upstream, for all locations that lead to it: it is the upstream that is spared. Each worker has its
own: if retries are a fifth of the requests in every worker, they are a fifth overall, and no worker writes to memory that others
read. Only the few per second are for the whole server; every worker has its share of them.

A group has one only if a location that leads to it asks for it. Then its requests cost 0.2 us more; all others pay nothing.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from wproxy.directives.retries import RetryBudget

WINDOW: Final = 10  # seconds


class RetryCount:
    """Requests and retries of one group in the last WINDOW seconds."""

    __slots__ = ("_seconds", "_workers", "requests", "retries")

    def __init__(self, workers: int = 1) -> None:
        """workers: the number of workers that share the retries per second."""
        self._workers = workers
        self.requests = 0
        self.retries = 0
        # For each second with any counts: the second, requests, retries.
        self._seconds: deque[list[int]] = deque()

    def count_request(self, now: int) -> None:
        """Count a request whose first try is over."""
        self._at(now)[1] += 1
        self.requests += 1

    def count_retry(self, now: int) -> None:
        """Count a try at another peer."""
        self._at(now)[2] += 1
        self.retries += 1

    def allows(self, budget: RetryBudget, now: int) -> bool:
        """Whether one more retry is allowed. now: whole seconds."""
        self._forget(now)
        return self.retries + 1 <= budget.share * self.requests + budget.least * WINDOW / self._workers

    def _at(self, now: int) -> list[int]:
        """Return the counts of this second."""
        seconds = self._seconds
        if not seconds or seconds[-1][0] != now:
            self._forget(now)
            seconds.append([now, 0, 0])
        return seconds[-1]

    def _forget(self, now: int) -> None:
        seconds = self._seconds
        while seconds and seconds[0][0] <= now - WINDOW:
            _, requests, retries = seconds.popleft()
            self.requests -= requests
            self.retries -= retries

    def __repr__(self) -> str:
        return f"<retries: {self.retries} of {self.requests} requests>"
