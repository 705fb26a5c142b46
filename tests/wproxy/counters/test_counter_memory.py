"""Rows of counters: a name keeps its row, and a row is given to another name only when nobody counts there any more."""

from __future__ import annotations

import errno
import mmap
import os

import pytest

from wproxy.address_space import CannotMap
from wproxy.counters.layout import (
    COUNTED_SLOTS,
    KEY_LAST,
    KEY_WORDS,
    LIMITS,
    PEER_WORDS,
    PEERS_BASE,
    SLOT_WORDS,
    SLOTS_OFFSET,
    TOTAL_BYTES,
)
from wproxy.counters.memory import CounterMemory, bytes_of
from wproxy.lasting import LastingMemory


@pytest.fixture
def memory() -> CounterMemory:
    return CounterMemory(bytearray((SLOTS_OFFSET + 2 * SLOT_WORDS) * 8))


def word_of(row: int, slot: int = 0) -> int:
    return SLOTS_OFFSET + slot * SLOT_WORDS + LIMITS.base + row * LIMITS.words


def test_a_name_keeps_its_row_from_one_generation_to_the_next(memory):
    first = memory.rows(LIMITS, [("a",), ("b",)], 1, (), 2)
    memory.words[word_of(first["a",])] = 7
    second = memory.rows(LIMITS, [("c",), ("b",), ("a",)], 2, {1}, 2)
    assert {name: second[name] for name in first} == first
    assert len(set(second.values())) == 3 and 0 not in second.values()
    assert memory.words[word_of(second["a",])] == 7


def test_a_row_is_cleared_for_another_name_when_no_living_generation_has_it(memory):
    rows = memory.rows(LIMITS, [(str(number),) for number in range(LIMITS.rows - 1)], 1, (), 2)
    assert sorted(rows.values()) == list(range(1, LIMITS.rows))
    for slot in range(2):
        memory.words[word_of(rows["0",], slot)] = 5
    assert memory.rows(LIMITS, [("new",)], 2, {1}, 2) == {("new",): 0}, "all rows may still be counted in"
    given = memory.rows(LIMITS, [(str(number),) for number in range(1, LIMITS.rows - 1)] + [("new",)], 3, {2}, 2)
    assert given["new",] == rows["0",]
    assert [memory.words[word_of(rows["0",], slot)] for slot in range(2)] == [0, 0]


def test_a_generation_that_never_served_takes_no_rows_from_the_one_that_does(memory):
    names = [(str(number),) for number in range(LIMITS.rows - 1)]
    rows = memory.rows(LIMITS, names, 1, (), 2)
    memory.rows(LIMITS, names, 2, {1}, 2)  # and this reload failed
    assert memory.words[LIMITS.keys + rows["5",] * KEY_WORDS + KEY_LAST] == 2
    assert memory.rows(LIMITS, [("new",)], 2, {1}, 2) == {("new",): 0}


def test_a_record_of_a_peer_is_cleared_in_all_slots(memory):
    for slot in range(2):
        memory.words[SLOTS_OFFSET + slot * SLOT_WORDS + PEERS_BASE + 3 * PEER_WORDS + 1] = 9
        memory.words[SLOTS_OFFSET + slot * SLOT_WORDS + PEERS_BASE + 4 * PEER_WORDS] = 1
    memory.clear_peer(3, 2)
    for slot in range(2):
        first = SLOTS_OFFSET + slot * SLOT_WORDS + PEERS_BASE + 3 * PEER_WORDS
        assert not any(memory.words[first : first + PEER_WORDS].tolist())
        assert memory.words[first + PEER_WORDS] == 1


def test_slots_are_mapped_when_they_are_first_needed_and_what_was_counted_stays():
    lasting = LastingMemory()
    map_first = lasting.beginnings("counters of a test", TOTAL_BYTES)
    memory = CounterMemory(map_first(bytes_of(2)), map_first)
    assert memory.slots == COUNTED_SLOTS and len(memory.words) * 8 == bytes_of(2)
    before = memory.words
    before[word_of(3, slot=1)] = 5
    assert [memory.reach(slots) for slots in (1, 2)] == [1, 2] and memory.words is before
    assert memory.reach(3) == 3 and len(memory.words) * 8 == bytes_of(4)
    before[word_of(3, slot=1)] += 1  # a worker goes on with the words that it has
    memory.words[word_of(3, slot=2)] = 7
    assert [memory.words[word_of(3, slot)] for slot in range(3)] == [0, 6, 7]
    other = CounterMemory(map_first(bytes_of(1)), map_first)
    assert other.reach(COUNTED_SLOTS + 5) == COUNTED_SLOTS and len(other.words) * 8 == TOTAL_BYTES
    assert other.words[word_of(3, slot=2)] == 7
    os.close(lasting.fileno)


def test_where_the_system_maps_no_more_the_others_are_counted():
    def refuse(size: int) -> mmap.mmap:
        raise CannotMap(OSError(errno.ENOMEM, "no"), size, "counters")

    memory = CounterMemory(mmap.mmap(-1, bytes_of(2)), refuse)
    assert [memory.reach(slots) for slots in (1, 2, 9)] == [1, 2, 2]
