"""Which record of the shared memory belongs to which peer, across reloads.

A peer is known by its upstream and its name; while some generation of workers has it, it keeps its record, so that
a reload does not forget who is failing (nginx forgets: process.md §5). A record nobody holds any more is zeroed and
given out again; "nobody" includes old workers that still finish their requests, for they would count failures
against a stranger.

Record 0 belongs to no peer: it is what a `Peer` has that was never given one.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterable
from dataclasses import replace

from wproxy.config.model import Upstream
from wproxy.config.tree import ConfigurationError, Problem
from wproxy.shared import FIRST_LATE_PEER, PEER_WORDS, SharedWords

# Upstream, peer, and which one of several of that name in that upstream.
Key = tuple[str, str, int]


class PeerRecords:
    """The allocation of records. A holder is anything that stands for a generation."""

    def __init__(self, shared: SharedWords) -> None:
        self._shared = shared
        self._records: dict[Key, int] = {}
        self._held: dict[Hashable, frozenset[Key]] = {}
        self._free = list(range(1, FIRST_LATE_PEER))  # ascending, so it is a heap: the lowest is given out first

    def hold(self, holder: Hashable, keys: Iterable[Key]) -> dict[Key, int]:
        """A record for each key, the old one where there is one; raises ConfigurationError when too few are left."""
        wanted = frozenset(keys)
        missing = sorted(wanted - self._records.keys())
        if len(missing) > len(self._free):
            raise ConfigurationError(Problem(f"too many peers in all upstreams: there is room for {FIRST_LATE_PEER - 1}"))
        for key in missing:
            self._records[key] = heapq.heappop(self._free)
        self._held[holder] = wanted
        return {key: self._records[key] for key in wanted}

    def release(self, holder: Hashable) -> None:
        """This generation has ended, or never began: free what no other one holds."""
        abandoned = self._held.pop(holder, frozenset())
        for key in abandoned.difference(*self._held.values()):
            record = self._records.pop(key)
            offset = self._shared.peer_offset(record)
            for word in range(offset, offset + PEER_WORDS):
                self._shared.words[word] = 0
            heapq.heappush(self._free, record)

    def __repr__(self) -> str:
        return f"<records of {len(self._records)} peers, held by {len(self._held)}>"


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
    """A key for each peer, in order: two peers of one name in one upstream are two."""
    seen: dict[str, int] = {}
    keys = []
    for peer in upstream.peers:
        seen[peer.name] = seen.get(peer.name, -1) + 1
        keys.append((upstream.name, peer.name, seen[peer.name]))
    return keys
