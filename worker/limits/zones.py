"""The zones of a worker: each `limit_req_zone` and `limit_conn_zone` of its configuration, ready to count."""

from __future__ import annotations

import os
from collections.abc import Callable

from worker.limits.zone import ConnectionZone, RequestZone
from worker.loop import Loop
from wproxy.assignment import Assignment
from wproxy.template import Template

Log = Callable[[str, str], object]


class LimitZones:
    """The zones by name, and the key of each."""

    def __init__(self, assignment: Assignment, loop: Loop, log: Log) -> None:
        self.keys: dict[str, Template] = {}
        self.requests: dict[str, RequestZone] = {}
        self.connections: dict[str, ConnectionZone] = {}
        if not assignment.configuration.limit_zones:
            return
        # With ctypes they take 5 ms, needed only with zones.
        from worker.limits.connection_zone import SharedConnectionZone
        from worker.limits.request_zone import SharedRequestZone

        shared = assignment.shared
        owner = (assignment.generation, assignment.slot, os.getpid())

        def teller(text: str) -> Callable[[], None]:
            async def tell() -> None:
                log("warn", text)

            # In a task of its own: a lock of the zone is held meanwhile, and a log may have to wait for a disk.
            return lambda: void(loop.spawn(tell(), "full zone"))

        for zone in assignment.configuration.limit_zones:
            name = zone.name
            self.keys[name] = zone.key
            if zone.rate:
                text = f'limit_req zone "{name}" is full: new keys take the places of those that were used least recently'
                self.requests[name] = SharedRequestZone(name, zone.rate, zone.memory, teller(text))
            else:
                text = f'limit_conn zone "{name}" is full: requests with further keys are refused'
                self.connections[name] = SharedConnectionZone(
                    name, zone.memory, shared.words, owner, assignment.workers, teller(text)
                )


def void(value: object) -> None:
    """Return nothing."""
