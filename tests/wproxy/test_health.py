"""Passive health with nginx's accounting (proxy.md §4.2). Time is a number that the tests choose."""

from __future__ import annotations

import pytest

from wproxy.health import ACCESSED, CHECKED, FAILS, Health
from wproxy.shared import PEER_WORDS


@pytest.fixture
def words():
    """Two records, so that a write beyond one's own shows."""
    return memoryview(bytearray(2 * PEER_WORDS * 8)).cast("Q")


@pytest.fixture
def health(words):
    return Health(words, 0, max_fails=1, fail_timeout=10)


def fail(health: Health, *times: int) -> None:
    for now in times:
        health.choose(now)
        health.count_failure(now)


def succeed(health: Health, *times: int) -> None:
    for now in times:
        health.choose(now)
        health.count_success()


def test_a_fresh_peer_serves(health):
    assert health.may_serve(0)
    assert health.fails == 0


def test_a_failed_peer_rests_for_fail_timeout(health):
    fail(health, 100)
    assert [now for now in range(100, 115) if health.may_serve(now)] == [111, 112, 113, 114]


def test_counting_a_failure_tells_when_the_peer_begins_to_rest(words):
    health = Health(words, 0, max_fails=2, fail_timeout=10)
    assert not health.count_failure(100)
    assert health.may_serve(100)
    assert health.count_failure(101)
    assert not health.may_serve(101)
    assert health.count_failure(102), "and says so again while it lasts"


def test_after_the_rest_one_request_probes_and_all_others_wait(health):
    fail(health, 100)
    assert health.may_serve(111)
    health.choose(111)
    assert not health.may_serve(111), "somebody else is already trying"
    assert not health.may_serve(121)
    assert health.may_serve(122), "the probe never came back: somebody else may try"


def test_a_probe_that_succeeds_forgives_everything(words):
    health = Health(words, 0, max_fails=3, fail_timeout=10)
    fail(health, 100, 101, 102)
    assert not health.may_serve(112)
    succeed(health, 113)
    assert health.fails == 0
    assert health.may_serve(113)


def test_a_probe_that_fails_sends_the_peer_back_to_rest_at_once(words):
    health = Health(words, 0, max_fails=3, fail_timeout=10)
    fail(health, 100, 101, 102)
    health.choose(113)
    assert health.count_failure(113)
    assert health.fails == 4
    assert not health.may_serve(123)
    assert health.may_serve(124)


def test_a_success_soon_after_a_failure_forgives_nothing(words):
    """Not consecutive: only a request chosen later than fail_timeout after the last failure counts."""
    health = Health(words, 0, max_fails=2, fail_timeout=10)
    fail(health, 100)
    succeed(health, 101, 105, 110)
    assert health.fails == 1
    succeed(health, 111)
    assert health.fails == 0


def test_failures_add_up_for_ever_when_they_are_close(words):
    """Not a sliding window either: 9 seconds apart, hours in a row."""
    health = Health(words, 0, max_fails=5, fail_timeout=10)
    for index in range(4):
        fail(health, 100 + 9 * index)
        succeed(health, 101 + 9 * index)
        assert health.may_serve(102 + 9 * index)
    fail(health, 136)
    assert not health.may_serve(137)


def test_a_success_that_was_chosen_before_the_failure_forgives_nothing(health):
    health.choose(90)
    health.choose(95)
    health.count_failure(100)
    health.count_success()
    assert health.fails == 1


@pytest.mark.parametrize("fails", [1, 2, 100])
def test_max_fails_0_never_rests(words, fails):
    health = Health(words, 0, max_fails=0, fail_timeout=10)
    for _ in range(fails):
        health.choose(100)
        assert not health.count_failure(100)
    assert health.may_serve(100)
    assert health.fails == fails


def test_fail_timeout_0_rests_for_the_second_it_happened_in(words):
    health = Health(words, 0, max_fails=1, fail_timeout=0)
    fail(health, 100)
    assert not health.may_serve(100)
    assert health.may_serve(101)


def test_fail_timeout_may_be_a_fraction(words):
    health = Health(words, 0, max_fails=1, fail_timeout=0.5)
    fail(health, 100)
    assert not health.may_serve(100)
    assert health.may_serve(101)


def test_a_healthy_peer_writes_nothing(words, health):
    succeed(health, 1, 50, 100)
    assert not any(words)


def test_all_who_look_at_the_same_words_see_the_same_health(words):
    mine, yours = (Health(words, PEER_WORDS, max_fails=1, fail_timeout=10) for _ in range(2))
    fail(mine, 100)
    assert not yours.may_serve(101)
    succeed(yours, 111)
    assert mine.may_serve(112)
    assert mine.fails == 0


def test_a_record_stays_in_its_own_words(words):
    second = Health(words, PEER_WORDS, max_fails=1, fail_timeout=10)
    fail(second, 100)
    assert not any(words[:PEER_WORDS])
    assert words[PEER_WORDS + FAILS] == 1
    assert words[PEER_WORDS + ACCESSED] == words[PEER_WORDS + CHECKED] == 100


def test_it_tells_its_state(health):
    fail(health, 100)
    assert repr(health) == "<health: 1 of 1 fails>"
