"""The memory of a `limit_req_zone`, a `limit_conn_zone` or an `ssl_ocsp_cache`: its locks, and where a key has its place.

It is a table of fixed size that all workers share, and outlives a reload and an upgrade (`wproxy.lasting`). Its bytes:

    head      a page: the layout's number, a secret, notes of what has happened in it; then the locks, LOCK_BYTES each
    stripes   as many as there are locks, each with buckets of its own
    bucket    WAYS entries, column by column: the first words of their keys, the second words, then their records

A key is hashed to 128 bits, with the secret in front: nobody who sends keys can choose which ones meet. The hash chooses a
stripe, and two buckets in it; an entry lives in either. With two to choose from, a table gives up nothing until two thirds of
its entries are taken, whereas with one it begins at a fifth; an entry is so small that this is still more keys than nginx has
room for in a zone of that size.

One lock guards a stripe, so workers that want different keys seldom meet. It is robust: if its holder is killed, the next one
gets it at once. A change is published by a single store of one word, so there is nothing to repair then.

Nothing here locks or counts; `worker/limits/` and `worker/tls/status_cache.py` do. What a word of a record means is said there.
"""

from __future__ import annotations

import mmap
import os
from hashlib import blake2b
from struct import Struct
from typing import Any, NamedTuple

from wproxy.lasting import LASTING
from wproxy.redis_url import RedisServer
from wproxy.template import Template

PAGE = 4096
LOCK_BYTES = 64  # a pthread_mutex_t takes 40 to 48; a cache line for each
MOST_STRIPES = 32
WAYS = 8
KEY_WORDS = 2

# Words of the head.
LAYOUT_WORD, SECRET_WORD, FULL_WORD, SPILLED_WORD = 0, 1, 5, 6
_SECRET_BYTES = 32
_LOCKS = 1024  # where the locks begin, in bytes
_LAYOUT = 0x7A6F6E65_00000001

_TWO_WORDS = Struct("QQ").unpack
_COLUMN = Struct(f"{WAYS}Q").unpack_from
_PROCESS_SHARED = _ROBUST = 1

# A lock in a memory, as ctypes refers to it: a call takes such a reference as it is, while an address is converted each time.
Mutex = Any


