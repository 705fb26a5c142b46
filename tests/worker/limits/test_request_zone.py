"""Counting requests in shared memory: nginx's numbers, places for keys, full tables, workers that are killed anywhere."""

from __future__ import annotations

import mmap
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from zones import Asking, Nginx, request_memory, request_zone

from tests.small_process import in_a_small_process
from worker import locks
from worker.limits.request_zone import SharedRequestZone
from worker.limits.zone import MOST_EXCESS, NO_ROOM, fails, passes
from wproxy.http import Clock, Request
from wproxy.zone_memory import LOCK_BYTES, REQUEST_WORDS, ZoneMemory


@pytest.mark.parametrize("rate", [16, 333, 1000, 50_000, 10_000_000])
@pytest.mark.parametrize("seed", range(4))
def test_every_excess_is_nginxs(rate: int, seed: int):
    chance = random.Random(seed * 1000 + rate)
    memory = request_memory(1 << 18)
    workers = [request_zone(rate, memory) for _ in range(3)]
    nginx = Nginx(rate)
    now = chance.choice([5, 1 << 33, (1 << 33) - 3000, 123_456_789])
    for _ in range(3000):
        now += chance.choice([0, 0, 0, 1, 1, 7, 60, 1000, 61_000])
        key = chance.choice([b"a", b"b", b"c" * 40])
        seen = now - chance.choice([0, 0, 0, 1, 5, 3000])  # workers' clocks are read at different times
        burst = chance.choice([0, 1000, 5000, 100_000])
        assert chance.choice(workers).count(key, max(0, seen), burst) == nginx.count(key, max(0, seen), burst)


@pytest.mark.parametrize("rate", [333, 1000, 50_000])
def test_the_short_way_counts_as_nginx_does_and_leaves_the_rest_uncounted(rate: int):
    """Three workers, of which two let requests pass by the short way, each with a clock of its own."""
    chance = random.Random(rate)
    memory = request_memory(1 << 18)
    nginx = Nginx(rate)
    most = 5000
    workers = [request_zone(rate, memory) for _ in range(3)]
    clocks = [Clock(0.0, 0.0) for _ in workers]
    ways = [zone.passing(Asking.read, clock, most, Asking.answer, Asking.decide) for zone, clock in zip(workers, clocks)]
    now, gone = (1 << 33) - 30_000, {"short": 0, "long": 0}
    for _ in range(4000):
        now += chance.choice([0, 0, 0, 0, 1, 1, 7, 60, 1000, 61_000 if chance.random() < 0.05 else 0])
        number = chance.randrange(3)
        seen = now - chance.choice([0, 0, 0, 0, 1, 5, 3000])
        clocks[number].now = seen / 1000 + 0.0001
        asking = Asking(chance.choice([b"a", b"b"]))
        expected = nginx.count(asking.key, seen, most)
        if number:
            asking.go(ways[number])
        if asking.way == "short":
            assert expected <= most and asking.request.limit_req_status == b"PASSED"
        else:
            assert workers[number].count(asking.key, seen, most) == expected
        if number:
            gone[asking.way] += 1
    assert min(gone.values()) > 200


def test_the_short_way_is_not_for_unknown_keys_nor_for_an_excess_that_is_too_large():
    zone = request_zone(1000)
    clock = Clock(5.0, 0.0)
    way = zone.passing(Asking.read, clock, 1000, Asking.answer, Asking.decide)

    def gone(key: bytes) -> str:
        return Asking(key).go(way)

    assert gone(b"k") == "long"
    assert zone.count(b"k", 5000) == 0
    assert [gone(b"k"), gone(b"k"), gone(b"k")] == ["short", "long", "long"]
    assert zone.excess(b"k", 5000) == 2000, "what went the long way has not been counted"
    clock.now = 6.0
    assert [gone(b"k"), gone(b"k")] == ["short", "long"]
    assert zone.excess(b"k", 6000) == 2000


