"""Durations go into their buckets as one by one, however many there are."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from random import Random

from wproxy.counters.buckets import BOUNDS, how_many, into_buckets


def test_durations_are_counted_as_one_by_one():
    random = Random(1)
    for size in (1, 2, 7, 1000):
        durations = [random.choice((0.0, *BOUNDS, 1000.0, random.expovariate(3))) for _ in range(size)]
        expected = Counter(bisect_left(BOUNDS, duration) for duration in durations)
        found: Counter[int] = Counter()
        for bucket, count in into_buckets(durations):
            found[bucket] += count
        assert found == expected


def test_a_bound_belongs_to_its_own_bucket():
    assert list(into_buckets([0.005, 0.0050001, 61.0])) == [(BOUNDS.index(0.005), 1), (BOUNDS.index(0.01), 1), (len(BOUNDS), 1)]
    assert list(into_buckets([])) == []


def test_values_are_counted():
    assert list(how_many([200, 200])) == [(200, 2)]
    assert dict(how_many([200, 404, 200, 0])) == {200: 2, 404: 1, 0: 1}
