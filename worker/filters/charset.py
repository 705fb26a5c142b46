"""charset: the character set, named with the Content-Type (routing.md §5.2; nginx: ngx_http_charset_filter_module.c).

What an upstream names stays. With `override_charset` nginx would convert the text; nothing is converted here (`charset_map` is
accepted only), and as in an nginx without a `charset_map` for the two the error log says so. Redirects 301 and 302 get no name.

X-Accel-Charset of an upstream is stronger than all that, also for the file that its X-Accel-Redirect leads to. (nginx takes no
notice of a name that no directive mentions: that is a matter of how it numbers them, and not of what was asked for.)
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable

from worker.logs import log_request
from worker.upstream.failing import READING_HEAD
from worker.upstream.protocols.http import checked
from wproxy.config.model import Location
from wproxy.http import Request, Response, ResponseFields

Filter = Callable[[Request, Response], Response]

# What names a character set ends the type (nginx: ngx_http_upstream_copy_content_type).
_NAMED = re.compile(rb"; *charset=\"?([^\";]*)", re.IGNORECASE).search
# Where changed fields are kept in `ResponseFields.wire`: numbers that are nobody else's.
_keys = itertools.count(1 << 24)


def charset_filter(location: Location) -> Filter | None:
    """The filter of a location; None where it names no character set."""
    if location.charset is None:
        return None
    key = next(_keys)

    def apply(request: Request, response: Response) -> Response:
        fields = response.fields
        name = charset_of(request, fields.content_type or b"", response) if fields.content_type else b""
        if not name:
            return response
        kept: tuple[bytes, ResponseFields] | None = fields.wire.get(key)
        if kept is None or kept[0] != name:
            kept = fields.wire[key] = name, named(fields, name)
        response.fields = kept[1]
        return response

    return apply


def charset_of(request: Request, content_type: bytes, response: Response | None = None) -> bytes:
    """The name to be added to this Content-Type; b"" for none. response: what it is for, None for a file of ours."""
    location = request.location
    template = location.charset
    if template is None or request.accel_charset is not None:
        return b""
    named_already = _NAMED(content_type)
    kind = content_type if named_already is None else content_type[: named_already.start()]
    if not is_named(location, kind.lower()) or (response is not None and response.fields.status in (301, 302)):
        return b""
    if named_already is not None and not location.override_charset:
        return b""
    name = checked(template.constant if template.constant is not None else template.evaluate(request))
    return name if may_name(request, named_already, name) else b""


def may_name(request: Request, named_already: re.Match[bytes] | None, name: bytes, doing: str = READING_HEAD) -> bool:
    """Whether a text may be said to be in this character set: not where it would have to be converted for that; logged then."""
    if named_already is None or named_already[1].lower() == name.lower():
        return True
    theirs, ours = named_already[1].decode("latin-1"), name.decode("latin-1")
    log_request(request, "error", f'no "charset_map" between the charsets "{theirs}" and "{ours}" while {doing}')
    return False


def with_accel_charset(request: Request, fields: ResponseFields, doing: str = READING_HEAD) -> ResponseFields:
    """The fields with what X-Accel-Charset asked for; the same ones where it asked for nothing, or cannot have it."""
    name, content_type = request.accel_charset, fields.content_type
    if name is None or not content_type:
        return fields
    named_already = _NAMED(content_type)
    if not may_name(request, named_already, name, doing):
        return fields
    changed = named(fields, name)
    if fields.status in (301, 302):
        changed.content_type = content_type if named_already is None else content_type[: named_already.start()]
    return changed


def is_named(location: Location, kind: bytes) -> bool:
    """Whether `charset_types` has this type."""
    if kind == b"text/html":
        return True
    listed = kind.decode("latin-1")
    return any(listed in line or "*" in line for line in location.charset_types)


def named(fields: ResponseFields, name: bytes) -> ResponseFields:
    """The fields with this character set in the place of any other."""
    content_type = fields.content_type or b""
    named_already = _NAMED(content_type)
    kind = content_type if named_already is None else content_type[: named_already.start()]
    changed = fields.with_status(fields.status)
    changed.reason = fields.reason
    changed.wants_date = fields.wants_date
    changed.content_type = kind + b"; charset=" + name
    return changed
