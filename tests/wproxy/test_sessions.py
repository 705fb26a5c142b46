"""The table of sessions that all workers share: what it remembers, what it gives up, and what half an entry is."""

from __future__ import annotations

import pytest

from wproxy.sessions import ENTRY_WORDS, WAYS, SessionTable, check_of, session_memory

BUCKET = ENTRY_WORDS * WAYS


@pytest.fixture
def words():
    return memoryview(bytearray(4 * BUCKET * 8)).cast("Q")


def test_a_session_is_found_until_its_time_is_over(words):
    table = SessionTable(words, 600)
    table.store(b"one", 7, 1000, creates=True)
    assert table.find(b"one", 1000) == table.find(b"one", 1599) == 7
    assert table.find(b"one", 1600) == table.find(b"two", 1000) == 0


def test_use_lets_it_live_on(words):
    table = SessionTable(words, 600)
    table.store(b"one", 7, 1000, creates=True)
    table.store(b"one", 7, 1500, creates=False)
    assert table.find(b"one", 2099) == 7


def test_use_alone_creates_nothing(words):
    table = SessionTable(words, 600)
    table.store(b"one", 7, 1000, creates=False)
    assert not any(words)


def test_a_session_may_move(words):
    table = SessionTable(words, 600)
    table.store(b"one", 7, 1000, creates=True)
    table.store(b"one", 8, 1000, creates=False)
    assert table.find(b"one", 1000) == 8


def test_two_workers_see_the_same(words):
    SessionTable(words, 600).store(b"one", 7, 1000, creates=True)
    assert SessionTable(words, 600).find(b"one", 1001) == 7


def test_a_full_bucket_gives_up_what_was_not_used_for_longest():
    table = SessionTable(memoryview(bytearray(BUCKET * 8)).cast("Q"), 600)
    for number in range(WAYS):
        table.store(b"%d" % number, number + 1, 1000 + number, creates=True)
    table.store(b"0", 1, 1100, creates=False)
    table.store(b"more", 99, 1101, creates=True)
    found = [table.find(b"%d" % number, 1101) for number in range(WAYS)]
    assert found == [1, 0, *range(3, WAYS + 1)] and table.find(b"more", 1101) == 99


def test_places_of_sessions_whose_time_is_over_are_taken_first():
    table = SessionTable(memoryview(bytearray(BUCKET * 8)).cast("Q"), 600)
    for number in range(WAYS):
        table.store(b"%d" % number, number + 1, 1000 if number == 3 else 1500, creates=True)
    table.store(b"more", 99, 1600, creates=True)
    assert [number for number in range(WAYS) if not table.find(b"%d" % number, 1600)] == [3]


@pytest.mark.parametrize("word", range(3))
def test_an_entry_that_was_written_by_half_is_none(words, word):
    table = SessionTable(words, 600)
    table.store(b"one", 7, 1000, creates=True)
    place = next(index for index in range(0, len(words), ENTRY_WORDS) if words[index])
    words[place + word] ^= 0x10
    assert table.find(b"one", 1000) == 0
    table.store(b"one", 8, 1001, creates=True)
    assert table.find(b"one", 1001) == 8, "and its place can be used again"


def test_whatever_instruction_a_writer_was_killed_at_no_wrong_peer_is_found(words):
    """Every prefix of the stores of a change, from one peer to another."""
    table = SessionTable(words, 600)
    table.store(b"one", 7, 1000, creates=True)
    place = next(index for index in range(0, len(words), ENTRY_WORDS) if words[index])
    key = words[place]
    stores = [(3, 0), (0, key), (1, 8), (2, 1001), (3, check_of(key, 8, 1001))]
    for count in range(len(stores) + 1):
        words[place : place + 4] = memoryview(bytearray(32)).cast("Q")
        table.store(b"one", 7, 1000, creates=True)
        for offset, value in stores[:count]:
            words[place + offset] = value
        assert table.find(b"one", 1001) == {0: 7, len(stores): 8}.get(count, 0)


def test_the_memory_of_a_zone_is_the_same_after_a_reload():
    first = session_memory("app", "test_sessions", 65536)
    assert session_memory("app", "test_sessions", 65536) is first
    assert session_memory("other", "test_sessions", 65536) is not first
    assert len(first) == 65536 // 8
