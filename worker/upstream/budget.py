"""`proxy_next_upstream_budget`: a bound for retries, so that an upstream in trouble is not finished off by them.

When everything fails, every try of every request is repeated on the next peer, and the load on what is left doubles or triples
just then. A budget lets retries be a share of the requests of the last WINDOW seconds, and a few a second besides, so that a
server with little to do may retry at all (Finagle's RetryBudget; Envoy's bounds concurrent retries instead, and says nothing of
how fast they follow each other).

What counts. A request counts when its first try is over, a retry when it is begun. That an idle connection turned out dead and a
fresh one was opened to the same peer is neither.

One for each upstream, whichever locations lead there: it is the upstream that is spared. Each worker has its own: if retries are
a fifth of the requests in every worker, so they are in all, and nobody writes to memory that others read. Only the few a second
are for the whole server; every worker has its share of them.

A group has one only if a location that leads there asks for it. Then its requests cost 0.2 us more; all others pay nothing.
"""

from __future__ import annotations

from collections import deque

from wproxy.directives.retries import RetryBudget

WINDOW = 10  # seconds


class RetryCount:
    """Requests and retries of one group in the last WINDOW seconds."""

    __slots__ = ("_seconds", "_workers", "requests", "retries")

    def __init__(self, workers: int = 1) -> None:
        """workers: among whom the retries a second are shared out."""
        self._workers = workers
        self.requests = 0
        self.retries = 0
        # Of each second with something in it: the second, requests, retries.
        self._seconds: deque[list[int]] = deque()

    def count_request(self, now: int) -> None:
        """The first try of a request is over."""
        self._at(now)[1] += 1
        self.requests += 1

    def count_retry(self, now: int) -> None:
        """Another peer is tried."""
        self._at(now)[2] += 1
        self.retries += 1

    def allows(self, budget: RetryBudget, now: int) -> bool:
        """Whether there may be one more retry. now: whole seconds."""
        self._forget(now)
        return self.retries + 1 <= budget.share * self.requests + budget.least * WINDOW / self._workers

    def _at(self, now: int) -> list[int]:
        """The counts of this second."""
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
