"""The protocols of upstreams: a file for each, and a row here."""

from __future__ import annotations

from collections.abc import Callable

from worker.upstream.module_settings import ModuleSettings
from worker.upstream.passing import UpstreamProtocol
from worker.upstream.protocols.closing import SCGI, UWSGI
from worker.upstream.protocols.fastcgi import FASTCGI
from worker.upstream.protocols.grpc import GRPC, grpc
from worker.upstream.protocols.http1 import HTTP1
from worker.upstream.protocols.memcached import MEMCACHED
from wproxy.config.model import Location

# Keyed by the word that begins the names of their directives.
PROTOCOLS: dict[str, UpstreamProtocol] = {
    protocol.module: protocol for protocol in (HTTP1, FASTCGI, UWSGI, SCGI, MEMCACHED, GRPC)
}


def _http2(settings: ModuleSettings) -> UpstreamProtocol | None:
    """Return HTTP/2 where a location asks for it."""
    if not settings.max_streams:
        return None
    from worker.upstream.protocols.http2 import http2  # it takes 20 ms, needed only here

    return http2(settings)


# Of these the settings of a location decide.
BY_SETTINGS: dict[str, Callable[[ModuleSettings], UpstreamProtocol | None]] = {
    "proxy": _http2,
    "grpc": grpc,
}


def protocol_of(settings: ModuleSettings) -> UpstreamProtocol:
    """Return the protocol that a location speaks to its upstream."""
    choose = BY_SETTINGS.get(settings.module)
    return (choose and choose(settings)) or PROTOCOLS[settings.module]


def settings_of(location: Location) -> ModuleSettings | None:
    """Return the settings of the module by which a location passes requests on; None where it does not."""
    return next((ModuleSettings(location, module) for module in PROTOCOLS if getattr(location, f"{module}_target", None)), None)
