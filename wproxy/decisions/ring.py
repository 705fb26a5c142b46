"""The ring of the last requests' decisions, in memory that all workers share and that outlives reloads and upgrades.

It has a part for each slot of a worker, of ENTRIES entries, and the worker writes over its oldest one. Slots beyond PARTS share
the parts of others. So two workers may write to one entry; like one that is read while it is written, or that a killed worker has
left half written, it does not match its digest, and counts as none.

    an entry    time in microseconds, id of the request (16 bytes), digest of all that follows and precedes, length; then the
                decisions, as compressed JSON
"""

from __future__ import annotations

import json
import mmap
import struct
import zlib
from collections.abc import Iterator
from functools import cache
from hashlib import blake2b
from typing import Any, NamedTuple

from wproxy.lasting import LASTING

# The layout's version, part of the region's name.
VERSION = 1
ENTRY_BYTES = 4096
ENTRIES = 32
PARTS = 64
RING_BYTES = PARTS * ENTRIES * ENTRY_BYTES
_HEAD = struct.Struct("=Q16s8sQ")  # time, id, digest, length
MOST_BYTES = ENTRY_BYTES - _HEAD.size

Decisions = dict[str, Any]


class Kept(NamedTuple):
    """An entry. at: unix time in microseconds. place: where it begins."""

    at: int
    id: str
    place: int


class DecisionRing:
    """The ring, as a process sees it."""

    def __init__(self, memory: mmap.mmap | bytearray) -> None:
        self._memory = memory
        self._next: dict[int, int] = {}

    def keep(self, slot: int, at: float, request_id: str, decisions: Decisions) -> bool:
        """Keep the decisions about a request, by the worker with that slot; return False if they have no room.

        at: unix time. request_id: 32 hexadecimal digits.
        """
        data = zlib.compress(json.dumps(decisions, separators=(",", ":")).encode("ascii"), 1)
        if len(data) > MOST_BYTES:
            return False
        part = slot % PARTS
        number = self._next.get(part)
        if number is None:
            number = self._oldest(part)
        self._next[part] = (number + 1) % ENTRIES
        place = (part * ENTRIES + number) * ENTRY_BYTES
        moment, name = int(at * 1e6), bytes.fromhex(request_id)
        head = _HEAD.pack(moment, name, _digest(moment, name, data), len(data))
        self._memory[place : place + _HEAD.size + len(data)] = head + data
        return True

    def find(self, request_id: str) -> Decisions | None:
        """Return the decisions about a request; None if they are not kept, or no longer."""
        found = [entry for entry in self._entries() if entry.id == request_id]
        return self._read(max(found)) if found else None

    def last(self, most: int) -> list[Decisions]:
        """Return the decisions about the last requests, the newest first."""
        newest = sorted(self._entries(), reverse=True)[:most]
        return [decisions for entry in newest if (decisions := self._read(entry)) is not None]

    def _oldest(self, part: int) -> int:
        """Return the entry to write over next: an empty one, or the oldest."""
        base = part * ENTRIES * ENTRY_BYTES
        times = [_HEAD.unpack_from(self._memory, base + number * ENTRY_BYTES)[0] for number in range(ENTRIES)]
        return times.index(min(times))

    def _entries(self) -> Iterator[Kept]:
        for place in range(0, len(self._memory), ENTRY_BYTES):
            at, name, _, length = _HEAD.unpack_from(self._memory, place)
            if length:
                yield Kept(at, name.hex(), place)

    def _read(self, entry: Kept) -> Decisions | None:
        """Return what an entry has; None if it is not whole."""
        at, name, digest, length = _HEAD.unpack_from(self._memory, entry.place)
        if length > MOST_BYTES:
            return None
        begin = entry.place + _HEAD.size
        data = bytes(self._memory[begin : begin + length])
        if digest != _digest(at, name, data) or name.hex() != entry.id:
            return None
        decisions: Decisions = json.loads(zlib.decompress(data))
        return decisions


def _digest(at: int, name: bytes, data: bytes) -> bytes:
    return blake2b(b"%d." % at + name + data, digest_size=8).digest()


@cache
def decision_ring() -> DecisionRing:
    """Return the ring of this process and of all that it forks from now on."""
    return DecisionRing(LASTING.region(f"decisions\0{VERSION}", RING_BYTES))
