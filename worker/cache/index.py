"""The index of a zone as one process uses it: `wproxy.cache.memory` says what is in it.

Reading needs no lock: whoever opens a file finds out from the file whether it is the right one. Everything that changes an entry
holds the lock of its stripe, and looks for the entry again: it may have been given to another key.

A file gets and loses its name under that lock, so that name and record agree. Only its name: bytes are written before, and a
large file is given back to the disk after that, when its last reader has closed it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from types import TracebackType

from worker.locks import lock, try_lock, unlock
from wproxy.cache.memory import (
    AWAITED,
    COUNTER_WORDS,
    EXISTS,
    FLAGS,
    LOCKED,
    OWNER,
    PENDING,
    PRESENT,
    RECORD_WORDS,
    SIZE,
    STATE,
    USED,
    VALID,
    VERSION,
    WANTED_WORD,
    CacheMemory,
    body_start_of,
    new_version,
    state_of,
    status_of,
    uses_of,
)
from wproxy.cache.zone import CacheZone
from wproxy.shared import MAX_WORKERS, WORKER_PID, WORKER_WORDS, WORKERS_OFFSET
from wproxy.zone_memory import FULL_WORD, WAYS, Mutex

Place = tuple[Mutex, int, int, int, int]

# The part of max_size by which it may be exceeded before workers delete files themselves, a hundredth, and the least such excess.
TOLERATED = 100
LEAST_EXCESS = 256 << 10
# How many files they delete for one that they have written, and the buckets that they look at for each.
MOST_RELIEVED = 4
SAMPLE = 5

_RECORDS = 2 * WAYS
_NUMBER_BITS = 16
_PID_BITS, _SLOT_BITS = 23, 9
_PID, _SLOT = (1 << _PID_BITS) - 1, MAX_WORKERS - 1


class Stuck(Exception):
    """A lock cannot be had: its holder does not run."""


class Locked:
    """The lock of a stripe, held in a `with`. Raises Stuck."""

    __slots__ = ("_mutex",)

    def __init__(self, mutex: Mutex) -> None:
        self._mutex = mutex

    def __enter__(self) -> None:
        if (result := try_lock(self._mutex)) and not lock(self._mutex, result):
            raise Stuck

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        unlock(self._mutex)


class CacheIndex:
    """The index, and the counts of this process."""

    __slots__ = ("_held", "_number", "_on_full", "_own", "_row", "_shared", "counters", "memory", "words", "zone")

    def __init__(
        self, zone: CacheZone, shared: memoryview, owner: tuple[int, int, int], on_full: Callable[[], object] = lambda: None
    ) -> None:
        """shared: the words of the shared memory, where slots have pids. owner: our generation, slot and pid.

        on_full: called once in the life of the zone, while a lock is held, when an entry has to make room for another one.
        """
        generation, slot, pid = owner
        self.zone = zone
        self.memory: CacheMemory = zone.memory
        self.words = zone.memory.words
        self.counters = zone.counters.words
        self._shared = shared
        self._own = ((generation & 0xFFFF) << _SLOT_BITS | slot) << _PID_BITS | pid & _PID
        self._row = slot * COUNTER_WORDS
        self._on_full = on_full
        self._number = 0
        self._held: set[int] = set()

    # Looking.

    def place(self, digest: bytes) -> Place:
        """Return the place of a digest."""
        return self.memory.place_of(digest)

    def find(self, place: Place) -> int:
        """Return where the entry of this place begins; -1 without one."""
        _, first, second, one, other = place
        column = self.memory.column(one)
        if first in column:
            at = one + column.index(first)
            if self.words[at + WAYS] == second:
                return at
        return self.memory.find(first, second, other)

    def record(self, at: int) -> int:
        """Return where the record of an entry begins."""
        return self.memory.record(at)

    def is_alive(self, owner: int) -> bool:
        """Whether a request that has marked an entry is still under way."""
        worker = owner >> _NUMBER_BITS
        if worker == self._own:
            return owner in self._held
        slot = worker >> _PID_BITS & _SLOT
        pid: int = self._shared[WORKERS_OFFSET + slot * WORKER_WORDS + WORKER_PID]
        return bool(owner) and pid == worker & _PID

    def is_owned(self, place: Place, now: int) -> bool:
        """Whether a living request fetches the response, and may do so for longer. now: in milliseconds, as everywhere here."""
        at = self.find(place)
        if at < 0:
            return False
        record = self.record(at)
        return self.words[record + LOCKED] > now and self.is_alive(self.words[record + OWNER])

    def has_file(self, place: Place) -> bool:
        """Whether the response has been stored."""
        at = self.find(place)
        return at >= 0 and bool(self.words[self.record(at) + STATE] & EXISTS)

    # Entries. All of these raise Stuck.

    def admit(self, place: Place, now: int, uses: int) -> int:
        """Count so many requests for an entry without a file; return their number, or minus the status of a failure."""
        with Locked(place[0]):
            at = self.find(place)
            if at < 0:
                self._enter(place, now, state_of(PRESENT, uses))
                return uses
            record = self.record(at)
            words = self.words
            words[record + USED] = now
            state = words[record + STATE]
            if status_of(state) and words[record + VALID] > now:
                return -status_of(state)
            total = uses_of(state) + uses
            words[record + STATE] = state_of(state & FLAGS, total, 0, body_start_of(state))
            return total

    def own(self, place: Place, now: int, until: int, version: int = 0) -> int:
        """Mark the entry as ours until then; return the mark, 0 if another request has it, -1 if it has changed.

        version: that of the file that has expired; 0: there was no file.
        """
        words = self.words
        with Locked(place[0]):
            at = self.find(place)
            if at < 0:
                if version:
                    return -1
                at = self._enter(place, now, state_of(PRESENT, 1))
            record = self.record(at)
            exists = words[record + STATE] & EXISTS
            if (version and words[record + VERSION] != version) or (not version and exists):
                return -1
            if self.is_alive(words[record + OWNER]) and (version or words[record + LOCKED] > now):
                words[record + AWAITED] = 1
                return 0
            self._number = self._number % ((1 << _NUMBER_BITS) - 1) + 1
            mark = self._own << _NUMBER_BITS | self._number
            words[record + LOCKED] = until
            words[record + OWNER] = mark
            self._held.add(mark)
            return mark

    def disown(self, place: Place, mark: int, keep: bool) -> bool:
        """Give a mark back; return whether others wait for it. keep: whether an entry about nothing stays."""
        words = self.words
        self._held.discard(mark)
        with Locked(place[0]):
            at = self.find(place)
            if at < 0:
                return True
            record = self.record(at)
            if words[record + OWNER] != mark:
                return False  # the next one has it by now
            is_awaited = bool(words[record + AWAITED])
            words[record + AWAITED] = 0
            words[record + OWNER] = 0
            state = words[record + STATE]
            if not keep and not state & (EXISTS | PENDING) and not status_of(state):
                words[at] = 0
            return is_awaited

    def fail(self, place: Place, now: int, status: int, until: int) -> None:
        """Remember the failure to get a response."""
        with Locked(place[0]):
            at = self.find(place)
            if at < 0:
                at = self._enter(place, now, state_of(PRESENT, 1))
            record = self.record(at)
            state = self.words[record + STATE]
            self.words[record + VALID] = until
            self.words[record + STATE] = state_of(state & FLAGS, uses_of(state), status, body_start_of(state))

    def publish(self, place: Place, now: int, give_name: Callable[[], None], size: int, body_start: int) -> None:
        """Give a written file its name, and enter it. size: its bytes on the disk. Raises what give_name raises."""
        words = self.words
        with Locked(place[0]):
            at = self.find(place)
            if at < 0:
                at = self._enter(place, now, state_of(PRESENT, 1))
            record = self.record(at)
            state = words[record + STATE]
            words[record + STATE] = state | PENDING
            try:
                give_name()
            except BaseException:
                words[record + STATE] = state
                raise
            before = words[record + SIZE]
            words[record + SIZE] = size
            words[record + USED] = now
            words[record + VERSION] = new_version()
            words[record + STATE] = state_of(PRESENT | EXISTS, uses_of(state), 0, body_start)
            self.memory.add_size(at, size - before)

    def renew(self, place: Place, version: int, change: Callable[[], None]) -> int:
        """Change the file of this version in place; return its new version, 0 if the file is another one by now."""
        words = self.words
        with Locked(place[0]):
            at = self.find(place)
            if at < 0 or words[self.record(at) + VERSION] != version:
                return 0
            change()
            words[self.record(at) + VERSION] = new = new_version()
            return new

    def adopt(self, place: Place, now: int, path: str, body_start: int) -> int:
        """Enter the file of this name, if there is one, or correct its entry; return the version, 0 without a file."""
        words = self.words
        with Locked(place[0]):
            try:
                size = size_on_disk(os.stat(path))
            except OSError:
                size = -1
            at = self.find(place)
            if at < 0:
                if size < 0:
                    return 0
                at = self._enter(place, now, state_of(PRESENT, 1))
            record = self.record(at)
            state = words[record + STATE]
            if state & EXISTS and not state & PENDING and size >= 0:
                return int(words[record + VERSION])
            flags = PRESENT | EXISTS if size >= 0 else PRESENT
            before = words[record + SIZE]
            words[record + SIZE] = max(size, 0)
            words[record + VERSION] = new_version()
            words[record + STATE] = state_of(flags, max(1, uses_of(state)), status_of(state), body_start)
            self.memory.add_size(at, max(size, 0) - before)
            return int(words[record + VERSION]) if size >= 0 else 0

    def remove(self, place: Place, path: str, version: int = 0, keeps: bool = False) -> bool:
        """Delete a file and its entry; return whether there was one. Raises OSError.

        version: only if it is this one. keeps: whether the number of requests is remembered.
        """
        words = self.words
        with Locked(place[0]):
            at = self.find(place)
            record = self.record(at) if at >= 0 else 0
            if version and (at < 0 or words[record + VERSION] != version):
                return False
            existed = unlink(path)
            if at < 0:
                return existed
            existed = existed or bool(status_of(words[record + STATE]))
            before = words[record + SIZE]
            words[record + SIZE] = 0
            if keeps or self.is_alive(words[record + OWNER]):
                words[record + VERSION] = new_version()
                words[record + STATE] = state_of(PRESENT, uses_of(words[record + STATE]))
            else:
                words[at] = 0
            self.memory.add_size(at, -before)
            return existed

    def _enter(self, place: Place, now: int, state: int) -> int:
        """Give the key an entry, with the lock: a free one, else that of the two buckets that was used least recently."""
        _, first, second, one, other = place
        memory, words = self.memory, self.words
        free = [[bucket + way for way, key in enumerate(memory.column(bucket)) if not key] for bucket in (one, other)]
        roomiest = max(free, key=len)
        at = roomiest[0] if roomiest else self._evict(one, other)
        words[at] = 0  # it is free until its key is there
        memory.mark(memory.bucket_of(at)[0])
        record = self.record(at)
        for word in range(RECORD_WORDS):
            words[record + word] = 0
        words[record + VERSION] = new_version()
        words[record + USED] = now
        words[record + STATE] = state
        memory.enter(first, second, at)
        return at

    def _evict(self, one: int, other: int) -> int:
        """Delete the file that was used least recently, of these two buckets; return where its entry was."""
        words = self.words
        if not words[FULL_WORD]:
            words[FULL_WORD] = 1
            self._on_full()
        entries = [(bucket + way, bucket + _RECORDS + way * RECORD_WORDS) for bucket in (one, other) for way in range(WAYS)]
        spare = [entry for entry in entries if not self.is_alive(words[entry[1] + OWNER])] or entries
        at, record = min(spare, key=lambda entry: int(words[entry[1] + USED]))
        if words[record + STATE] & (EXISTS | PENDING):
            try:
                unlink(self.zone.file(self.memory.digest_at(at)))
            except OSError:
                pass  # it stays without an entry, until the next start of a loader
        self.memory.add_size(at, -words[record + SIZE])
        return at

    # Sizes.

    def is_too_large(self) -> bool:
        """Whether the manager has to be told that there is too much: only the first that finds out says so.

        If the manager falls behind, we delete a few files ourselves for one that we have written.
        """
        most = self.zone.max_size
        if most is None:
            return False
        excess = self.memory.size() - most
        if excess > max(most // TOLERATED, LEAST_EXCESS):
            self._relieve(excess)
        if excess <= 0 or self.words[WANTED_WORD]:
            return False
        self.words[WANTED_WORD] = 1
        return True

    def _relieve(self, excess: int) -> None:
        """Delete a few files: of some entries taken at random those that were used least recently."""
        words, memory = self.words, self.memory
        for _ in range(MOST_RELIEVED):
            buckets = [memory.random_bucket() for _ in range(SAMPLE)]
            records = [
                (words[record + USED], words[record + SIZE], bucket + way, words[record + VERSION])
                for bucket in buckets
                for way, record in enumerate(range(bucket + _RECORDS, bucket + memory.bucket_words, RECORD_WORDS))
                if words[bucket + way] and words[record + STATE] & EXISTS
            ]
            if not records or excess <= 0:
                return
            _, size, at, version = min(records)
            digest = memory.digest_at(at)
            try:
                if self.remove(self.place(digest), self.zone.file(digest), version):
                    excess -= size
            except (Stuck, OSError):
                return

    def count(self, column: int, *amounts: int) -> None:
        """Add these amounts to our counts, from this column on."""
        at = self._row + column
        for amount in amounts:
            self.counters[at] += amount
            at += 1

    def __repr__(self) -> str:
        return f"<index of zone {self.zone.name}>"


def size_on_disk(facts: os.stat_result) -> int:
    """Return the bytes that a file takes on the disk, in whole blocks (nginx: ngx_file_fs_size)."""
    taken, size, block = facts.st_blocks * 512, facts.st_size, max(512, facts.st_blksize)
    found = taken if size < taken < size + 8 * block else size
    return -(-found // block) * block


def unlink(path: str) -> bool:
    """Remove a name; return whether there was one. Raises OSError."""
    try:
        os.unlink(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True
