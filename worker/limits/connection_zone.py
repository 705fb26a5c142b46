"""`limit_conn_zone` in the memory of all workers (`wproxy.zone_memory`): the requests under way for each key.

A record is CELLS words, a cell for each worker that has requests of the key:

    bits 16-63   the worker: its generation, its slot, and the pid that the slot had then
    bits 0-15    its requests under way

Only that worker writes its cell: all of it, with the lock, for its first request of the key, then the count alone. A cell counts
only while its worker is alive: the master takes the pid out of the slot of one that has died (`wproxy.shared`). So the requests
of a killed worker count no more, and nobody has to clean up after it. A cell that counts nothing is free, and an entry without
others is. If more workers than CELLS have requests of one key, it has several entries.

To let a request in is to look at the cells of all and to raise our own, which must be one step: hence the lock. It is not
needed where the limit is so far away that all workers at once could not reach it, provided that we have requests of the key
already: then no other worker takes the entry away. To give a request back needs no lock either: it is one store in our own
cell. Where one of the two is missing we look with the lock whether our cell is still where it was (`_take_again`).

A table without a free entry refuses the request, as in nginx; which is told once.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import Final

from worker.limits.zone import PASSED
from worker.locks import lock, try_lock, unlock
from wproxy.http import Request, Response
from wproxy.route import Answer
from wproxy.shared import MAX_WORKERS, WORKER_PID, WORKER_WORDS, WORKERS_OFFSET
from wproxy.variables.connection import binary_remote_addr
from wproxy.variables.registry import Reader
from wproxy.zone_memory import CONNECTION_WORDS as CELLS
from wproxy.zone_memory import FULL_WORD, SPILLED_WORD, WAYS, ZoneMemory

_RECORDS: Final = 2 * WAYS  # where the cells of a bucket begin
_COUNT_BITS: Final = 16
_COUNT: Final = (1 << _COUNT_BITS) - 1
_PID_BITS: Final = 23  # the system's pids are below 1 << 22
_PID: Final = (1 << _PID_BITS) - 1
_SLOT_BITS: Final = 9
_SLOT: Final = MAX_WORKERS - 1
_GENERATION: Final = (1 << 16) - 1
# The counts alone are small numbers, and quicker to read and write than words; so is the note that a key has several entries.
_COUNTS_IN_WORD: Final = 64 // _COUNT_BITS
_LOWEST: Final = 0 if sys.byteorder == "little" else _COUNTS_IN_WORD - 1
_SPILLED_AT: Final = SPILLED_WORD * _COUNTS_IN_WORD + _LOWEST
# How many keys without requests a worker remembers.
_REMEMBERED: Final = 4096


class _Key:
    """A key that this worker knows. held: our requests under way.

    at, record: where its entry and the record in it begin. count_at, beside, beyond: where our count is, and those of the other
    two cells, in the memory as counts. They are true while there are requests. at_end: what a request of it has to call.
    """

    __slots__ = (
        "_counts",
        "at",
        "at_end",
        "beside",
        "beyond",
        "buckets",
        "count_at",
        "first",
        "held",
        "mutex",
        "record",
        "second",
    )

    def __init__(self, memory: ZoneMemory, counts: memoryview, key: bytes) -> None:
        self.mutex, self.first, self.second, one, other = memory.place(key)
        self.buckets = (one, other)
        self._counts = counts
        self.at_end = (self.give_back,)
        self.held = self.count_at = self.beside = self.beyond = self.record = self.at = 0

    def settle(self, at: int, record: int, cell: int) -> None:
        """Note where the entry, its record and our cell in it are."""
        self.at, self.record = at, record
        self.count_at, self.beside, self.beyond = (
            (record + (cell - record + further) % CELLS) * _COUNTS_IN_WORD + _LOWEST for further in range(CELLS)
        )

    def give_back(self) -> None:
        """Count one request less."""
        self.held = held = self.held - 1
        self._counts[self.count_at] = held


class SharedConnectionZone:
    """One zone, as one worker uses it."""

    __slots__ = ("_counts", "_keys", "_margin", "_most_keys", "_on_full", "_own", "_shared", "_words", "memory", "name")

    def __init__(
        self,
        name: str,
        memory: ZoneMemory,
        shared: memoryview,
        owner: tuple[int, int, int],
        workers: int,
        on_full: Callable[[], None],
    ) -> None:
        """shared: the words of the shared memory, where slots have pids. owner: our generation, slot and pid.

        A process that is master and worker at once keeps slot and pid in a reload, while a copy of it finishes the old requests:
        hence the generation. workers: the number of all. on_full: called once, when there is no room for a key.
        """
        generation, slot, pid = owner
        self.name = name
        self.memory = memory
        self._words = memory.words
        self._counts = memory.words.cast("B").cast("H")
        self._shared = shared
        self._own = (((generation & _GENERATION) << _SLOT_BITS | slot) << _PID_BITS | pid & _PID) << _COUNT_BITS
        # Each worker raises one cell at a time; those of the generation before, or of a second master, may be there too.
        self._margin = 4 * workers + 8
        self._on_full = on_full
        self._keys: dict[bytes | None, _Key] = {}
        self._most_keys = _REMEMBERED

    def passing(self, read: Reader, most: int, answer: Answer, decide: Answer) -> Answer:
        """See `ConnectionZone.passing`. It is the quick part of `take`, with the variables of a closure."""
        known_to, counts, far = self._keys.get, self._counts, most - self._margin
        take_again, is_address = self._take_again, read is binary_remote_addr

        def pass_or_decide(request: Request) -> Awaitable[Response]:
            # Most keys are the address, and a call to read it takes a tenth of the instructions of the whole check.
            known = known_to(request.client.packed_addr if is_address else read(request))
            if known is None or counts[_SPILLED_AT]:
                return decide(request)
            if held := known.held:
                if held + counts[known.beside] + counts[known.beyond] < far:
                    known.held = counts[known.count_at] = held + 1
                elif not take_again(known, most):
                    return decide(request)
            elif not take_again(known, most):
                return decide(request)
            request.limit_conn_status = PASSED
            if request.at_end is None:
                request.at_end = known.at_end
            else:
                request.call_at_end(known.give_back)
            return answer(request)

        return pass_or_decide

    def take(self, key: bytes, most: int) -> Callable[[], None] | bool:
        """Count a request, and return what gives it back; True when there are `most` already, False without room for the key."""
        known = self._keys.get(key) or self._learn(key)
        counts = self._counts
        held = known.held
        if held and not counts[_SPILLED_AT] and held + counts[known.beside] + counts[known.beyond] + self._margin < most:
            known.held = counts[known.count_at] = held + 1
            return known.give_back
        if known.at and not self._words[SPILLED_WORD] and self._take_again(known, most):
            return known.give_back
        mutex = known.mutex
        if (result := try_lock(mutex)) and not lock(mutex, result):
            return False
        try:
            return self._take(known, most)
        finally:
            unlock(mutex)

    def _take_again(self, known: _Key, most: int) -> bool:
        """Take one with the lock where our cell still is where it was; return whether that was possible.

        It is when a client that we know has no request of ours under way, or nearly as many as it may. Cells of dead workers
        count here: `_take` knows better.
        """
        mutex, at = known.mutex, known.at
        if not at or ((result := try_lock(mutex)) and not lock(mutex, result)):
            return False
        words, counts, cell, held = self._words, self._counts, known.count_at // _COUNTS_IN_WORD, known.held
        total = held + counts[known.beside] + counts[known.beyond]
        is_ours = words[at] == known.first and words[at + WAYS] == known.second and words[cell] == self._own | held
        if is_ours and total < most and not words[SPILLED_WORD]:
            known.held = held + 1
            words[cell] = self._own | held + 1
            unlock(mutex)
            return True
        unlock(mutex)
        return False

    def _take(self, known: _Key, most: int) -> Callable[[], None] | bool:
        """Take one with the lock."""
        words, at = self._words, known.at
        if at and words[at] == known.first and words[at + WAYS] == known.second and not words[SPILLED_WORD]:
            entries = [(at, known.record)]
        else:
            entries = self._entries(known)
        total = cell = spare = 0
        at = record = 0
        for entry_at, entry in entries:
            for place, word in enumerate(words[entry : entry + CELLS].tolist(), entry):
                if word & ~_COUNT == self._own:
                    cell, at, record = place, entry_at, entry
                    total += known.held
                elif word & _COUNT and self._is_alive(word):
                    total += word & _COUNT
                elif not (cell or spare):
                    spare, at, record = place, entry_at, entry
        if total >= most:
            return True
        if not (cell or spare):
            at, record = self._add(known)
            if not at:
                return False
            spare = record
            if entries:
                words[SPILLED_WORD] = 1
        known.settle(at, record, cell or spare)
        known.held += 1
        words[cell or spare] = self._own | known.held
        return known.give_back

    def _entries(self, known: _Key) -> list[tuple[int, int]]:
        """Return where the entries of a key begin, and the records in them."""
        words = self._words
        return [
            (bucket + way, bucket + _RECORDS + way * CELLS)
            for bucket in known.buckets
            for way, first in enumerate(self.memory.column(bucket))
            if first == known.first and words[bucket + WAYS + way] == known.second
        ]

    def _is_alive(self, word: int) -> bool:
        """Whether the worker of a cell, another than we, is alive."""
        owner = word >> _COUNT_BITS
        slot = owner >> _PID_BITS & _SLOT
        pid: int = self._shared[WORKERS_OFFSET + slot * WORKER_WORDS + WORKER_PID]
        return pid == owner & _PID

    def _add(self, known: _Key) -> tuple[int, int]:
        """Give the key a free entry, of the emptier bucket; return where it begins, and its record: 0 when there was none."""
        words = self._words
        most_free: list[int] = []
        in_bucket = 0
        for bucket in known.buckets:
            cells = words[bucket + _RECORDS : bucket + _RECORDS + WAYS * CELLS].tolist()
            free = [way for way in range(WAYS) if not any(map(self._is_used, cells[way * CELLS : (way + 1) * CELLS]))]
            if len(free) > len(most_free):
                most_free, in_bucket = free, bucket
        if not most_free:
            if not words[FULL_WORD]:
                words[FULL_WORD] = 1
                self._on_full()
            return 0, 0
        at, record = in_bucket + most_free[0], in_bucket + _RECORDS + most_free[0] * CELLS
        # It counts nothing, so a worker that is killed between these stores leaves a free entry.
        for cell in range(record, record + CELLS):
            words[cell] = 0
        self.memory.enter(known.first, known.second, at)
        return at, record

    def _is_used(self, word: int) -> bool:
        """Whether a cell counts, of whichever worker."""
        return bool(word & _COUNT) and (word & ~_COUNT == self._own or self._is_alive(word))

    def _learn(self, key: bytes) -> _Key:
        """Remember a key; of too many, those with requests under way."""
        if len(self._keys) >= self._most_keys:
            for unused in [key for key, known in self._keys.items() if not known.held]:
                del self._keys[unused]
            self._most_keys = max(_REMEMBERED, 2 * len(self._keys))
        known = self._keys[key] = _Key(self.memory, self._counts, key)
        return known

    def __repr__(self) -> str:
        return f"<zone {self.name}: {len(self._keys)} keys known>"
