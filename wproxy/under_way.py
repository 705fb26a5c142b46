"""Requests under way at a peer, of all workers together: what `zone` is for (nginx: peer->conns in shared memory).

Each worker writes the number of its own into its own row, at every change; whoever wants the sum adds the rows up. A worker that
is killed leaves its number behind until the master gives the slot to another one and clears it (`WorkerSlot.clear`), which is a
matter of milliseconds. So no count outlives the worker that made it, and none is ever corrected by hand.

To keep to a limit, say first that there is one more, then add up, and take it back when the sum is beyond the limit. Of two
workers that do so at once at least one sees the other. (A processor could keep a store to itself for some nanoseconds; between
the two an interpreter takes hundreds.)
"""

from __future__ import annotations

from wproxy.shared import HEAD_SLOTS, ROW_ACTIVE, SLOT_ROWS_WORDS, SharedWords, row_offset


class UnderWay:
    """One peer's requests as one worker sees them."""

    __slots__ = ("_first", "_own", "_slots", "_words")

    def __init__(self, shared: SharedWords, record: int) -> None:
        """record: of the peer."""
        self._words = shared.words
        self._first = row_offset(shared.peer_offset(record), 0) + ROW_ACTIVE
        self._own = shared.row_offset(shared.slot, record) + ROW_ACTIVE
        self._slots = shared.slot + 1  # at least: a process alone has nobody who counts the slots in use

    def tell(self, count: int) -> None:
        """So many are ours."""
        self._words[self._own] = count

    def elsewhere(self) -> int:
        """How many are the other workers'."""
        words = self._words
        stop = self._first + max(words[HEAD_SLOTS], self._slots) * SLOT_ROWS_WORDS
        own: int = words[self._own]
        return sum(words[self._first : stop : SLOT_ROWS_WORDS].tolist()) - own

    def __repr__(self) -> str:
        return f"<{self.elsewhere()} requests under way in other workers>"
