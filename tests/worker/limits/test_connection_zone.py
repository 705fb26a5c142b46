"""Counting requests under way in shared memory: never more than the limit, and nothing left of those that are gone."""

from __future__ import annotations

import mmap
import os
import random
import signal
import time
from collections.abc import Callable

from zones import Asking, Slots, connection_memory, connection_zone

from tests.small_process import in_a_small_process
from worker import locks
from worker.limits.connection_zone import SharedConnectionZone
from wproxy.shared import WORKER_PID, WORKER_WORDS, WORKERS_OFFSET
from wproxy.zone_memory import ZoneMemory


def taken(zone: SharedConnectionZone, key: bytes, most: int) -> Callable[[], None]:
    give_back = zone.take(key, most)
    assert callable(give_back)
    return give_back


def test_no_more_than_the_limit_of_all_workers_together():
    slots, memory = Slots(), connection_memory()
    one, two = connection_zone(slots, 0, memory), connection_zone(slots, 1, memory)
    backs = [taken(one, b"k", 3), taken(two, b"k", 3), taken(one, b"k", 3)]
    assert one.take(b"k", 3) is two.take(b"k", 3) is True
    assert callable(one.take(b"other", 1))
    backs.pop()()
    backs.append(taken(two, b"k", 3))
    assert one.take(b"k", 3) is True
    for give_back in backs:
        give_back()
    assert len([taken(two, b"k", 3) for _ in range(3)]) == 3


def test_different_limits_on_one_zone_see_the_same_requests():
    zone = connection_zone(Slots())
    backs = [taken(zone, b"k", 10) for _ in range(5)]
    assert zone.take(b"k", 5) is True
    backs[0]()
    taken(zone, b"k", 5)


def test_the_short_way_is_for_keys_that_we_know_while_the_limit_is_not_reached():
    slots, memory = Slots(), connection_memory()
    one, two = connection_zone(slots, 0, memory), connection_zone(slots, 1, memory)
    way = one.passing(Asking.read, 40, Asking.answer, Asking.decide)

    def gone() -> Asking:
        asking = Asking(b"k")
        asking.go(way)
        return asking

    assert gone().way == "long"
    first = taken(one, b"k", 40)
    passed = [gone(), gone()]
    assert [(asking.way, asking.request.limit_conn_status) for asking in passed] == [("short", b"PASSED")] * 2
    backs = [taken(two, b"k", 40) for _ in range(30)]
    passed += [gone() for _ in range(7)]  # near the limit it is with the lock
    assert [asking.way for asking in passed] == ["short"] * 9
    assert gone().way == "long", "the limit is reached"
    assert two.take(b"k", 40) is one.take(b"k", 40) is True
    for give_back in (first, *(release for asking in passed for release in asking.request.at_end or ())):
        give_back()
    assert gone().way == "short", "our cell is still there, and counts none"
    assert len([taken(two, b"k", 40) for _ in range(9)]) == 9 and two.take(b"k", 40) is True
    for give_back in backs:
        give_back()


def test_the_short_way_leaves_an_entry_alone_that_another_key_has_got():
    """A worker remembers where its cell was; whoever is there now must not be counted up."""
    chance = random.Random(5)
    slots, memory = Slots(), connection_memory(32768)
    zones = [connection_zone(slots, number, memory) for number in range(3)]
    ways = [zone.passing(Asking.read, 6, Asking.answer, Asking.decide) for zone in zones]
    keys = [b"%d" % number for number in range(memory.entries)]
    held: dict[bytes, list[Callable[[], None]]] = {}
    gone = {"short": 0, "long": 0}
    for _ in range(30_000):
        key = chance.choice(keys)
        ours = held.setdefault(key, [])
        if ours and chance.random() < 0.6:
            ours.pop(chance.randrange(len(ours)))()
            continue
        number = chance.randrange(3)
        asking = Asking(key)
        asking.go(ways[number])
        gone[asking.way] += 1
        if asking.way == "short":
            assert len(ours) < 6
            ours.extend(asking.request.at_end or ())
            continue
        result = zones[number].take(key, 6)
        if callable(result):
            assert len(ours) < 6
            ours.append(result)
        else:
            assert result is False or len(ours) == 6
    assert min(gone.values()) > 1000
    for key, ours in held.items():
        for give_back in ours:
            give_back()
        ours.clear()
    fresh = connection_zone(slots, 3, memory)
    for key in keys[:50]:
        backs = [taken(fresh, key, 6) for _ in range(6)]
        assert fresh.take(key, 6) is True
        for give_back in backs:
            give_back()


