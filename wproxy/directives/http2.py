"""HTTP/2 with clients (nginx: src/http/v2)."""

from __future__ import annotations

from wproxy.config.registry import HTTP, LOCATION, SERVER, directive
from wproxy.directives.http_core import memory
from wproxy.directives.values import flag, number

# The least that holds the head of a frame and part of its payload, as in nginx.
_LEAST_BUFFER = 2 * 16
_LARGEST_WINDOW = 2**31 - 1


def receive_buffer(value: str) -> int:
    """Return the bytes of a buffer for frames."""
    found = memory(value)
    if found < _LEAST_BUFFER:
        raise ValueError('"%s" directive value is too small')
    return found


def window(value: str) -> int:
    """Return the size of a stream's window."""
    found = memory(value)
    if found > _LARGEST_WINDOW:
        raise ValueError(f"the maximum body preread buffer size is {_LARGEST_WINDOW}")
    return found


def chunk_size(value: str) -> int:
    """Return the most bytes of body in one frame."""
    found = memory(value)
    if not found:
        raise ValueError("the http2 chunk size cannot be zero")
    return found


class HTTP2ServerDirectives:
    """HTTP/2 on the listeners of a server."""

    http2: bool = directive(
        flag,
        HTTP | SERVER,
        default="off",
        doc="Whether clients of this server may speak HTTP/2: by ALPN with TLS, otherwise at once, on the same port as HTTP/1.",
    )
    http2_max_concurrent_streams: int = directive(
        number(), HTTP | SERVER, default="128", doc="The most requests that a client may have under way on one HTTP/2 connection."
    )
    http2_body_preread_size: int = directive(
        window,
        HTTP | SERVER,
        default="64k",
        doc="The size of a request body that an HTTP/2 client may send before it is read, and ahead of its reader.",
    )
    http2_recv_buffer_size: int = directive(
        receive_buffer, HTTP, default="256k", doc="The most bytes that are read at once from an HTTP/2 client."
    )
    http2_extended_connect: bool = directive(
        flag,
        HTTP | SERVER,
        default="off",
        doc="Whether HTTP/2 clients may open websockets (RFC 8441). To upstreams they are requests with Upgrade, as in HTTP/1.",
    )


class HTTP2Directives:
    """How responses are sent in HTTP/2."""

    http2_chunk_size: int = directive(
        chunk_size, HTTP | SERVER | LOCATION, default="16k", doc="The most bytes of a response body in one HTTP/2 frame."
    )
