"""charset: the character set, named with the Content-Type (routing.md §5.2; nginx: ngx_http_charset_filter_module.c).

A character set that an upstream names stays, unless `override_charset` says otherwise. A text that is known to be in another
character set, from its upstream or `source_charset`, is recoded by a `charset_map`; if there is none for the two, it is left
alone and the error log says so. Redirects 301 and 302 get no name.

A body that is recoded byte by byte keeps its length, and may be sent in parts; any other has neither.

X-Accel-Charset of an upstream overrides all that, also for the file that its X-Accel-Redirect leads to. (nginx ignores a name
that no directive mentions: that comes from the way it numbers them, and not from the request of the upstream.)
"""

from __future__ import annotations

import re
from typing import NamedTuple

from worker.filters.bodies import change_body
from worker.filters.fields import copied, forget_length, line_of, next_key
from worker.logs import log_request
from worker.upstream.failing import READING_HEAD
from wproxy.config.model import Location
from wproxy.http import Request, Response, ResponseFields
from wproxy.maps.charset_map import Recoder, Recoding, recodings_of
from wproxy.template import checked

# The parameter that names a character set ends the type (nginx: ngx_http_upstream_copy_content_type).
_NAMED = re.compile(rb"; *charset=\"?([^\";]*)", re.IGNORECASE).search

SENDING = "sending response to client"


class Decision(NamedTuple):
    """The decision about a response. name: the character set. recoding: the conversion of its body; None if it stays."""

    name: bytes
    recoding: Recoding | None


def charset_filter(location: Location) -> Charset | None:
    """Return the filter of a location; None if it names no character set."""
    return None if location.charset is None else Charset(location)


class Charset:
    """The filter of one location. key: the place of changed fields on the originals; constant: they serve all requests."""

    __slots__ = ("_is_constant", "_key", "_recodings")

    def __init__(self, location: Location) -> None:
        self._key = next_key()
        self._recodings = recodings_of(location.charset_map)
        templates = (location.charset, location.source_charset)
        self._is_constant = all(template is None or template.constant is not None for template in templates)

    def unchanged(self, request: Request, fields: ResponseFields) -> ResponseFields | None:
        """Return the fields of a response whose body stays, or can be recoded part by part; None if it has no parts."""
        decision = self._decide(request, fields)
        if decision is None or decision.recoding is None:
            return fields
        # The frame around several parts is not text of the file.
        has_parts = decision.recoding.keeps_length and b"," not in (request.fields.get(b"range") or b"")
        return fields if has_parts else None

    def __call__(self, request: Request, response: Response) -> Response:
        """Name the character set, and recode a body that is in another one."""
        fields = response.fields
        kept: tuple[Decision, ResponseFields] | None = fields.wire.get(self._key)
        if kept is None or not self._is_constant or request.accel_charset is not None:
            decision = self._decide(request, fields, is_told=True)
            if decision is None:
                return response
            if kept is None or kept[0] != decision:
                kept = fields.wire[self._key] = decision, changed_fields(fields, decision)
        response.fields = kept[1]
        recoding = kept[0].recoding
        if recoding is not None and not response.bodiless and response.tunnel is None:
            change_body(response, Recoded(recoding.start()))
        return response

    def _decide(self, request: Request, fields: ResponseFields, is_told: bool = False) -> Decision | None:
        """Decide about a response; None for no change. is_told: log the reason when nothing can be done."""
        location = request.location
        content_type = fields.content_type or b""
        theirs = _NAMED(content_type)
        name = charset_of(request, content_type) if content_type else b""
        if not name or fields.status in (301, 302):
            return None
        stated = location.source_charset
        source = theirs[1] if theirs is not None else None if stated is None else stated.evaluate(request)
        if source is None or source.lower() == name.lower():
            return Decision(name, None)
        known = source.decode("latin-1"), name.decode("latin-1")
        recoding = self._recodings.get((known[0].lower(), known[1].lower()))
        if recoding is not None:
            return None if line_of(fields, b"content-encoding") else Decision(name, recoding)
        if is_told:
            tell_missing(request, source, name, READING_HEAD if request.attempts else SENDING)
        return None


def charset_of(request: Request, content_type: bytes) -> bytes:
    """Return the character set that the location names with this Content-Type; b"" for none."""
    location = request.location
    template = location.charset
    if template is None or request.accel_charset is not None:
        return b""
    if _NAMED(content_type) is not None:
        if not location.override_charset:
            return b""
    elif not is_named(location, content_type.lower()):
        return b""
    return checked(template.constant if template.constant is not None else template.evaluate(request))


def may_name(request: Request, named_already: re.Match[bytes] | None, name: bytes, doing: str = READING_HEAD) -> bool:
    """Whether a text may be labelled with this character set: not if it would have to be converted first; that is logged."""
    if named_already is None or named_already[1].lower() == name.lower():
        return True
    tell_missing(request, named_already[1], name, doing)
    return False


def tell_missing(request: Request, theirs: bytes, ours: bytes, doing: str) -> None:
    """Log that a text cannot be recoded. doing: nginx's activity at that time."""
    names = f'"{theirs.decode("latin-1")}" and "{ours.decode("latin-1")}"'
    log_request(request, "error", f'no "charset_map" between the charsets {names} while {doing}')


def with_accel_charset(request: Request, fields: ResponseFields, doing: str = READING_HEAD) -> ResponseFields:
    """Return the fields with the character set of X-Accel-Charset; the same ones if there is none, or it cannot be applied."""
    name, content_type = request.accel_charset, fields.content_type
    if name is None or not content_type:
        return fields
    named_already = _NAMED(content_type)
    if not may_name(request, named_already, name, doing):
        return fields
    changed = changed_fields(fields, Decision(name, None))
    if fields.status in (301, 302):
        changed.content_type = content_type if named_already is None else content_type[: named_already.start()]
    return changed


def is_named(location: Location, kind: bytes) -> bool:
    """Whether `charset_types` includes this type."""
    if kind == b"text/html":
        return True
    listed = kind.decode("latin-1")
    return any(listed in line or "*" in line for line in location.charset_types)


def changed_fields(fields: ResponseFields, decision: Decision) -> ResponseFields:
    """Return the fields with this character set in place of any other, for the changed body."""
    content_type = fields.content_type or b""
    theirs = _NAMED(content_type)
    kind = content_type if theirs is None else content_type[: theirs.start()]
    changed = copied(fields)
    changed.content_type = kind + b"; charset=" + decision.name
    if decision.recoding is not None and not decision.recoding.keeps_length:
        forget_length(changed)
    return changed


class Recoded:
    """Recodes one body."""

    __slots__ = ("_recoder",)

    more = False

    def __init__(self, recoder: Recoder) -> None:
        self._recoder = recoder

    def feed(self, data: bytes | memoryview) -> bytes:
        """See Change."""
        return self._recoder.recode(bytes(data), False)

    def flush(self) -> bytes:
        """See Change."""
        return b""  # half a character may be held

    def finish(self) -> bytes:
        """See Change."""
        return self._recoder.recode(b"", True)
