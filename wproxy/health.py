"""Passive health of a peer: max_fails and fail_timeout with nginx's accounting (proxy.md §4.2), shared by all workers.

    fails      failures counted against the peer
    accessed   time of the last failure, in whole seconds of a clock that all processes share
    checked    time when it was last chosen in spite of failures, or failed

After fail_timeout one request probes a resting peer: choosing it stamps `checked`, so that no other request does until that
time has passed again; success then clears `fails`.

Each worker writes only into its own row of the shared memory (`wproxy.shared`), and every word there only grows. The three
numbers are derived from the rows of all workers, without a lock:

    fails      sum of ROW_FAILED - greatest ROW_FORGIVEN
    accessed   greatest ROW_ACCESSED
    checked    greatest ROW_CHECKED

To forgive is to note how many failures there have been so far. A failure that the worker had not seen by then is not among
them, so no count is ever lost. The rest depends on the order of loads and stores, and only on that:

  * a failure stores its time first and is counted last; a worker that forgives adds up the failures first and reads the times
    last. So it knows the time of every failure that it forgives.
  * a worker killed between two stores leaves at worst the time of a failure that was not counted: the peer rests a little
    longer, and the next probe's success forgives as always.

Rows are read again only when the peer's version has changed: the one word that all workers write, after their own rows, each time
with a value that has never been written before. A change that happens while we add up changes the version after we have read it.
A worker may be killed just before it writes the version; therefore the rows of a peer that has ever failed are also read again
each second. (So may a processor show others our stores in another order, as ARM can.) The version of a peer that has never failed
is 0, and looking at that is all that its requests cost. After any version, HEAD_CHANGES changes: as long as it has not, nothing
has to be asked of any peer.

Exactly one worker may probe, and single words cannot decide that between equals: for this moment, once in fail_timeout, the
record is locked (`wproxy.record_locks`). No worker waits for the lock: one that does not get it does not probe.
"""

from __future__ import annotations

from typing import Final

from wproxy.record_locks import RecordLocks
from wproxy.shared import (
    HEAD_CHANGES,
    HEAD_SLOTS,
    LARGEST_WORD,
    PEER_VERSION,
    ROW_ACCESSED,
    ROW_CHANGES,
    ROW_CHECKED,
    ROW_FAILED,
    ROW_FORGIVEN,
    SLOT_ROWS_WORDS,
    row_offset,
)

# The version's upper bits name its writer; the others are that writer's count of changes.
_CHANGES_BITS: Final = 48
_CHANGES: Final = (1 << _CHANGES_BITS) - 1


