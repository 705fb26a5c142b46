"""gRPC to upstreams: HTTP/2 whose both directions go as they come, and whose answers end with fields (protocols.md §3).

All that a call needs is a matter of HTTP/2 and of the exchange: messages are bytes here, a deadline is a field (grpc-timeout)
that goes upstream, and a call that is cancelled is a stream that is reset.

HTTP/2 itself is imported when a location with grpc_pass is attached: it takes 20 ms.
"""

from __future__ import annotations

from worker.stream import Stream
from worker.upstream.module_settings import ModuleSettings
from worker.upstream.passing import HeadPlan, UpstreamProtocol
from worker.upstream.pooled import Pooled
from wproxy.config.model import Location
from wproxy.directives.pass_to import target


def _connect(stream: Stream, limit: int, send_timeout: float) -> Pooled:
    from worker.upstream.protocols.http2 import HTTP2Connection

    return HTTP2Connection(stream, limit, send_timeout)


def _plan(location: Location) -> HeadPlan:
    from worker.upstream.protocols.grpc_head import GrpcHeadPlan

    return GrpcHeadPlan(ModuleSettings(location, "grpc"))


def _shown(block: bytes) -> bytes:
    from worker.upstream.protocols.http2 import shown

    return shown(block)


def protocol(limit: int, send_timeout: float) -> UpstreamProtocol:
    """Return gRPC with so many calls at once on a connection."""
    return UpstreamProtocol(
        "grpc",
        "grpc://",
        lambda stream: _connect(stream, limit, send_timeout),
        _plan,
        is_shared=True,
        secure_scheme="grpcs://",
        read_target=target("grpc", "grpcs"),
        shown=_shown,
    )


def grpc(settings: ModuleSettings) -> UpstreamProtocol:
    """Return gRPC for a location."""
    return protocol(settings.max_streams, settings.get("send_timeout"))


GRPC = protocol(1, 60.0)
