"""HTTP/2 to upstreams: `proxy_http_version 2`, and the ground of gRPC (RFC 9113; http2-rules.md, "As client to upstreams").

A connection has one request at a time, as in nginx, unless `proxy_max_streams` allows for more. The bytes are the business of
`worker.http2`. Here they meet sockets, tasks and the exchange: `http2_head.py` writes heads, `http2_stream.py` is one request,
`http2_frames.py` the connection, and `http2_arriving.py` what it has for a request.
"""

from __future__ import annotations

from worker.upstream.module_settings import ModuleSettings
from worker.upstream.passing import UpstreamProtocol
from worker.upstream.protocols.http2_frames import HTTP2Frames
from worker.upstream.protocols.http2_head import HTTP2HeadPlan, shown
from worker.upstream.protocols.http2_stream import HTTP2Stream


class HTTP2Connection(HTTP2Frames):
    """A connection that requests may join."""

    __slots__ = ()

    def begin(self) -> HTTP2Stream:
        """Return a new request's use of the connection."""
        return HTTP2Stream(self)


def http2(settings: ModuleSettings) -> UpstreamProtocol:
    """Return HTTP/2 for a location."""
    limit: int = settings.get("max_streams", 1)
    send_timeout: float = settings.get("send_timeout")
    return UpstreamProtocol(
        settings.module,
        "http://",
        lambda stream: HTTP2Connection(stream, limit, send_timeout),
        lambda location: HTTP2HeadPlan(ModuleSettings(location, settings.module)),
        is_shared=True,
        secure_scheme="https://",
        shown=shown,
    )
