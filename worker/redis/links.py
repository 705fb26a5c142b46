"""The links of a worker: one to each server that its configuration names in `sync=`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from worker.loop import Loop
from wproxy.counters.layout import SYNC_SILENCES
from wproxy.redis_url import RedisServer

if TYPE_CHECKING:
    from worker.redis.link import Link


class Links:
    """The links by their server. They connect when the worker starts them; until then they are down."""

    def __init__(self, loop: Loop, log: Callable[[str, str], None]) -> None:
        self._loop = loop
        self._log = log
        self._links: dict[RedisServer, Link] = {}

    def link_to(self, server: RedisServer) -> Link:
        """Return the link to this server: the same for the same URL."""
        if server not in self._links:
            from worker.redis.link import Link  # with hiredis, only where it is needed

            self._links[server] = Link(server, self._loop, self._log)
        return self._links[server]

    def start(self) -> None:
        """Connect all of them."""
        for link in self._links.values():
            link.start()

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._links)

    def counts(self) -> tuple[tuple[int, int], ...]:
        """Return how often the servers have fallen silent, for the counters."""
        return ((SYNC_SILENCES, sum(link.silences for link in self._links.values())),)

    @property
    def are_settled(self) -> bool:
        """Whether each is up, or has failed to come up."""
        return all(link.is_settled for link in self._links.values())