class Health:
    """One peer as one worker sees it. Times are whole seconds; max_fails 0 means that it never rests."""

    __slots__ = (
        "_accessed",
        "_checked",
        "_fails",
        "_failures",
        "_first",
        "_locks",
        "_looked",
        "_row",
        "_seen",
        "_signature",
        "_slots",
        "_version",
        "_words",
        "fail_timeout",
        "max_fails",
    )

    def __init__(
        self,
        words: memoryview,
        base: int,
        max_fails: int,
        fail_timeout: float,
        slot: int = 0,
        locks: RecordLocks | None = None,
    ) -> None:
        """base: offset of the peer's record, in words; slot: this worker's slot; locks: None where there is no other writer.

        Raises ValueError when the memory has no room for such a slot.
        """
        self._words = words
        self._version = base + PEER_VERSION
        self._first = row_offset(base, 0)
        self._row = row_offset(base, slot)
        if self._row >= len(words):
            raise ValueError(f"no room for the rows of slot {slot}")
        self._slots = slot + 1  # at least: for a process alone no master counts the slots in use
        self._signature = (slot + 1) << _CHANGES_BITS
        self._locks = locks
        self.max_fails = max_fails
        self.fail_timeout = fail_timeout
        self._seen = 0  # the version at which the following were read
        self._looked = -1  # and the second when they were
        self._failures = 0  # those of all workers, ever
        self._fails = 0
        self._accessed = 0
        self._checked = 0

    @property
    def fails(self) -> int:
        """The failures counted against it."""
        version = self._words[self._version]
        if not version:
            return 0
        if version != self._seen:
            self._look()
        return self._fails

    @property
    def is_healthy(self) -> bool:
        """Whether active checks find it healthy (`wproxy.checked_health`): here there are no checks."""
        return True

    @property
    def healthy_since(self) -> float:
        """When active checks found it healthy after being unhealthy: never."""
        return 0.0

    def may_serve(self, now: int) -> bool:
        """Whether it is not resting now."""
        version = self._words[self._version]
        if not version:
            return True
        if version != self._seen or now != self._looked:
            self._looked = now
            self._look()
        if not self._fails:
            return True
        return not self._is_failed or now - self._checked > self.fail_timeout

    def choose(self, now: int) -> bool:
        """Note that it was chosen for a request. False when another worker has begun to probe it, so that it must not be used."""
        if not self._words[self._version] or not self.fails:
            return True
        is_stale = now - self._checked > self.fail_timeout
        if self._is_failed:
            return is_stale and self._claim(now)
        if is_stale:
            self._stamp(now)
        return True

    def count_failure(self, now: int) -> bool:
        """Count a failed request; True when the peer rests from now on."""
        words = self._words
        row = self._row
        if not words[self._version]:
            self._tell()  # others must look for a counted failure even if we are killed before the end of this
        words[row + ROW_ACCESSED] = now
        words[row + ROW_CHECKED] = now
        # No other process writes it, so it cannot have changed between load and store.
        words[row + ROW_FAILED] = words[row + ROW_FAILED] + 1 & LARGEST_WORD
        self._tell()
        self._look()
        return self._is_failed

    def count_success(self) -> bool:
        """Count a successful request: all is forgiven when the peer was chosen later than fail_timeout after the last failure.

        Return whether the peer rests no more because of it.
        """
        if not self.fails:
            return False
        self._look()
        if not self._fails or self._accessed >= self._checked:
            return False
        was_failed = self._is_failed
        self._words[self._row + ROW_FORGIVEN] = min(self._failures, LARGEST_WORD)
        self._tell()
        return was_failed

    @property
    def _is_failed(self) -> bool:
        """Whether it has failed too often: it rests, or one worker probes it."""
        return bool(self.max_fails) and self._fails >= self.max_fails

    def _claim(self, now: int) -> bool:
        """Become the worker that probes. Only one worker at a time gets here, and it sees the stamp of the one before."""
        locks = self._locks
        if locks is None:
            self._stamp(now)
            return True
        if not locks.try_lock(self._version):
            return False
        try:
            self._look()
            if now - self._checked <= self.fail_timeout:
                return not self._is_failed
            self._stamp(now)
            return True
        finally:
            locks.unlock(self._version)

    def _stamp(self, now: int) -> None:
        """Stamp the time at which it was chosen in spite of failures."""
        self._words[self._row + ROW_CHECKED] = now
        self._tell()

    def _tell(self) -> None:
        """Publish a change of our row: give the peer a version that it has never had."""
        words = self._words
        changes = words[self._row + ROW_CHANGES] + 1 & _CHANGES
        words[self._row + ROW_CHANGES] = changes
        words[self._version] = self._signature | changes
        # Last, so that whoever has seen this sees the version. No row is at the same place, so no value is written twice.
        words[HEAD_CHANGES] = self._row << 32 | changes & 0xFFFFFFFF

    def _look(self) -> None:
        """Read the rows of all workers. The order of loads matters: see the top of this file."""
        words = self._words
        self._seen = words[self._version]
        first = self._first
        stop = first + max(words[HEAD_SLOTS], self._slots) * SLOT_ROWS_WORDS
        self._failures = failures = sum(words[first + ROW_FAILED : stop : SLOT_ROWS_WORDS].tolist())
        # Failures may have been counted and forgiven since we added them up; the difference must not fall below zero.
        self._fails = max(0, failures - max(words[first + ROW_FORGIVEN : stop : SLOT_ROWS_WORDS].tolist()))
        self._checked = max(words[first + ROW_CHECKED : stop : SLOT_ROWS_WORDS].tolist())
        self._accessed = max(words[first + ROW_ACCESSED : stop : SLOT_ROWS_WORDS].tolist())

    def __repr__(self) -> str:
        return f"<health: {self.fails} of {self.max_fails} fails>"