def test_the_short_way_adds_to_what_a_request_has_to_give_back():
    zone = connection_zone(Slots())
    taken(zone, b"k", 1000)
    asking = Asking(b"k")
    told: list[str] = []
    asking.request.call_at_end(lambda: told.append("before"))
    asking.go(zone.passing(Asking.read, 1000, Asking.answer, Asking.decide))
    for release in asking.request.at_end or ():
        release()
    assert asking.way == "short" and told == ["before"]
    assert zone.take(b"k", 1) is True and callable(zone.take(b"k", 2))


def test_the_requests_of_a_dead_worker_count_no_more():
    slots, memory = Slots(), connection_memory()
    dead, alive = connection_zone(slots, 0, memory), connection_zone(slots, 1, memory)
    for _ in range(5):
        taken(dead, b"k", 5)
    assert alive.take(b"k", 5) is True
    slots.live(0, 0)
    backs = [taken(alive, b"k", 5) for _ in range(5)]
    assert alive.take(b"k", 5) is True
    heir = connection_zone(slots, 0, memory, pid=77)
    assert heir.take(b"k", 5) is True
    backs[0]()
    taken(heir, b"k", 5)


def test_a_reload_of_a_process_that_is_its_own_master_leaves_the_copy_its_requests():
    """Both have the slot and the pid of the process in it."""
    slots, memory = Slots(), connection_memory()
    old = connection_zone(slots, 0, memory, pid=5, generation=1)
    back = taken(old, b"k", 2)
    new = connection_zone(slots, 0, memory, pid=5, generation=2)
    taken(new, b"k", 2)
    assert new.take(b"k", 2) is True
    back()
    taken(new, b"k", 2)
    assert new.take(b"k", 2) is True


def test_more_workers_than_cells_have_requests_of_one_key():
    slots, memory = Slots(), connection_memory()
    workers = [connection_zone(slots, slot, memory) for slot in range(20)]
    backs = [taken(worker, b"k", 60) for _ in range(3) for worker in workers]
    assert all(worker.take(b"k", 60) is True for worker in workers)
    for give_back in backs[:30]:
        give_back()
    backs = [taken(workers[number % 7], b"k", 60) for number in range(30)]
    assert all(worker.take(b"k", 60) is True for worker in workers)


def test_a_zone_without_room_refuses_further_keys_and_tells_once():
    told: list[str] = []
    memory = connection_memory(32768)
    zone = connection_zone(Slots(), 0, memory, told)
    backs = [zone.take(b"%d" % number, 1) for number in range(memory.entries * 2)]
    held = [give_back for give_back in backs if callable(give_back)]
    assert backs.count(False) == len(backs) - len(held)
    assert memory.entries * 0.6 < len(held) <= memory.entries
    assert told == ["full"]
    for give_back in held:
        give_back()
    assert callable(zone.take(b"further", 1))


def test_a_megabyte_has_room_for_as_many_keys_as_nginxs():
    told: list[str] = []
    zone = connection_zone(Slots(), 0, connection_memory(1 << 20), told)
    assert all(callable(zone.take(b"%d" % number, 1)) for number in range(16_000))
    assert told == []


def test_a_place_is_given_to_another_key_when_nobody_has_requests_there():
    slots, memory = Slots(), connection_memory(32768)
    one, two = connection_zone(slots, 0, memory), connection_zone(slots, 1, memory)
    chance = random.Random(1)
    held: dict[bytes, list[Callable[[], None]]] = {}
    for _ in range(20_000):
        key = b"%d" % chance.randrange(2000)
        if key in held and chance.random() < 0.7:
            held[key].pop()()
            if not held[key]:
                del held[key]
        elif len(held) < 150:
            give_back = chance.choice((one, two)).take(key, 2)
            assert (give_back is True) == (len(held.get(key, ())) == 2)
            if callable(give_back):
                held.setdefault(key, []).append(give_back)


