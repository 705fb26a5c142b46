"""proxy_pass_trailers: the fields after the body of an upstream's answer (nginx: ngx_http_upstream.c, proxy.md §3.2)."""

from __future__ import annotations

from collections.abc import Callable

from worker.filters.headers import TrailedResponse
from worker.upstream.hidden import hidden_fields
from worker.upstream.protocols import settings_of
from wproxy.config.model import Location
from wproxy.http import Request, Response

# The version of a head or request in HTTP/2, where trailers may follow a body of any kind.
HTTP2 = 20

Filter = Callable[[Request, Response], Response]
Lines = tuple[tuple[bytes, bytes], ...]
Field = tuple[bytes, bytes, bytes]


def trailers_filter(location: Location) -> Filter | None:
    """Return a filter that passes the fields after a body on; None if proxy_pass_trailers is off. gRPC depends on them."""
    settings = settings_of(location)
    if settings is None or not settings.get("pass_trailers", settings.module == "grpc"):
        return None

    hidden = hidden_fields(settings)
    # The last ones, and what of them is passed on: most calls end alike, and an upstream's are the same object then.
    last: tuple[Field, ...] = ()
    last_passed: Lines = ()

    def passed_on(request: Request) -> Lines:
        nonlocal last, last_passed
        found = request.upstream_trailers
        if last is not found:
            last, last_passed = found, tuple([(name, value) for lower, name, value in found if lower not in hidden])
        return last_passed

    def apply(request: Request, response: Response) -> Response:
        if response.source is None and not request.upstream_trailers:
            return response  # all of it is here, and nothing follows: an answer of gRPC may be nothing but a head
        head = request.upstream_head
        may_have = head is not None and (head.chunked or head.version == HTTP2)
        may_follow = request.version >= HTTP2 or (request.version == 11 and response.fields.content_length < 0)
        if not (may_have and may_follow) or response.bodiless or response.tunnel is not None:
            return response
        before = response.trailers
        if before is None:
            return TrailedResponse(response, passed_on)

        def trailers(request: Request) -> Lines:
            passed = passed_on(request)
            request.response_trailers = passed  # for variables in those of add_trailer
            return (*passed, *before(request))

        return TrailedResponse(response, trailers)

    return apply
