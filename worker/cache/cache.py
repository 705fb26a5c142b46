"""One zone of the cache, as one worker uses it (nginx: ngx_http_file_cache.c)."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from typing import Any

from worker.bell import Bell
from worker.cache.entry import Entry, read_entry
from worker.cache.index import CacheIndex, Stuck
from worker.cache.store import CacheStore, Log
from worker.cache.stored import Stored, open_stored
from worker.cache.use import Use, VariantOf
from worker.loop import Loop, give_way
from wproxy.assignment import Assignment
from wproxy.cache.counters import as_json, column
from wproxy.cache.header import BadFile
from wproxy.cache.key import CacheKey
from wproxy.cache.memory import EXISTS, PENDING, SIZE, STATE, USED
from wproxy.cache.zone import CacheZone

# So many entries are looked at, and files read, before other tasks have their turn.
ENTRIES_AT_ONCE = 50


class Cache:
    """One zone."""

    def __init__(self, zone: CacheZone, index: CacheIndex, loop: Loop, log: Log, bell: Bell) -> None:
        self.zone = zone
        self.store = CacheStore(zone, index, loop, log, bell)
        self._index = index

    # For requests.

    def look_up(self, key: CacheKey, min_uses: int = 1, variant_of: VariantOf | None = None) -> Use:
        """Look for the response of a key on behalf of a request, which must call `end` of what it gets.

        variant_of: returns the variant that the request wants, for the names in a Vary; None: any will do.
        """
        return Use(self.store, key, min_uses, variant_of)

    def peek(self, key: CacheKey, variant_of: VariantOf | None = None) -> Stored | None:
        """Return the stored response of a key, fresh or not, to be closed; nothing is counted or marked."""
        for _ in range(2):
            try:
                stored = open_stored(self.zone.file(key.digest), key)
            except (OSError, BadFile):
                return None
            variant = variant_of(stored.header.vary) if stored.header.vary and variant_of else stored.header.variant
            if variant == stored.header.variant:
                return stored
            stored.close()
            key = key.variant(variant)
        return None

    def count(self, status: int, size: int = 0, written: int | None = None) -> None:
        """Count a response. status: of `wproxy.cache.counters`. size: bytes sent; written: bytes stored, None if it was not."""
        if written is None:
            self._index.count(column(status), 1, size)
        else:
            self._index.count(column(status), 1, size, 1, written)

    # For operators.

    async def purge(self, key: CacheKey) -> bool:
        """Delete the response of a key with its variants; return whether there was one. Raises OSError."""
        stored = self.peek(key)
        if stored is not None:
            stored.close()
        found = self._remove(key.main)
        if stored is not None and stored.header.vary:
            async for entry in self._entries(key.text):
                if entry.key == key.text:
                    self._remove(entry.digest)
        return found

    async def purge_matching(self, prefix: bytes) -> int:
        """Delete the responses whose key begins like this, with their variants; return their number. Raises OSError."""
        found = 0
        async for entry in self._entries(prefix):
            found += self._remove(entry.digest)
        return found

    async def entries(self, prefix: bytes = b"", most: int = 1000) -> list[Entry]:
        """Return the stored responses whose key begins like this, at most so many."""
        found: list[Entry] = []
        async for entry in self._entries(prefix):
            if len(found) >= most:
                break
            found.append(entry)
        return found

    def _remove(self, digest: bytes) -> bool:
        try:
            return self._index.remove(self._index.place(digest), self.zone.file(digest))
        except Stuck:
            return False

    async def _entries(self, prefix: bytes) -> AsyncIterator[Entry]:
        """Yield the entries with a file whose key begins like this."""
        memory = self.zone.memory
        looked = 0
        for at, record in memory.records():
            if not record[STATE] & (EXISTS | PENDING):
                continue
            looked += 1
            if looked % ENTRIES_AT_ONCE == 0:
                await give_way()
            entry = read_entry(self.zone, memory.digest_at(at))
            if entry is not None and entry.key.startswith(prefix):
                yield entry._replace(used=record[USED] / 1000, size=record[SIZE])

    def status(self) -> dict[str, Any]:
        """Return the state and the counts of the zone, as nginx Plus shows them."""
        shown: dict[str, Any] = {"size": max(0, self.zone.memory.size()), "cold": self.zone.memory.is_cold}
        if self.zone.max_size is not None:
            shown["max_size"] = self.zone.max_size
        return {**shown, **as_json(self.zone.counters.totals())}

    def reset(self) -> None:
        """Have the counts begin anew."""
        self.zone.counters.reset()

    def __repr__(self) -> str:
        return f"<cache {self.zone.name} in {self.zone.path}>"


def make_caches(assignment: Assignment, loop: Loop, log: Log, bell: Bell) -> dict[str, Cache]:
    """Return the caches of a process, by the names of their zones."""
    owner = assignment.generation, assignment.slot, os.getpid()

    def teller(zone: CacheZone) -> Callable[[], object]:
        async def tell() -> None:
            log("warn", f'keys_zone "{zone.name}" is full: new responses take the places of those that were used least recently')

        return lambda: loop.spawn(tell(), "full zone")  # not at once: a log may have to wait for a disk

    return {
        zone.name: Cache(zone, CacheIndex(zone, assignment.shared.words, owner, teller(zone)), loop, log, bell)
        for zone in assignment.configuration.cache_zones
    }
