"""The limits of a location: those of this machine, those that machines share, or those that `wproxy explain` only tells of."""

from __future__ import annotations

from collections.abc import Sequence

from worker.limits.check import Check
from worker.limits.connections import ConnectionLimits
from worker.limits.requests import RequestLimits
from worker.limits.told import ToldConnections, ToldRequests
from worker.services import Services
from wproxy.config.model import Location
from wproxy.directives.limits import ConnectionLimit, RequestLimit


def limiting_requests(location: Location, services: Services) -> Check | None:
    """Return the request limits of a location; None without any."""
    if not location.limit_req:
        return None
    if not services.limit_zones.count:
        return ToldRequests(location, services)
    make: type[RequestLimits] = RequestLimits
    if any(limit.zone.name in services.limit_zones.links for limit in location.limit_req):
        from worker.limits.synced_requests import SyncedRequestLimits as make  # only where it is needed
    limits = make(location, services)
    return limits if services.counting is None else counted(limits, "limit_req_status", location.limit_req, services)


def limiting_connections(location: Location, services: Services) -> Check | None:
    """Return the connection limits of a location; None without any."""
    if not location.limit_conn:
        return None
    if not services.limit_zones.count:
        return ToldConnections(location, services)
    make: type[ConnectionLimits] = ConnectionLimits
    if any(limit.zone.name in services.limit_zones.links for limit in location.limit_conn):
        from worker.limits.synced_connections import SyncedConnectionLimits as make  # only where it is needed
    limits = make(location, services)
    return limits if services.counting is None else counted(limits, "limit_conn_status", location.limit_conn, services)


def counted(
    limits: RequestLimits | ConnectionLimits,
    attribute: str,
    lines: Sequence[RequestLimit | ConnectionLimit],
    services: Services,
) -> Check:
    """Return the same limits with their decisions counted. attribute: where a request has the decision about it."""
    from worker.limits.counted import CountedCheck  # only where counters are shown

    return CountedCheck(limits, attribute, [line.zone.name for line in lines], services)
