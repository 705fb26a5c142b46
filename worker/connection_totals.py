"""The connections and requests of clients since the start, of all workers and of those that are gone.

This worker's own are as of now, others' as of their last publication.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from worker.services import Services
from wproxy.shared import (
    HEAD_ACCEPTED,
    HEAD_REFUSED,
    HEAD_REQUESTS,
    WORKER_ACCEPTED,
    WORKER_PID,
    WORKER_REFUSED,
    WORKER_REQUESTS,
)


class ConnectionTotals(NamedTuple):
    """handled: connections that were served. refused: those for which there was no room. requests: from their first byte on."""

    handled: int
    refused: int
    requests: int

    @property
    def accepted(self) -> int:
        """All connections, as nginx counts them."""
        return self.handled + self.refused


def read_totals(services: Services) -> ConnectionTotals:
    """Add up the counts of all workers."""
    shared, clients, own = services.shared, services.clients, os.getpid()
    found = []
    for head, word, mine in (
        (HEAD_ACCEPTED, WORKER_ACCEPTED, clients.accepted),
        (HEAD_REFUSED, WORKER_REFUSED, clients.refused),
        (HEAD_REQUESTS, WORKER_REQUESTS, clients.begun),
    ):
        slots = (shared.worker(index) for index in range(shared.slots))
        others = sum(slot.get(word) for slot in slots if slot.get(WORKER_PID) not in (0, own))
        found.append(shared.total(head) + mine + others)
    return ConnectionTotals._make(found)
