"""The protocols of upstreams: a file for each, and a row here. A file is imported where a location speaks its protocol."""

from __future__ import annotations

from collections.abc import Callable

from worker.upstream.module_settings import ModuleSettings
from worker.upstream.passing import UpstreamProtocol
from worker.upstream.protocols.http1 import HTTP1
from wproxy.config.model import Location


def _proxy(settings: ModuleSettings) -> UpstreamProtocol:
    """Return HTTP/1, or HTTP/2 where a location asks for it."""
    if not settings.max_streams:
        return HTTP1
    from worker.upstream.protocols.http2 import http2

    return http2(settings)


def _fastcgi(settings: ModuleSettings) -> UpstreamProtocol:
    """Return FastCGI."""
    from worker.upstream.protocols.fastcgi import FASTCGI

    return FASTCGI


def _uwsgi(settings: ModuleSettings) -> UpstreamProtocol:
    """Return uwsgi."""
    from worker.upstream.protocols.closing import UWSGI

    return UWSGI


def _scgi(settings: ModuleSettings) -> UpstreamProtocol:
    """Return SCGI."""
    from worker.upstream.protocols.closing import SCGI

    return SCGI


def _memcached(settings: ModuleSettings) -> UpstreamProtocol:
    """Return that of memcached."""
    from worker.upstream.protocols.memcached import MEMCACHED

    return MEMCACHED


def _grpc(settings: ModuleSettings) -> UpstreamProtocol:
    """Return gRPC."""
    from worker.upstream.protocols.grpc import grpc

    return grpc(settings)


# Keyed by the word that begins the names of their directives.
PROTOCOLS: dict[str, Callable[[ModuleSettings], UpstreamProtocol]] = {
    "proxy": _proxy,
    "fastcgi": _fastcgi,
    "uwsgi": _uwsgi,
    "scgi": _scgi,
    "memcached": _memcached,
    "grpc": _grpc,
}


def protocol_of(settings: ModuleSettings) -> UpstreamProtocol:
    """Return the protocol that a location speaks to its upstream."""
    return PROTOCOLS[settings.module](settings)


def settings_of(location: Location) -> ModuleSettings | None:
    """Return the settings of the module by which a location passes requests on; None where it does not."""
    return next((ModuleSettings(location, module) for module in PROTOCOLS if getattr(location, f"{module}_target", None)), None)
