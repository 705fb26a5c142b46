"""The heads of gRPC requests."""

from __future__ import annotations

from worker.upstream.protocols.http2_head import HTTP2HeadPlan
from wproxy.http import Request


class GrpcHeadPlan(HTTP2HeadPlan):
    """The additions of a location to every request head. TE goes upstream: servers ask for it, lest a proxy drop trailers."""

    __slots__ = ()

    def own_fields(self, request: Request) -> list[tuple[bytes, bytes]]:
        """Return `te: trailers` if the client has sent it."""
        te = request.fields.get(b"te")
        return [(b"te", b"trailers")] if te is not None and te.lower() == b"trailers" and b"te" not in self.set_fields else []
