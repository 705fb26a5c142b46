"""`sticky learn`: which peer a session belongs to, in memory that all workers share.

A table of fixed size, cut into buckets of WAYS entries; a session has its place in one of them. An entry is four words:

    key     of the session, 64 bits of its MD5; 0: free
    value   a number for the peer
    used    when it was last used, in whole seconds of a clock that all processes share
    check   made of the three, so that an entry of which a worker wrote only half, or two wrote at once, is seen to be none

So no lock is needed and none can outlive a worker that was killed: what is lost in the worst case is one session, which is
learnt again. A bucket that is full gives up what has not been used for longest.
"""

from __future__ import annotations

import hashlib
import mmap

ENTRY_WORDS = 4
WAYS = 8
_BUCKET_BYTES = ENTRY_WORDS * WAYS * 8
_MASK = (1 << 64) - 1

_memory: dict[tuple[str, str, int], memoryview] = {}


def session_memory(upstream: str, zone: str, size: int) -> memoryview:
    """The memory of a zone in bytes, as 8-byte words; the same for the same zone as long as the process lives.

    It is shared with every process that is forked later: made where the configuration is read, it is there for all workers and
    outlives a reload. Memory that is not written costs nothing.
    """
    key = (upstream, zone, size)
    if key not in _memory:
        _memory[key] = memoryview(mmap.mmap(-1, size)).cast("B")[: size // _BUCKET_BYTES * _BUCKET_BYTES].cast("Q")
    return _memory[key]


class SessionTable:
    """Sessions and their peers. timeout: seconds without use after which a session is forgotten."""

    __slots__ = ("_buckets", "_words", "timeout")

    def __init__(self, words: memoryview, timeout: int) -> None:
        """words: a multiple of ENTRY_WORDS * WAYS 8-byte words, all zero when they are new."""
        self._words = words
        self._buckets = len(words) // (ENTRY_WORDS * WAYS)
        self.timeout = timeout

    def find(self, session: bytes, now: int) -> int:
        """The number of its peer; 0 when it is not known."""
        key, places = self._places(session)
        for place in places:
            entry = self._entry(place, now)
            if entry is not None and entry[0] == key:
                return entry[1]
        return 0

    def store(self, session: bytes, value: int, now: int, creates: bool) -> None:
        """The session is used with this peer. creates: also when it was not known before."""
        key, places = self._places(session)
        oldest, oldest_use = places[0], now + 1
        for place in places:
            entry = self._entry(place, now)
            if entry is None:
                oldest, oldest_use = place, -1
            elif entry[0] == key:
                if entry[1] != value or entry[2] != now:
                    self._write(place, key, value, now)
                return
            elif entry[2] < oldest_use:
                oldest, oldest_use = place, entry[2]
        if creates:
            self._write(oldest, key, value, now)

    def _places(self, session: bytes) -> tuple[int, range]:
        digest = hashlib.md5(session, usedforsecurity=False).digest()
        key = int.from_bytes(digest[:8], "little") or 1
        first = int.from_bytes(digest[8:], "little") % self._buckets * ENTRY_WORDS * WAYS
        return key, range(first, first + ENTRY_WORDS * WAYS, ENTRY_WORDS)

    def _entry(self, place: int, now: int) -> tuple[int, int, int] | None:
        """Key, value and last use of what is there; None when it is nothing, or too old."""
        key, value, used, check = self._words[place : place + ENTRY_WORDS].tolist()
        if not key or check != check_of(key, value, used) or now - used >= self.timeout:
            return None
        return key, value, used

    def _write(self, place: int, key: int, value: int, now: int) -> None:
        words = self._words
        words[place + 3] = 0
        words[place] = key
        words[place + 1] = value
        words[place + 2] = now
        words[place + 3] = check_of(key, value, now)

    def __repr__(self) -> str:
        return f"<sessions: {self._buckets * WAYS} places>"


def check_of(key: int, value: int, used: int) -> int:
    """A number that three words belong together by; never 0."""
    return (key ^ value * 0x9E3779B97F4A7C15 ^ (used + 1) * 0xC2B2AE3D27D4EB4F) & _MASK | 1