@pytest.mark.parametrize("seed", range(3))
def test_several_zones_count_a_request_together_or_none_of_them_does(seed: int):
    chance = random.Random(seed)
    zones = [request_zone(rate) for rate in (1000, 30_000, 500)]
    mosts = [3000, 20_000, 6000]
    clock = Clock(0.0, 0.0)
    within = None
    for zone, most in reversed(list(zip(zones, mosts))[1:]):
        within = zone.passing(Asking.read, clock, most, passes, fails, within, is_within=True)
    way = zones[0].passing(Asking.read, clock, mosts[0], Asking.answer, Asking.decide, within)
    gone = {"short": 0, "long": 0}
    now = 1000
    for _ in range(1500):
        now += chance.choice([0, 1, 7, 60, 700])
        clock.now = now / 1000 + 0.0001
        asking = Asking(chance.choice([b"a", b"b"]))
        before = [zone.excess(asking.key, now) for zone in zones]
        asking.go(way)
        gone[asking.way] += 1
        after = [zone.excess(asking.key, now) for zone in zones]
        if asking.way == "short":
            assert all(excess <= most for excess, most in zip(before, mosts))
            assert after == [excess + 1000 for excess in before]
        else:
            assert after == before
            # The long way goes on; here it counts what may pass, and keys that are new.
            if all(excess <= most for excess, most in zip(before, mosts)):
                for zone in zones:
                    zone.count(asking.key, now)
    assert min(gone.values()) > 100


def test_who_holds_one_lock_waits_for_no_other_but_takes_that_of_a_dead_worker():
    clock, outer, inner = Clock(5.0, 0.0), request_zone(), request_zone()
    within = inner.passing(Asking.read, clock, 9000, passes, fails, is_within=True)
    way = outer.passing(Asking.read, clock, 9000, Asking.answer, Asking.decide, within)

    def gone() -> str:
        return Asking(b"k").go(way)

    for zone in (outer, inner):
        zone.count(b"k", 5000)
    ready, tell = os.pipe()
    pid = os.fork()
    if not pid:
        for mutex in inner._memory.locks:
            locks.try_lock(mutex)
        os.write(tell, b"x")
        signal.pause()
        os._exit(0)
    try:
        os.read(ready, 1)
        began = time.monotonic()
        assert gone() == "long"
        assert time.monotonic() - began < locks.PATIENCE / 2
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert gone() == "short"
    assert [outer.excess(b"k", 5000), inner.excess(b"k", 5000)] == [2000, 2000], "counted once, by both"


def test_a_key_that_cannot_be_had_leaves_no_lock_behind():
    clock, outer, inner = Clock(5.0, 0.0), request_zone(), request_zone()

    def unreadable(request: Request) -> bytes:
        raise ValueError

    within = inner.passing(unreadable, clock, 9000, passes, fails, is_within=True)
    way = outer.passing(Asking.read, clock, 9000, Asking.answer, Asking.decide, within)
    outer.count(b"k", 5000)
    with pytest.raises(ValueError):
        Asking(b"k").go(way)
    assert outer.count(b"k", 5000) == 1000


def test_asking_does_not_count():
    zone = request_zone()
    assert zone.excess(b"k", 0) == 0
    assert zone.count(b"k", 0, 5000) == 0
    assert [zone.excess(b"k", 0), zone.excess(b"k", 0), zone.excess(b"k", 400)] == [1000, 1000, 600]
    assert zone.count(b"k", 0, 5000) == 1000


def test_an_excess_that_is_too_large_is_not_stored():
    zone = request_zone()
    assert [zone.count(b"k", 0, 1500) for _ in range(4)] == [0, 1000, 2000, 2000]


def test_the_greatest_excess_is_kept_and_runs_out():
    zone = request_zone(rate=1_000_000)
    memory = zone._memory
    zone.count(b"k", 0)
    (record,) = (record for *_, record in zone._known.values())
    memory.words[record] |= MOST_EXCESS
    assert zone.count(b"k", 0) == MOST_EXCESS + 1000
    assert zone.count(b"k", 0) == MOST_EXCESS + 1000
    assert zone.count(b"k", 2_000_000) == 0


