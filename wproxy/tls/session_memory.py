"""The memory of an `ssl_session_cache shared:`: sessions of clients without tickets, which all workers know.

    head      a page: the layout's number; then the locks, LOCK_BYTES each
    buckets   BUCKET bytes each: how many of them are used, then entries, the oldest first

A session's id is random, and chooses its bucket; the lock of a bucket is one of LOCKS. It outlives a reload and an upgrade
(`wproxy.lasting`). Nothing here locks or reads sessions; `worker/tls/shared_sessions.py` does.
"""

from __future__ import annotations

import mmap

from wproxy.lasting import LASTING
from wproxy.zone_memory import LOCK_BYTES, PAGE, Mutex, make_locks

BUCKET = 4096
LOCKS = 32
_FIRST_LOCK = 1024  # in bytes
_LAYOUT = b"sessions1"

_known: dict[tuple[str, int], SessionMemory] = {}


class SessionMemory:
    """One zone. memory: its bytes; locks: a bucket has the one at its own place among them, begun again after the last."""

    __slots__ = ("buckets", "locks", "memory")

    def __init__(self, memory: mmap.mmap) -> None:
        """memory: zero when it is new."""
        import ctypes  # 5 ms, needed only with zones

        self.memory = memory
        self.buckets = (len(memory) - PAGE) // BUCKET
        exported = ctypes.c_char.from_buffer(memory)
        self.locks: tuple[Mutex, ...] = tuple(
            ctypes.byref(exported, _FIRST_LOCK + number * LOCK_BYTES) for number in range(LOCKS)
        )
        if memory[: len(_LAYOUT)] != _LAYOUT:
            make_locks(self.locks)
            memory[: len(_LAYOUT)] = _LAYOUT

    def place(self, session_id: bytes) -> tuple[Mutex, int]:
        """Return the lock of a session's bucket, and where the bucket begins."""
        number = int.from_bytes(session_id[:8], "little") % self.buckets
        return self.locks[number % LOCKS], PAGE + number * BUCKET

    def __repr__(self) -> str:
        return f"<memory of sessions: {self.buckets} buckets>"


def session_memory(name: str, size: int) -> SessionMemory:
    """Return the memory of a zone: the same for the same name and size while the process lives."""
    if (name, size) not in _known:
        _known[name, size] = SessionMemory(LASTING.region("\0".join(("TLS sessions", name)), size))
    return _known[name, size]