def test_a_worker_does_not_forget_keys_that_it_has_requests_of():
    slots, memory = Slots(), connection_memory(1 << 22)
    zone = connection_zone(slots, 0, memory)
    back = taken(zone, b"kept", 2)
    for number in range(10_000):
        taken(zone, b"%d" % number, 1)()
    assert len(zone._keys) <= 4097
    other = taken(zone, b"kept", 2)
    assert zone.take(b"kept", 2) is True
    back()
    other()


def hammer(memory: ZoneMemory, shared: mmap.mmap, ledger: mmap.mmap, slot: int, seed: int) -> None:
    """Be a worker that takes and gives back until it is killed, and notes how many it surely has."""
    chance = random.Random(seed)
    words = memoryview(shared).cast("Q")
    words[WORKERS_OFFSET + slot * WORKER_WORDS + WORKER_PID] = os.getpid()
    zone = SharedConnectionZone("zone", memory, words, (1, slot, os.getpid()), 4, lambda: None)
    noted = memoryview(ledger).cast("Q")
    held: list[Callable[[], None]] = []
    way = zone.passing(Asking.read, LIMIT, Asking.answer, Asking.decide)
    while True:
        if held and chance.random() < 0.5:
            noted[slot] = len(held) - 1
            held.pop()()
            continue
        asking = Asking(b"key")
        asking.go(way)
        give_back = asking.request.at_end[0] if asking.request.at_end else zone.take(b"key", LIMIT)
        if callable(give_back):
            held.append(give_back)
            noted[slot] = len(held)
            first = noted[:4].tolist()
            # Others go on meanwhile: only what is there twice in a row was there at one moment.
            if sum(first) > LIMIT and first == noted[:4].tolist() == noted[:4].tolist():
                os._exit(4)
        elif give_back is False:
            os._exit(3)


LIMIT = 30  # less than the margin beyond which no lock is taken, sometimes


@in_a_small_process
def test_the_limit_holds_while_workers_are_killed_at_any_instruction():
    locks.PATIENCE = 30.0  # a busy machine may not run the holder of a lock for seconds
    chance = random.Random()
    memory = connection_memory(32768)
    size = (WORKERS_OFFSET + 512 * WORKER_WORDS) * 8
    shared, ledger = mmap.mmap(-1, size), mmap.mmap(-1, 4096)
    words, noted = memoryview(shared).cast("Q"), memoryview(ledger).cast("Q")
    children: dict[int, int] = {}

    def start(slot: int) -> None:
        seed = chance.randrange(1 << 30)
        pid = os.fork()
        if not pid:
            os.nice(10)  # who kills and starts them has to get its turns
            try:
                hammer(memory, shared, ledger, slot, seed)
            finally:
                os._exit(1)
        children[slot] = pid

    killed = 0
    try:
        for slot in range(4):
            start(slot)
        for _ in range(80):
            time.sleep(chance.random() * 0.004)  # while they work
            slot = chance.randrange(4)
            os.kill(children[slot], signal.SIGKILL)
            assert os.waitpid(children.pop(slot), 0)[1] == signal.SIGKILL, "it was alive, and has never seen too many"
            noted[slot] = 0
            words[WORKERS_OFFSET + slot * WORKER_WORDS + WORKER_PID] = 0  # as the master does
            killed += 1
            start(slot)
    finally:
        for slot, pid in children.items():
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            words[WORKERS_OFFSET + slot * WORKER_WORDS + WORKER_PID] = 0
    zone = SharedConnectionZone("zone", memory, words, (2, 9, 99), 4, lambda: None)
    assert len([taken(zone, b"key", LIMIT) for _ in range(LIMIT)]) == LIMIT, "nothing is left of the dead"
    assert zone.take(b"key", LIMIT) is True
