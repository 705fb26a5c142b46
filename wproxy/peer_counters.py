"""Workers' counters of peers, for status, metrics and least_time; they play no part in health.

A worker counts in plain attributes (20 ns each; a word of the shared memory takes 60) and publishes them now and then in its own
row. A reader adds up the rows of all slots. A worker that is killed loses what it had not published. The worker that takes over
its slot continues from the numbers there, so totals never shrink.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from wproxy.http import Attempt
from wproxy.native import mypyc_attr
from wproxy.shared import (
    ROW_ACTIVE,
    ROW_FAILED,
    ROW_HEADER_TIME,
    ROW_RECEIVED,
    ROW_REQUESTS,
    ROW_RESPONSE_TIME,
    ROW_SENT,
    ROW_WORDS,
    SLOT_ROWS_WORDS,
    SharedWords,
    row_offset,
)

# The weight of one more response in a moving average, as TCP has it for round-trip times (RFC 6298, section 2).
SHARE_OF_LAST: Final = 0.125
# One request in so many is taken into the averages: they are for people, and every request would pay for them.
TIMED: Final = 16


@mypyc_attr(allow_interpreted_subclasses=True)
class PeerCounters:
    """One worker's counters of one peer. Add to the attributes; `publish` does the rest.

    requests: sent there. received, sent: bytes. header_time, response_time: moving averages in seconds, 0 before the first.
    """

    __slots__ = ("_row", "_words", "header_time", "received", "requests", "response_time", "sent")

    def __init__(self, shared: SharedWords, record: int) -> None:
        """Continue from what the slot of `shared` has counted about the peer of that record."""
        words = shared.words
        self._words = words
        self._row = row = shared.row_offset(shared.slot, record)
        self.requests: int = words[row + ROW_REQUESTS]
        self.received: int = words[row + ROW_RECEIVED]
        self.sent: int = words[row + ROW_SENT]
        self.header_time: float = words[row + ROW_HEADER_TIME] / 1e6
        self.response_time: float = words[row + ROW_RESPONSE_TIME] / 1e6

    def count(self, attempt: Attempt) -> None:
        """Count an attempt at the peer that has ended."""
        self.requests += 1
        self.received += attempt.bytes_received
        self.sent += attempt.bytes_sent
        if self.requests % TIMED == 1 and attempt.header_time is not None and attempt.response_time is not None:
            self.count_times(attempt.header_time, attempt.response_time)

    def count_whole(self, status: int, received: int, sent: int, seconds: float) -> None:
        """Count an attempt on a kept connection whose answer came as a whole, after so many seconds. received, sent: bytes."""
        self.requests = requests = self.requests + 1
        self.received += received
        self.sent += sent
        if requests % TIMED == 1:
            self.count_times(seconds, seconds)

    def count_times(self, header_time: float, response_time: float) -> None:
        """Count the seconds until the head and until the end of a response."""
        if self.header_time or self.response_time:
            self.header_time += (header_time - self.header_time) * SHARE_OF_LAST
            self.response_time += (response_time - self.response_time) * SHARE_OF_LAST
        else:
            self.header_time, self.response_time = header_time, response_time

    def rests(self, cause: str, failures: int) -> None:
        """Note that the peer rests from now on. cause: the code of the last failure. Only those that are shown are kept."""

    def recovered(self) -> None:
        """Note that the peer has answered after a rest."""

    def checked(self, before: str, after: str) -> None:
        """Note that health checks have changed the state of the peer."""

    def resolved(self) -> None:
        """Note that a name has this address from now on."""

    def vanished(self, before: str) -> None:
        """Note that a name no longer has this address. before: the state of the peer until now."""

    def changed(self, before: str, after: str, cause: str, failures: int = 0) -> None:
        """Note that this worker has changed the state of the peer, and why."""

    def secured(self, is_resumed: bool) -> None:
        """Note a handshake that has succeeded. is_resumed: with an earlier session."""

    def not_secured(self, reason: str) -> None:
        """Note a handshake that has failed. reason: one of `worker.tls.failures`, "" without one."""

    def publish(self, active: int, idle: int = 0) -> None:
        """Bring the shared memory up to date. active: requests under way there now; idle: connections kept for others."""
        words = self._words
        row = self._row
        words[row + ROW_REQUESTS] = self.requests
        words[row + ROW_ACTIVE] = active
        words[row + ROW_RECEIVED] = self.received
        words[row + ROW_SENT] = self.sent
        words[row + ROW_HEADER_TIME] = int(self.header_time * 1e6)
        words[row + ROW_RESPONSE_TIME] = int(self.response_time * 1e6)

    def __repr__(self) -> str:
        return f"<counters: {self.requests} requests, {self.received} bytes received, {self.sent} sent>"


class PeerTotals(NamedTuple):
    """All workers' counters of one peer, including workers that are gone.

    failures: failures counted for passive health. active: requests under way. received, sent: bytes. header_time, response_time:
    seconds, averages of the workers' moving averages that are not 0.
    """

    requests: int
    failures: int
    active: int
    received: int
    sent: int
    header_time: float
    response_time: float


def read_traffic(shared: SharedWords, record: int) -> tuple[int, int, int]:
    """Read what all workers have published of the peer of that record: requests under way, bytes received and sent."""
    words = shared.words
    row = row_offset(shared.peer_offset(record), 0)
    active = received = sent = 0
    for _ in range(max(shared.slots, shared.slot + 1)):
        active += words[row + ROW_ACTIVE]
        received += words[row + ROW_RECEIVED]
        sent += words[row + ROW_SENT]
        row += SLOT_ROWS_WORDS
    return active, received, sent


def read_totals(shared: SharedWords, record: int) -> PeerTotals:
    """Read what all workers have published about the peer of that record."""
    words = shared.words
    row = row_offset(shared.peer_offset(record), 0)
    rows: list[list[int]] = []
    for _ in range(max(shared.slots, shared.slot + 1)):
        rows.append(words[row : row + ROW_WORDS].tolist())
        row += SLOT_ROWS_WORDS
    totals = rows[0] if len(rows) == 1 else list(map(sum, zip(*rows)))

    def average(word: int) -> float:
        times = [each[word] for each in rows if each[word]] if totals[word] else ()
        return sum(times) / len(times) / 1e6 if times else 0.0

    return PeerTotals(
        requests=totals[ROW_REQUESTS],
        failures=totals[ROW_FAILED],
        active=totals[ROW_ACTIVE],
        received=totals[ROW_RECEIVED],
        sent=totals[ROW_SENT],
        header_time=average(ROW_HEADER_TIME),
        response_time=average(ROW_RESPONSE_TIME),
    )
