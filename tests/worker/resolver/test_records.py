"""Records of health for peers that nobody knew at the start: every worker finds the same one, whatever dies in between."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest

from worker.resolver.records import FORGOTTEN_AFTER, PLACE_WORDS, WINDOW, PrivateRecords, SharedRecords, clear_record, key_of
from wproxy.record_locks import RecordLocks
from wproxy.shared import PRIVATE_WORDS, SharedWords

COUNT = 128
FIRST = 100
PLACES = PRIVATE_WORDS


class Locks:
    """Locks that a test can hold."""

    def __init__(self) -> None:
        self.is_held = False
        self.taken = 0

    def try_lock(self, word: int) -> bool:
        if self.is_held:
            return False
        self.is_held = True
        self.taken += 1
        return True

    def unlock(self, word: int) -> None:
        self.is_held = False


class Memory:
    """A memory that several workers share, in one process."""

    def __init__(self) -> None:
        self.shared = SharedWords(memoryview(bytearray((PRIVATE_WORDS + COUNT * PLACE_WORDS) * 8)).cast("Q"))
        self.locks = Locks()
        self.private = PrivateRecords(SharedWords(memoryview(bytearray(PRIVATE_WORDS * 8)).cast("Q")))

    def worker(self, count: int = COUNT) -> SharedRecords:
        return SharedRecords(self.shared, PLACES, FIRST, count, self.locks, self.private)


@pytest.fixture
def memory() -> Memory:
    return Memory()


def test_all_workers_find_the_same_record_of_a_peer(memory: Memory):
    workers = [memory.worker() for _ in range(4)]
    names = [f"app\0{number}" for number in range(100)]
    places = [[worker.take(name, 1000) for name in names] for worker in workers]
    assert places[0] == places[1] == places[2] == places[3]
    assert len({place.record for place in places[0]}) == 100
    assert all(FIRST <= place.record < FIRST + COUNT and place.shared is memory.shared for place in places[0])


def test_order_does_not_matter(memory: Memory):
    first, second = memory.worker(), memory.worker()
    names = [f"app\0{number}" for number in range(60)]
    found = {name: first.take(name, 1000) for name in names}
    assert {name: second.take(name, 1000) for name in reversed(names)} == found


def test_a_known_peer_is_found_without_the_lock(memory: Memory):
    place = memory.worker().take("a", 1000)
    assert memory.locks.taken == 1
    memory.locks.is_held = True
    assert memory.worker().take("a", 1000) == place


def test_who_does_not_get_the_lock_has_private_memory_and_does_not_wait(memory: Memory):
    memory.locks.is_held = True
    place = memory.worker().take("a", 1000)
    assert place.shared is memory.private.shared
    assert place.record


def test_when_there_is_no_room_the_others_have_private_memory(memory: Memory):
    worker = memory.worker(count=3)
    places = [worker.take(f"n{number}", 1000) for number in range(5)]
    assert [place.shared is memory.shared for place in places] == [True] * 3 + [False] * 2
    assert len({place.record for place in places[3:]}) == 2
    assert not memory.locks.is_held


def test_a_record_that_nobody_uses_any_more_is_given_to_another_and_is_new(memory: Memory):
    worker = memory.worker(count=1)
    place = worker.take("old", 1000)
    memory.shared.words[memory.shared.peer_offset(place.record)] = 7
    assert worker.take("new", 1000 + FORGOTTEN_AFTER).shared is not memory.shared
    assert worker.take("new", 1001 + FORGOTTEN_AFTER) == place
    assert memory.shared.words[memory.shared.peer_offset(place.record)] == 0


def test_who_says_that_it_uses_a_record_keeps_it(memory: Memory):
    worker = memory.worker(count=1)
    place = worker.take("old", 1000)
    worker.touch(1500)
    assert memory.worker(count=1).take("new", 1500 + FORGOTTEN_AFTER).shared is not memory.shared
    worker.give_back(place)
    worker.touch(1600)  # no longer ours
    assert memory.worker(count=1).take("new", 1501 + FORGOTTEN_AFTER).shared is memory.shared


def test_a_peer_that_comes_back_soon_finds_its_state(memory: Memory):
    worker = memory.worker()
    place = worker.take("a", 1000)
    memory.shared.words[memory.shared.peer_offset(place.record)] = 3
    worker.give_back(place)
    assert worker.take("a", 1100) == place
    assert memory.shared.words[memory.shared.peer_offset(place.record)] == 3


@pytest.mark.parametrize("killed_at", range(0, 39, 2))
def test_a_worker_killed_while_it_takes_a_record_spoils_nothing(memory: Memory, killed_at: int):
    """The stores of a claim are cut off after so many; the next worker's peers still have records of their own."""

    class Killed(BaseException):
        pass

    class Words:
        left = killed_at

        def __getitem__(self, index):
            return memory.shared.words[index]

        def __setitem__(self, index, value):
            if not self.left:
                raise Killed
            self.left -= 1
            memory.shared.words[index] = value

    dying = memory.worker()
    dying._words = dying._shared = Words()  # type: ignore[assignment]
    dying._shared.words = dying._words
    dying._shared.slots = memory.shared.slots
    dying._shared.slot = 0
    dying._shared.clear_more = None
    dying._shared.peer_offset = memory.shared.peer_offset
    dying._shared.row_offset = memory.shared.row_offset
    dying._shared.clear_record = partial(SharedWords.clear_record, dying._shared)
    try:
        dying.take("a", 1000)
    except Killed:
        pass
    memory.locks.is_held = False  # the kernel's doing
    names = ["a", *(f"n{number}" for number in range(COUNT - WINDOW))]
    first, second = memory.worker(), memory.worker()
    places = [first.take(name, 1000) for name in names]
    assert places == [second.take(name, 1000) for name in names]
    assert len(set(places)) == len(names)
    assert memory.shared.words[memory.shared.peer_offset(places[0].record)] == 0


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_processes_that_claim_at_once_agree(tmp_path: Path):
    """Four real processes with the real locks take the same peers in different orders."""
    import mmap
    import random

    size = (PRIVATE_WORDS + COUNT * PLACE_WORDS) * 8
    fileno = os.memfd_create("test")
    os.ftruncate(fileno, size)
    names = [f"app\0{number}" for number in range(60)]
    children = []
    for number in range(4):
        pid = os.fork()
        if not pid:
            try:
                shared = SharedWords(memoryview(mmap.mmap(fileno, size)).cast("Q"))
                private = PrivateRecords(SharedWords(memoryview(bytearray(PRIVATE_WORDS * 8)).cast("Q")))
                records = SharedRecords(shared, PLACES, FIRST, COUNT, RecordLocks(fileno), private)
                order = random.Random(number).sample(names, len(names))
                found = {}
                for name in order:
                    place = records.take(name, 1000)
                    while place.shared is not shared:  # somebody had the lock for long; a worker would try again later
                        private.give_back(place)
                        place = records.take(name, 1000)
                    found[name] = place.record
                (tmp_path / str(number)).write_text(repr([found[name] for name in names]))
            finally:
                os._exit(0)
        children.append(pid)
    for pid in children:
        os.waitpid(pid, 0)
    os.close(fileno)
    written = [(tmp_path / str(number)).read_text() for number in range(4)]
    assert len(set(written)) == 1
    assert len(set(written[0].split())) == 60


def test_private_records_are_given_out_anew_and_clean(memory: Memory):
    place = memory.private.take("a", 1)
    memory.private.shared.words[memory.private.shared.peer_offset(place.record)] = 5
    memory.private.give_back(place)
    assert memory.private.take("b", 1) == place
    assert memory.private.shared.words[memory.private.shared.peer_offset(place.record)] == 0


def test_keys_are_never_zero_and_clear_leaves_neighbours_alone(memory: Memory):
    assert all(key_of(f"{number}") for number in range(1000))
    offset = memory.shared.peer_offset(5)
    memory.shared.words[offset - 1] = memory.shared.words[memory.shared.peer_offset(6)] = 9
    clear_record(memory.shared, 5)
    assert memory.shared.words[offset - 1] == memory.shared.words[memory.shared.peer_offset(6)] == 9
