"""gRPC to upstreams: HTTP/2 whose both directions go as they come, and whose answers end with fields (protocols.md §3).

All that a call needs is a matter of HTTP/2 and of the exchange: messages are bytes here, a deadline is a field (grpc-timeout)
that goes upstream, and a call that is cancelled is a stream that is reset.
"""

from __future__ import annotations

from worker.upstream.module_settings import ModuleSettings
from worker.upstream.passing import UpstreamProtocol
from worker.upstream.protocols.grpc_head import GrpcHeadPlan
from worker.upstream.protocols.http2 import HTTP2Connection
from worker.upstream.protocols.http2_head import shown
from wproxy.directives.pass_to import target


def grpc(settings: ModuleSettings) -> UpstreamProtocol:
    """Return gRPC for a location."""
    limit, send_timeout = settings.max_streams, settings.get("send_timeout")
    return UpstreamProtocol(
        "grpc",
        "grpc://",
        lambda stream: HTTP2Connection(stream, limit, send_timeout),
        lambda location: GrpcHeadPlan(ModuleSettings(location, "grpc")),
        is_shared=True,
        secure_scheme="grpcs://",
        read_target=target("grpc", "grpcs"),
        shown=shown,
    )
