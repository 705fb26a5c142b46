"""Counting an attempt at its end, in the rows of its peer and its upstream, beside what `wproxy.peer_counters` counts."""

from __future__ import annotations

from bisect import bisect_left

from worker.counters.counting import CAUSE_INDEX, Counting
from worker.upstream.counts import UpstreamCounts
from wproxy.counters.buckets import BOUNDS
from wproxy.counters.layout import (
    CONNECT_TIME,
    CONNECT_TIMES,
    CONNECTIONS_NEW,
    CONNECTIONS_REUSED,
    DENIALS,
    DENIED,
    FAILED,
    HEADER_TIME,
    HEADER_TIMES,
    IDLE,
    NO_LIVE,
    OTHER_CAUSE,
    PEER_CAUSES,
    PEER_RESPONSE_TIME,
    PEER_RESPONSE_TIMES,
    QUEUE_FULL,
    QUEUE_TIMED_OUT,
    QUEUED,
    RESPONSE_TIME,
    RESPONSE_TIMES,
    RESPONSES,
    RETRIES,
    UNAVAILABLE,
    UPSTREAMS,
)
from wproxy.http import Attempt
from wproxy.peer_counters import PeerCounters
from wproxy.shared import SharedWords


class MeasuredPeer(PeerCounters):
    """The counters of a peer, with those that only some configurations want. counts: its row. upstream: that of its upstream."""

    __slots__ = ("_counting", "_record", "counts", "upstream")

    def __init__(self, shared: SharedWords, record: int, counting: Counting, upstream: list[int]) -> None:
        super().__init__(shared, record)
        self._counting = counting
        self._record = record if shared is counting.shared else 0
        self.counts = counting.peer(self._record)
        self.upstream = upstream

    def count(self, attempt: Attempt) -> None:
        """Count an attempt at the peer that has ended."""
        PeerCounters.count(self, attempt)
        counts, header_time = self.counts, attempt.header_time
        if header_time is None:
            counts[FAILED] += 1
            counts[PEER_CAUSES + CAUSE_INDEX.get(attempt.end_code, OTHER_CAUSE)] += 1
            return
        upstream, response_time = self.upstream, attempt.response_time
        counts[RESPONSES + attempt.status // 100 - 1] += 1
        counts[CONNECTIONS_NEW if attempt.is_new else CONNECTIONS_REUSED] += 1
        bucket = 0
        if header_time:
            bucket = bisect_left(BOUNDS, header_time)
            counts[HEADER_TIME] += int(header_time * 1e6)
        counts[HEADER_TIMES + bucket] += 1
        if response_time is not header_time:
            bucket = bisect_left(BOUNDS, response_time or 0.0)
        counts[PEER_RESPONSE_TIMES + bucket] += 1
        upstream[RESPONSE_TIMES + bucket] += 1
        if response_time:
            microseconds = int(response_time * 1e6)
            counts[PEER_RESPONSE_TIME] += microseconds
            upstream[RESPONSE_TIME] += microseconds

    def rests(self, cause: str, failures: int) -> None:
        """Note that the peer rests from now on. cause: the code of the last failure."""
        self.counts[UNAVAILABLE] += 1
        self._counting.note_transition(self._record, "up", "unavail", cause, failures)

    def recovered(self) -> None:
        """Note that the peer has answered after a rest."""
        self._counting.note_transition(self._record, "unavail", "up", "rested", 0)

    def checked(self, before: str, after: str) -> None:
        """Note that health checks have changed the state of the peer."""
        if after != before:
            self._counting.note_transition(self._record, before, after, "check_passed" if after == "up" else "check_failed", 0)

    def publish(self, active: int, idle: int = 0) -> None:
        """Bring the shared memory up to date."""
        self.counts[IDLE] = idle
        PeerCounters.publish(self, active)


class SharedUpstreamCounts(UpstreamCounts):
    """The counts of one upstream, in the rows of a worker."""

    def __init__(self, counting: Counting, name: str) -> None:
        self._counting = counting
        self._counts = counting.row(UPSTREAMS, counting.plan.upstreams.get(name, 0))

    def peer(self, shared: SharedWords, record: int) -> PeerCounters:
        """Return the counters of a peer."""
        return MeasuredPeer(shared, record, self._counting, self._counts)

    def connected(self, seconds: float) -> None:
        """Count a connection that took so long to open."""
        self._counts[CONNECT_TIMES + bisect_left(BOUNDS, seconds)] += 1
        self._counts[CONNECT_TIME] += int(seconds * 1e6)

    def no_live(self, cause: str) -> None:
        """Count a request for which there was no peer. cause: its code."""
        self._counts[NO_LIVE] += 1
        if cause == "up_queue_full":
            self._counts[QUEUE_FULL] += 1
        elif cause == "up_queue_timeout":
            self._counts[QUEUE_TIMED_OUT] += 1

    def retried(self, cause: str) -> None:
        """Count another try. cause: the code of the failure before."""
        self._counts[RETRIES + CAUSE_INDEX.get(cause, OTHER_CAUSE)] += 1

    def denied(self, reason: str) -> None:
        """Count a failure after which no other peer was tried; if there was none, or it was not wanted, nothing was denied."""
        if reason in DENIALS:
            self._counts[DENIED + DENIALS.index(reason)] += 1

    def publish(self, waiting: int) -> None:
        """Note how many requests wait for a peer."""
        self._counts[QUEUED] = waiting
