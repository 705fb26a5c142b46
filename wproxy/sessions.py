"""`sticky learn`: the peers of sessions, in memory that all workers share.

It is a table of fixed size, cut into buckets of WAYS entries; a session has its place in one of them. An entry is two words:

    key     of the session, 64 bits of its MD5
    state   a number for the peer, 32 bits, and when it was last used, 32 bits: whole seconds of a clock that all processes share;
            0: the entry is empty

Readers take no lock: a use of a session, or its move to another peer, is one store, so a reader sees either the old state or the
new one. Writers lock the bucket (`wproxy.record_locks`; the kernel releases the locks of a killed worker), because two writers
that take the same place for two sessions could leave the key of one with the peer of the other. A new entry has no state until
its key is there. No worker waits for a lock: after some tries a use is not noted (the next request will note it), and a new
session is not learnt.

A bucket that is full gives up the session that has been unused for longest.
"""

from __future__ import annotations

import hashlib
from zlib import crc32

from wproxy.lasting import LASTING
from wproxy.record_locks import RecordLocks
from wproxy.shared import TOTAL_WORDS

ENTRY_WORDS = 2
WAYS = 8
_BUCKET_WORDS = ENTRY_WORDS * WAYS
_BUCKET_BYTES = _BUCKET_WORDS * 8
_HALF = 32
_LOW = (1 << _HALF) - 1
_TRIES = 200
# Locks need no memory: those of sessions are on words beyond its end, in a range for each zone.
_LOCKS_OF_A_ZONE = 1 << 24

_memory: dict[tuple[str, str, int], memoryview] = {}


def session_memory(upstream: str, zone: str, size: int) -> memoryview:
    """Return the memory of a zone in bytes, as 8-byte words; the same for the same zone while the process lives.

    It is made where the configuration is read, so that all workers have it, and it outlives a reload and an upgrade
    (`wproxy.lasting`).
    """
    key = (upstream, zone, size)
    if key not in _memory:
        region = memoryview(LASTING.region(f"sessions\0{upstream}\0{zone}", size))
        _memory[key] = region.cast("B")[: size // _BUCKET_BYTES * _BUCKET_BYTES].cast("Q")
    return _memory[key]


class SessionTable:
    """Sessions and their peers. timeout: seconds without use after which a session is forgotten."""

    __slots__ = ("_buckets", "_first_lock", "_locks", "_words", "timeout")

    def __init__(self, words: memoryview, timeout: int, locks: RecordLocks | None = None, name: str = "") -> None:
        """words: a multiple of ENTRY_WORDS * WAYS 8-byte words, all zero when they are new.

        locks: None where no other process writes. name: the same for the same table in all processes.
        """
        self._words = words
        self._buckets = len(words) // _BUCKET_WORDS
        self._locks = locks
        self._first_lock = TOTAL_WORDS + crc32(name.encode("utf-8", "surrogateescape")) % _LOCKS_OF_A_ZONE * _LOCKS_OF_A_ZONE
        self.timeout = timeout

    def find(self, session: bytes, now: int) -> int:
        """Return the number of a session's peer; 0 when the session is not known."""
        key, bucket = self._place(session)
        words = self._words
        first = bucket * _BUCKET_WORDS
        entries = words[first : first + _BUCKET_WORDS].tolist()
        for way in range(0, _BUCKET_WORDS, ENTRY_WORDS):
            # The place may have been given to another session between the two loads: then the other key is there by now.
            if entries[way] == key and self._is_alive(entries[way + 1], now) and words[first + way] == key:
                value: int = entries[way + 1] >> _HALF
                return value
        return 0

    def store(self, session: bytes, value: int, now: int, creates: bool) -> None:
        """Note that the session is used with this peer, a number from 1 to 2**32 - 1. creates: whether to add a new one."""
        key, bucket = self._place(session)
        state = value << _HALF | now
        entries = self._words[bucket * _BUCKET_WORDS : (bucket + 1) * _BUCKET_WORDS].tolist()
        known = any(entries[way] == key and entries[way + 1] for way in range(0, _BUCKET_WORDS, ENTRY_WORDS))
        if (known and state in entries) or not (known or creates):
            return
        if self._locks is None:
            self._write(key, bucket, state, now, creates)
            return
        lock = self._first_lock + bucket
        if any(self._locks.try_lock(lock) for _ in range(_TRIES)):
            try:
                self._write(key, bucket, state, now, creates)
            finally:
                self._locks.unlock(lock)

    def _place(self, session: bytes) -> tuple[int, int]:
        """Return the key of a session, and the number of its bucket."""
        digest = hashlib.md5(session, usedforsecurity=False).digest()
        return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little") % self._buckets

    def _is_alive(self, state: int, now: int) -> bool:
        return bool(state) and now - (state & _LOW) < self.timeout

    def _write(self, key: int, bucket: int, state: int, now: int, creates: bool) -> None:
        """Note the use of a session; no other process writes into this bucket now."""
        words = self._words
        oldest, oldest_use = -1, _LOW + 1  # another worker's clock may be a second ahead of ours
        for place in range(bucket * _BUCKET_WORDS, (bucket + 1) * _BUCKET_WORDS, ENTRY_WORDS):
            before = words[place + 1]
            is_alive = self._is_alive(before, now)
            if is_alive and words[place] == key:
                words[place + 1] = state
                return
            use = before & _LOW if is_alive else -1
            if use < oldest_use:
                oldest, oldest_use = place, use
        if creates:
            words[oldest + 1] = 0
            words[oldest] = key
            words[oldest + 1] = state

    def __repr__(self) -> str:
        return f"<sessions: {self._buckets * WAYS} places>"
