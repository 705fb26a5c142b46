"""The zones of a worker: each `limit_req_zone` and `limit_conn_zone` of its configuration, ready to count."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from worker.limits.zone import ConnectionZone, RequestZone
from worker.loop import Loop
from worker.redis.links import Links
from wproxy.assignment import Assignment
from wproxy.redis_url import RedisServer
from wproxy.template import Template
from wproxy.zone_memory import LimitZone

if TYPE_CHECKING:
    from worker.limits.common_connections import CommonConnections
    from worker.redis.link import Link

Log = Callable[[str, str], object]


class LimitZones:
    """The zones by name, and the key of each.

    links: to the servers of those that machines share. count: whether there are zones at all; False in `wproxy explain`.
    """

    def __init__(self, count: bool = True) -> None:
        self.count = count
        self.keys: dict[str, Template] = {}
        self.requests: dict[str, RequestZone] = {}
        self.connections: dict[str, ConnectionZone] = {}
        self.links: dict[str, Link] = {}
        self.common_connections: dict[str, CommonConnections] = {}


def limit_zones(assignment: Assignment, loop: Loop, log: Log, links: Links) -> LimitZones:
    """Return the zones of a worker, ready to count."""
    zones = LimitZones(count=not assignment.rehearses)
    if not (zones.count and assignment.configuration.limit_zones):
        return zones
    # With ctypes they take 5 ms, needed only with zones.
    from worker.limits.connection_zone import SharedConnectionZone
    from worker.limits.request_zone import SharedRequestZone

    owner = (assignment.generation, assignment.slot, os.getpid())

    def teller(text: str) -> Callable[[], None]:
        async def tell() -> None:
            log("warn", text)

        # In a task of its own: a lock of the zone is held meanwhile, and a log may have to wait for a disk.
        return lambda: void(loop.spawn(tell(), "full zone"))

    for zone in assignment.configuration.limit_zones:
        name = zone.name
        zones.keys[name] = zone.key
        if zone.rate:
            text = f'limit_req zone "{name}" is full: new keys take the places of those that were used least recently'
            zones.requests[name] = SharedRequestZone(name, zone.rate, zone.memory, teller(text))
        else:
            text = f'limit_conn zone "{name}" is full: requests with further keys are refused'
            zones.connections[name] = SharedConnectionZone(
                name, zone.memory, assignment.shared.words, owner, assignment.workers, teller(text)
            )
    share(zones, assignment.configuration.limit_zones, loop, links)
    return zones


def share(zones: LimitZones, lines: Iterable[LimitZone], loop: Loop, links: Links) -> None:
    """Link the zones that machines share to their servers."""
    at_servers: dict[RedisServer, CommonConnections] = {}
    for zone in lines:
        if zone.sync is None:
            continue
        link = zones.links[zone.name] = links.link_to(zone.sync)
        if not zone.rate:
            from worker.limits.common_connections import CommonConnections

            if zone.sync not in at_servers:
                at_servers[zone.sync] = CommonConnections(link, loop)
            zones.common_connections[zone.name] = at_servers[zone.sync]


def void(value: object) -> None:
    """Return nothing."""
