"""The table of sessions that all workers share: what it remembers, what it gives up, and what workers do to each other."""

from __future__ import annotations

import mmap
import os
import random
from array import array

import pytest

from wproxy.record_locks import RecordLocks
from wproxy.sessions import ENTRY_WORDS, WAYS, SessionTable, session_memory
from wproxy.shared import TOTAL_WORDS

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


def test_whatever_instruction_a_writer_was_killed_at_no_wrong_peer_is_found():
    """Every prefix of the stores that give the place of one session to another."""
    table = SessionTable(memoryview(bytearray(BUCKET * 8)).cast("Q"), 600)
    table.store(b"one", 7, 1000, creates=True)
    before = table._words.tolist()
    for number in range(WAYS - 1):
        table.store(b"%d" % number, 9, 1001, creates=True)
    full = table._words.tolist()
    table.store(b"new", 8, 1002, creates=True)
    place = next(index for index in range(0, BUCKET, ENTRY_WORDS) if before[index])
    stores = [(place + 1, 0), (place, table._words[place]), (place + 1, table._words[place + 1])]
    found = []
    for count in range(len(stores) + 1):
        table._words[:] = memoryview(array("Q", full))
        for word, value in stores[:count]:
            table._words[word] = value
        found.append((table.find(b"one", 1002), table.find(b"new", 1002)))
    assert found == [(7, 0), (0, 0), (0, 0), (0, 8)]


def test_a_bucket_that_is_locked_is_not_waited_for(words):
    class Taken:
        """Locks that another process has."""

        tries = 0

        def try_lock(self, word: int) -> bool:
            assert word >= TOTAL_WORDS
            self.tries += 1
            return False

    locks = Taken()
    table = SessionTable(words, 600, locks)  # type: ignore[arg-type]
    table.store(b"one", 7, 1000, creates=True)
    assert table.find(b"one", 1000) == 0
    assert 0 < locks.tries < 1000


def be_a_worker(words, fileno: int, sessions: range, seed: int) -> None:
    """Create, use and look for sessions of which everybody knows where they belong; killed when it finds a wrong one."""
    chance = random.Random(seed)
    table = SessionTable(words, 600, RecordLocks(fileno), "zone")
    for turn in range(3000):
        number = chance.choice(sessions)
        session = b"%d" % number
        table.store(session, number + 1, 1000 + turn // 30, creates=True)
        if table.find(session, 1000 + turn // 30) not in (0, number + 1):
            os._exit(3)


@pytest.mark.parametrize(("sessions", "stay"), [(WAYS, True), (5 * WAYS, False)])
def test_workers_that_write_at_once_never_mix_up_two_sessions(sessions, stay):
    """All in one bucket, as many as there are places for, or more: then they push each other out, but never into a wrong entry."""
    mapping = mmap.mmap(-1, BUCKET * 8)
    words = memoryview(mapping).cast("B").cast("Q")
    fileno = os.memfd_create("locks")
    pids = []
    for seed in range(4):
        pid = os.fork()
        if not pid:
            try:
                be_a_worker(words, fileno, range(sessions), seed)
                os._exit(0)
            finally:
                os._exit(1)
        pids.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * 4
    table = SessionTable(words, 600, RecordLocks(fileno), "zone")
    found = {number: table.find(b"%d" % number, 1100) for number in range(sessions)}
    os.close(fileno)
    assert all(value in (0, number + 1) for number, value in found.items())
    assert len([value for value in found.values() if value]) == WAYS
    if stay:
        assert all(found.values()), "each has a place"
    keys = words[::ENTRY_WORDS].tolist()
    assert len(set(keys)) == WAYS, "no session has two places"


def test_the_memory_of_a_zone_is_the_same_after_a_reload():
    first = session_memory("app", "test_sessions", 65536)
    assert session_memory("app", "test_sessions", 65536) is first
    assert session_memory("other", "test_sessions", 65536) is not first
    assert len(first) == 65536 // 8
