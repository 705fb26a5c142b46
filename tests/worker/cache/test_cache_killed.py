"""A worker that is killed at any instruction leaves a cache that serves nothing wrong, locks nobody out and mends itself."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest
from stores import Place, body_of, got, key_of, store

from worker.cache.use import ABSENT, EXPIRED, VALID
from wproxy.cache.memory import EXISTS, PENDING, SIZE, STATE

KEYS = 60
ROUNDS = 40


def body_for(key: int, chance: random.Random) -> bytes:
    """A body that says whose it is, and how long it should be."""
    size = chance.choice((20, 5000, 100_000))
    return (b"%d:%d:" % (key, size)).ljust(size, b"%d" % (key % 10))


def is_right(key: int, body: bytes) -> bool:
    whose, size, rest = body.split(b":", 2)
    return int(whose) == key and int(size) == len(body) and not rest.strip(b"%d" % (key % 10))


def live(place: Place, slot: int, seed: int) -> None:
    """The life of a worker: it stores, reads, purges and updates at random."""
    chance = random.Random(seed)
    cache = place.worker(slot, os.getpid())
    while True:
        key = chance.randrange(KEYS)
        use = cache.look_up(key_of(f"/{key}"))
        if use.state in (VALID, EXPIRED):
            body = body_of(use)
            assert body is not None and is_right(key, body), key
        if use.state != VALID or chance.random() < 0.3:
            if use.state != ABSENT or use.lock(5):
                store(use, body_for(key, chance), chance.choice((-5, 1000)))
        elif chance.random() < 0.2:
            use.delete()
        use.end()


def fork(place: Place, slot: int, seed: int) -> int:
    pid = os.fork()
    if pid:
        place.live(slot, pid)
        return pid
    code = 1
    try:
        live(place, slot, seed)
    except BaseException as error:
        os.write(2, f"{error!r}\n".encode())
    finally:
        os._exit(code)


def test_workers_that_are_killed_at_random(tmp_path: Path):
    """Two at once; each time one of them is killed, or both."""
    place = Place(tmp_path / "cache", 64 << 10)
    chance = random.Random(5)
    pids = {slot: fork(place, slot, slot) for slot in (1, 2)}
    try:
        for turn in range(ROUNDS):
            time.sleep(chance.uniform(0.002, 0.03))
            for slot in (1, 2) if turn % 5 == 4 else (chance.choice((1, 2)),):
                os.kill(pids[slot], signal.SIGKILL)
                _, status = os.waitpid(pids[slot], 0)
                assert os.WIFSIGNALED(status), "it found something wrong"
                place.live(slot, 0)
                pids[slot] = fork(place, slot, turn * 10 + slot)
    finally:
        for pid in pids.values():
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    for slot in (1, 2):
        place.live(slot, 0)
    check(place)
    place.close()


def check(place: Place) -> None:
    """Look at everything that is left, as the workers that come after would."""
    cache = place.worker(3)
    found = 0
    for key in range(KEYS):
        use = cache.look_up(key_of(f"/{key}"))
        assert use.state in (ABSENT, VALID, EXPIRED), "the dead hold no marks"
        if use.state == ABSENT:
            assert use.lock(5)
        else:
            found += 1
            body = body_of(use)
            assert body is not None and is_right(key, body)
        use.end()
    assert found
    names = {str(file) for file in place.files()}
    memory = place.zone.memory
    entered = {}
    for at, record in memory.records():
        assert not record[STATE] & PENDING, "it was looked up"
        if record[STATE] & EXISTS:
            entered[place.zone.file(memory.digest_at(at))] = record[SIZE]
    assert set(entered) == {name for name in names if len(os.path.basename(name)) == 32}
    for name, size in entered.items():
        assert size == -(-os.stat(name).st_size // 4096) * 4096
    for key in range(KEYS):
        use = cache.look_up(key_of(f"/{key}"))
        assert store(use, body_for(key, random.Random(1)))
        use.end()
        body = got(cache, f"/{key}")
        assert body is not None and is_right(key, body)


@pytest.mark.parametrize("after", range(1, 26))
def test_a_worker_that_is_killed_between_two_stores(tmp_path: Path, after: int):
    """The memory and the calls of the system are watched: it dies before the store or the call of that number."""
    place = Place(tmp_path / "cache", 64 << 10)
    before = place.worker(1)
    use = before.look_up(key_of("/1"))
    store(use, body_for(1, random.Random(1)))
    use.end()
    pid = os.fork()
    if not pid:
        try:
            cache = place.worker(2, os.getpid())
            words = Mortal(cache.store.index.words, after)
            cache.store.index.words = words  # type: ignore[assignment]
            for key in (2, 1):
                use = cache.look_up(key_of(f"/{key}"))
                use.lock(5)
                store(use, body_for(key, random.Random(3)))
                use.end()
        finally:
            os._exit(0)
    place.live(2, pid)
    os.waitpid(pid, 0)
    place.live(2, 0)
    check(place)
    place.close()


class Mortal:
    """Words of the memory; the process dies before it stores one for the n-th time."""

    def __init__(self, words: memoryview, after: int) -> None:
        self.words = words
        self.left = after

    def __getitem__(self, at: int) -> int:
        return int(self.words[at])

    def __setitem__(self, at: int, value: int) -> None:
        self.left -= 1
        if not self.left:
            os.kill(os.getpid(), signal.SIGKILL)
        self.words[at] = value
