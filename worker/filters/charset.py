"""charset: the character set, named with the Content-Type (routing.md §5.2; nginx: ngx_http_charset_filter_module.c).

What an upstream names stays, unless `override_charset` is on. What is compressed is left alone, and so are redirects 301 and 302.
Nothing is converted: `charset_map` is accepted only.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

from worker.upstream.protocols.http import checked
from wproxy.config.model import Location
from wproxy.http import Request, Response, ResponseFields

Filter = Callable[[Request, Response], Response]

_CHARSET = b"charset="
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
    if template is None:
        return b""
    kind, semicolon, rest = content_type.partition(b";")
    if not is_named(location, kind.strip().lower()):
        return b""
    if response is not None:
        fields = response.fields
        if fields.status in (301, 302) or any(name.lower() == b"content-encoding" for name, _ in fields.lines):
            return b""
        if semicolon and _CHARSET in rest.lower() and not location.override_charset:
            return b""
    return checked(template.constant if template.constant is not None else template.evaluate(request))


def is_named(location: Location, kind: bytes) -> bool:
    """Whether `charset_types` has this type."""
    if kind == b"text/html":
        return True
    listed = kind.decode("latin-1")
    return any(listed in line or "*" in line for line in location.charset_types)


def named(fields: ResponseFields, name: bytes) -> ResponseFields:
    """The fields with this character set in the place of any other."""
    kind, *parameters = (fields.content_type or b"").split(b";")
    kept = [parameter for parameter in parameters if not parameter.strip().lower().startswith(_CHARSET)]
    changed = fields.with_status(fields.status)
    changed.reason = fields.reason
    changed.wants_date = fields.wants_date
    changed.content_type = b";".join([kind, *kept, b" charset=" + name])
    return changed
