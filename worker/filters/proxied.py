"""proxy_pass_trailers and proxy_force_ranges: changes to an upstream's answer (nginx: ngx_http_upstream.c, proxy.md §3.2)."""

from __future__ import annotations

from collections.abc import Callable

from worker.filters.headers import TrailedResponse, last_modified
from worker.outlet import NOTHING, Wrapper
from worker.pages import error_response
from worker.upstream.hidden import hidden_fields
from worker.upstream.protocols import settings_of
from wproxy.bodies import BodySource
from wproxy.config.model import Location
from wproxy.http import Request, Response
from wproxy.ranges import Part, Unsatisfiable, parse_ranges, still_holds

# The version of a head or request in HTTP/2, where trailers may follow a body of any kind.
HTTP2 = 20

Filter = Callable[[Request, Response], Response]
Lines = tuple[tuple[bytes, bytes], ...]


def trailers_filter(location: Location) -> Filter | None:
    """Return a filter that passes the fields after a body on; None if proxy_pass_trailers is off. gRPC depends on them."""
    settings = settings_of(location)
    if settings is None or not settings.get("pass_trailers", settings.module == "grpc"):
        return None

    hidden = hidden_fields(settings)

    def apply(request: Request, response: Response) -> Response:
        head = request.upstream_head
        may_have = head is not None and (head.chunked or head.version == HTTP2)
        may_follow = request.version >= HTTP2 or (request.version == 11 and response.fields.content_length < 0)
        if not (may_have and may_follow) or response.bodiless or response.tunnel is not None:
            return response
        if response.source is None and not request.upstream_trailers:
            return response  # all of it is here, and nothing follows: an answer of gRPC may be nothing but a head
        before = response.trailers

        def trailers(request: Request) -> Lines:
            passed = [(name, value) for lower, name, value in request.upstream_trailers if lower not in hidden]
            return (*(before(request) if before is not None else ()), *passed)

        return TrailedResponse(response, trailers)

    return apply


def ranges_filter(location: Location) -> Filter | None:
    """Return a filter that serves one part of a proxied answer; None if proxy_force_ranges is off."""
    settings = settings_of(location)
    if settings is None or not settings.get("force_ranges", False):
        return None

    def apply(request: Request, response: Response) -> Response:
        fields = response.fields
        if request.upstream_head is None or response.error or fields.status != 200 or fields.content_length < 0:
            return response
        kept = tuple(line for line in fields.lines if line[0].lower() != b"accept-ranges")
        changed = fields.with_status(200)
        changed.reason = fields.reason
        changed.lines = kept
        response.fields = changed
        length = fields.content_length
        try:
            part = wanted_part(request, response, length)
        except Unsatisfiable:
            response.close()
            range_line = (b"Content-Range", b"bytes */%d" % length)
            return error_response(request, 416, request.route.server_token, lines=(range_line,))
        if part is None:
            changed.last_lines = (*changed.last_lines, (b"Accept-Ranges", b"bytes"))
            return response
        begin, end = part
        changed.status, changed.reason = 206, None
        changed.content_length = end - begin
        changed.last_lines = (*changed.last_lines, (b"Content-Range", b"bytes %d-%d/%d" % (begin, end - 1, length)))
        if response.bodiless:
            return response
        at_hand = response.body
        response.body = at_hand[begin:end]
        if response.source is not None:
            if len(at_hand) >= end:
                response.source.close()
                response.source = None
            else:
                skipped = max(0, begin - len(at_hand))
                response.source = PartOfBody(response.source, skipped, end - max(begin, len(at_hand)))
        return response

    return apply


def wanted_part(request: Request, response: Response, length: int) -> Part | None:
    """Return the one requested part; None for the whole body. Raises Unsatisfiable."""
    asked = request.fields.get(b"range")
    if asked is None:
        return None
    condition = request.fields.get(b"if-range")
    if condition is not None:
        etag = next((value for name, value in response.fields.lines if name.lower() == b"etag"), b"")
        modified = last_modified(response.fields)
        if not still_holds(condition, etag, -1 if modified is None else modified):
            return None
    parts = parse_ranges(asked, length, 1, False)
    return None if parts is None else parts[0]


class PartOfBody(Wrapper):
    """A stretch of the rest of a body. skipped: bytes still to skip at its beginning; left: bytes wanted after those."""

    __slots__ = ("left", "skipped")

    def __init__(self, source: BodySource, skipped: int, left: int) -> None:
        self._unsent = NOTHING
        self._source = source
        self.skipped = skipped
        self.left = left

    async def read(self) -> bytes:
        """Return the next piece, b"" at the end. Raises UpstreamFailure."""
        while self.left:
            piece = b"" if self._source is None else await self._source.read()
            if not piece:
                return b""
            if self.skipped:
                cut = min(self.skipped, len(piece))
                self.skipped -= cut
                piece = piece[cut:]
            if piece:
                piece = piece[: self.left]
                self.left -= len(piece)
                return piece
        self.close()
        return b""
