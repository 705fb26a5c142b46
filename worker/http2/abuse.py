"""The budgets of a connection: what a peer may do for nothing, before it is told to calm down (http2-rules.md, "Floods").

Each budget counts one thing and raises ConnectionFault when there is too much of it, with the sentence for the log. Time is
passed in, so the same calls always give the same result. Floods of CONTINUATION and of field lists are stopped where they are
read (`frames.py`, `header_block.py`).

The numbers are far beyond what honest clients do, and far below what costs anything.
"""

from __future__ import annotations

from typing import Final

from worker.http2.errors import ENHANCE_YOUR_CALM, NO_ERROR, ConnectionFault

PING_COST: Final = 1
SETTINGS_COST: Final = 5
PRIORITY_COST: Final = 1
FREE_SETTINGS: Final = 32
"""The pairs in one SETTINGS frame that cost nothing beside the frame; each further one costs a token."""

_TOKENS: Final = 1000.0
_TOKENS_PER_SECOND: Final = 20.0
_FREE_JUNK: Final = 10000
_JUNK_PER_USEFUL: Final = 2
_FREE_RESETS: Final = 200
_FREE_REFUSALS: Final = 100

LEAST_RATE: Final = 500
"""Bytes a second that a stalled exchange has to make, as a mean over RATE_SECONDS."""
RATE_SECONDS: Final = 60.0

STARTS_PER_READ: Final = 32
"""The requests that are begun for one piece of bytes from the socket; the others wait for the next turn of the loop."""


class ControlBudget:
    """The frames that ask for work and carry nothing: PING, SETTINGS, PRIORITY. 1000 tokens, and 20 more each second."""

    __slots__ = ("_at", "_tokens", "peer")

    def __init__(self, now: float, peer: str = "client") -> None:
        self.peer = peer
        self._tokens = _TOKENS
        self._at = now

    def spend(self, cost: int, now: float, name: str) -> None:
        """Pay for a frame; raises ConnectionFault. name: of the frame, for the log."""
        tokens = min(_TOKENS, self._tokens + (now - self._at) * _TOKENS_PER_SECOND) - cost
        self._at = now
        self._tokens = tokens
        if tokens < 0:
            raise ConnectionFault(ENHANCE_YOUR_CALM, f"{self.peer} sent too many {name} frames")

    def spend_settings(self, pairs: int, now: float) -> None:
        """Pay for a SETTINGS frame of so many pairs; raises ConnectionFault."""
        self.spend(SETTINGS_COST + max(0, pairs - FREE_SETTINGS), now, "SETTINGS")


class JunkBudget:
    """The frames that bring nothing: empty DATA without an end, unknown types, small window updates, frames for closed streams.

    useful: the number of frames that do. `useful_frame` and `junk_frame` count.
    """

    __slots__ = ("junk", "peer", "useful")

    def __init__(self, peer: str = "client") -> None:
        self.peer = peer
        self.junk = 0
        self.useful = 0

    def useful_frame(self) -> None:
        """Count a frame that brought something."""
        self.useful += 1

    def junk_frame(self) -> None:
        """Count a frame that brought nothing; raises ConnectionFault."""
        self.junk += 1
        if self.junk > _FREE_JUNK and self.junk > _FREE_JUNK + _JUNK_PER_USEFUL * self.useful:
            raise ConnectionFault(ENHANCE_YOUR_CALM, f"{self.peer} sent too many frames that bring nothing: {self.junk}")


class ResetBudget:
    """The streams that made work for nothing: those the client reset before it had its answer, and those we had to break off.

    The latter count alike, because a client can make us reset a stream (a window update too large, a malformed request), which
    costs as much (CVE-2023-44487, CVE-2025-8671).
    """

    __slots__ = ("peer", "resets", "streams")

    def __init__(self, peer: str = "client") -> None:
        self.peer = peer
        self.resets = 0
        self.streams = 0

    def opened(self) -> None:
        """Count a stream."""
        self.streams += 1

    def wasted(self) -> None:
        """Count a stream that ended for nothing; raises ConnectionFault."""
        self.resets += 1
        if self.resets > _FREE_RESETS and self.resets > self.streams / 2:
            raise ConnectionFault(
                ENHANCE_YOUR_CALM, f"{self.peer} reset or broke too many streams: {self.resets} of {self.streams}"
            )


class RefusalBudget:
    """The streams that were refused because there were too many at once. A client that goes on opening them does not listen."""

    __slots__ = ("limit", "peer", "refusals")

    def __init__(self, max_concurrent_streams: int, peer: str = "client") -> None:
        self.peer = peer
        self.limit = max(max_concurrent_streams, _FREE_REFUSALS)
        self.refusals = 0

    def refused(self) -> None:
        """Count a refused stream; raises ConnectionFault."""
        self.refusals += 1
        if self.refusals > self.limit + 1:  # as nginx: with 128 streams it is the 130th
            raise ConnectionFault(NO_ERROR, f"{self.peer} opened too many concurrent streams: {self.refusals} were refused")

    def served(self) -> None:
        """Note that a stream was served again: the client has heard."""
        self.refusals = 0


class Progress:
    """The progress of a body that the peer takes or sends, so that one byte now and then does not hold a stream forever.

    A timer that each byte sets again bounds only silence. This bounds slowness: LEAST_RATE as a mean over RATE_SECONDS of waiting
    for the peer. The time in which we had nothing to send, or took nothing, does not count.
    """

    __slots__ = ("_moved", "_since", "_waited")

    def __init__(self) -> None:
        self._since = -1.0
        self._waited = 0.0
        self._moved = 0

    def waits(self, now: float) -> None:
        """Note that from now on the peer has to act; it may be told again."""
        if self._since < 0:
            self._since = now

    def moves(self, count: int, now: float) -> None:
        """Note that so many bytes have moved, and that we do not wait any more; call `waits` when we do again."""
        if self._since >= 0:
            self._waited += now - self._since
            self._since = -1.0
        self._moved += count
        if self._moved >= LEAST_RATE * RATE_SECONDS:
            self._moved = 0
            self._waited = 0.0

    def is_too_slow(self, now: float) -> bool:
        """Whether the peer has been too slow, and the stream should be reset with CANCEL."""
        waited = self._waited + (now - self._since if self._since >= 0 else 0.0)
        return waited >= RATE_SECONDS and self._moved < LEAST_RATE * waited
