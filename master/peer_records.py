"""The assignment of shared-memory records to peers, across reloads.

A peer is known by its upstream and its name; while any generation of workers has it, it keeps its record, so that a reload does
not forget which peers are failing (nginx forgets: process.md §5). A record without a holder is zeroed and given out again; old
workers that still finish their requests are holders too, because they would count failures against another peer.

Each record names its peer, by a digest of that name: a master that takes over the memory from another one (an upgrade of the
program) finds the records of its peers again. While both live, records belong to the younger one: the older gives none out and
frees none (`give_over`), and checks them all again if it is left alone (`take_over`).

Record 0 belongs to no peer: a `Peer` that was never given a record has it.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterable
from dataclasses import replace
from hashlib import blake2b

from wproxy.config.model import Upstream
from wproxy.config.tree import ConfigurationError, Problem
from wproxy.shared import FIRST_LATE_PEER, HEAD_RECORDS, PEER_IDENTITY, SharedWords

# Upstream, peer, and its index among several of that name in that upstream.
Key = tuple[str, str, int]

# The digest in the record of a peer.
Identity = tuple[int, int]
NOBODY: Identity = (0, 0)

TOO_MANY_PEERS = Problem(f"too many peers in all upstreams: there is room for {FIRST_LATE_PEER - 1}")


class PeerRecords:
    """The allocation of records. A holder is any object that stands for a generation."""

    def __init__(self, shared: SharedWords) -> None:
        """Keep what another master left in the memory until `forget_inherited`, for peers with its names."""
        self._shared = shared
        self._records: dict[Key, int] = {}
        self._held: dict[Hashable, frozenset[Key]] = {}
        self._inherited: dict[Identity, int] = {}
        self._free: list[int] = []
        self._are_ours = True
        self._are_shared = False
        self.take_over()
        self._are_shared = bool(self._inherited)

    def give_over(self) -> None:
        """Let another master give out records from now on; we keep those that we have given out, and free none."""
        self._are_ours = False

    def take_over(self) -> None:
        """Give out records from now on; those of other masters are kept until `forget_inherited`."""
        self._are_ours = True
        self._are_shared = True
        known = set(self._records.values())
        self._inherited = {}
        for record in range(1, self._shared.records):
            identity = self._identity(record)
            if identity != NOBODY and record not in known:
                self._inherited[identity] = record
        # Ascending, so it is a heap: the lowest is given out first.
        self._free = sorted(set(range(1, FIRST_LATE_PEER)).difference(self._inherited.values(), known))

    def hold(self, holder: Hashable, keys: Iterable[Key]) -> dict[Key, int]:
        """Return a record for each key, the old one if it exists; raises ConfigurationError when too few are left."""
        wanted = frozenset(keys)
        missing = {key: identity_of(key) for key in sorted(wanted - self._records.keys())}
        if len(missing.values() - self._inherited.keys()) > len(self._free):
            raise ConfigurationError(TOO_MANY_PEERS)
        for key, identity in missing.items():
            record = self._inherited.pop(identity, 0)
            if not record:
                record = heapq.heappop(self._free)
                self._introduce(record, identity)
            self._records[key] = record
        self._held[holder] = wanted
        return {key: self._records[key] for key in wanted}

    def release(self, holder: Hashable) -> None:
        """Free the records that only this generation holds; it has ended, or never began."""
        abandoned = self._held.pop(holder, frozenset())
        for key in abandoned.difference(*self._held.values()):
            record = self._records.pop(key)
            if self._are_shared:  # another master's workers may have it, too
                self._inherited[identity_of(key)] = record
            elif self._are_ours:
                self._clear(record)

    def forget_inherited(self) -> None:
        """Free the records of a previous master that are not ours; it and its workers have ended."""
        self._are_shared = False
        while self._are_ours and self._inherited:
            self._clear(self._inherited.popitem()[1])

    def _identity(self, record: int) -> Identity:
        offset = self._shared.peer_offset(record) + PEER_IDENTITY
        return self._shared.words[offset], self._shared.words[offset + 1]

    def _introduce(self, record: int, identity: Identity) -> None:
        """Write a peer's digest into its record."""
        offset = self._shared.peer_offset(record) + PEER_IDENTITY
        self._shared.words[offset], self._shared.words[offset + 1] = identity
        if self._shared.words[HEAD_RECORDS] <= record:
            self._shared.words[HEAD_RECORDS] = record + 1

    def _clear(self, record: int) -> None:
        """Zero a record that no worker has any more, and its rows, and give it back."""
        self._shared.clear_record(record)
        heapq.heappush(self._free, record)

    def __repr__(self) -> str:
        return f"<records of {len(self._records)} peers, held by {len(self._held)}>"


def identity_of(key: Key) -> Identity:
    """Return sixteen bytes that stand for a peer, as two words."""
    digest = blake2b("\0".join(map(str, key)).encode("utf-8", "surrogateescape"), digest_size=16).digest()
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")


def assign_records(upstreams: Iterable[Upstream], records: PeerRecords, holder: Hashable) -> None:
    """Give every peer of these upstreams its record, before the workers are forked; raises ConfigurationError."""
    upstreams = tuple(upstreams)
    keys = {upstream.name: _keys(upstream) for upstream in upstreams}
    given = records.hold(holder, (key for some in keys.values() for key in some))
    for upstream in upstreams:
        upstream.peers = tuple(
            replace(peer, record=given[key]) for peer, key in zip(upstream.peers, keys[upstream.name], strict=True)
        )


def _keys(upstream: Upstream) -> list[Key]:
    """Return a key for each peer, in order: two peers of one name in one upstream are two."""
    seen: dict[str, int] = {}
    keys = []
    for peer in upstream.peers:
        seen[peer.name] = seen.get(peer.name, -1) + 1
        keys.append((upstream.name, peer.name, seen[peer.name]))
    return keys
