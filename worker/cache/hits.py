"""Responses that come out of a cache: the stored head is read as if the upstream had just sent it; the kernel sends the body.

So proxy_hide_header, proxy_redirect and the like apply when a response is sent, as in nginx (ngx_http_upstream_cache_send), and
conditions and ranges are answered here. What is made of a head is kept with it, and a worker keeps heads by their bytes.
"""

from __future__ import annotations

import os

from worker.cache.dealings import Dealings
from worker.cache.heads import CannotRead, read_stored_head
from worker.cache.stored import Stored
from worker.content.file_body import FileBody
from worker.content.static import ACCEPT_RANGES, with_charset
from worker.filters.fields import line_of
from worker.pages import error_response
from worker.upstream.answers import client_fields
from worker.upstream.passing import Passing
from wproxy.conditions import Conditions, conditions_of, judge
from wproxy.dates import parse_http_date
from wproxy.directives.files import UNLIMITED
from wproxy.http import Request, Response, ResponseFields, has_no_body
from wproxy.ranges import Part, Unsatisfiable, in_parts, parse_ranges, still_holds

# Fields of a response that a 416 or 304 in its place does not have (nginx: ngx_http_send_special_response,
# ngx_http_not_modified_header_filter).
_NOT_IN_416 = frozenset((b"etag", b"last-modified", b"accept-ranges", b"content-encoding"))
_NOT_IN_304 = frozenset((b"accept-ranges", b"content-encoding"))


class StoredFields:
    """The fields of a stored response for the client. has_ranges: whether parts of it are served. etag: b"" without. modified:
    unix seconds, -1 without.
    """

    __slots__ = ("etag", "fields", "has_ranges", "modified")

    def __init__(self, fields: ResponseFields, may_have_ranges: bool, is_forced: bool = False) -> None:
        """is_forced: whether parts are served although the upstream does not say that it does (proxy_force_ranges)."""
        self.etag = line_of(fields, b"etag") or b""
        date = line_of(fields, b"last-modified")
        modified = None if date is None else parse_http_date(date)
        self.modified = -1 if modified is None else modified
        is_told = line_of(fields, b"accept-ranges") is not None
        self.has_ranges = may_have_ranges and fields.status == 200 and (is_told or is_forced)
        if is_told or self.has_ranges:
            # Its place is after what filters add.
            last = ACCEPT_RANGES if self.has_ranges else ()
            fields = with_lines(fields, tuple(line for line in fields.lines if line[0].lower() != b"accept-ranges"), last)
        self.fields = fields


def with_lines(
    fields: ResponseFields, lines: tuple[tuple[bytes, bytes], ...], last_lines: tuple[tuple[bytes, bytes], ...]
) -> ResponseFields:
    """Return a copy of fields with other lines."""
    changed = fields.with_status(fields.status)
    changed.reason, changed.lines, changed.last_lines = fields.reason, lines, last_lines
    return changed


def send_stored(passing: Passing, request: Request, dealings: Dealings, stored: Stored, keeps: bool = False) -> Response:
    """Return the response that is stored. keeps: whether it outlives the entry.

    Raises SentElsewhere, ClientError, OSError when it cannot be kept, and CannotRead for what is not a response.
    """
    head = read_stored_head(passing.settings.module, stored.head, stored.body_length)
    if head.content_length != stored.body_length and request.method != b"HEAD" and not has_no_body(head.status):
        raise CannotRead("its body is not as long as it says")
    request.upstream_head = head
    dealings.is_settled = True
    dealings.file = stored.path
    plan = passing.answer_plan
    known: StoredFields | None = head.cache.get((plan,))
    if known is None:
        fields = client_fields(head, plan, request)
        known = StoredFields(fields, passing.location.max_ranges != 0, passing.settings.get("force_ranges", False))
        if head.cache.get(plan) is fields:
            head.cache[(plan,)] = known  # they are the same for every request
    file = StoredFile(stored, keeps)
    response = None
    try:
        conditions = conditions_of(request.fields)
        if conditions is not None and request.main is None and known.fields.status == 200:
            response = on_conditions(request, known, file, conditions)
        if response is None:
            response = whole_or_parts(request, known.fields, file, ((0, file.size),))
        return response
    finally:
        if response is None or response.source is None:
            file.close()


