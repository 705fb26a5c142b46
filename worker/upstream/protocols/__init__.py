"""The protocols spoken to upstreams: a file for each, and a row here."""

from __future__ import annotations

from worker.upstream.passing import UpstreamProtocol
from worker.upstream.protocols.http1 import HTTP1

# By the word that begins the names of their directives.
PROTOCOLS: dict[str, UpstreamProtocol] = {protocol.module: protocol for protocol in (HTTP1,)}
