"""How long an answer may be sent again, by its fields."""

from __future__ import annotations

import re

import pytest

from worker.cache.freshness import configured_seconds, freshness_of
from wproxy.dates import parse_http_date
from wproxy.directives.cache import cache_times
from wproxy.http import http_date

NOW = 1_800_000_000
LATER, EARLIER = http_date(NOW + 500), http_date(NOW - 500)


def read(*lines: str, ignored: str = ""):
    fields = []
    for line in lines:
        name, _, value = line.partition(": ")
        fields.append((name.lower().encode(), name.encode(), value.encode()))
    return freshness_of(fields, NOW, frozenset(ignored.encode().split()))


@pytest.mark.parametrize(
    ("lines", "seconds"),
    [
        ((), None),
        (("Cache-Control: max-age=60",), 60),
        (("cache-control: Max-Age=60",), 60),
        (("Cache-Control: public, max-age=60, must-revalidate",), 60),
        (("Cache-Control: max-age=60; x",), 60),
        (("Cache-Control: max-age=60, s-maxage=10",), 10),
        (("Cache-Control: max-age=60", "Cache-Control: max-age=20"), 20),
        ((f"Expires: {LATER}",), 500),
        ((f"Expires: {LATER}", "Cache-Control: max-age=60"), 60),
        (("Cache-Control: max-age=60", f"Expires: {LATER}"), 60),
        ((f"Expires: {EARLIER}", "Cache-Control: max-age=60"), 60),
        (("Cache-Control: max-age=60", f"Expires: {EARLIER}"), 60),
        (("Cache-Control: public", f"Expires: {LATER}"), 500),
        (("X-Accel-Expires: 30",), 30),
        ((f"X-Accel-Expires: @{NOW + 7}",), 7),
        ((f"X-Accel-Expires: @{NOW - 7}",), -7),
        (("X-Accel-Expires: 30", "Cache-Control: max-age=60"), 30),
        (("Cache-Control: max-age=60", "X-Accel-Expires: 30"), 30),
        (("X-Accel-Expires: 30", "Cache-Control: no-store"), 30),
        (("Cache-Control: no-store", "X-Accel-Expires: 30"), 30),
        (("X-Accel-Expires: 30", f"Expires: {EARLIER}"), 30),
        ((f"Expires: {EARLIER}", "X-Accel-Expires: 30"), 30),
        (("X-Accel-Expires: soon", "Cache-Control: max-age=60"), 60),
        (("X-Accel-Expires: -1",), None),
        (("Pragma: no-cache",), None),
        (("Vary: Accept, Cookie", "Cache-Control: max-age=60"), 60),
    ],
)
def test_an_answer_is_valid_until(lines, seconds):
    found = read(*lines)
    assert found.refusal == ""
    assert found.valid == (0 if seconds is None else NOW + seconds)


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (("Cache-Control: no-store",), "no-store"),
        (("Cache-Control: no-cache, max-age=60",), "no-cache"),
        (('Cache-Control: private="Set-Cookie", max-age=60',), "private"),
        (("Cache-Control: max-age=0",), "max-age"),
        (("Cache-Control: max-age=",), "max-age"),
        (('Cache-Control: max-age="60"',), "max-age"),
        (("Cache-Control: max-age=1x",), "max-age"),
        (("Cache-Control: s-maxage=0, max-age=60",), "s-maxage"),
        (("Cache-Control: max-age=99999999999999999999",), "max-age"),
        ((f"Expires: {EARLIER}",), "past"),
        (("Expires: 0",), "past"),
        (("X-Accel-Expires: 0",), "X-Accel-Expires: 0"),
        (("X-Accel-Expires: 0", "Cache-Control: max-age=60"), "X-Accel-Expires: 0"),
        (("Set-Cookie: a=b", "Cache-Control: max-age=60"), "Set-Cookie"),
        (("Set-Cookie: a=b", "X-Accel-Expires: 60"), "Set-Cookie"),
        (("Vary: *", "X-Accel-Expires: 60"), r"Vary: \*"),
        (("Vary: Accept", "Vary: *", "X-Accel-Expires: 60"), r"Vary: \*"),
        ((f"Vary: {'x' * 129}", "X-Accel-Expires: 60"), "128 bytes"),
    ],
)
def test_an_answer_is_not_stored_because(lines, reason):
    assert re.search(reason, read(*lines).refusal)


@pytest.mark.parametrize("line", ["Set-Cookie: a=b", "Vary: *", "Cache-Control: no-store", f"Expires: {EARLIER}"])
def test_fields_that_are_ignored_say_nothing(line):
    name = line.partition(":")[0].lower()
    found = read(line, ignored=name)
    assert (found.refusal, found.valid, found.vary) == ("", 0, b"")


@pytest.mark.parametrize(
    ("value", "updating", "error"),
    [
        ("max-age=1, stale-while-revalidate=20", 20, 20),
        ("max-age=1, stale-if-error=30", 0, 30),
        ("max-age=1, stale-while-revalidate=20, stale-if-error=30", 20, 30),
        ("max-age=1, stale-while-revalidate=20, stale-if-error=0", 20, 0),
        ("max-age=1, stale-while-revalidate=x, stale-if-error=30", 0, 0),
        ("max-age=1, stale-if-error=x", 0, 0),
    ],
)
def test_an_answer_may_be_sent_when_it_is_stale(value, updating, error):
    found = read(f"Cache-Control: {value}")
    assert (found.updating, found.error) == (updating, error)


def test_stale_times_count_beside_x_accel_expires():
    found = read("X-Accel-Expires: 5", "Cache-Control: no-store, stale-while-revalidate=20")
    assert (found.valid, found.updating, found.refusal) == (NOW + 5, 20, "")


def test_all_lines_of_vary_count():
    assert read("Vary: Accept", "Vary: Cookie").vary == b"Accept, Cookie"


@pytest.mark.parametrize(
    ("lines", "status", "seconds"),
    [
        ([], 200, 0),
        (["1m"], 200, 60),
        (["1m"], 301, 60),
        (["1m"], 302, 60),
        (["1m"], 404, 0),
        (["404 2m", "1m"], 404, 120),
        (["any 3m"], 500, 180),
        (["200 1m", "any 3m"], 200, 60),
        (["any 3m", "200 1m"], 200, 180),
        (["200 0"], 200, 0),
    ],
)
def test_proxy_cache_valid_by_status(lines, status, seconds):
    assert configured_seconds([cache_times(*line.split()) for line in lines], status) == seconds


def test_the_dates_of_this_test_are_dates():
    assert parse_http_date(LATER.encode()) == NOW + 500
