"""Parts of an upstream's answer for clients that ask for one (nginx: ngx_http_range_filter_module.c, proxy.md §3.2).

Files have their parts from worker/content/static.py, which need not read what is not sent.
"""

from __future__ import annotations

from collections.abc import Callable

from worker.filters.fields import copied, line_of, without
from worker.filters.headers import last_modified
from worker.outlet import NOTHING, Wrapper
from worker.pages import error_response
from worker.upstream.protocols import settings_of
from wproxy.bodies import BodySource
from wproxy.conditions import first_range
from wproxy.config.model import Location
from wproxy.http import Request, Response, ResponseFields
from wproxy.ranges import Part, Unsatisfiable, parse_ranges, still_holds

Filter = Callable[[Request, Response], Response]
Lines = tuple[tuple[bytes, bytes], ...]

_OF_BODIES = frozenset((b"etag", b"last-modified", b"accept-ranges", b"content-encoding"))


def ranges_filter(location: Location) -> Filter | None:
    """Return a filter that serves one part of a proxied answer, by proxy_force_ranges or because the answer is being stored."""
    settings = settings_of(location)
    is_forced = settings is not None and settings.get("force_ranges", False)
    if settings is None or not (is_forced or settings.has_cache):
        return None

    def apply(request: Request, response: Response) -> Response:
        fields = response.fields
        if request.upstream_head is None or response.error or fields.status != 200 or fields.content_length < 0:
            return response
        notes = request.cached
        if notes is not None and notes.file:
            return response  # worker/cache/hits.py has served the parts, without reading what is not sent
        if not is_forced and (notes is None or not notes.has_ranges):
            return response
        at_hand, length = response.body, fields.content_length
        try:
            begin, end = narrow(request, response)
        except Unsatisfiable:
            return refuse_range(request, response)
        if (begin, end) == (0, length) or response.bodiless:
            return response
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


def narrow(request: Request, response: Response) -> Part:
    """Return the part of a complete 200 that its client asks for, and make its fields those of a 206; its body is untouched.

    The part is the whole, and the status 200, if the client asks for nothing else. Raises Unsatisfiable.
    """
    length = response.fields.content_length
    may_have_parts = request.location.max_ranges
    part = wanted_part(request, response.fields, length) if may_have_parts else None
    response.fields = changed = copied(response.fields)
    without(changed, b"accept-ranges")
    if not may_have_parts:
        return 0, length
    if part is None:
        changed.last_lines = (*changed.last_lines, (b"Accept-Ranges", b"bytes"))
        return 0, length
    begin, end = part
    changed.status, changed.reason, changed.content_length = 206, None, end - begin
    changed.last_lines = (*changed.last_lines, (b"Content-Range", b"bytes %d-%d/%d" % (begin, end - 1, length)))
    return part


def refuse_range(request: Request, response: Response, added: Lines = ()) -> Response:
    """Return a 416 in place of a complete 200, which is given up. added: the lines that filters would have added to it.

    As in nginx it has the fields of the answer that are not about its body.
    """
    response.close()
    fields = response.fields
    kept = tuple(line for line in fields.lines if line[0].lower() not in _OF_BODIES)
    lines = (*kept, *added, (b"Content-Range", b"bytes */%d" % fields.content_length))
    return error_response(request, 416, request.route.server_token, lines=lines)


def wanted_part(request: Request, fields: ResponseFields, length: int) -> Part | None:
    """Return the one requested part; None for the whole body. Raises Unsatisfiable."""
    asked = first_range(request.fields)
    if asked is None:
        return None
    condition = request.fields.get(b"if-range")
    if condition is not None:
        modified = last_modified(fields)
        if not still_holds(condition, line_of(fields, b"etag") or b"", -1 if modified is None else modified):
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
