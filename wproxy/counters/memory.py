"""The memory of the counters, and the rows that names have in it."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cache
from hashlib import blake2b
from typing import TYPE_CHECKING

from wproxy.counters.described import description
from wproxy.counters.layout import (
    BASELINES_OFFSET,
    COUNTED_SLOTS,
    DESCRIPTION_OFFSET,
    HEAD_CARRIES,
    HEAD_DESCRIPTION,
    HEAD_MAGIC,
    HEAD_OLDER,
    HEAD_OLDER_BYTES,
    IS_CARRIED,
    KEY_FIRST,
    KEY_LAST,
    KEY_WORDS,
    MAGIC,
    OF_LOCATION_ZONES,
    PARTS,
    PEER_WORDS,
    PEERS_BASE,
    SLOT_WORDS,
    SLOTS_OFFSET,
    TOTAL_BYTES,
    VERSION,
    Table,
)
from wproxy.lasting import LASTING

if TYPE_CHECKING:
    import mmap

Names = tuple[str, ...]
# The slots that are mapped from the first: those of four workers, of as many that retire, and of helpers.
FIRST_SLOTS = 12


class CounterMemory:
    """The counters of all workers, from the beginning to the last slot that was needed.

    slots: the number of those that there is room for; words: of those that are mapped (see `reach`).
    """

    __slots__ = ("_map_first", "slots", "words")

    def __init__(self, memory: mmap.mmap, map_first: Callable[[int], mmap.mmap] | None = None) -> None:
        """map_first: maps the first bytes of the same memory, as many as it is asked for; None: this is all of it."""
        self._map_first = map_first
        self.words = memoryview(memory).cast("B").cast("Q")
        self.slots = COUNTED_SLOTS if map_first is not None else self._mapped

    @property
    def _mapped(self) -> int:
        return (len(self.words) - SLOTS_OFFSET) // SLOT_WORDS

    def reach(self, slots: int) -> int:
        """Have so many slots among the words; return how many are, of so many. There are fewer where the system maps no more.

        What took the words before goes on with those.
        """
        mapped = self._mapped
        if slots > mapped and self._map_first is not None:
            try:
                memory = self._map_first(bytes_of(min(self.slots, max(slots, 2 * mapped))))
            except OSError:
                return mapped
            self.words = memoryview(memory).cast("B").cast("Q")
            mapped = self._mapped
        return min(slots, mapped)

    def rows(self, table: Table, names: Iterable[Names], generation: int, alive: Collection[int], slots: int) -> dict[Names, int]:
        """Return the rows of these names in a table: the ones that they have, or new ones.

        Only a master may call this, before it forks the workers of that generation. alive: the generations that have workers;
        slots: the slots ever in use. The rows of names that no living generation has are given to others when there is no room
        left; names that find no room share row 0.
        """
        words = self.words
        known = self.keys_of(table)
        free = sorted(set(range(1, table.rows)).difference(known.values()))
        wanted = {each: digest_of(each) for each in names}
        kept = {known[key] for key in wanted.values() if key in known}
        unused = [row for row in known.values() if row not in kept and not self._is_held(table, row, alive)]
        found: dict[Names, int] = {}
        for each, key in wanted.items():
            given = known.get(key)
            if given is None:
                if not free and not unused:
                    found[each] = 0
                    continue
                given = free.pop(0) if free else unused.pop(0)
                self._zero(table.base + given * table.words, table.words, slots)
                at = table.keys + given * KEY_WORDS
                words[at], words[at + 1] = key
                words[at + KEY_FIRST] = generation
            words[table.keys + given * KEY_WORDS + KEY_LAST] = generation
            found[each] = given
        return found

    def keys_of(self, table: Table) -> dict[tuple[int, int], int]:
        """Return the rows of a table that have a name, by the digest of that."""
        keys = self.words[table.keys : table.keys + table.rows * KEY_WORDS].tolist()
        found = {(keys[row * KEY_WORDS], keys[row * KEY_WORDS + 1]): row for row in range(1, table.rows)}
        found.pop((0, 0), None)
        return found

    def describe(self, description: bytes) -> None:
        """Write the description of this layout, for programs with another one."""
        padded = description + bytes(-len(description) % 8)
        self.words[DESCRIPTION_OFFSET : DESCRIPTION_OFFSET + len(padded) // 8] = memoryview(padded).cast("Q")
        self.words[HEAD_DESCRIPTION] = len(description)
        self.words[HEAD_MAGIC] = MAGIC

    def description(self) -> bytes:
        """Return the description of the layout of this memory; nothing if there is none."""
        if self.words[HEAD_MAGIC] != MAGIC:
            return b""
        return self.words.cast("B")[DESCRIPTION_OFFSET * 8 :][: self.words[HEAD_DESCRIPTION]].tobytes()

    def follow(self, version: int, size: int) -> None:
        """Have the counts in the memory of another layout carried over to this one."""
        self.words[HEAD_OLDER], self.words[HEAD_OLDER_BYTES] = version, size
        self.words[HEAD_CARRIES] = IS_CARRIED

    def _is_held(self, table: Table, row: int, alive: Collection[int]) -> bool:
        """Whether a worker may count in a row."""
        at = table.keys + row * KEY_WORDS
        first, last = self.words[at + KEY_FIRST], self.words[at + KEY_LAST]
        return any(first <= generation <= last for generation in alive)

    def clear_peer(self, record: int, slots: int) -> None:
        """Zero the rows of a peer's record, which gets another peer; what rings have of the old one is not the new one's."""
        life = self.life(record) + 1
        self._zero(PEERS_BASE + record * PEER_WORDS, PEER_WORDS, slots)
        self.words[self._life_word(record)] = life

    def life(self, record: int) -> int:
        """Return how many peers have had a record before."""
        found: int = self.words[self._life_word(record)]
        return found

    def _life_word(self, record: int) -> int:
        """Return the word of that: peers have nothing else in the part of location zones."""
        return BASELINES_OFFSET + OF_LOCATION_ZONES * SLOT_WORDS + PEERS_BASE + record * PEER_WORDS

    def _zero(self, offset: int, size: int, slots: int) -> None:
        """Zero some words of all slots: no worker may be counting there."""
        nothing = memoryview(bytes(size * 8)).cast("Q")
        for slot in range(-len(PARTS), self.reach(slots)):  # they come before the slots
            begin = SLOTS_OFFSET + slot * SLOT_WORDS + offset
            self.words[begin : begin + size] = nothing

    def baseline(self, number: int, offset: int, size: int) -> list[int]:
        """Return some words of a baseline."""
        begin = BASELINES_OFFSET + number * SLOT_WORDS + offset
        found: list[int] = self.words[begin : begin + size].tolist()
        return found

    def set_baseline(self, number: int, offset: int, counts: Sequence[int]) -> None:
        """Have what was counted by now subtracted from now on. Any worker may, at once with others: each writes what is true."""
        begin = BASELINES_OFFSET + number * SLOT_WORDS + offset
        self.words[begin : begin + len(counts)] = array("Q", counts)

    def __repr__(self) -> str:
        return f"<counters of {len(self.words) * 8 >> 20} MB>"


def digest_of(names: Names) -> tuple[int, int]:
    """Return sixteen bytes that stand for a name of several parts, as two words; never two zeros."""
    digest = blake2b("\0".join(names).encode("utf-8", "surrogateescape"), digest_size=16).digest()
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little") or 1


@cache
def counter_memory() -> CounterMemory:
    """Return the memory of this process and of all that it forks from now on."""
    map_first = LASTING.beginnings(_region(VERSION), TOTAL_BYTES)
    memory = CounterMemory(map_first(bytes_of(FIRST_SLOTS)), map_first)
    # The layouts that there are, in the order of their first use: number and size of each.
    layouts = memoryview(LASTING.region("layouts of counters", 8 * 512)).cast("B").cast("Q")
    known = [tuple(layouts[word : word + 2].tolist()) for word in range(0, len(layouts), 2) if layouts[word]]
    if (VERSION, TOTAL_BYTES) not in known:
        memory.describe(description())
        if known:
            memory.follow(*known[-1])
        if len(known) * 2 < len(layouts):
            layouts[len(known) * 2 : len(known) * 2 + 2] = array("Q", (VERSION, TOTAL_BYTES))
    return memory


def region_of(version: int, size: int) -> CounterMemory:
    """Return the memory of a layout."""
    return CounterMemory(LASTING.region(_region(version), size))


def _region(version: int) -> str:
    return f"counters\0{version}"


def bytes_of(slots: int) -> int:
    """Return the bytes of the memory to the end of so many slots."""
    return (SLOTS_OFFSET + slots * SLOT_WORDS) * 8