class ZoneMemory:
    """One table. record_words: the words of an entry beside its key. words: all of its memory; locks: one for each stripe."""

    __slots__ = (
        "_bytes",
        "_keyed",
        "_stripes",
        "bucket_words",
        "buckets",
        "locks",
        "record_words",
        "stripes",
        "words",
    )

    def __init__(self, memory: mmap.mmap, record_words: int, beside: int = 0) -> None:
        """memory: at least eight pages; zero when they are new. beside: bytes for each bucket that are kept free after all."""
        import ctypes  # 5 ms, needed only with zones

        self.record_words = record_words
        self.bucket_words = WAYS * (KEY_WORDS + record_words)
        self.words = memoryview(memory).cast("B")[: len(memory) // 8 * 8].cast("Q")
        self._bytes = memory
        total = (len(memory) - PAGE) // (self.bucket_words * 8 + beside)
        stripes = 1
        while stripes < MOST_STRIPES and total // (stripes * 2) >= 64:
            stripes *= 2
        self.stripes = stripes
        self.buckets = total // stripes
        exported = ctypes.c_char.from_buffer(memory)
        self.locks: tuple[Mutex, ...] = tuple(ctypes.byref(exported, _LOCKS + number * LOCK_BYTES) for number in range(stripes))
        if self.words[LAYOUT_WORD] != _LAYOUT:
            memory[SECRET_WORD * 8 : SECRET_WORD * 8 + _SECRET_BYTES] = os.urandom(_SECRET_BYTES)
            make_locks(self.locks)
            self.words[LAYOUT_WORD] = _LAYOUT
        secret = memory[SECRET_WORD * 8 : SECRET_WORD * 8 + _SECRET_BYTES]
        self._keyed = blake2b(secret, digest_size=16).copy
        begin = PAGE // 8
        self._stripes = [(mutex, begin + number * self.buckets * self.bucket_words) for number, mutex in enumerate(self.locks)]

    @property
    def entries(self) -> int:
        """The number of keys that it has room for."""
        return self.stripes * self.buckets * WAYS

    def place(self, key: bytes) -> tuple[Mutex, int, int, int, int]:
        """Return the place of a key: its lock, the two words of its hash, and the offsets of its buckets, in words."""
        digest = self._keyed()
        digest.update(key)
        first, second = _TWO_WORDS(digest.digest())
        mutex, begin = self._stripes[first % self.stripes]
        size, buckets = self.bucket_words, self.buckets
        one, other = (first >> 5) % buckets, (second >> 5) % buckets
        if one == other:
            other = (one + 1) % buckets
        return mutex, first, second, begin + one * size, begin + other * size

    def column(self, bucket: int) -> tuple[int, ...]:
        """Return the first words of a bucket's keys."""
        return _COLUMN(self._bytes, bucket * 8)

    def find(self, first: int, second: int, bucket: int) -> int:
        """Return where the entry with this hash begins in a bucket; -1 without one. To be called with the lock."""
        column = _COLUMN(self._bytes, bucket * 8)
        if first not in column:
            return -1
        at = bucket + column.index(first)
        return at if self.words[at + WAYS] == second else -1

    def find_in_either(self, first: int, second: int, one: int, other: int) -> int:
        """Return where the entry with this hash begins, in the first of its buckets or the second; -1 without one.

        To be called with the lock.
        """
        at = self.find(first, second, one)
        return at if at >= 0 else self.find(first, second, other)

    def enter(self, first: int, second: int, at: int) -> None:
        """Give the entry there to the key with this hash. It must be free, and is so at any moment that we may be killed at."""
        words = self.words
        words[at] = 0  # half of a key must not look like a whole one
        words[at + WAYS] = second
        words[at] = first

    def __repr__(self) -> str:
        return f"<memory of a zone: {self.entries} entries, {self.stripes} stripes>"


def make_locks(locks: tuple[Mutex, ...]) -> None:
    """Make these mutexes: shared between processes, and robust."""
    import ctypes

    library = ctypes.CDLL(None)
    attributes = ctypes.create_string_buffer(64)
    library.pthread_mutexattr_init(attributes)
    library.pthread_mutexattr_setpshared(attributes, _PROCESS_SHARED)
    library.pthread_mutexattr_setrobust(attributes, _ROBUST)
    for mutex in locks:
        library.pthread_mutex_init(mutex, attributes)


class LimitZone(NamedTuple):
    """A zone of a configuration.

    size: bytes, as written. rate: thousandths of a request per second; 0: it counts requests under way. sync: the server at which
    machines count together.
    """

    name: str
    key: Template
    size: int
    rate: int
    memory: ZoneMemory
    sync: RedisServer | None = None


# The words of a record: a state, or cells of workers (`worker/limits/request_zone.py`, `connection_zone.py`).
REQUEST_WORDS, CONNECTION_WORDS = 1, 3
# A record of the status of a client's certificate (`worker/tls/status_cache.py`).
_STATUS_WORDS = 1

_memory: dict[tuple[str, str, str, int], ZoneMemory] = {}


def limit_zone(kind: str, name: str, size: int, key: Template, rate: int, sync: RedisServer | None = None) -> LimitZone:
    """Return a zone with its memory: the same for the same definition while the process lives.

    It is made where the configuration is read, so that all workers have it. A zone with another key or size is another zone: the
    old states would mean something else.
    """
    definition = (kind, name, key.text, size)
    if definition not in _memory:
        region = LASTING.region("\0".join((kind, name, key.text)), size)
        _memory[definition] = ZoneMemory(region, REQUEST_WORDS if rate else CONNECTION_WORDS)
    return LimitZone(name, key, size, rate, _memory[definition], sync)


def status_memory(name: str, size: int) -> ZoneMemory:
    """Return the memory of an `ssl_ocsp_cache`: the same for the same name and size while the process lives."""
    definition = ("ssl_ocsp_cache", name, "", size)
    if definition not in _memory:
        _memory[definition] = ZoneMemory(LASTING.region("\0".join(("OCSP cache", name)), size), _STATUS_WORDS)
    return _memory[definition]
