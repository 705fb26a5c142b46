"""Named zones of counters (the words of nginx's commercial ngx_http_status_module and ngx_http_api_module)."""

from __future__ import annotations

from wproxy.config.registry import LOCATION, LOCATION_IF, OWN, SERVER, directive


def zone_name(name: str) -> str:
    """Read `status_zone NAME`."""
    if not name:
        raise ValueError('invalid zone name ""')
    return name


class ServerZoneDirectives:
    """In a server."""

    status_zone: str | None = directive(
        zone_name,
        SERVER,
        inherit=OWN,
        doc="The zone of counters for the requests of this server, in `api`, `metrics` and `dashboard`; servers may share one.",
    )


class LocationZoneDirectives:
    """In a location; inner locations have it, too."""

    status_zone_: str = directive(
        zone_name,
        LOCATION | LOCATION_IF,
        default="off",
        doc="The zone of counters for the requests of this location, or `off`; locations may share one.",
    )
