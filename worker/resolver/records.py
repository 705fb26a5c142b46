"""The health record of a peer that was unknown when the workers were forked.

All workers must find the same record without communication. The records that the master does not assign are a table of their
own: a peer's key, 64 bits of a hash, determines where its WINDOW of places begins. A worker that needs a record searches the
whole window for the key, and if it is not there takes the first place that is free or forgotten. A place is two words:

    KEY    the key of its peer; 0: free
    SEEN   the time at which a worker last marked it as used, in whole seconds of the clock that all processes share

Rule 1. Looking needs no lock, taking needs the record lock of the table, which the kernel releases when its holder dies. No
worker waits for it: one that does not get it after some tries uses private memory for now, and no request waits.

Rule 2. The key is written last, after the record has been cleared. A worker killed before that has changed nothing.

Rule 3. Places are never given back: a worker that dies could not do it. Workers mark the places they use every minute, and a
place without a mark for FORGOTTEN_AFTER seconds is free.
"""

from __future__ import annotations

import hashlib
import mmap
from functools import cache
from typing import NamedTuple, Protocol

from wproxy.shared import MAX_PEERS, PRIVATE_BYTES, SharedWords

KEY = 0
SEEN = 1
PLACE_WORDS = 2
WINDOW = 64
TOUCH_EVERY = 60.0
FORGOTTEN_AFTER = 600
_TRIES = 200


class Place(NamedTuple):
    """The place of a peer's record: its memory, and its number there."""

    shared: SharedWords
    record: int


class Locks(Protocol):
    """Locks on words that are released when their holder dies: wproxy.record_locks."""

    def try_lock(self, word: int) -> bool:
        """Lock a word if it is free; return whether it was."""
        ...

    def unlock(self, word: int) -> None:
        """Unlock it."""
        ...


class Records(Protocol):
    """A source of records for peers."""

    def take(self, name: str, now: int) -> Place:
        """Return the place of a peer with that unique name."""
        ...

    def give_back(self, place: Place) -> None:
        """Release the place of a peer that is gone."""
        ...


def key_of(name: str) -> int:
    """Return 64 bits of the hash of a name, never 0."""
    digest = hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "little") or 1


def clear_record(shared: SharedWords, record: int) -> None:
    """Reset a record."""
    shared.clear_record(record)


class PrivateRecords:
    """Records in memory that no other worker sees."""

    def __init__(self, shared: SharedWords) -> None:
        self.shared = shared
        self._free = list(range(MAX_PEERS - 1, 0, -1))

    def take(self, name: str, now: int) -> Place:
        """Return any free record, or record 0, which all peers without one share."""
        record = self._free.pop() if self._free else 0
        clear_record(self.shared, record)
        return Place(self.shared, record)

    def give_back(self, place: Place) -> None:
        """Free it."""
        if place.shared is self.shared and place.record:
            self._free.append(place.record)


@cache
def private_records() -> PrivateRecords:
    """Return the records of this process, in memory that takes no room before it is used."""
    return PrivateRecords(SharedWords(memoryview(mmap.mmap(-1, PRIVATE_BYTES)).cast("Q")))


class SharedRecords:
    """The table; see the module's docstring.

    words[offset:]: the places, `count` of them. first: the number of the record of place 0.
    """

    def __init__(
        self,
        shared: SharedWords,
        offset: int,
        first: int,
        count: int,
        locks: Locks,
        private: PrivateRecords,
    ) -> None:
        self._shared = shared
        self._words = shared.words
        self._offset = offset
        self._first = first
        self._count = count
        self._locks = locks
        self._private = private
        self._used: dict[int, int] = {}  # place by record

    def take(self, name: str, now: int) -> Place:
        """Return the place of a peer, the same in every worker. now: whole seconds."""
        key = key_of(name)
        place = self._find(key)
        if place is None:
            place = self._claim(key, now)
        if place is None:
            return self._private.take(name, now)
        record = self._first + place
        self._used[record] = place
        self._words[self._offset + place * PLACE_WORDS + SEEN] = now
        return Place(self._shared, record)

    def give_back(self, place: Place) -> None:
        """Stop using a place; other workers may still use it."""
        if place.shared is self._shared:
            self._used.pop(place.record, None)
        else:
            self._private.give_back(place)

    def touch(self, now: int) -> None:
        """Mark the places that we use; to be called every TOUCH_EVERY seconds."""
        for place in self._used.values():
            self._words[self._offset + place * PLACE_WORDS + SEEN] = now

    def _window(self, key: int) -> list[int]:
        return [(key + step) % self._count for step in range(min(WINDOW, self._count))]

    def _find(self, key: int) -> int | None:
        """Return the place that has this key."""
        for place in self._window(key):
            if self._words[self._offset + place * PLACE_WORDS + KEY] == key:
                return place
        return None

    def _claim(self, key: int, now: int) -> int | None:
        """Claim a place for a new key; None when there is none, or another process holds the lock for too long."""
        for _ in range(_TRIES):
            if self._locks.try_lock(self._offset):
                break
        else:
            return None
        try:
            place = self._find(key)  # another worker may have been faster
            if place is not None:
                return place
            for place in self._window(key):
                base = self._offset + place * PLACE_WORDS
                if self._words[base + KEY] and now - self._words[base + SEEN] <= FORGOTTEN_AFTER:
                    continue
                self._words[base + KEY] = 0
                clear_record(self._shared, self._first + place)
                self._words[base + SEEN] = now
                self._words[base + KEY] = key
                return place
            return None
        finally:
            self._locks.unlock(self._offset)
