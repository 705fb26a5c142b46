"""What a page of metrics is made from: the counters of one moment, as far as they have been read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from worker.counters.counting import Counting
from worker.services import Services
from worker.upstream.live_peer import LivePeer
from worker.upstream.peers import Group
from wproxy.counters.exposition import Exemplar, Exposition, Labels
from wproxy.counters.layout import IDLE
from wproxy.counters.plan import RequestNames
from wproxy.counters.totals import RequestTotals
from wproxy.directives.metrics import Metrics

# Yielded where the loop may turn.
Pauses = Iterator[None]


@dataclass(slots=True)
class Reading:
    """The counters of one page. peers: with their groups and the labels of both, once `read_peers` has read them."""

    services: Services
    counting: Counting
    settings: Metrics
    page: Exposition
    rows: list[tuple[Labels, RequestTotals]] = field(default_factory=list)
    everything: list[tuple[RequestNames, RequestTotals]] = field(default_factory=list)
    exemplars: dict[Labels, dict[int, Exemplar]] = field(default_factory=dict)
    peers: list[PeerReading] = field(default_factory=list)


@dataclass(slots=True)
class PeerReading:
    """One peer. name: as labels have it. labels: its upstream's and its own.

    words: its row, added up (a thousand peers are read for one page).
    """

    group: Group
    peer: LivePeer
    name: str
    labels: Labels
    state: str
    active: int
    received: int
    sent: int
    words: list[int]
    checks: tuple[int, int]

    @property
    def idle(self) -> int:
        """Connections that are kept."""
        return self.words[IDLE]
