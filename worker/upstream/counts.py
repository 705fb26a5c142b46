"""What a group of peers counts where counters are shown; the counts themselves are in `worker/counters/peers.py`."""

from __future__ import annotations

from abc import ABC, abstractmethod

from wproxy.native import mypyc_attr
from wproxy.peer_counters import PeerCounters
from wproxy.shared import SharedWords


@mypyc_attr(allow_interpreted_subclasses=True)
class UpstreamCounts(ABC):
    """The counts of one upstream."""

    @abstractmethod
    def peer(self, shared: SharedWords, record: int) -> PeerCounters:
        """Return the counters of a peer."""

    @abstractmethod
    def connected(self, seconds: float) -> None:
        """Count a connection that took so long to open."""

    @abstractmethod
    def no_live(self, cause: str) -> None:
        """Count a request for which there was no peer. cause: its code."""

    @abstractmethod
    def retried(self, cause: str) -> None:
        """Count another try. cause: the code of the failure before."""

    @abstractmethod
    def denied(self, reason: str) -> None:
        """Count a failure after which no other peer was tried. reason: one of DENIALS."""

    @abstractmethod
    def publish(self, waiting: int) -> None:
        """Note how many requests wait for a peer."""
