"""Counting an attempt at its end, in the rows of its peer and its upstream, beside what `wproxy.peer_counters` counts.

As of a request (`worker.counters.requests`), a sample is taken of an attempt that got a response: items of one list.
"""

from __future__ import annotations

from bisect import bisect_left

from worker.counters.counting import CAUSE_INDEX, Counting
from worker.upstream.counts import UpstreamCounts
from wproxy.counters.buckets import BOUNDS, how_many, into_buckets
from wproxy.counters.layout import (
    CAME,
    CHANGES,
    CONNECT_TIME,
    CONNECT_TIMES,
    CONNECTIONS_NEW,
    CONNECTIONS_REUSED,
    DENIALS,
    DENIED,
    DOWN_SINCE,
    DOWNTIME,
    FAILED,
    HEADER_TIME,
    HEADER_TIMES,
    IDLE,
    INDEX_OF_CODE,
    NO_CODE,
    NO_LIVE,
    OTHER_CAUSE,
    PEER_CAUSES,
    PEER_CODES,
    PEER_RESPONSE_TIME,
    PEER_RESPONSE_TIMES,
    PEER_TLS_FAILED,
    PEER_TLS_FULL,
    PEER_TLS_REASONS,
    PEER_TLS_RESUMED,
    QUEUE_FULL,
    QUEUE_TIMED_OUT,
    QUEUED,
    RESPONSE_TIME,
    RESPONSE_TIMES,
    RESPONSES,
    REST_CAUSES,
    RESTS,
    RETRIES,
    SELECTED,
    STATE_CHANGES,
    TLS_REASONS,
    UNAVAILABLE,
    UNHEALTHY,
    UP_SINCE,
    UPSTREAMS,
    WENT,
)
from wproxy.counters.totals import down_since
from wproxy.http import Attempt
from wproxy.peer_counters import TIMED, PeerCounters
from wproxy.shared import SharedWords

# Of the sample of an attempt: status, seconds to the head and to the end, bytes received and sent.
SAMPLE_ITEMS = 5


