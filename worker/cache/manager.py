"""The work of the cache manager: it deletes what has not been used for long, and what is too much (nginx:
ngx_http_file_cache_manager).

In each pass it looks at the whole index: it corrects entries that a killed worker has left between two states, counts the bytes
of all files anew, a region at a time with its lock, and sorts the entries by last use if something has to go. Then it deletes, so
many files or for so long at a time, with pauses. An entry that is used meanwhile is left alone.

The next pass is when the next entry becomes inactive, after LONGEST seconds at the latest, or when a worker says that there is
too much.
"""

from __future__ import annotations

import os
from time import monotonic
from typing import NamedTuple

from worker.cache.index import Locked, Stuck
from worker.cache.store import CacheStore
from worker.loop import Event, sleep
from wproxy.cache.memory import (
    PENDING,
    SIZE,
    SIZES_WORD,
    STATE,
    USED,
    VERSION,
    WANTED_WORD,
    Row,
    records_of,
    size_of,
)

LONGEST = 10.0
# A table that is fuller than this has buckets without room, where the choice of what has to go is small.
FULLEST = 7 / 8


class Known(NamedTuple):
    """An entry as it was when we looked. used: in milliseconds."""

    used: int
    at: int
    size: int
    version: int


class Manager:
    """The manager of one zone."""

    def __init__(self, store: CacheStore) -> None:
        self._store = store
        self._words = store.zone.memory.words
        self._memory = store.zone.memory
        self._zone = store.zone
        self._wanted = Event(store.loop)
        store.bell.listeners.append(self._hear)
        self._files = 0
        self._since = 0.0

    def _hear(self) -> None:
        if self._words[WANTED_WORD]:
            self._wanted.set()

    async def run(self) -> None:
        """Look after the zone for ever."""
        while True:
            self._wanted.is_set = False
            pause = await self.pass_once()
            if not self._words[WANTED_WORD]:
                await self._wanted.wait(pause)

    async def pass_once(self) -> float:
        """Delete what has to go now; return the seconds until the next pass."""
        zone, store = self._zone, self._store
        self._files, self._since = 0, monotonic()
        entries = self._look()
        deadline = store.now - int(zone.inactive * 1000)
        total = sum(entry.size for entry in entries)
        count = len(entries)
        most = int(self._memory.entries * FULLEST)
        entries.sort()
        kept = None
        for entry in entries:
            lacking = self._lacking_space()
            is_too_much = (zone.max_size is not None and total > zone.max_size) or count > most or lacking
            if entry.used > deadline and not is_too_much:
                kept = entry
                break
            if self._delete(entry):
                total -= entry.size
                count -= 1
            await self._pace()
            deadline = store.now - int(zone.inactive * 1000)
        if kept is None:
            return LONGEST
        return min(LONGEST, max(zone.manager_sleep, (kept.used + zone.inactive * 1000 - store.now) / 1000))

    def _look(self) -> list[Known]:
        """Return all entries, and count the bytes of their files anew."""
        self._words[WANTED_WORD] = 0
        entries = []
        for region in range(self._memory.regions):
            for at, record in records_of(self._count(region)):
                size = self._correct(at) if record[STATE] & PENDING else record[SIZE]
                entries.append(Known(record[USED], at, size, record[VERSION]))
        return entries

    def _count(self, region: int) -> list[Row]:
        """Return the buckets of a region; count the bytes of their files while no file can come or go there."""
        memory = self._memory
        try:
            with Locked(memory.lock_of_region(region)):
                rows = memory.rows(region)
                self._words[SIZES_WORD + region] = size_of(rows)
                return rows
        except Stuck:
            return memory.rows(region)

    def _correct(self, at: int) -> int:
        """Correct an entry that may have a file; return the bytes of that."""
        digest = self._memory.digest_at(at)
        index = self._store.index
        try:
            index.adopt(index.place(digest), self._store.now, self._zone.file(digest), 0)
        except Stuck:
            pass
        return int(self._words[self._memory.record(at) + SIZE])

    def _lacking_space(self) -> bool:
        """Whether the disk has less room than it should."""
        if not self._zone.min_free:
            return False
        try:
            found = os.statvfs(self._zone.path)
        except OSError:
            return False
        return found.f_bavail * found.f_frsize < self._zone.min_free

    def _delete(self, entry: Known) -> bool:
        """Delete a file and its entry, unless it has been used since we looked."""
        words, record = self._words, self._memory.record(entry.at)
        if words[record + USED] != entry.used or words[record + VERSION] != entry.version:
            return False
        digest = self._memory.digest_at(entry.at)
        path = self._zone.file(digest)
        index = self._store.index
        self._files += 1
        try:
            index.remove(index.place(digest), path, entry.version)
        except Stuck:
            return False
        except OSError as error:
            self._store.log("crit", f'unlink() "{path}" failed ({error.errno}: {error.strerror})')
            return False
        return True

    async def _pace(self) -> None:
        """Pause after so many files, or so much time."""
        zone = self._zone
        if self._files >= zone.manager_files or monotonic() - self._since >= zone.manager_threshold:
            await sleep(zone.manager_sleep)
            self._files, self._since = 0, monotonic()

    def __repr__(self) -> str:
        return f"<manager of {self._zone.name}>"