def test_keys_alike_are_different_keys():
    zone = request_zone()
    keys = [b"", b"\0", b"\0\0", b"a", b"a\0", b"b" * 255, b"b" * 256]
    assert [zone.count(key, 0) for key in keys + keys] == [0] * 7 + [1000] * 7


def test_a_zone_has_room_for_as_many_keys_as_nginxs_before_any_gives_way():
    """16,000 states fit into a megabyte: that is nginx's own number."""
    told: list[str] = []
    zone = request_zone(1, request_memory(1 << 20), told)
    for number in range(16_000):
        assert zone.count(b"%d" % number, 0) == 0
    assert told == []
    assert all(zone.count(b"%d" % number, 1) == 1000 for number in range(16_000))


def steps_of(count: Callable[[], object]) -> int:
    """How many instructions of Python's it executes."""
    steps = 0

    def step(frame: FrameType, event: str, argument: object) -> Callable[..., Any]:
        nonlocal steps
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        steps += event == "opcode"
        return step

    before = sys.gettrace()
    sys.settrace(step)
    try:
        count()
    finally:
        sys.settrace(before)
    return steps


def test_what_a_check_does_does_not_depend_on_the_number_of_keys():
    """What it takes with a million of them is measured by `python -m bench.zones`."""
    keys = [b"%d" % number for number in range(20_000)]
    steps = []
    for number in (10, len(keys)):
        memory = request_memory(2 << 20)
        zone = request_zone(1, memory)
        for key in keys[:number]:
            zone.count(key, 0)
        fresh = request_zone(1, memory)  # a worker that has not met any of them
        steps.append(sum(steps_of(lambda key=key: fresh.count(key, 1)) for key in keys[:10]))
        assert fresh.count(keys[0], 1) == 2000
    few, many = steps
    # A key that has found its first bucket full lies in the second one.
    assert 0 < few <= many <= few * 1.5, steps


def test_in_a_full_zone_keys_not_used_for_longest_give_way_and_that_is_told_once():
    told: list[str] = []
    memory = request_memory(32768)
    zone = request_zone(1, memory, told)
    for number in range(memory.entries * 4):
        zone.count(b"%d" % number, number)
        zone.count(b"kept", number)
    assert told == ["full"]
    assert request_zone(1, memory, told).count(b"another", memory.entries * 4) == 0
    assert told == ["full"], "every worker knows that it was told"
    assert zone.count(b"kept", memory.entries * 4) > 1000, "a key in use stays"
    last = [zone.excess(b"%d" % number, number) for number in range(memory.entries * 4 - 50, memory.entries * 4)]
    assert last == [1000] * 50, "the youngest stay"


def test_keys_whose_excess_has_run_out_make_room_silently():
    told: list[str] = []
    zone = request_zone(1000, request_memory(32768), told)
    for number in range(50_000):
        assert zone.count(b"%d" % number, number * 10, 5000) == 0
    assert told == []


def test_a_key_that_was_killed_half_way_in_is_found_again():
    zone = request_zone()
    memory = zone._memory
    zone.count(b"k", 0)
    ((_, first, at, _),) = zone._known.values()
    second = memory.words[at + 8]
    for half in ((0, second), (0, 1), (first, second)):
        memory.words[at], memory.words[at + 8], memory.words[at + 16] = *half, 0
        fresh = request_zone(memory=memory)
        assert [fresh.count(b"k", 0), request_zone(memory=memory).count(b"k", 0)] == [0, 1000]


# So many that none reaches the largest excess of a record, a million requests, on a quick machine.
KEYS = 24


def hammer(memory: ZoneMemory, ledger: mmap.mmap, slot: int, seed: int) -> None:
    """Be a worker that counts until it is killed. What is allowed is noted before and after, in this worker's own words."""
    chance = random.Random(seed)
    zone = SharedRequestZone("zone", 1, memory, lambda: None)
    words = memoryview(ledger).cast("Q")
    keys = [b"%d" % number for number in range(KEYS)]
    way = zone.passing(Asking.read, Clock(0.0015, 0.0), MOST_EXCESS, Asking.answer, Asking.decide)
    while True:
        key = chance.randrange(KEYS)
        words[(slot * KEYS + key) * 2] += 1
        asking = Asking(keys[key])
        if chance.random() < 0.5:
            asking.go(way)
        if asking.way != "short" and zone.count(keys[key], 1) == NO_ROOM:
            os._exit(3)
        words[(slot * KEYS + key) * 2 + 1] += 1


