"""A worker that is killed at any instruction leaves a cache that serves nothing wrong, locks nobody out and mends itself."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from stores import Place, body_of, got, key_of, store, values

from tests.small_process import in_a_small_process
from worker.cache.use import ABSENT, EXPIRED, VALID, Use
from wproxy.cache.header import Header
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
    os.nice(10)  # who kills and starts them has to get its turns
    try:
        live(place, slot, seed)
    except BaseException as error:
        os.write(2, f"{error!r}\n".encode())
    finally:
        os._exit(code)


@in_a_small_process
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
        patience = time.monotonic() + 20
        while not any(values(place.zone.memory, SIZE)) and time.monotonic() < patience:
            time.sleep(0.01)  # on a busy machine none of them may have come to store anything
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


# Killed at an instruction of the interpreter: a few of them here, one in five by `make soak`.


def end_at(instruction: int) -> None:
    """Kill this process before the instruction of that number in code of the worker."""
    left = [instruction]

    def look(frame: Any, event: str, _: object) -> Any:
        if "/tests/" in frame.f_code.co_filename or "/worker/" not in frame.f_code.co_filename:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
        return look

    sys.settrace(look)


def store_anew(use: Use, key: int) -> None:
    store(use, body_for(key, random.Random(3)))


def revalidate(use: Use, key: int) -> None:
    use.update_header(Header(valid_sec=1 << 33))


def fail(use: Use, key: int) -> None:
    use.remember_failure(502, 1 << 33)


def delete(use: Use, key: int) -> None:
    use.delete()


def dies_at(directory: Path, instruction: int, deed: Callable[[Use, int], None]) -> bool:
    """Whether a worker that does this had that many instructions to do; what it has left is looked at."""
    place = Place(directory, 64 << 10)
    use = place.worker(1).look_up(key_of("/1"))
    store(use, body_for(1, random.Random(1)), -5 if deed is revalidate else 1000)
    use.end()
    pid = os.fork()
    if not pid:
        end_at(instruction)
        try:
            cache = place.worker(2, os.getpid())
            for key in (2, 1):
                use = cache.look_up(key_of(f"/{key}"))
                use.lock(5)
                deed(use, key)
                use.end()
        finally:
            os._exit(0)
    place.live(2, pid)
    _, status = os.waitpid(pid, 0)
    place.live(2, 0)
    if deed in (fail, delete):
        cache = place.worker(3)
        for key in (1, 2, 1, 2):
            use = cache.look_up(key_of(f"/{key}"))
            body = body_of(use)
            assert body is None or is_right(key, body), instruction
            use.end()
    else:
        check(place)
    place.close()
    return os.WIFSIGNALED(status)


@pytest.mark.parametrize("deed", [store_anew, revalidate, fail, delete])
def test_a_worker_that_is_killed_at_some_instructions(tmp_path: Path, deed: Callable[[Use, int], None]):
    for number, instruction in enumerate(range(300, 1600, 150)):  # newer Pythons need fewer
        assert dies_at(tmp_path / str(number), instruction, deed)


@pytest.mark.soak
@pytest.mark.parametrize("deed", [store_anew, revalidate, fail, delete])
def test_a_worker_that_is_killed_at_any_instruction(tmp_path: Path, deed: Callable[[Use, int], None]):
    instruction = 1
    while dies_at(tmp_path / str(instruction), instruction, deed):
        instruction += 5
    assert instruction > 1500
