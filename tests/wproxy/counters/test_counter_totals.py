"""Histograms: folding, percentiles, differences; and rows that belong together."""

from __future__ import annotations

import pytest

from wproxy.counters import layout
from wproxy.counters.buckets import BOUNDS, BUCKETS
from wproxy.counters.totals import Histogram, combined, request_totals
from wproxy.directives.metrics import SHOWN_BOUNDS
from wproxy.end_causes import CODES


def histogram(**counts: int) -> Histogram:
    """`_25=3`: three of at most 25 ms; `more`: above all bounds."""
    buckets = [0] * BUCKETS
    for name, count in counts.items():
        buckets[BUCKETS - 1 if name == "more" else BOUNDS.index(int(name[1:]) / 1000)] = count
    return Histogram(tuple(buckets), 1.0)


def test_fewer_bounds_count_the_same():
    times = histogram(_50=1, _75=2, _100=4, _7500=8, more=16)
    assert dict(zip((*SHOWN_BOUNDS, "inf"), times.up_to(SHOWN_BOUNDS))) == {
        **dict.fromkeys((0.001, 0.0025, 0.005, 0.01, 0.025), 0),
        0.05: 1,
        0.1: 7,
        0.25: 7,
        0.5: 7,
        1.0: 7,
        2.5: 7,
        5.0: 7,
        10.0: 15,
        30.0: 15,
        60.0: 15,
        "inf": 31,
    }
    assert times.up_to([0.05, 60.0]) == [1, 15, 31]


@pytest.mark.parametrize(
    ("times", "share", "seconds"),
    [
        (Histogram(), 0.5, 0.0),
        (histogram(_10=10), 0.5, 0.0075),
        (histogram(_10=10), 1.0, 0.01),
        (histogram(_10=90, _1000=10), 0.95, 0.875),
        (histogram(more=1), 0.99, 60.0),
    ],
)
def test_percentiles(times, share, seconds):
    assert times.quantile(share) == pytest.approx(seconds)


def test_what_has_come_since():
    earlier, later = histogram(_10=10, more=1), histogram(_10=15, _25=2, more=1)
    assert (later - earlier).count == 7
    assert (earlier + later).count == 29


def test_codes_that_have_no_word_of_their_own_are_counted_by_their_class():
    words = [0] * layout.REQUEST_WORDS
    words[layout.REQUEST_CODES + layout.CODES.index(404)] = 3
    words[layout.REQUEST_CODES + layout.OTHER_CODES + 3] = 2
    words[layout.REQUEST_CODES + layout.NO_CODE] = 1
    words[layout.REQUEST_CAUSES + CODES.index("up_refused")] = 4
    totals = request_totals(words, 5)
    assert totals.codes == {"404": 3, "4xx": 2, "none": 1}
    assert (totals.requests, totals.classes(), totals.active) == (6, [0, 0, 0, 5, 0], 5)
    both = combined([totals, totals])
    assert (both.codes, both.causes, both.active) == ({"404": 6, "4xx": 4, "none": 2}, {"up_refused": 8}, 10)


def test_there_is_a_word_for_every_end_cause():
    assert len(CODES) < layout.CAUSE_WORDS
