"""The status of clients' certificates, as all workers know it: until when, whose, and what gives way where there is no room."""

from __future__ import annotations

import mmap

from worker.tls.status_cache import StatusCache
from wproxy.http import Clock
from wproxy.tls.ocsp import GOOD, REVOKED, UNKNOWN, Verdict
from wproxy.zone_memory import ZoneMemory

NOW = 1_800_000_000.0
FOREVER = float("inf")


def workers() -> tuple[StatusCache, StatusCache, Clock]:
    """Two workers that share a zone, and their clock."""
    memory, clock = ZoneMemory(mmap.mmap(-1, 1 << 15), 1), Clock(0.0, NOW)
    return StatusCache(memory, clock), StatusCache(memory, clock), clock


def test_a_status_is_known_to_all_workers_until_it_ends():
    one, other, clock = workers()
    for number, status in enumerate((GOOD, REVOKED, UNKNOWN)):
        one.keep(b"%d" % number, Verdict(status, NOW + 100))
    assert [other.find(b"%d" % number) for number in range(4)] == [GOOD, REVOKED, UNKNOWN, None]
    clock.now = 99
    assert other.find(b"1") == REVOKED
    clock.now = 100
    assert other.find(b"1") is None


def test_a_later_status_replaces_an_earlier_one():
    one, other, _ = workers()
    one.keep(b"key", Verdict(GOOD, NOW + 100))
    other.keep(b"key", Verdict(REVOKED, NOW + 50))
    assert one.find(b"key") == REVOKED


def test_what_has_ended_is_not_kept_and_what_never_ends_is_for_an_hour():
    one, _, clock = workers()
    one.keep(b"past", Verdict(GOOD, NOW))
    one.keep(b"endless", Verdict(REVOKED, FOREVER))
    assert one.find(b"past") is None and one.find(b"endless") == REVOKED
    clock.now = 3600
    assert one.find(b"endless") is None


def test_in_a_full_zone_the_status_that_ends_first_gives_way():
    one, _, _ = workers()
    for number in range(5_000):
        one.keep(b"%d" % number, Verdict(GOOD, NOW + 10 + number % 2 * 1000))
    known = [number for number in range(5_000) if one.find(b"%d" % number) is not None]
    assert one.find(b"4999") == GOOD and len(known) > 400
    assert sum(number % 2 for number in known) > 0.9 * len(known)
