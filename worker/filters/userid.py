"""userid: the cookie by which a client is known again, sent to those that have none (nginx: ngx_http_userid_filter_module.c)."""

from __future__ import annotations

from collections.abc import Callable

from worker.logs import log_request
from worker.upstream.sticky import cookie_time
from wproxy.config.model import Location
from wproxy.http import Request, Response

Filter = Callable[[Request, Response], Response]

_FOREVER = b"; expires=Thu, 31-Dec-37 23:55:55 GMT"


def userid_filter(location: Location) -> Filter | None:
    """Return the filter that adds the cookie, and P3P; None if no client gets one."""
    ids = location.user_ids
    if ids is None or not ids.gives:
        return None
    expires = location.userid_expires
    domain = b"" if location.userid_domain == "none" else b"; domain=" + _encoded(location.userid_domain)
    path = b"; path=" + _encoded(location.userid_path)
    flags = b"".join(b"; " + flag.encode() for flag in _FLAGS if flag in location.userid_flags)
    p3p = () if location.userid_p3p == "none" else ((b"P3P", _encoded(location.userid_p3p)),)

    def apply(request: Request, response: Response) -> Response:
        known, said = ids.of(request)
        for level, text in said:
            log_request(request, level, text)
        if known.sent is None:
            return response
        end = b""
        if expires is not None:
            end = (
                _FOREVER
                if expires == float("inf")
                else b"; expires=" + cookie_time(int(request.client.clock.wall) + int(expires))
            )
        value = ids.name + b"=" + ids.cookie_value(known.sent) + end + domain + path + flags
        fields = response.fields
        changed = fields.with_status(fields.status)
        changed.reason = fields.reason
        changed.lines = (*fields.lines, (b"Set-Cookie", value), *p3p)
        response.fields = changed
        return response

    return apply


# In the order in which nginx writes them.
_FLAGS = ("secure", "httponly", "samesite=strict", "samesite=lax", "samesite=none")


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
