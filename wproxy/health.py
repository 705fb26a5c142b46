"""Passive health of a peer: max_fails and fail_timeout with nginx's accounting (proxy.md §4.2), on words all workers share.

    fails      failures counted against the peer
    accessed   when the last of them was, in whole seconds of a clock that all processes share
    checked    when it was last chosen after a failure, or failed

A peer that has never failed costs one look at `fails`. After fail_timeout one request probes it: choosing it stamps
`checked`, so that nobody else does until that time has passed again; success then clears `fails`.

Any worker may write these words, without a lock: a count lost between two workers costs one attempt more before the peer
rests, nothing else.
"""

from __future__ import annotations

FAILS = 0
ACCESSED = 1
CHECKED = 2


class Health:
    """The shared record of one peer. Times are whole seconds; max_fails 0 means that it never rests."""

    __slots__ = ("_base", "_words", "fail_timeout", "max_fails")

    def __init__(self, words: memoryview, base: int, max_fails: int, fail_timeout: float) -> None:
        self._words = words
        self._base = base
        self.max_fails = max_fails
        self.fail_timeout = fail_timeout

    @property
    def fails(self) -> int:
        """The failures counted against it."""
        value: int = self._words[self._base]
        return value

    def may_serve(self, now: int) -> bool:
        """Whether it does not rest now."""
        fails = self._words[self._base]
        if not fails or not self.max_fails or fails < self.max_fails:
            return True
        return bool(now - self._words[self._base + CHECKED] > self.fail_timeout)

    def choose(self, now: int) -> None:
        """It was chosen for a request."""
        base = self._base
        if self._words[base] and now - self._words[base + CHECKED] > self.fail_timeout:
            self._words[base + CHECKED] = now

    def count_failure(self, now: int) -> bool:
        """A request to it failed; True when it rests from now on."""
        base = self._base
        fails = self._words[base] + 1
        self._words[base + CHECKED] = now
        self._words[base + ACCESSED] = now
        self._words[base] = fails
        return bool(self.max_fails and fails >= self.max_fails)

    def count_success(self) -> None:
        """A request to it succeeded: a probe's success forgives what was before."""
        base = self._base
        if self._words[base] and self._words[base + ACCESSED] < self._words[base + CHECKED]:
            self._words[base] = 0

    def __repr__(self) -> str:
        return f"<health: {self.fails} of {self.max_fails} fails>"
