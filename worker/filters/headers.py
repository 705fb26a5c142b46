"""add_header, add_trailer and expires (nginx: src/http/modules/ngx_http_headers_filter_module.c; routing.md §5.3).

Equal responses share their fields, so the fields are never changed: a copy with the additions replaces them. It is kept on the
original (`ResponseFields.wire`) together with the additions, and is valid as long as the same additions are wanted: for values
without variables always, with variables while they stay the same, for a relative `expires` until the second is over. So a
repetition costs a look-up and a comparison, and nothing is kept longer than the fields themselves.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from worker.filters.fields import copied, next_key
from worker.logs import log_request
from wproxy.config.model import Location
from wproxy.dates import parse_http_date
from wproxy.directives.headers import (
    ACCESS,
    DAILY,
    EPOCH,
    MAX,
    MODIFIED,
    OFF,
    AddedField,
    Expires,
    parse_expires,
)
from wproxy.failures import ClientError
from wproxy.http import Clock, Request, Response, ResponseFields, http_date
from wproxy.template import Template, checked
from wproxy.variables import BLOCK, FIELDS

Filter = Callable[[Request, Response], Response]

# The statuses that get fields without `always`; `expires` applies to no others.
SAFE_STATUSES: Final = frozenset((200, 201, 204, 206, 301, 302, 303, 304, 307, 308))

# The additions: the values of Expires and Cache-Control, and (name, value) of the fields.
Lines = tuple[tuple[bytes, bytes], ...]
Expiry = tuple[bytes, bytes]
Additions = tuple[Expiry | None, Lines]

EPOCH_EXPIRY = (b"Thu, 01 Jan 1970 00:00:01 GMT", b"no-cache")
MAX_EXPIRY = (b"Thu, 31 Dec 2037 23:55:55 GMT", b"max-age=315360000")


def headers_filter(location: Location) -> Filter | None:
    """Return the filter of a location; None if it adds nothing.

    The filter raises ClientError(500) when a variable brings a line break into a field.
    """
    in_all = tuple(item for item in location.add_header if item.is_always)
    trailers_in_all = tuple(item for item in location.add_trailer if item.is_always)
    has_chunks = location.chunked_transfer_encoding
    safe = _additions(location.add_header, location.add_trailer, location.expires, has_chunks)
    others = _additions(in_all, trailers_in_all, Expires(OFF), has_chunks)
    if safe is None:
        return None

    def apply(request: Request, response: Response) -> Response:
        additions = safe if response.fields.status in SAFE_STATUSES else others
        return response if additions is None else additions.apply(request, response)

    return apply


def additions_to_success(location: Location) -> Callable[[Request, ResponseFields], Lines] | None:
    """Return the fields of add_header and expires that a 416 keeps from the 200 it replaces; None if there are none.

    nginx adds fields before it looks at the range. Fields with `always` are added to the 416 itself: once, not twice.
    """
    plan = _additions(tuple(item for item in location.add_header if not item.is_always), (), location.expires)
    if plan is None:
        return None

    def lines_for(request: Request, fields: ResponseFields) -> Lines:
        request.status, request.response_fields = fields.status, fields
        expiry, added = plan.constant or plan.evaluate(request, fields)
        lines = [] if expiry is None else [(b"Expires", expiry[0]), (b"Cache-Control", expiry[1])]
        return (*lines, *(line for line in added if line[1] and line[0].lower() not in _REPLACED))

    return lines_for


def _additions(
    headers: tuple[AddedField, ...], trailers: tuple[AddedField, ...], expires: Expires, has_chunks: bool = True
) -> AdditionPlan | None:
    return AdditionPlan(headers, trailers, expires, has_chunks) if headers or trailers or expires.kind != OFF else None


class TrailedResponse(Response):
    """A response with fields after its body. trailers: returns them, once the body has been sent."""

    __slots__ = ("trailers",)

    def __init__(self, response: Response, trailers: Callable[[Request], Lines]) -> None:
        # Like its parent, without the call.
        self.fields, self.body, self.source = response.fields, response.body, response.source
        self.bodiless, self.tunnel = False, None
        self.trailers = trailers


class AdditionPlan:
    """The additions of a location to the responses of one kind of status, computed at load.

    key, unframed_key: the places of the changed fields on the originals, with their length and, for trailers, without it.
    constant: the additions if no variable and no clock is involved. stable: whether the values of variables hold as long as the
    header block of the request. looks_back: whether a value may read a field that was added before it. has_chunks: whether
    HTTP/1.1 may answer in chunks here; only they have room for trailers.
    """

    __slots__ = ("constant", "expiry", "has_chunks", "headers", "key", "looks_back", "stable", "trailers", "unframed_key")

    def __init__(
        self, headers: tuple[AddedField, ...], trailers: tuple[AddedField, ...], expires: Expires, has_chunks: bool
    ) -> None:
        self.has_chunks = has_chunks
        self.headers = headers
        self.trailers = trailers
        self.expiry = None if expires.kind == OFF else ExpiryPlan(expires)
        self.key = next_key()
        self.unframed_key = next_key()
        values = [(item.name, item.value.constant) for item in headers]
        fixed = tuple((name, value) for name, value in values if value is not None)
        self.constant: Additions | None = None
        if len(fixed) == len(headers) and (self.expiry is None or self.expiry.constant):
            self.constant = (self.expiry.constant if self.expiry else None, fixed)
        self.stable = all(item.value.varies == BLOCK for item in headers)
        self.looks_back = any(item.value.varies == FIELDS for item in headers)

    def apply(self, request: Request, response: Response) -> Response:
        """Return the response with the additions. Raises ClientError, see `headers_filter`."""
        fields = response.fields
        wanted = self.constant or self.evaluate(request, fields)
        key = self.key
        if self.trailers and request.version > 10 and not response.bodiless and response.tunnel is None:
            # Before HTTP/2 only chunks have room for trailers, and chunks exclude a length.
            is_chunked = request.version == 11 and self.has_chunks
            if is_chunked:
                key = self.unframed_key
            if is_chunked or request.version > 11:
                response = TrailedResponse(response, self.evaluate_trailers)
        kept: tuple[Additions, ResponseFields] | None = fields.wire.get(key)
        if kept is None or (kept[0] is not wanted and kept[0] != wanted):
            changed = with_additions(fields, wanted)
            if key != self.key:
                changed.content_length = -1
            kept = fields.wire[key] = (wanted, changed)
        response.fields = kept[1]
        return response

    def evaluate(self, request: Request, fields: ResponseFields) -> Additions:
        """Return the additions to this response. Raises ClientError(500) for a value that would break the head."""
        expiry = self.expiry.of(request, fields) if self.expiry else None
        if self.looks_back:
            return expiry, self.evaluate_one_by_one(request, with_additions(fields, (expiry, ())))
        # An absolute URL in the request line changes $host although the header block is the same.
        if not self.stable or request.line.authority is not None:
            return expiry, self.evaluate_headers(request)
        lines: Lines | None = request.fields.cache.get(self)
        if lines is None:
            lines = self.evaluate_headers(request)
            request.fields.remember(self, lines)
        return expiry, lines

    def evaluate_headers(self, request: Request) -> Lines:
        """Return names and values, including empty ones: for some fields they have a meaning."""
        return tuple([(name, checked(value.evaluate(request))) for name, value, _ in self.headers])

    def evaluate_one_by_one(self, request: Request, fields: ResponseFields) -> Lines:
        """Return the same, with values that see the fields including those added before them."""
        lines = []
        for name, template, _ in self.headers:
            request.response_fields = fields
            line = (name, checked(template.evaluate(request)))
            fields = with_additions(fields, (None, (line,)))
            lines.append(line)
        return tuple(lines)

    def evaluate_trailers(self, request: Request) -> Lines:
        """Return the fields to send after the body, without values that would break a line: it is too late for an error."""
        lines = []
        for name, template, _ in self.trailers:
            value = template.evaluate(request)
            try:
                if checked(value):
                    lines.append((name, value))
            except ClientError as error:
                log_request(request, "error", f"{error.reason} while sending trailer {name.decode('latin-1')}")
        return tuple(lines)


class ExpiryPlan:
    """The values of Expires and Cache-Control; those that depend on the clock are computed once a second.

    constant: the values if they never change.
    """

    __slots__ = ("constant", "expires", "parsed", "remembered", "second")

    MOST_REMEMBERED = 256

    def __init__(self, expires: Expires) -> None:
        self.expires = expires
        self.constant = {EPOCH: EPOCH_EXPIRY, MAX: MAX_EXPIRY}.get(expires.kind)
        self.second = -1
        # Results of this second, by the setting and the last modification; and the parsed values of variables, by their text.
        self.remembered: dict[tuple[Expires, int | None], Expiry | None] = {}
        self.parsed: dict[bytes, Expires] = {}

    def of(self, request: Request, fields: ResponseFields) -> Expiry | None:
        """Return the values for a response; None if it gets none."""
        if self.constant is not None:
            return self.constant
        wanted = self.expires
        if wanted.value is not None:
            wanted = self.parse(wanted.value, request)
        clock: Clock = request.client.clock
        second = int(clock.wall)
        if second != self.second or len(self.remembered) > self.MOST_REMEMBERED:
            self.remembered.clear()
            self.second = second
        key = (wanted, last_modified(fields) if wanted.kind == MODIFIED else None)
        if key not in self.remembered:
            self.remembered[key] = expiry(wanted, second, key[1])
        return self.remembered[key]

    def parse(self, template: Template, request: Request) -> Expires:
        """Return the setting in the value of a variable; `off` if it makes no sense."""
        text = template.evaluate(request)
        found = self.parsed.get(text)
        if found is None:
            try:
                found = parse_expires(text.decode("latin-1"), self.expires.kind == MODIFIED)
            except ValueError:
                found = Expires(OFF)
            if len(self.parsed) > self.MOST_REMEMBERED:
                self.parsed.clear()
            self.parsed[text] = found
        return found


def expiry(wanted: Expires, now: int, modified: int | None) -> Expiry | None:
    """Return the values of Expires and Cache-Control. now: unix time. modified: the last modification, or None."""
    kind, seconds, _ = wanted
    if kind == OFF:
        return None
    if kind == EPOCH:
        return EPOCH_EXPIRY
    if kind == MAX:
        return MAX_EXPIRY
    if kind == DAILY:
        at = next_time_of_day(seconds, now)
    elif kind == ACCESS or modified is None or seconds == 0:
        at = now + seconds
    else:
        at = modified + seconds
    control = b"no-cache" if at < now else b"max-age=%d" % (at - now)
    return http_date(at).encode("ascii"), control


def next_time_of_day(seconds: int, now: int) -> int:
    """Return the unix time after `now` at which the local clock shows this many seconds since midnight."""
    today = time.localtime(now)
    for day in (today.tm_mday, today.tm_mday + 1):
        parts = (today.tm_year, today.tm_mon, day, seconds // 3600, seconds // 60 % 60, seconds % 60, 0, 0, -1)
        at = int(time.mktime(parts))
        if at > now:
            break
    return at


def last_modified(fields: ResponseFields) -> int | None:
    """Return the unix time of Last-Modified, ours or the upstream's; None if it is missing or cannot be read."""
    if fields.last_modified >= 0:
        return fields.last_modified
    value = next((value for name, value in fields.lines if name.lower() == b"last-modified"), None)
    return None if value is None else parse_http_date(value)


