"""The limits of a location for `wproxy explain`: it tells of them, and where their counts are, and counts nothing."""

from __future__ import annotations

from collections.abc import Sequence

from worker.limits.check import Check
from worker.logs.formats import shown
from worker.services import Services
from wproxy.config.model import Location
from wproxy.directives.limits import ConnectionLimit, RequestLimit
from wproxy.http import Request
from wproxy.zone_memory import LimitZone


class Told(Check):
    """Limits of one kind. name: that of the directive."""

    name = ""

    def __init__(self, location: Location, services: Services) -> None:
        lines: Sequence[RequestLimit | ConnectionLimit] = getattr(location, self.name)
        zones = {zone.name: zone for zone in services.configuration.limit_zones}
        self.limits = [(limit, zones[limit.zone.name]) for limit in lines]
        self.place = location.origin(self.name)

    def check(self, request: Request) -> None:
        """Tell of the limits, once for a request, and let it pass."""
        if self.is_decided(request) or request.trace is None:
            return
        for limit, zone in self.limits:
            key = zone.key.evaluate(request)
            counted = f'the key {zone.key.text} is "{shown(key)}"' if key else f"not counted: the key {zone.key.text} is empty"
            request.trace.add(self.name, f"{self.name} zone {zone.name}{self.said(limit)}: {counted}; {where(zone)}", self.place)
            if key:
                self.decide(request)

    def is_decided(self, request: Request) -> bool:
        """Whether a location before this one has decided about the request."""
        raise NotImplementedError

    def decide(self, request: Request) -> None:
        """Note that the request passes."""
        raise NotImplementedError

    def said(self, limit: RequestLimit | ConnectionLimit) -> str:
        """Return what the line says besides the zone."""
        raise NotImplementedError


class ToldRequests(Told):
    """All `limit_req`."""

    name = "limit_req"

    def is_decided(self, request: Request) -> bool:
        """See `Told.is_decided`."""
        return (request.main or request).limit_req_status is not None

    def decide(self, request: Request) -> None:
        """See `Told.decide`."""
        (request.main or request).limit_req_status = b"PASSED"

    def said(self, limit: RequestLimit | ConnectionLimit) -> str:
        """See `Told.said`."""
        assert isinstance(limit, RequestLimit)
        return f", burst {limit.burst}" if limit.burst else ""


class ToldConnections(Told):
    """All `limit_conn`."""

    name = "limit_conn"

    def is_decided(self, request: Request) -> bool:
        """See `Told.is_decided`."""
        return (request.main or request).limit_conn_status is not None

    def decide(self, request: Request) -> None:
        """See `Told.decide`."""
        (request.main or request).limit_conn_status = b"PASSED"

    def said(self, limit: RequestLimit | ConnectionLimit) -> str:
        """See `Told.said`."""
        assert isinstance(limit, ConnectionLimit)
        return f", at most {limit.most}"


def where(zone: LimitZone) -> str:
    """Return where the counts of a zone are."""
    room = f"{zone.memory.entries} keys in the memory of this machine's workers"
    if zone.sync is None:
        return f"counts for {room}"
    patience = f"{zone.sync.patience * 1000:g} ms"
    return f"counts at {zone.sync.shown}, shared by machines; without its answer in {patience}, for {room}"
