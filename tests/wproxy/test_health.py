"""Passive health with nginx's accounting (proxy.md §4.2). Time is a number that the tests choose."""

from __future__ import annotations

import pytest

from wproxy.health import Health
from wproxy.shared import (
    HEAD_CHANGES,
    HEAD_SLOTS,
    PEER_VERSION,
    PEER_WORDS,
    PEERS_OFFSET,
    ROW_ACCESSED,
    ROW_CHECKED,
    ROW_FAILED,
    ROW_WORDS,
    ROWS_OFFSET,
    SLOT_ROWS_WORDS,
)

SLOTS = 4


@pytest.fixture
def words():
    words = memoryview(bytearray((ROWS_OFFSET + SLOTS * SLOT_ROWS_WORDS) * 8)).cast("Q")
    words[HEAD_SLOTS] = SLOTS
    return words


@pytest.fixture
def health(words):
    return Health(words, PEERS_OFFSET, max_fails=1, fail_timeout=10)


@pytest.fixture
def workers(words):
    """The same peer in four workers."""

    def workers(max_fails: int, fail_timeout: float = 10) -> list[Health]:
        return [Health(words, PEERS_OFFSET, max_fails, fail_timeout, slot) for slot in range(SLOTS)]

    return workers


def fail(health: Health, *times: int) -> None:
    for now in times:
        health.choose(now)
        health.count_failure(now)


def succeed(health: Health, *times: int) -> None:
    for now in times:
        health.choose(now)
        health.count_success()


# One worker.


def test_a_fresh_peer_serves(health):
    assert health.may_serve(0)
    assert health.choose(0)
    assert health.fails == 0


def test_a_failed_peer_rests_for_fail_timeout(health):
    fail(health, 100)
    assert [now for now in range(100, 115) if health.may_serve(now)] == [111, 112, 113, 114]


def test_counting_a_failure_tells_when_the_peer_begins_to_rest(words):
    health = Health(words, PEERS_OFFSET, max_fails=2, fail_timeout=10)
    assert not health.count_failure(100)
    assert health.may_serve(100)
    assert health.count_failure(101)
    assert not health.may_serve(101)
    assert health.count_failure(102), "and says so again while it lasts"


def test_after_the_rest_one_request_probes_and_all_others_wait(health):
    fail(health, 100)
    assert health.may_serve(111)
    assert health.choose(111)
    assert not health.may_serve(111), "somebody else is already trying"
    assert not health.choose(111)
    assert not health.may_serve(121)
    assert health.may_serve(122), "the probe never came back: somebody else may try"


def test_a_peer_that_rests_cannot_be_chosen(health):
    fail(health, 100)
    assert [now for now in range(100, 115) if health.choose(now)] == [111]


def test_a_probe_that_succeeds_forgives_everything(words):
    health = Health(words, PEERS_OFFSET, max_fails=3, fail_timeout=10)
    fail(health, 100, 101, 102)
    assert not health.may_serve(112)
    succeed(health, 113)
    assert health.fails == 0
    assert health.may_serve(113)


def test_after_it_was_forgiven_as_many_failures_are_needed_as_before(words):
    health = Health(words, PEERS_OFFSET, max_fails=2, fail_timeout=10)
    fail(health, 100, 101)
    succeed(health, 112)
    assert not health.count_failure(113)
    assert health.count_failure(114)
    assert health.fails == 2


def test_a_probe_that_fails_sends_the_peer_back_to_rest_at_once(words):
    health = Health(words, PEERS_OFFSET, max_fails=3, fail_timeout=10)
    fail(health, 100, 101, 102)
    health.choose(113)
    assert health.count_failure(113)
    assert health.fails == 4
    assert not health.may_serve(123)
    assert health.may_serve(124)


def test_a_success_soon_after_a_failure_forgives_nothing(words):
    """Not consecutive: only a request chosen later than fail_timeout after the last failure counts."""
    health = Health(words, PEERS_OFFSET, max_fails=2, fail_timeout=10)
    fail(health, 100)
    succeed(health, 101, 105, 110)
    assert health.fails == 1
    succeed(health, 111)
    assert health.fails == 0


def test_failures_add_up_for_ever_when_they_are_close(words):
    """Not a sliding window either: 9 seconds apart, hours in a row."""
    health = Health(words, PEERS_OFFSET, max_fails=5, fail_timeout=10)
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
    health = Health(words, PEERS_OFFSET, max_fails=0, fail_timeout=10)
    for _ in range(fails):
        assert health.choose(100)
        assert not health.count_failure(100)
    assert health.may_serve(100)
    assert health.fails == fails


def test_fail_timeout_0_rests_for_the_second_it_happened_in(words):
    health = Health(words, PEERS_OFFSET, max_fails=1, fail_timeout=0)
    fail(health, 100)
    assert not health.may_serve(100)
    assert health.may_serve(101)


def test_fail_timeout_may_be_a_fraction(words):
    health = Health(words, PEERS_OFFSET, max_fails=1, fail_timeout=0.5)
    fail(health, 100)
    assert not health.may_serve(100)
    assert health.may_serve(101)


def test_a_healthy_peer_writes_nothing(words, health):
    before = words.tolist()
    succeed(health, 1, 50, 100)
    assert words.tolist() == before


def test_it_tells_its_state(health):
    fail(health, 100)
    assert repr(health) == "<health: 1 of 1 fails>"


# Several workers.


def test_what_one_worker_counts_all_others_know_at_once(workers):
    first, *others = workers(max_fails=1)
    fail(first, 100)
    assert [health.may_serve(100) for health in others] == [False] * 3