@in_a_small_process
def test_no_request_is_lost_or_counted_twice_while_workers_are_killed_at_any_instruction():
    """All at one instant: so the excess of a key is the number of its requests, less the first."""
    locks.PATIENCE = 30.0  # a busy machine may not run the holder of a lock for seconds
    chance = random.Random()
    memory = request_memory(32768)
    ledger = mmap.mmap(-1, 4096)
    children: dict[int, int] = {}

    def start(slot: int) -> None:
        seed = chance.randrange(1 << 30)
        pid = os.fork()
        if not pid:
            os.nice(10)  # who kills and starts them has to get its turns
            try:
                hammer(memory, ledger, slot, seed)
            finally:
                os._exit(1)
        children[slot] = pid

    killed = 0
    until = time.monotonic() + 60
    words = memoryview(ledger).cast("Q")
    try:
        for slot in range(4):
            start(slot)
        while killed < 80 or not all(sum(words[(slot * KEYS + key) * 2 + 1] for slot in range(4)) > 100 for key in range(KEYS)):
            assert time.monotonic() < until, "nothing happens"
            time.sleep(chance.random() * 0.004)  # while they work
            slot = chance.randrange(4)
            os.kill(children[slot], signal.SIGKILL)
            assert os.waitpid(children.pop(slot), 0)[1] == signal.SIGKILL, "it was alive: no lock was waited for in vain"
            killed += 1
            start(slot)
    finally:
        for pid in children.values():
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    zone = SharedRequestZone("zone", 1, memory, lambda: None)
    for key in range(KEYS):
        begun = sum(words[(slot * KEYS + key) * 2] for slot in range(4))
        counted = sum(words[(slot * KEYS + key) * 2 + 1] for slot in range(4))
        assert counted <= zone.excess(b"%d" % key, 1) // 1000 <= begun
        assert begun - counted <= killed + 4


def test_a_lock_whose_holder_does_not_run_is_not_waited_for_again_and_again(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(locks, "PATIENCE", 0.05)
    memory = request_memory(32768)
    zone = request_zone(memory=memory)
    ready, tell = os.pipe()
    pid = os.fork()
    if not pid:
        for mutex in memory.locks:
            locks.try_lock(mutex)
        os.write(tell, b"x")
        signal.pause()
        os._exit(0)
    try:
        os.read(ready, 1)
        began = time.monotonic()
        assert [zone.count(b"k", 0) for _ in range(50)] == [NO_ROOM] * 50
        assert time.monotonic() - began < 0.5
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert zone.count(b"k", 0) == 0, "it is ours as soon as the holder is dead"


def test_the_memory_of_a_zone_is_made_once():
    region = mmap.mmap(-1, 65536)
    first = ZoneMemory(region, REQUEST_WORDS)
    request_zone(memory=first).count(b"k", 0)
    again = ZoneMemory(region, REQUEST_WORDS)
    assert request_zone(memory=again).count(b"k", 0) == 1000
    assert len(again.locks) == len(first.locks)
    assert 1024 + len(again.locks) * LOCK_BYTES <= 4096
    assert ZoneMemory(mmap.mmap(-1, 65536), REQUEST_WORDS).place(b"k") != again.place(b"k"), "nobody knows where keys meet"


@pytest.mark.parametrize("words", [1, 3])
@pytest.mark.parametrize("size", [32768, 32769, 40000, 1 << 20])
def test_all_entries_lie_in_the_memory(size: int, words: int):
    memory = ZoneMemory(mmap.mmap(-1, size), words)
    ends = [bucket + memory.bucket_words for number in range(2000) for bucket in memory.place(b"%d" % number)[3:]]
    assert 512 < max(ends) <= len(memory.words)
    assert memory.entries * (2 + words) * 8 > (size - 4096) * 0.7
