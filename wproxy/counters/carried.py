"""Carrying counts over an upgrade to a program whose layout of them is another one.

The layout is described in the memory itself, by the names of its words. The memory of another layout stays where it is: the older
program's workers go on counting there, and a worker that answers a question about counters brings their sums up to date in the
part CARRIED of its own memory, name by name. Nothing there ever falls, so several workers may do so at once. When the older
program has gone, its master's successor does it for the last time.

What is not carried: gauges, the rings of changes and failures, and counts of names that the new configuration does not have. A
program that goes back to an older layout, after a newer one has counted, continues from what it counted itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from wproxy.counters import layout as at
from wproxy.counters.described import MOMENT, PEER, ROWS, SCALAR, Place, names_in
from wproxy.counters.memory import CounterMemory, region_of
from wproxy.shared import MOST_COUNTED

Pairs = tuple[tuple[int, int], ...]
ROWS_AT_ONCE = 64


class Carrying:
    """The way of the counts of an older memory into ours."""

    def __init__(self, memory: CounterMemory, older: CounterMemory, described: dict[str, Any]) -> None:
        self._memory = memory
        self._older = older
        self._slots: dict[str, int] = described["slots"]
        self._parts: dict[str, int] = described["parts"]
        self._parts_offset: int = described["parts_offset"]
        self._scalars_offset: int = described["carried_scalars"]
        self._tables: dict[str, dict[str, Any]] = described["tables"]
        self._peers: dict[str, Any] = described["peers"]
        self._scalar_words: int = described["scalars"]["words"]
        self._of_rows = {table.kind: pairs(self._tables.get(table.kind, {}), ROWS[table.kind]) for table in at.TABLES}
        self._of_peers = pairs(self._peers, PEER)
        self._of_scalars = pairs(described["scalars"], SCALAR)

    @property
    def goes_on(self) -> bool:
        """Whether the older program may still count."""
        return self._memory.words[at.HEAD_CARRIES] == at.IS_CARRIED

    def bring_baselines(self, records: Sequence[int]) -> None:
        """Take over what the API subtracts since a DELETE; once, before anybody counts in our memory. records: see `bring`."""
        for part, ours in (("all", at.OF_ALL), ("location_zones", at.OF_LOCATION_ZONES)):
            if part in self._parts:
                theirs = self._part(self._parts[part])
                begin = at.BASELINES_OFFSET + ours * at.SLOT_WORDS
                self._add_up([theirs], self._scalar_words, begin, self._of_scalars)
                for _ in self._carry([theirs], begin, records):
                    pass

    def bring(self, slots: int, records: Sequence[int]) -> Iterator[None]:
        """Bring the sums up to date, in steps between which the loop may turn.

        slots: those of workers ever in use; records: those of peers. To look at others would give them memory.
        """
        count = min(slots, self._slots["count"])
        sources = [self._slots["offset"] + slot * self._slots["words"] for slot in range(count)]
        for slot in range(min(count, at.COUNTED_SLOTS)):
            parts = [sources[slot], self._scalars_offset + slot * self._scalar_words]
            ours = at.CARRIED_SCALARS_OFFSET + slot * at.SCALAR_WORDS
            self._add_up(parts, self._scalar_words, ours, self._of_scalars)
        yield
        if "carried" in self._parts:
            sources.append(self._part(self._parts["carried"]))
        yield from self._carry(sources, at.BASELINES_OFFSET + at.CARRIED * at.SLOT_WORDS, records)

    def _part(self, number: int) -> int:
        return self._parts_offset + number * self._slots["words"]

    def _carry(self, sources: Sequence[int], ours: int, records: Sequence[int]) -> Iterator[None]:
        """Bring the sums of some parts of the older memory, each in the shape of a slot, into one of ours."""
        done = 0
        for table in at.TABLES:
            theirs = self._tables.get(table.kind)
            if theirs is None:
                continue
            known = self._memory.keys_of(table)
            for row in range(theirs["rows"]):
                key = theirs["keys"] + row * at.KEY_WORDS
                place = known.get((self._older.words[key], self._older.words[key + 1])) if row else 0
                if place is None:
                    continue
                begins = [source + theirs["base"] + row * theirs["words"] for source in sources]
                self._add_up(begins, theirs["words"], ours + table.base + place * table.words, self._of_rows[table.kind])
                done += 1
                if not done % ROWS_AT_ONCE:
                    yield
        for done, record in enumerate(records):
            if record >= self._peers["records"]:
                continue
            begins = [source + self._peers["base"] + record * self._peers["words"] for source in sources]
            self._add_up(begins, self._peers["words"], ours + at.PEERS_BASE + record * at.PEER_WORDS, self._of_peers)
            if not done % ROWS_AT_ONCE:
                yield

    def _add_up(self, begins: Sequence[int], size: int, ours: int, which: Pairs) -> None:
        """Raise words of ours to the sums of theirs."""
        nothing = bytes(size * 8)
        rows = [self._older.words[begin : begin + size] for begin in begins]
        columns = [row.tolist() for row in rows if row.tobytes() != nothing]
        if not columns:
            return
        words = self._memory.words
        for theirs, target in which:
            values = [min(column[abs(theirs)], MOST_COUNTED) for column in columns]
            value = max(values) if theirs < 0 else sum(values)
            if value > words[ours + target]:
                words[ours + target] = value


def pairs(described: dict[str, Any], places: Sequence[Place]) -> Pairs:
    """Return the words of theirs and ours that have the same name; theirs negative for a moment."""
    names: dict[str, int] = described.get("names", {})
    return tuple(
        (-names[name] if name.startswith(MOMENT) else names[name], word)
        for name, word in names_in(places).items()
        if name in names
    )


def carrying_to(memory: CounterMemory) -> Carrying | None:
    """Return what brings older counts into a memory; None if there are none, or all have been brought."""
    words = memory.words
    if words[at.HEAD_CARRIES] != at.IS_CARRIED:
        return None
    older = region_of(words[at.HEAD_OLDER], words[at.HEAD_OLDER_BYTES])
    try:
        return Carrying(memory, older, json.loads(older.description()))
    except (ValueError, KeyError, TypeError):  # a layout without a description
        return None
