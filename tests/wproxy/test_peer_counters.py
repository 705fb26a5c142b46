"""What workers count about peers, in their own rows."""

from __future__ import annotations

import pytest

from wproxy.health import Health
from wproxy.peer_counters import PeerCounters, PeerTotals, read_totals
from wproxy.shared import HEAD_RECORDS, ROWS_OFFSET, SLOT_ROWS_WORDS, SharedWords

SLOTS = 3
RECORD = 2


@pytest.fixture
def workers() -> list[SharedWords]:
    """The same memory in three workers."""
    words = memoryview(bytearray((ROWS_OFFSET + SLOTS * SLOT_ROWS_WORDS) * 8)).cast("Q")
    words[HEAD_RECORDS] = RECORD + 1
    workers = []
    for slot in range(SLOTS):
        shared = SharedWords(words)
        shared.worker(slot).clear()
        shared.become_worker(slot, -1)
        workers.append(shared)
    return workers


def test_totals_are_sums_over_all_workers(workers):
    for slot, shared in enumerate(workers):
        counters = PeerCounters(shared, RECORD)
        counters.requests += 10
        counters.received += 1000 * slot
        counters.sent += 7
        counters.publish(active=slot)
    assert read_totals(workers[0], RECORD) == PeerTotals(30, 0, 3, 3000, 21, 0.0, 0.0)
    assert read_totals(workers[0], RECORD + 1) == PeerTotals(0, 0, 0, 0, 0, 0.0, 0.0)


def test_nothing_is_shared_before_it_is_published(workers):
    counters = PeerCounters(workers[0], RECORD)
    counters.requests += 1
    assert read_totals(workers[1], RECORD).requests == 0
    counters.publish(0)
    assert read_totals(workers[1], RECORD).requests == 1


def test_a_worker_that_takes_the_slot_of_a_killed_one_counts_on_but_has_nothing_under_way(workers):
    before = PeerCounters(workers[1], RECORD)
    before.requests, before.received = 5, 100
    before.count_times(0.25, 0.5)
    before.publish(active=4)
    workers[0].worker(1).clear()
    assert read_totals(workers[0], RECORD) == PeerTotals(5, 0, 0, 100, 0, 0.25, 0.5)
    heir = PeerCounters(workers[1], RECORD)
    heir.requests += 1
    heir.publish(active=1)
    assert read_totals(workers[0], RECORD)[:4] == (6, 0, 1, 100)


def test_failures_are_those_of_passive_health(workers):
    for shared in workers:
        Health(shared.words, shared.peer_offset(RECORD), 3, 10, shared.slot).count_failure(100)
    assert read_totals(workers[2], RECORD).failures == 3


def test_counters_and_health_do_not_share_words(workers):
    shared = workers[0]
    counters = PeerCounters(shared, RECORD)
    counters.requests = counters.received = counters.sent = 9
    counters.count_times(9, 9)
    counters.publish(9)
    health = Health(shared.words, shared.peer_offset(RECORD), 1, 10, 0)
    assert health.fails == 0
    health.count_failure(100)
    health.count_success()
    assert health.fails == 1
    assert read_totals(shared, RECORD) == PeerTotals(9, 1, 9, 9, 9, 9.0, 9.0)


def test_times_are_moving_averages_of_an_eighth(workers):
    counters = PeerCounters(workers[0], RECORD)
    counters.count_times(0.8, 1.6)
    assert (counters.header_time, counters.response_time) == (0.8, 1.6)
    counters.count_times(0.0, 0.0)
    assert (counters.header_time, counters.response_time) == pytest.approx((0.7, 1.4))


def test_the_time_of_a_peer_is_the_mean_of_the_workers_that_know_one(workers):
    for shared, seconds in zip(workers, (0.5, 0.25, 0.0), strict=True):
        counters = PeerCounters(shared, RECORD)
        if seconds:
            counters.count_times(seconds, 2 * seconds)
        counters.publish(0)
    assert read_totals(workers[2], RECORD)[-2:] == (0.375, 0.75)


def test_it_tells_its_state(workers):
    counters = PeerCounters(workers[0], RECORD)
    counters.requests, counters.received, counters.sent = 3, 20, 10
    assert repr(counters) == "<counters: 3 requests, 20 bytes received, 10 sent>"
