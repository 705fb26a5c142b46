"""The protocols of upstreams: a file for each, and a row here."""

from __future__ import annotations

from worker.upstream.module_settings import ModuleSettings
from worker.upstream.passing import UpstreamProtocol
from worker.upstream.protocols.closing import SCGI, UWSGI
from worker.upstream.protocols.fastcgi import FASTCGI
from worker.upstream.protocols.http1 import HTTP1
from worker.upstream.protocols.memcached import MEMCACHED
from wproxy.config.model import Location

# Keyed by the word that begins the names of their directives.
PROTOCOLS: dict[str, UpstreamProtocol] = {protocol.module: protocol for protocol in (HTTP1, FASTCGI, UWSGI, SCGI, MEMCACHED)}


def settings_of(location: Location) -> ModuleSettings | None:
    """Return the settings of the module by which a location passes requests on; None where it does not."""
    return next((ModuleSettings(location, module) for module in PROTOCOLS if getattr(location, f"{module}_target", None)), None)