class StoredFile:
    """The body of a stored response, as FileBody reads a file. A response that outlives its entry has a descriptor of its own."""

    __slots__ = ("_is_own", "at_hand", "begin", "fd", "path", "size")

    def __init__(self, stored: Stored, is_own: bool) -> None:
        """Raises OSError."""
        self._is_own = is_own and stored.body is None
        self.fd = os.dup(stored.fileno) if self._is_own else stored.fileno
        self.begin = stored.body_start
        self.size = stored.body_length
        self.at_hand = stored.body
        self.path = os.fsencode(stored.path)

    def close(self) -> None:
        """Close the descriptor if it is its own."""
        if self._is_own:
            self._is_own = False
            os.close(self.fd)


def on_conditions(request: Request, known: StoredFields, file: StoredFile, conditions: Conditions) -> Response | None:
    """Apply the conditions of a request: return 304, 412, 206 or 416; None if the whole response is to be sent."""
    judged = judged_response(request, known.fields, known.etag, known.modified, conditions)
    if judged is not None or not known.has_ranges:
        return judged
    wanted, if_range = conditions.range, conditions.if_range
    location = request.location
    most = location.max_ranges
    if wanted is None or not most or (if_range is not None and not still_holds(if_range, known.etag, known.modified)):
        return None
    whole: ResponseFields | None = known.fields
    if request.route.unchanged is not None:
        whole = request.route.unchanged(request, known.fields)
        if whole is None:
            return None  # a body that filters change has no parts
    assert whole is not None
    try:
        parts = parse_ranges(wanted, file.size, most, most == UNLIMITED)
    except Unsatisfiable:
        return refuse_range(request, known.fields, file.size)
    return None if parts is None else send_parts(request, whole, file, parts)


def refuse_range(request: Request, whole: ResponseFields, size: int) -> Response:
    """Answer 416: the body has none of these bytes. As in nginx the page has the fields of the response that it replaces."""
    add = request.route.added_to_success
    added = () if add is None else add(request, whole)
    lines = tuple(line for line in whole.lines if line[0].lower() not in _NOT_IN_416)
    return error_response(
        request, 416, request.route.server_token, lines=(*lines, *added, (b"Content-Range", b"bytes */%d" % size))
    )


def judged_response(
    request: Request, fields: ResponseFields, etag: bytes, modified: int, conditions: Conditions
) -> Response | None:
    """Return 304 or 412 if the conditions of a request turn a 200 into it."""
    status = judge(conditions, etag, modified, request.location.if_modified_since)
    if status == 304:
        lines = tuple(line for line in fields.lines if line[0].lower() not in _NOT_IN_304)
        return Response(ResponseFields(304, lines, server=fields.server), bodiless=True)
    if status == 412:
        return error_response(request, 412, request.route.server_token)
    return None


def send_parts(request: Request, whole: ResponseFields, file: StoredFile, parts: list[Part]) -> Response:
    """Answer 206: one part, or several in a multipart/byteranges."""
    partial = in_parts(parts, file.size, lambda: with_charset(request, whole))
    fields = with_lines(whole, whole.lines, partial.lines)
    fields.status, fields.reason, fields.content_length = 206, None, partial.size
    fields.content_type = partial.content_type or whole.content_type
    return whole_or_parts(request, fields, file, partial.pieces)


def whole_or_parts(request: Request, fields: ResponseFields, file: StoredFile, pieces: tuple[bytes | Part, ...]) -> Response:
    """Return the response with these pieces of the body."""
    if request.method == b"HEAD" or has_no_body(fields.status):
        return Response(fields, bodiless=True)
    data = file.at_hand
    if data is not None:
        return Response(fields, b"".join(each if isinstance(each, bytes) else data[each[0] : each[1]] for each in pieces))
    begin = file.begin
    placed = tuple(each if isinstance(each, bytes) else (each[0] + begin, each[1] + begin) for each in pieces)
    return Response(fields, source=FileBody(request, file, placed))
