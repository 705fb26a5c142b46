"""The limits of a location: those of this machine, those that machines share, or those that `wproxy explain` only tells of."""

from __future__ import annotations

from worker.limits.check import Check
from worker.limits.connections import ConnectionLimits
from worker.limits.requests import RequestLimits
from worker.limits.told import ToldConnections, ToldRequests
from worker.services import Services
from wproxy.config.model import Location


def limiting_requests(location: Location, services: Services) -> Check | None:
    """Return the request limits of a location; None without any."""
    if not location.limit_req:
        return None
    if not services.limit_zones.count:
        return ToldRequests(location, services)
    if any(limit.zone.name in services.limit_zones.links for limit in location.limit_req):
        from worker.limits.synced_requests import SyncedRequestLimits  # only where it is needed

        return SyncedRequestLimits(location, services)
    return RequestLimits(location, services)


def limiting_connections(location: Location, services: Services) -> Check | None:
    """Return the connection limits of a location; None without any."""
    if not location.limit_conn:
        return None
    if not services.limit_zones.count:
        return ToldConnections(location, services)
    if any(limit.zone.name in services.limit_zones.links for limit in location.limit_conn):
        from worker.limits.synced_connections import SyncedConnectionLimits  # only where it is needed

        return SyncedConnectionLimits(location, services)
    return ConnectionLimits(location, services)