def test_failures_in_several_workers_add_up(workers):
    first, second, third, fourth = workers(max_fails=4)
    for health in (first, second, third):
        fail(health, 100)
        assert fourth.may_serve(100)
    fail(second, 101)
    assert not fourth.may_serve(101)
    assert [health.fails for health in (first, second, third, fourth)] == [4] * 4


def test_of_all_workers_that_see_the_rest_end_one_may_probe(workers):
    everybody = workers(max_fails=1)
    fail(everybody[2], 100)
    assert [health.may_serve(111) for health in everybody] == [True] * 4, "all have looked before the first chooses"
    assert [health.choose(111) for health in everybody] == [True, False, False, False]
    assert not any(health.may_serve(121) for health in everybody)


def test_a_probe_that_succeeds_in_one_worker_brings_the_peer_back_in_all(workers):
    everybody = workers(max_fails=2)
    fail(everybody[0], 100)
    fail(everybody[1], 101)
    succeed(everybody[3], 112)
    assert [health.fails for health in everybody] == [0] * 4
    assert all(health.may_serve(112) and health.choose(112) for health in everybody)


def test_a_success_forgives_failures_of_others_only_if_it_was_chosen_after_them(workers):
    first, second, *_ = workers(max_fails=3)
    fail(first, 100)
    assert second.choose(111)
    fail(first, 112)
    second.count_success()
    assert first.fails == second.fails == 2


def test_a_worker_whose_clock_was_read_before_others_failed_does_not_probe(workers):
    first, second, *_ = workers(max_fails=1)
    fail(first, 100)
    succeed(first, 111)
    fail(first, 112)
    assert not second.may_serve(111)
    assert not second.choose(111)


def test_each_worker_writes_into_its_own_row_only_and_moves_the_version(words, workers):
    everybody = workers(max_fails=1)
    versions, changes = set(), set()
    for slot, health in enumerate(everybody):
        before = words.tolist()
        fail(health, 100 + 20 * slot)
        changed = {index for index, (old, new) in enumerate(zip(before, words.tolist(), strict=True)) if old != new}
        row = ROWS_OFFSET + slot * SLOT_ROWS_WORDS
        everyone_s = {PEERS_OFFSET + PEER_VERSION, HEAD_CHANGES}
        assert everyone_s <= changed
        assert changed - everyone_s <= set(range(row, row + ROW_WORDS))
        assert words[row + ROW_FAILED] == 1
        assert words[row + ROW_ACCESSED] == words[row + ROW_CHECKED] == 100 + 20 * slot
        versions.add(words[PEERS_OFFSET + PEER_VERSION])
        changes.add(words[HEAD_CHANGES])
    assert len(versions) == len(changes) == 4


def test_peers_do_not_share_a_row(words, workers):
    neighbour = Health(words, PEERS_OFFSET + PEER_WORDS, 1, 10, 2)
    fail(neighbour, 100)
    assert [health.fails for health in workers(max_fails=1)] == [0] * 4
    assert words[ROWS_OFFSET + 2 * SLOT_ROWS_WORDS + ROW_WORDS + ROW_FAILED] == 1


def test_a_worker_that_takes_the_slot_of_a_killed_one_counts_on(words, workers):
    first, second, *_ = workers(max_fails=3)
    fail(first, 100, 101)
    heir = Health(words, PEERS_OFFSET, 3, 10, 0)
    assert heir.fails == 2
    assert heir.count_failure(102)
    assert second.fails == 3
    succeed(heir, 113)
    assert second.fails == 0


def test_generations_may_have_different_parameters_for_one_peer(words, workers):
    old = workers(max_fails=1)[0]
    new = Health(words, PEERS_OFFSET, max_fails=2, fail_timeout=5, slot=1)
    fail(old, 100)
    assert not old.may_serve(101)
    assert new.may_serve(101)
    new.count_failure(101)
    assert new.may_serve(107) and not old.may_serve(107)


def test_what_a_killed_worker_has_counted_and_not_told_is_seen_within_a_second(words, workers):
    first, second, *_ = workers(max_fails=2)
    fail(first, 100)
    assert second.may_serve(100)
    words[ROWS_OFFSET + ROW_FAILED] += 1  # killed right after this
    assert second.may_serve(100)
    assert not second.may_serve(101)


def test_a_version_is_never_used_twice_even_if_its_writer_was_killed(words, workers):
    first, *_ = workers(max_fails=100)
    fail(first, 100)
    seen = {words[PEERS_OFFSET]}
    for _ in range(5):
        heir = Health(words, PEERS_OFFSET, 100, 10, 0)
        heir.count_failure(100)
        assert words[PEERS_OFFSET] not in seen
        seen.add(words[PEERS_OFFSET])


def test_slots_that_were_never_used_are_not_looked_at(words, workers):
    words[HEAD_SLOTS] = 2
    first = workers(max_fails=1)[0]
    words[ROWS_OFFSET + 3 * SLOT_ROWS_WORDS + ROW_FAILED] = 7
    first.count_failure(100)
    assert first.fails == 1


def test_a_process_alone_needs_nobody_to_count_slots(words):
    words[HEAD_SLOTS] = 0
    alone = Health(words, PEERS_OFFSET, max_fails=1, fail_timeout=10)
    fail(alone, 100)
    assert not alone.may_serve(100)


@pytest.mark.parametrize("slot", [SLOTS, 511])
def test_a_slot_without_room_is_an_error(words, slot):
    with pytest.raises(ValueError, match=f"no room for the rows of slot {slot}"):
        Health(words, PEERS_OFFSET, 1, 10, slot)


@pytest.mark.parametrize("slot", [-1, 512])
def test_a_slot_that_does_not_exist_is_an_error(words, slot):
    with pytest.raises(ValueError, match=f"no slot {slot} for a worker"):
        Health(words, PEERS_OFFSET, 1, 10, slot)
