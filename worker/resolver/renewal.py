"""Changes of the peers of a group while it works: the fate of new and removed peers, and of their requests.

A removed peer gets no more requests. Its idle connections are closed at once, those in use after their request; until then it is
counted, and keeps its record. A peer that stays keeps everything: health, connections, its turn. A new one begins like any other
after a start, with the parameters of its line.

The parameters of a line may be edited at run time (`wproxy.edits`), lines may be added and removed. A line is known by its
identity, and that stays: its present parameters, and its last addresses, are kept beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol

from worker.resolver.records import FORGOTTEN_AFTER, Place, Records, private_records
from worker.resolver.services import Endpoint
from worker.upstream.live_peer import LivePeer
from worker.upstream.queue import Queue
from worker.upstream.states import state_of
from wproxy.config.model import Peer, Upstream
from wproxy.directives.upstream import UpstreamServer
from wproxy.edits.servers import PresentServer
from wproxy.http import Clock
from wproxy.peer_counters import read_traffic
from wproxy.shared import SharedWords

# The bits that mark peers in the set that a request has tried are assigned in a circle: a new peer gets no bit that a request may
# have set for a removed one, unless that many peers have been added meanwhile.
LEAST_NUMBERS = 64
# Seconds after which all workers have published what requests they have at a peer that was removed.
ALL_HAVE_PUBLISHED = 2.0


class Renewable(Protocol):
    """The part of worker.upstream.peers.Group that is renewed, and the operations for it."""

    name: str
    upstream: Upstream
    clock: Clock
    queue: Queue | None
    peers: list[LivePeer]
    idle_count: int
    is_single: bool

    def live_peer(self, peer: Peer, number: int, place: Place, line: UpstreamServer | None) -> LivePeer:
        """Make a peer of an address, with its record in the shared memory."""

    def form(self) -> None:
        """Recompute everything that depends on the set of peers."""

    def count_in_common(self) -> None:
        """Count the active requests of all workers from now on."""


class Leaving(NamedTuple):
    """A removed peer that may still have requests. place: its record, if that is to be given back when it has none."""

    peer: LivePeer
    since: float
    place: Place | None


class Renewal:
    """The renewal state of one group. records: the source of health records for new peers. leaving: removed peers."""

    def __init__(self, group: Renewable, shared: SharedWords) -> None:
        """shared: the memory that holds the records of the initial peers."""
        self.group = group
        self.records: Records = private_records()
        lines = group.upstream.server
        self._order = {id(line): number for number, line in enumerate(lines)}
        # An initial address that leaves and returns gets its record back.
        self._first = {self._unique(peer.line, peer.name): Place(shared, peer.peer.record) for peer in group.peers}
        self._places: dict[int, Place] = {}  # those of added peers, by their number
        self.leaving: list[Leaving] = []
        self._numbers = set(range(len(group.peers)))
        self._next_number = len(group.peers)
        self._latest: dict[int, Sequence[Endpoint]] = {}
        for line in {id(peer.line): peer.line for peer in group.peers}.values():
            self._latest[id(line)] = [Endpoint(peer.peer.address) for peer in group.peers if peer.line is line]
        self._said: dict[int, UpstreamServer] = {}  # the present form of edited lines
        self._removed: set[int] = set()
        self._added: dict[tuple[str, int], UpstreamServer] = {}

    def replace_peers(self, line: UpstreamServer | None, endpoints: Sequence[Endpoint]) -> tuple[list[str], list[str]]:
        """Make these the peers of a line (None: of the name in a proxy_pass); return the names of those added and removed."""
        self._latest[id(line)] = endpoints
        return self._exchange(line, () if id(line) in self._removed else endpoints, are_found=True)

    # Edits.

    def said_of(self, line: UpstreamServer | None) -> UpstreamServer | None:
        """Return the present form of a line; None if there is no line. For a removed line it is the last form."""
        return line if line is None else self._said.get(id(line), line)

    def obey(self, present: Sequence[PresentServer]) -> tuple[list[UpstreamServer], list[UpstreamServer]]:
        """Make these the servers of the group; return the lines that were added, and those that were removed."""
        came: list[UpstreamServer] = []
        changed = False
        keys = set()
        for each in present:
            line = each.line
            if line is None:
                assert each.edit is not None and each.server is not None
                key = (each.edit.server, each.id)
                keys.add(key)
                if key not in self._added:
                    came.append(self._add(key, each.server))
                    changed = True
                line = self._added[key]
            changed = self._obey(line, each.server) or changed
        went = [self._forget(key) for key in [key for key in self._added if key not in keys]]
        if changed or went:
            group = self.group
            if group.upstream.zone is not None and any(each.server is not None and each.server.max_conns for each in present):
                group.count_in_common()
            group.form()
            if self.group.queue is not None:
                self.group.queue.wake()
        return came, went

    def added_ids(self) -> dict[int, int]:
        """Return the ids of servers that were added, by the identity of their line."""
        return {id(line): number for (_, number), line in self._added.items()}

    def _add(self, key: tuple[str, int], server: UpstreamServer) -> UpstreamServer:
        """Add a line that is not in the configuration."""
        line = self._added[key] = server
        self._order[id(line)] = key[1]
        self._latest[id(line)] = [Endpoint(line.address)] if line.address.is_numeric else []
        self._exchange(line, self._latest[id(line)])
        return line

    def _forget(self, key: tuple[str, int]) -> UpstreamServer:
        """Drop a line; its remaining holders keep its identity from being reused."""
        line = self._added.pop(key)
        self._exchange(line, ())
        for table in (self._order, self._latest, self._said):
            table.pop(id(line), None)
        return line

    def _obey(self, line: UpstreamServer, server: UpstreamServer | None) -> bool:
        """Apply the new form of a line, None to remove it. Return False if it has that form already."""
        is_removed = id(line) in self._removed
        if is_removed == (server is None) and server in (None, self.said_of(line)):
            return False
        if server is None:
            self._removed.add(id(line))
            self._exchange(line, ())
            return True
        self._removed.discard(id(line))
        self._said[id(line)] = server
        for peer in self.group.peers:
            if peer.line is line:
                peer.obey(server, self.group.clock.now)
        self._exchange(line, self._latest.get(id(line), ()))
        return True

    # Peers.

    def _exchange(
        self, line: UpstreamServer | None, endpoints: Sequence[Endpoint], are_found: bool = False
    ) -> tuple[list[str], list[str]]:
        """Make these the peers of a line; return the names of those added and removed. are_found: by a resolver."""
        group = self.group
        said = self.said_of(line)
        here = {(peer.peer.address, peer.peer.backup): peer for peer in group.peers if peer.line is line}
        wanted = {(each.address, each.is_backup or (said is not None and said.backup)): each for each in endpoints}
        gone = [peer for key, peer in here.items() if key not in wanted]
        new = [self._peer(said, each, key[1]) for key, each in wanted.items() if key not in here]
        reweighted = [peer for key, peer in here.items() if key in wanted and set_weight(peer, weight_of(said, wanted[key]))]
        if gone or new:
            states = {peer: state_of(group, peer, int(group.clock.now)) for peer in gone}
            entered = [self._enter(peer, line) for peer in new]
            peers = [peer for peer in group.peers if peer not in gone] + entered
            peers.sort(key=lambda peer: self._order.get(id(peer.line), len(self._order)))
            group.peers = peers
            for peer in gone:
                self._leave(peer)
            if are_found:
                for peer in gone:
                    peer.counters.vanished(states[peer])
                for peer in entered:
                    peer.counters.resolved()
        if gone or new or reweighted:
            group.form()
            if group.queue is not None:
                group.queue.wake()
        return [peer.name for peer in new], [peer.name for peer in gone]

    def _peer(self, line: UpstreamServer | None, endpoint: Endpoint, is_backup: bool) -> Peer:
        """Return the peer of an address, with the parameters of its line."""
        name = str(endpoint.address)
        if line is None:
            return Peer(name, endpoint.address, self.group.name)
        return Peer(
            name,
            endpoint.address,
            line.text,
            weight_of(line, endpoint),
            line.max_fails,
            line.fail_timeout,
            line.max_conns,
            is_backup,
            line.down,
        )

    def _enter(self, peer: Peer, line: UpstreamServer | None) -> LivePeer:
        """Add a peer: give it a number and a record."""
        group = self.group
        number = self._free_number()
        place = self._first.get(self._unique(line, peer.name))
        if place is None:
            place = self._places[number] = self.records.take(self._unique(line, peer.name), int(group.clock.now))
        self._publish_last(place)
        entered = group.live_peer(replace(peer, record=place.record), number, place, self.said_of(line))
        entered.line = line
        entered.counters.publish(0)  # it may have been here before, with active requests when it left
        return entered

    def _leave(self, peer: LivePeer) -> None:
        """Remove a peer."""
        group = self.group
        peer.is_gone = True
        while peer.idle:
            peer.idle.pop().close()
            group.idle_count -= 1
        number = peer.bit.bit_length() - 1
        self._numbers.discard(number)
        place = self._places.pop(number, None)
        peer.counters.publish(peer.connections)
        if place is not None and not peer.connections:
            self.records.give_back(place)
            place = None
        self.leaving.append(Leaving(peer, group.clock.now, place))

    # Removed peers.

    def count_busy(self) -> int:
        """Return how many removed peers still have requests, in any worker."""
        return sum(read_traffic(*leaving.peer.place)[0] > 0 for leaving in self.leaving)

    def publish_leaving(self) -> None:
        """Publish the counts of removed peers; forget those that have no more requests."""
        now = self.group.clock.now
        for leaving in self.leaving[:]:
            peer, since, place = leaving
            peer.counters.publish(peer.connections)
            is_used_elsewhere = read_traffic(*peer.place)[0] > 0 and now < since + FORGOTTEN_AFTER
            if not (peer.connections or is_used_elsewhere or now < since + ALL_HAVE_PUBLISHED):
                self.leaving.remove(leaving)
                if place is not None:
                    self.records.give_back(place)

    def _publish_last(self, place: Place) -> None:
        """Publish the counts of a removed peer for the last time: it comes again, and goes on from there."""
        for leaving in self.leaving[:]:
            if leaving.peer.place == place:
                leaving.peer.counters.publish(0)
                self.leaving.remove(leaving)

    def _free_number(self) -> int:
        """Return a number for a new peer that no present one has."""
        circle = max(LEAST_NUMBERS, 2 * len(self._numbers) + 2)
        while True:
            number = self._next_number % circle
            self._next_number = number + 1
            if number not in self._numbers:
                self._numbers.add(number)
                return number

    def _unique(self, line: UpstreamServer | None, name: str) -> str:
        """Return a name for a record, unique among the peers and the same in every worker."""
        return f"{self.group.name}\0{self._order.get(id(line), '')}\0{name}"

    def __repr__(self) -> str:
        return f"<renewal of {self.group.name}: {len(self._places)} peers have come>"


def weight_of(line: UpstreamServer | None, endpoint: Endpoint) -> int:
    """Return the weight of an address: the line's if it is set, else that of the SRV record."""
    if line is None:
        return 1
    return line.weight if line.weight != 1 or not endpoint.weight else endpoint.weight


def set_weight(peer: LivePeer, weight: int) -> bool:
    """Give a peer another weight; return False if it has it already."""
    if peer.full_weight == weight * peer.step:
        return False
    peer.full_weight = peer.weight = peer.effective_weight = weight * peer.step
    peer.warm_since = None
    return True
