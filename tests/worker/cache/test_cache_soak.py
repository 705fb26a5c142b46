"""Ten thousand keys and a gigabyte through a zone: its limit holds, and no process grows."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import psutil
import pytest
from stores import Place, key_of, put, store, values

from worker.cache.manager import Manager
from worker.loop import Loop
from wproxy.cache.memory import SIZE

pytestmark = pytest.mark.soak

KEYS = 10_000
MEAN = 100_000
LIMIT = 200 << 20
WORKERS = 2


def body(chance: random.Random) -> bytes:
    return bytes(chance.randrange(1000, 2 * MEAN))


def fill(place: Place, slot: int, total: int) -> None:
    """Store so many bytes under random keys."""
    chance = random.Random(slot)
    cache = place.worker(slot, os.getpid())
    stored = 0
    while stored < total:
        use = cache.look_up(key_of(f"/{chance.randrange(KEYS)}"))
        data = body(chance)
        if use.stored is None or chance.random() < 0.2:
            store(use, data)
            stored += len(data)
        use.end()


def manage(place: Place) -> None:
    place.loop = Loop()
    place.live(7, os.getpid())
    cache = place.worker(7)
    place.loop.spawn(Manager(cache.store).run(), "manager")
    while True:
        place.loop.turn(1.0)


def fork(live, *arguments) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        live(*arguments)
        code = 0
    finally:
        os._exit(code)


def on_disk(place: Place) -> int:
    """The bytes of the files, as the disk counts them."""
    total = 0
    for directory, _, names in os.walk(place.zone.path):
        for name in names:
            try:
                total += os.stat(os.path.join(directory, name)).st_blocks * 512
            except FileNotFoundError:
                pass
    return total


def tell(pids: set[int], number: int) -> None:
    for pid in pids:
        os.kill(pid, number)


@pytest.mark.parametrize("has_manager", [True, False])
def test_the_limit_of_a_zone_holds_within_two_percent(tmp_path: Path, has_manager: bool):
    """Without a manager, as when it hangs, the workers alone keep it."""
    place = Place(tmp_path / "cache", 2 << 20, max_size=LIMIT)
    put(place.worker(5), "/first", b"x")
    manager = fork(manage, place) if has_manager else 0
    workers = [fork(fill, place, slot, (1 << 30) // WORKERS) for slot in range(1, WORKERS + 1)]
    for slot, pid in enumerate(workers, 1):
        place.live(slot, pid)
    most, sizes, residents = 0, [], []
    try:
        living = set(workers)
        while living:
            for pid in list(living):
                done, status = os.waitpid(pid, os.WNOHANG)
                if done:
                    assert status == 0
                    living.discard(pid)
            tell(living, signal.SIGSTOP)  # a count takes a while
            entered = sum(values(place.zone.memory, SIZE))
            sizes.append(entered)
            most = max(most, entered, on_disk(place))
            tell(living, signal.SIGCONT)
            residents.append(sum(psutil.Process(pid).memory_info().rss for pid in living if psutil.pid_exists(pid)))
            time.sleep(0.1)
        assert most <= LIMIT * 1.02, most / LIMIT
        assert max(sizes) > LIMIT * 0.97, "it is made use of"
        settled = residents[len(residents) // 3 : -2] or residents
        assert max(settled) < settled[0] * 1.2 + (8 << 20)
        assert abs(sum(values(place.zone.memory, SIZE)) - on_disk(place)) < LIMIT // 50
    finally:
        for pid in (*workers, manager) if manager else workers:
            try:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            except (ProcessLookupError, ChildProcessError):
                pass
        place.close()
