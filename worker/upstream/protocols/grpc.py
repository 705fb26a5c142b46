"""gRPC to upstreams: HTTP/2 whose both directions go as they come, and whose answers end with fields (protocols.md §3).

All that a call needs is a matter of HTTP/2 and of the exchange: messages are bytes here, a deadline is a field (grpc-timeout)
that goes upstream, and a call that is cancelled is a stream that is reset.
"""

from __future__ import annotations

from worker.upstream.module_settings import ModuleSettings
from worker.upstream.passing import UpstreamProtocol
from worker.upstream.protocols.http2 import HTTP2Connection, HTTP2HeadPlan, shown
from wproxy.config.model import Location
from wproxy.directives.pass_to import target
from wproxy.http import Request


class GrpcHeadPlan(HTTP2HeadPlan):
    """The additions of a location to every request head. TE goes upstream: servers ask for it, lest a proxy drop trailers."""

    __slots__ = ()

    def own_fields(self, request: Request) -> list[tuple[bytes, bytes]]:
        """Return `te: trailers` if the client has sent it."""
        te = request.fields.get(b"te")
        return [(b"te", b"trailers")] if te is not None and te.lower() == b"trailers" and b"te" not in self.set_fields else []


def _plan(location: Location) -> GrpcHeadPlan:
    return GrpcHeadPlan(ModuleSettings(location, "grpc"))


def protocol(limit: int, send_timeout: float) -> UpstreamProtocol:
    """Return gRPC with so many calls at once on a connection."""
    return UpstreamProtocol(
        "grpc",
        "grpc://",
        lambda stream: HTTP2Connection(stream, limit, send_timeout),
        _plan,
        is_shared=True,
        secure_scheme="grpcs://",
        read_target=target("grpc", "grpcs"),
        shown=shown,
    )


def grpc(settings: ModuleSettings) -> UpstreamProtocol:
    """Return gRPC for a location."""
    return protocol(settings.max_streams, settings.get("send_timeout"))


GRPC = protocol(1, 60.0)