# Fields that exist only once: add_header replaces the existing one, and an empty value removes it.
_REPLACED = (b"etag", b"last-modified")


def with_additions(fields: ResponseFields, additions: Additions) -> ResponseFields:
    """Return a copy of the fields with Expires and Cache-Control replaced and the other fields added."""
    expires, added = additions
    lines = list(fields.lines)
    modified = fields.last_modified
    if expires is not None:
        replace_line(lines, b"Expires", expires[0])
        replace_line(lines, b"Cache-Control", expires[1])
    for name, value in added:
        if name.lower() in _REPLACED:
            replace_line(lines, name, value, rename=True)
            if name.lower() == b"last-modified":
                modified = -1
        elif value:
            lines.append((name, value))
    changed = copied(fields)
    changed.lines = tuple(lines)
    changed.last_modified = modified
    return changed


def replace_line(lines: list[tuple[bytes, bytes]], name: bytes, value: bytes, rename: bool = False) -> None:
    """Replace the first line of that name, or append one, and remove the other lines of the name.

    An empty value removes them all. rename: change the spelling of the name too.
    """
    lower = name.lower()
    places = [index for index, line in enumerate(lines) if line[0].lower() == lower]
    if not value:
        lines[:] = [line for line in lines if line[0].lower() != lower]
    elif places:
        lines[places[0]] = (name if rename else lines[places[0]][0], value)
        for index in reversed(places[1:]):
            del lines[index]
    else:
        lines.append((name, value))
