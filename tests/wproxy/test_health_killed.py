"""Passive health on a real shared memory, by real processes that are killed at any instruction.

Processes hammer the same few peers, one in each slot, and are killed with SIGKILL again and again; another takes the slot.
The clock is a word that the test moves on. What each process began and finished it notes in a ledger beside.
"""

from __future__ import annotations

import itertools
import mmap
import os
import random
import signal
import time
from contextlib import closing

import pytest

from master.memory import Memory, create_memory
from tests.small_process import in_a_small_process
from wproxy.health import Health
from wproxy.record_locks import RecordLocks
from wproxy.shared import PEER_VERSION, ROW_CHECKED, ROW_FAILED, ROW_FORGIVEN

SLOTS = 4
PEERS = 3
FAIL_TIMEOUT = 10
MAX_FAILS = (1, 3, 20)  # of each peer
SECONDS = 1 << 17  # that the moved clock may count
FIRST_SECOND = 1000
KILLS = 60  # at least

# The ledger: the clock, then for each slot and peer failures begun, failures counted, and claims in each second.
PLACE_WORDS = 2 + SECONDS


class Ledger:
    """Words that the processes of this test share, beside the memory under test."""

    def __init__(self) -> None:
        self._mapping = mmap.mmap(-1, (1 + SLOTS * PEERS * PLACE_WORDS) * 8)
        self._bytes = memoryview(self._mapping)
        self.words = self._bytes.cast("Q")
        self.words[0] = FIRST_SECOND

    def close(self) -> None:
        self.words.release()
        self._bytes.release()
        self._mapping.close()

    def place(self, slot: int, peer: int) -> int:
        return 1 + (slot * PEERS + peer) * PLACE_WORDS

    def sum(self, peer: int, word: int) -> int:
        return sum(self.words[self.place(slot, peer) + word] for slot in range(SLOTS))

    def claims(self, peer: int) -> list[int]:
        """The seconds in which a worker was given the probe of that peer, as often as it was."""
        seconds = []
        for slot in range(SLOTS):
            start = self.place(slot, peer) + 2
            column = self.words[start : start + self.words[0] - FIRST_SECOND + 1].tolist()
            seconds += [second for second, count in enumerate(column, FIRST_SECOND) for _ in range(count)]
        return sorted(seconds)


class NotingLocks(RecordLocks):
    """Record locks that know whether the last try was granted."""

    __slots__ = ("granted",)

    def try_lock(self, word: int) -> bool:
        self.granted = super().try_lock(word)
        return self.granted


def hammer(memory: Memory, ledger: Ledger, slot: int, seed: int) -> None:
    """Be a worker that has nothing but failures, probes and successes, until killed."""
    chance = random.Random(seed)
    shared = memory.shared
    locks = NotingLocks(memory.fileno)
    healths = [
        Health(shared.words, shared.peer_offset(peer + 1), MAX_FAILS[peer], FAIL_TIMEOUT, slot, locks) for peer in range(PEERS)
    ]
    while True:
        peer = chance.randrange(PEERS)
        health = healths[peer]
        place = ledger.place(slot, peer)
        checked = shared.row_offset(slot, peer + 1) + ROW_CHECKED
        now = ledger.words[0]
        if not health.may_serve(now):
            continue
        before = shared.words[checked]
        locks.granted = False
        if not health.choose(now):
            continue
        if locks.granted and shared.words[checked] == now != before:
            ledger.words[place + 2 + now - FIRST_SECOND] += 1
        if chance.random() < 0.6:
            ledger.words[place] += 1
            health.count_failure(now)
            ledger.words[place + 1] += 1
        else:
            health.count_success()


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.0, pytest.param(30.0, marks=pytest.mark.soak)])
@in_a_small_process
def test_counts_and_availability_survive_workers_that_are_killed_at_any_instruction(seconds):
    with create_memory() as memory, closing(Ledger()) as ledger:
        for slot in range(SLOTS):
            memory.shared.worker(slot).clear()
        kill_and_count(memory, ledger, seconds)


def kill_and_count(memory: Memory, ledger: Ledger, seconds: float) -> None:
    """Kill workers for so many seconds, or a few times; look at what is left."""
    chance = random.Random()
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
    began = time.monotonic()

    def is_enough() -> bool:
        if ledger.words[0] >= FIRST_SECOND + SECONDS - FAIL_TIMEOUT - 11:
            return True
        if killed < KILLS or time.monotonic() - began < seconds:
            return False
        return all(ledger.sum(peer, 1) > 20 and len(ledger.claims(peer)) > 2 for peer in range(PEERS))

    try:
        for slot in range(SLOTS):
            start(slot)
        while not is_enough():
            assert time.monotonic() - began < seconds + 60, "nothing happens"
            time.sleep(chance.random() * 0.004)  # while the workers work
            ledger.words[0] += chance.choice((0, 1, 5, 11))
            if chance.random() < 0.5:
                slot = chance.randrange(SLOTS)
                os.kill(children[slot], signal.SIGKILL)
                assert os.waitpid(children.pop(slot), 0)[1] == signal.SIGKILL
                killed += 1
                start(slot)
    finally:
        for pid in children.values():
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    assert killed >= KILLS

    shared = memory.shared
    everybody = [
        [
            Health(shared.words, shared.peer_offset(peer + 1), MAX_FAILS[peer], FAIL_TIMEOUT, slot, RecordLocks(memory.fileno))
            for slot in range(SLOTS)
        ]
        for peer in range(PEERS)
    ]
    for peer, healths in enumerate(everybody):
        rows = [shared.row_offset(slot, peer + 1) for slot in range(SLOTS)]
        failures = sum(shared.words[row + ROW_FAILED] for row in rows)
        begun, counted = ledger.sum(peer, 0), ledger.sum(peer, 1)
        assert counted <= failures <= begun, "no failure is lost, none is counted twice"
        assert begun - counted <= killed + SLOTS
        assert failures > 20
        forgiven = max(shared.words[row + ROW_FORGIVEN] for row in rows)
        assert 0 < forgiven <= failures

        claims = ledger.claims(peer)
        assert len(claims) > 2
        assert all(later - earlier > FAIL_TIMEOUT for earlier, later in itertools.pairwise(claims)), "one probe each"

        assert shared.words[shared.peer_offset(peer + 1) + PEER_VERSION]
        now = ledger.words[0]
        assert {health.may_serve(now) for health in healths} in ({True}, {False}), "all see the same"
        assert {health.fails for health in healths} == {failures - forgiven}

        now += FAIL_TIMEOUT + 1
        assert all(health.may_serve(now) for health in healths)
        assert healths[0].choose(now), "nobody who was killed still holds the probe"
        healths[0].count_success()
        assert [health.fails for health in healths] == [0] * SLOTS
        assert all(health.choose(now) for health in healths)
