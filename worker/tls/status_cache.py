"""`ssl_ocsp_cache`: the status of clients' certificates, in the memory of all workers (`wproxy.zone_memory`).

A record is one word, so that a worker that is killed leaves either the old state or the new one:

    bits 2-63     until when the status is valid, in unix seconds
    bits 0-1      the status; a word of 0 is a free entry

Where there is no room, the status gives way that ends first: free entries, and those whose time is over, are before all others.
"""

from __future__ import annotations

from worker.locks import lock, try_lock, unlock
from wproxy.http import Clock
from wproxy.tls.ocsp import Verdict
from wproxy.zone_memory import WAYS, ZoneMemory

_RECORD = 2 * WAYS  # from a key's first word to its record
# How long a status without an end is kept, in seconds, as in nginx.
_LIFE = 3600


class StatusCache:
    """One zone, as one worker uses it."""

    __slots__ = ("_clock", "_memory")

    def __init__(self, memory: ZoneMemory, clock: Clock) -> None:
        self._memory = memory
        self._clock = clock

    def find(self, key: bytes) -> int | None:
        """Return the status of a certificate; None where it is not known any more."""
        memory = self._memory
        mutex, first, second, one, other = memory.place(key)
        if (result := try_lock(mutex)) and not lock(mutex, result):
            return None
        try:
            at = memory.find_in_either(first, second, one, other)
            record = memory.words[at + _RECORD] if at >= 0 else 0
        finally:
            unlock(mutex)
        return record & 3 if record >> 2 > self._clock.wall else None

    def keep(self, key: bytes, verdict: Verdict) -> None:
        """Keep the status of a certificate, as long as it is valid."""
        now = self._clock.wall
        until = int(min(verdict.valid_until, 1 << 61)) if verdict.valid_until != float("inf") else int(now) + _LIFE
        if until <= now:
            return
        memory, words = self._memory, self._memory.words
        mutex, first, second, one, other = memory.place(key)
        if (result := try_lock(mutex)) and not lock(mutex, result):
            return
        try:
            at = memory.find_in_either(first, second, one, other)
            if at < 0:
                at = min(
                    (bucket + way for bucket in (one, other) for way in range(WAYS)), key=lambda place: words[place + _RECORD]
                )
                # A worker that is killed between these leaves a free entry.
                words[at + _RECORD] = 0
                memory.enter(first, second, at)
            words[at + _RECORD] = until << 2 | verdict.status
        finally:
            unlock(mutex)

    def __repr__(self) -> str:
        return f"<statuses of certificates: {self._memory!r}>"
