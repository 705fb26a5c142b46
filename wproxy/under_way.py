"""Requests under way at a peer, counted over all workers: the purpose of `zone` (nginx: peer->conns in shared memory).

Each worker writes its own number into its own row at every change; a reader adds the rows up. A worker that
is killed leaves its number behind until the master gives the slot to another one and clears it (`WorkerSlot.clear`), which takes
milliseconds. So no count outlives its worker, and none ever needs correcting.

To keep a limit, first count one more, then add up, and take it back when the sum exceeds the limit. When two workers do so at
once, at least one of them sees the other. (A processor could keep a store to itself for some nanoseconds; between the two an
interpreter takes hundreds.)
"""

from __future__ import annotations

from wproxy.shared import HEAD_SLOTS, ROW_ACTIVE, SLOT_ROWS_WORDS, SharedWords, row_offset


class UnderWay:
    """One peer's requests as one worker sees them."""

    __slots__ = ("_first", "_own", "_slots", "_words")

    def __init__(self, shared: SharedWords, record: int) -> None:
        """record: the number of the peer's record."""
        self._words = shared.words
        self._first = row_offset(shared.peer_offset(record), 0) + ROW_ACTIVE
        self._own = shared.row_offset(shared.slot, record) + ROW_ACTIVE
        self._slots = shared.slot + 1  # at least: for a process alone no master counts the slots in use

    def tell(self, count: int) -> None:
        """Publish the number of our requests."""
        self._words[self._own] = count

    def elsewhere(self) -> int:
        """Return the number of other workers' requests."""
        words = self._words
        stop = self._first + max(words[HEAD_SLOTS], self._slots) * SLOT_ROWS_WORDS
        own: int = words[self._own]
        return sum(words[self._first : stop : SLOT_ROWS_WORDS].tolist()) - own

    def __repr__(self) -> str:
        return f"<{self.elsewhere()} requests under way in other workers>"
