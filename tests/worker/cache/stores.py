"""Caches for tests: several workers in one process, or in forked ones, on the memory and the directory of one zone."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from worker.bell import Bell
from worker.cache.cache import Cache
from worker.cache.index import CacheIndex
from worker.cache.use import Use
from worker.loop import Loop
from wproxy.cache.header import Header
from wproxy.cache.key import CacheKey, cache_key
from wproxy.cache.memory import COUNTERS_SIZE, CacheCounters, CacheMemory
from wproxy.cache.zone import CacheZone
from wproxy.shared import HEAD_SLOTS, WORKER_PID, WORKER_WORDS, WORKERS_OFFSET

SLOTS_SIZE = (WORKERS_OFFSET + 512 * WORKER_WORDS) * 8


class Time:
    """Two clocks that tests move: the monotonic one, and unix time."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now + 5_000_000


TIME = Time()


class Place:
    """A zone, and its workers. said: what they have logged."""

    def __init__(self, directory: Path, size: int = 1 << 20, **parameters: Any) -> None:
        self.time = TIME
        self.loop = Loop(read_clock=TIME)
        self.bell = os.eventfd(0, os.EFD_NONBLOCK)
        self.said: list[str] = []
        self.slots = memoryview(mmap.mmap(-1, SLOTS_SIZE)).cast("B").cast("Q")
        self.slots[HEAD_SLOTS] = 8
        directory.mkdir(exist_ok=True)
        self.zone = CacheZone(
            "proxy_cache_path", "zone", str(directory), (1, 2), size,
            CacheMemory(mmap.mmap(-1, size)), CacheCounters(mmap.mmap(-1, COUNTERS_SIZE)),
        )._replace(**parameters)  # fmt: skip
        self.zone.memory.words[7] = 1  # the loader has nothing to do

    def live(self, slot: int, pid: int) -> None:
        """pid 0: nobody."""
        self.slots[WORKERS_OFFSET + slot * WORKER_WORDS + WORKER_PID] = pid

    def worker(self, slot: int = 0, pid: int = 0) -> Cache:
        """The cache as the worker of that slot uses it, which lives from now on. pid: that of a forked one, which hears no bell."""
        bell = Bell(self.loop, None if pid else self.bell)
        pid = pid or 1000 + slot
        self.live(slot, pid)
        bell.start()
        index = CacheIndex(self.zone, self.slots, (1, slot, pid), lambda: self.said.append("full"))
        return Cache(self.zone, index, self.loop, lambda level, text: self.said.append(f"{level}: {text}"), bell)

    def pass_time(self, seconds: float) -> None:
        """Let so many seconds pass, and what is due happen."""
        self.time.now += seconds
        for _ in range(3):
            self.loop.turn(0.0)

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """The result of a coroutine that has nothing to wait for but its turn."""
        found: list[Any] = []

        async def call() -> None:
            found.append(await coroutine)

        self.loop.spawn(call(), "test")
        for _ in range(1000):
            self.pass_time(0.03)
            if found:
                return found[0]
        raise AssertionError("it does not end")

    def files(self) -> list[Path]:
        """All files in the directory."""
        return sorted(file for file in Path(self.zone.path).rglob("*") if file.is_file())

    def close(self) -> None:
        for stream in list(self.loop._streams.values()):
            stream.close()  # type: ignore[attr-defined]
        os.close(self.bell)


def head_of(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)


def store(use: Use, body: bytes, valid: float = 1000.0, vary: bytes = b"", variant: bytes = bytes(16)) -> bool:
    """Store a response that is valid for so many seconds."""
    until = int(use._store.loop.clock.wall + valid)
    writing = use.begin(Header(valid_sec=until, date=until, vary=vary, variant=variant), head_of(body))
    writing.write(body)
    return writing.finish()


def put(cache: Cache, key: str | bytes | CacheKey, body: bytes, valid: float = 1000.0) -> None:
    """Look a key up and store a response."""
    use = cache.look_up(key_of(key))
    assert store(use, body, valid)
    use.end()


def key_of(key: str | bytes | CacheKey) -> CacheKey:
    if isinstance(key, CacheKey):
        return key
    return cache_key(key.encode() if isinstance(key, str) else key)


def body_of(use: Use) -> bytes | None:
    """The body that would be sent; None without one."""
    stored = use.stored
    if stored is None:
        return None
    assert stored.head.startswith(b"HTTP/1.1 200 OK\r\n")
    whole = os.pread(stored.fileno, stored.body_length + 1, stored.body_start) if stored.fileno >= 0 else stored.body
    assert stored.body is None or whole == stored.body
    assert whole is not None and len(whole) == stored.body_length
    return whole


def values(memory: CacheMemory, word: int) -> list[int]:
    """One word of all records."""
    return [record[word] for _, record in memory.records()]


def got(cache: Cache, key: str | bytes) -> bytes | None:
    """The body of the stored response of a key."""
    use = cache.look_up(key_of(key))
    try:
        return body_of(use)
    finally:
        use.end()


Variant = Callable[[bytes], bytes]
