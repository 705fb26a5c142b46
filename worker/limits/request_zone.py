"""`limit_req_zone` in the memory of all workers (`wproxy.zone_memory`), with nginx's arithmetic (routing.md §6).

A record is one word, so that a worker that is killed leaves either the old state or the new one:

    bit 63        set; a word of 0 is a free entry
    bits 30-62    the last request, in milliseconds of a clock that all processes share
    bits 0-29     the excess at that time, in thousandths of a request

nginx's own numbers are wider: an excess is at most 1,073,741 requests here, and after 99 days the milliseconds begin anew.

An entry whose excess has run out says the same as none (the first request of a key has the excess 0), so such entries are free.
When there is none, the one that was used least recently gives way, as in nginx; which is told once.

A worker remembers where it found the keys that it asked for lately, and looks there first. So what a check costs does not
depend on the number of keys in the zone, only on whether the processor has them at hand: 1 us, and up to 2.8 us more for one of
a million (`bench/zones.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from worker.limits.zone import MOST_EXCESS, NO_ROOM, PASSED, Outcome
from worker.locks import lock, take_over, try_lock, unlock
from wproxy.http import Clock, Request
from wproxy.variables.connection import binary_remote_addr
from wproxy.variables.registry import Reader
from wproxy.zone_memory import FULL_WORD, WAYS, Mutex, ZoneMemory

_RECORD: Final = 2 * WAYS  # from a key's first word to its record
_ALIVE: Final = 1 << 63
_TIME_BITS = 33
_TIME: Final = (1 << _TIME_BITS) - 1
_EXCESS_BITS: Final = 30
_EXCESS: Final = (1 << _EXCESS_BITS) - 1
# Another worker's turn of the loop may have begun a little later than ours, and then its request comes from our future.
_EARLIEST: Final = _TIME - 60_000
# Twelve days, in milliseconds, above the bits of an excess: what is compared in one step is younger.
_LONG_AGO: Final = -1 << 60
# How many places a worker remembers.
_REMEMBERED: Final = 4096
# With so many free entries a bucket takes a key without a look at the other one.
_PLENTY: Final = 3


class SharedRequestZone:
    """One zone, as one worker uses it. on_full: called once, when a key has to give way."""

    __slots__ = ("_known", "_memory", "_now", "_on_full", "_stamp", "_words", "name", "rate")

    def __init__(self, name: str, rate: int, memory: ZoneMemory, on_full: Callable[[], None]) -> None:
        """rate: thousandths of a request per second."""
        self.name = name
        self.rate = rate
        self._memory = memory
        self._words = memory.words
        self._on_full = on_full
        # By key: its lock, the first word of its hash, and where its entry and the record in it were.
        self._known: dict[bytes | None, tuple[Mutex, int, int, int]] = {}
        # The time of the last request, and how a record of that time begins: everything above the excess.
        self._now, self._stamp = -1, 0

    def passing(
        self,
        read: Reader,
        clock: Clock,
        most: int,
        answer: Callable[[Request], Outcome],
        decide: Callable[[Request], Outcome],
        others: Callable[[Request], bool] | None = None,
        is_within: bool = False,
    ) -> Callable[[Request], Outcome]:
        """See `RequestZone.passing`.

        A time and an excess are taken apart by one subtraction: below the excess of a record of now is the time that has passed.
        That and a closure's variables save two thirds of the instructions of `count`.
        """
        known_to, words, rate, most_before = self._known.get, self._words, self.rate, most - 1000
        seen, begin = -1.0, 0  # the time of the last request, and a record of then without an excess
        # Who holds a lock must not wait for a second one: others may hold that one and wait for the first.
        take = take_over if is_within else lock
        is_address = read is binary_remote_addr

        def pass_or_decide(request: Request) -> Outcome:
            nonlocal seen, begin
            # Most keys are the address, and a call to read it takes a sixteenth of the instructions of the whole check.
            known = known_to(request.client.packed_addr if is_address else read(request))
            if known is None:
                return decide(request)
            now = clock.now
            if now is not seen:
                seen, begin = now, _ALIVE | (int(now * 1000.0) & _TIME) << _EXCESS_BITS
            mutex, first, at, record = known
            if (result := try_lock(mutex)) and not take(mutex, result):
                return decide(request)
            if words[at] == first:
                state = words[record]
                beside = state - begin
                if 0 <= beside <= most_before:
                    after = state + 1000
                elif _LONG_AGO < beside < 0:
                    excess = (beside & _EXCESS) + 1000 - rate * -(beside >> _EXCESS_BITS) // 1000
                    after = 0 if excess > most else begin + excess if excess > 0 else begin
                else:
                    after = 0
                if after and (others is None or is_counted_by(others, request, mutex)):
                    words[record] = after
                    unlock(mutex)
                    request.limit_req_status = PASSED
                    return answer(request)
            unlock(mutex)
            return decide(request)

        return pass_or_decide

    def count(self, key: bytes, now: int, most: int = MOST_EXCESS) -> int:
        """Count a request unless that would exceed `most`; return the excess with it, or NO_ROOM. now: in milliseconds.

        A record is compared and computed with as few large numbers as can be: each takes as long as two calls of a C function.
        """
        known = self._known.get(key)
        if known is None:
            return self._count_unknown(key, now, most)
        mutex, first, at, record = known
        if (result := try_lock(mutex)) and not lock(mutex, result):
            return NO_ROOM
        words = self._words
        # The first word is enough: an entry that has it has been ours, unless two of 2 ** 64 hashes are the same.
        if words[at] == first and (state := words[record]):
            if now != self._now:
                self._now, self._stamp = now, _ALIVE >> _EXCESS_BITS | now & _TIME
            stamp = self._stamp
            excess = (state & _EXCESS) + 1000
            if before := stamp - (state >> _EXCESS_BITS):
                # As in `_count_at`.
                elapsed = before & _TIME
                if elapsed > _EARLIEST:
                    stamp = state >> _EXCESS_BITS
                else:
                    excess -= self.rate * elapsed // 1000
                    if excess < 0:
                        excess = 0
            if excess <= most:
                words[record] = stamp << _EXCESS_BITS | (excess if excess < MOST_EXCESS else MOST_EXCESS)
            unlock(mutex)
            return excess
        unlock(mutex)
        del self._known[key]
        return self._count_unknown(key, now, most)

    def _count_unknown(self, key: bytes, now: int, most: int) -> int:
        """Count a request of a key that we have not asked for lately."""
        memory = self._memory
        mutex, first, second, one, other = memory.place(key)
        if (result := try_lock(mutex)) and not lock(mutex, result):
            return NO_ROOM
        try:
            column = memory.column(one)
            at = one + column.index(first) if first in column else memory.find(first, second, other)
            if self._words[at + WAYS] != second or at < 0:
                at = self._add(first, second, one, other, now)
                excess = 0
            else:
                excess = self._count_at(at, now, most)
        finally:
            unlock(mutex)
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[key] = mutex, first, at, at + _RECORD
        return excess

    def _count_at(self, at: int, now: int, most: int) -> int:
        """Count a request of the key whose entry begins there."""
        words = self._words
        state = words[at + _RECORD]
        if not state:
            words[at + _RECORD] = _ALIVE | (now & _TIME) << _EXCESS_BITS
            return 0
        elapsed = _elapsed(state, now)
        excess = max(0, (state & _EXCESS) - self.rate * elapsed // 1000 + 1000)
        if excess <= most:
            last = now & _TIME if elapsed else state >> _EXCESS_BITS & _TIME
            words[at + _RECORD] = _ALIVE | last << _EXCESS_BITS | min(excess, MOST_EXCESS)
        return excess

    def excess(self, key: bytes, now: int) -> int:
        """Return the excess that a request would have, without counting it; NO_ROOM when it cannot be known."""
        memory = self._memory
        mutex, first, second, one, other = memory.place(key)
        if (result := try_lock(mutex)) and not lock(mutex, result):
            return NO_ROOM
        try:
            at = memory.find_in_either(first, second, one, other)
            state = self._words[at + _RECORD] if at >= 0 else 0
        finally:
            unlock(mutex)
        return max(0, self._with_one_more(state, now)) if state else 0

    def note(self, key: bytes, now: int, excess: int) -> None:
        """Make this the excess of a key that has been counted elsewhere."""
        if self.count(key, now) == NO_ROOM:
            return
        mutex, first, at, record = self._known[key]
        if (result := try_lock(mutex)) and not lock(mutex, result):
            return
        if self._words[at] == first:
            self._words[record] = _ALIVE | (now & _TIME) << _EXCESS_BITS | excess
        unlock(mutex)

    def _with_one_more(self, state: int, now: int) -> int:
        """Return the excess that one more request would have; it is below 0 when the state says the same as none."""
        return (state & _EXCESS) - self.rate * _elapsed(state, now) // 1000 + 1000

    def _add(self, first: int, second: int, one: int, other: int, now: int) -> int:
        """Add a key with its first request; return where its entry begins.

        It goes into its first bucket while that has room, then into the emptier one; in full ones the oldest entry gives way.
        """
        words = self._words
        at, free = self._free(one, now)
        if free < _PLENTY:
            beside, more = self._free(other, now)
            if more > free:
                at, free = beside, more
        if not free:
            at = max(self._oldest(bucket, now) for bucket in (one, other))[1]
            if not words[FULL_WORD]:
                words[FULL_WORD] = 1
                self._on_full()
        # A worker that is killed between these leaves a free entry.
        words[at + _RECORD] = 0
        self._memory.enter(first, second, at)
        words[at + _RECORD] = _ALIVE | (now & _TIME) << _EXCESS_BITS
        return at

    def _free(self, bucket: int, now: int) -> tuple[int, int]:
        """Return a free entry of a bucket, and how many it has."""
        states = self._words[bucket + _RECORD : bucket + _RECORD + WAYS].tolist()
        if (empty := states.count(0)) >= _PLENTY:
            return bucket + states.index(0), empty
        free = [way for way, state in enumerate(states) if not state or self._with_one_more(state, now) <= 0]
        return (bucket + free[0], len(free)) if free else (bucket, 0)

    def _oldest(self, bucket: int, now: int) -> tuple[int, int]:
        """Return the age of the least recently used entry of a bucket, and where it begins."""
        states = self._words[bucket + _RECORD : bucket + _RECORD + WAYS].tolist()
        return max((_elapsed(state, now), bucket + way) for way, state in enumerate(states))

    def __repr__(self) -> str:
        return f"<zone {self.name}: {self.rate / 1000:g} requests per second, {self._memory.entries} keys>"


def is_counted_by(others: Callable[[Request], bool], request: Request, held: Mutex) -> bool:
    """Whether the other zones have counted a request. held: what is unlocked if the key for one of them cannot be had."""
    try:
        return others(request)
    except BaseException:
        unlock(held)
        raise


def _elapsed(state: int, now: int) -> int:
    """Return the milliseconds since the last request."""
    elapsed = now - (state >> _EXCESS_BITS) & _TIME
    return elapsed if elapsed <= _EARLIEST else 0
