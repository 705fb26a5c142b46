"""`python -m bench.zones`: what a check of limit_req and of limit_conn costs, with few keys and with a million of them.

It takes the least of many short turns, in processor time, so that a busy machine matters little.
"""

from __future__ import annotations

import mmap
import os
import random
import sys
from collections.abc import Callable
from time import process_time

from worker.limits.connection_zone import SharedConnectionZone
from worker.limits.request_zone import SharedRequestZone
from wproxy.shared import MAX_WORKERS, WORKER_WORDS, WORKERS_OFFSET
from wproxy.zone_memory import CONNECTION_WORDS, REQUEST_WORDS, ZoneMemory

MILLION = 1_000_000
TURNS, CALLS = 300, 300
ZONE_BYTES = 64 << 20


def least(turn: Callable[[int], None]) -> float:
    """Return the microseconds of one call, in the fastest turn. turn: makes CALLS calls."""
    best = float("inf")
    for number in range(TURNS):
        began = process_time()
        turn(number)
        best = min(best, (process_time() - began) / CALLS)
    return best * 1e6


def requests() -> tuple[float, float]:
    """Return the costs of counting a request, with ten keys in use and with a million."""
    zone = SharedRequestZone("bench", MILLION * 1000, ZoneMemory(mmap.mmap(-1, ZONE_BYTES), REQUEST_WORDS), lambda: None)
    chance = random.Random(1)
    keys = [number.to_bytes(4, "big") for number in range(MILLION)]
    for now, key in enumerate(keys):
        zone.count(key, now >> 10)
    few = keys[:10] * (CALLS // 10)
    many = [chance.sample(keys, CALLS) for _ in range(TURNS)]

    def count_few(number: int) -> None:
        for key in few:
            zone.count(key, 2000)

    def count_many(number: int) -> None:
        for key in many[number]:
            zone.count(key, 3000)

    return least(count_few), least(count_many)


def connections() -> tuple[float, float]:
    """Return the costs of counting a request under way and of giving it back: with others of its key under way, and alone."""
    shared = memoryview(bytearray((WORKERS_OFFSET + MAX_WORKERS * WORKER_WORDS) * 8)).cast("Q")
    memory = ZoneMemory(mmap.mmap(-1, ZONE_BYTES), CONNECTION_WORDS)
    zone = SharedConnectionZone("bench", memory, shared, (1, 0, os.getpid()), 4, lambda: None)

    def take(number: int) -> None:
        for _ in range(CALLS):
            give_back = zone.take(b"1234", 1000)
            assert not isinstance(give_back, bool)
            give_back()

    alone = least(take)
    held = zone.take(b"1234", 1000)
    assert not isinstance(held, bool)
    return least(take), alone


def main() -> int:
    """Measure and print."""
    few, many = requests()
    busy, alone = connections()
    print(f"limit_req:  {few:.2f} us with 10 keys, {many:.2f} us with a million, {many - few:.2f} us more")
    print(f"limit_conn: {busy:.2f} us with other requests of the key under way, {alone:.2f} us without")
    return 0


if __name__ == "__main__":
    sys.exit(main())