class MeasuredPeer(PeerCounters):
    """The counters of a peer, with those that only some configurations want. counts: its row. upstream: that of its upstream."""

    __slots__ = ("_counting", "_extend", "_new", "_record", "_samples", "counts", "upstream")

    def __init__(self, shared: SharedWords, record: int, counting: Counting, upstream: list[int]) -> None:
        super().__init__(shared, record)
        self._counting = counting
        self._record = record if shared is counting.shared else 0
        self.counts = counting.peer(self._record)
        self.upstream = upstream
        self._new = 0  # samples on new connections
        self._samples: list[float] = []
        self._extend = self._samples.extend

    def count(self, attempt: Attempt) -> None:
        """Take a sample of an attempt at the peer that has ended."""
        header_time = attempt.header_time
        if header_time is None:
            self.counts[SELECTED] = int(attempt.started * 1e6)
            self.counts[FAILED] += 1
            self.counts[PEER_CAUSES + CAUSE_INDEX.get(attempt.end_code, OTHER_CAUSE)] += 1
            self.requests += 1
            self.received += attempt.bytes_received
            self.sent += attempt.bytes_sent
            return
        if attempt.is_first:
            self._new += 1
        extend = self._extend  # found faster than as a method
        extend((attempt.status, header_time, attempt.response_time or 0.0, attempt.bytes_received, attempt.bytes_sent))

    def count_whole(self, status: int, received: int, sent: int, seconds: float) -> None:
        """Take a sample of an attempt on a kept connection, whose answer came as a whole."""
        extend = self._extend
        extend((status, seconds, seconds, received, sent))

    def settle(self) -> None:
        """Count the samples."""
        counts, upstream, samples = self.counts, self.upstream, self._samples
        counts[SELECTED] = self._counting.now()  # half a second late, for which no request pays anything
        statuses = samples[0::SAMPLE_ITEMS]
        header_times, response_times = samples[1::SAMPLE_ITEMS], samples[2::SAMPLE_ITEMS]
        self.requests += len(statuses)
        self.received += int(sum(samples[3::SAMPLE_ITEMS]))
        self.sent += int(sum(samples[4::SAMPLE_ITEMS]))
        samples.clear()
        for status, number in how_many(statuses):
            counts[RESPONSES + min(int(status) // 100, 5) - 1] += number
            counts[PEER_CODES + INDEX_OF_CODE.get(int(status), NO_CODE)] += number
        counts[CONNECTIONS_NEW] += self._new
        counts[CONNECTIONS_REUSED] += len(statuses) - self._new
        self._new = 0
        for header_time, response_time in zip(header_times[::TIMED], response_times[::TIMED]):
            self.count_times(header_time, response_time)
        counts[HEADER_TIME] += int(sum(header_times) * 1e6)
        microseconds = int(sum(response_times) * 1e6)
        counts[PEER_RESPONSE_TIME] += microseconds
        upstream[RESPONSE_TIME] += microseconds
        are_short = header_times == response_times  # the whole answers came with their heads
        buckets = list(into_buckets(header_times))
        for bucket, number in buckets:
            counts[HEADER_TIMES + bucket] += number
        for bucket, number in buckets if are_short else into_buckets(response_times):
            counts[PEER_RESPONSE_TIMES + bucket] += number
            upstream[RESPONSE_TIMES + bucket] += number

    def rests(self, cause: str, failures: int) -> None:
        """Note that the peer rests from now on. cause: the code of the last failure."""
        self.counts[UNAVAILABLE] += 1
        self._went_down()
        self.changed("up", "unavail", cause, failures)

    def recovered(self) -> None:
        """Note that the peer has answered after a rest."""
        self._came_up()
        self.changed("unavail", "up", "rested")

    def checked(self, before: str, after: str) -> None:
        """Note that health checks have changed the state of the peer."""
        if after != before:
            if after == "up":
                self._came_up()
            else:
                self.counts[UNHEALTHY] += 1
                self._went_down()
            self.changed(before, after, "check_passed" if after == "up" else "check_failed")

    def resolved(self) -> None:
        """Note that a name has this address from now on, unless another worker has noted that."""
        if self._is_first(CAME, WENT):
            self.changed("gone", "up", "resolved")

    def vanished(self, before: str) -> None:
        """Note that a name no longer has this address, unless another worker has noted that."""
        if self._is_first(WENT, CAME):
            self.changed(before, "gone", "gone")

    def _is_first(self, moment: int, opposite: int) -> bool:
        """Note a moment in the life of the peer; return False if it is noted, and the opposite has not happened since."""
        words = self._counting.peer_words(self._record)
        if not self._record or words[moment] > words[opposite]:
            return False
        self.counts[moment] = max(self._counting.now(), words[opposite] + 1)
        self._counting.publish_peer(self._record)
        return True

    def changed(self, before: str, after: str, cause: str, failures: int = 0) -> None:
        """Note that this worker has changed the state of the peer, one of `wproxy.counters.totals.STATES`, and why."""
        if after == "unavail":
            self.counts[RESTS + (REST_CAUSES.index(cause) if cause in REST_CAUSES else len(REST_CAUSES))] += 1
        elif (after, cause) in STATE_CHANGES:
            self.counts[CHANGES + STATE_CHANGES.index((after, cause))] += 1
        self._counting.note_transition(self._record, before, after, cause, failures)

    def secured(self, is_resumed: bool) -> None:
        """Count a handshake that has succeeded."""
        self.counts[PEER_TLS_RESUMED if is_resumed else PEER_TLS_FULL] += 1

    def not_secured(self, reason: str) -> None:
        """Count a handshake that has failed."""
        self.counts[PEER_TLS_FAILED] += 1
        if reason in TLS_REASONS:
            self.counts[PEER_TLS_REASONS + TLS_REASONS.index(reason)] += 1

    def _went_down(self) -> None:
        """Note since when the peer gets no requests, unless another worker has noted that."""
        if not down_since(self._counting.peer_words(self._record)):
            self.counts[DOWN_SINCE] = self._counting.now()
        self._counting.publish_peer(self._record)

    def _came_up(self) -> None:
        """Count for how long the peer got no requests, unless another worker has done so."""
        words, now = self._counting.peer_words(self._record), self._counting.now()
        if down_since(words):
            self.counts[DOWNTIME] += max(0, now - words[DOWN_SINCE])
            self.counts[UP_SINCE] = max(now, words[DOWN_SINCE])
        self._counting.publish_peer(self._record)

    def publish(self, active: int, idle: int = 0) -> None:
        """Bring the shared memory up to date."""
        if self._samples:
            self.settle()
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
