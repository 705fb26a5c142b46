"""The built-in pages for errors and redirects, byte for byte nginx's except for the server's name (routing.md §5.8)."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from wproxy.browsers import is_msie
from wproxy.conditions import conditions_of, judge_without_validators
from wproxy.http import REASONS, ErrorResponse, Request, Response, ResponseFields, has_no_body, is_interim

# The titles that differ from the reason phrase (ngx_http_special_response.c).
TITLES: Final = {302: "Found", 401: "Authorization Required"}
# These are sent to the client as 400, with a page that says more.
BAD_REQUESTS: Final = {
    494: "Request Header Or Cookie Too Large",
    495: "The SSL certificate error",
    496: "No required SSL certificate was sent",
    497: "The plain HTTP request was sent to HTTPS port",
}
# After these the client's connection is closed (routing.md §2.6).
CLOSING: Final = frozenset((400, 413, 414, 495, 496, 497, 500, 501))

_PAGE: Final = (
    "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{heading}</h1></center>\r\n"
    "{more}<hr><center>{server}</center>\r\n</body>\r\n</html>\r\n"
)
# Some browsers replace a short page with one of their own; this makes it long enough.
PADDING: Final = b"<!-- a padding to disable MSIE and Chrome friendly error page -->\r\n" * 6


@lru_cache(512)
def page(status: int, server: bytes, is_padded: bool = False) -> bytes:
    """Return the HTML for a status; b"" if nginx has none. is_padded: whether to add PADDING to a page for an error."""
    return _page(status, server.decode("ascii")) + (PADDING if is_padded and has_padding(status) else b"")


def has_padding(status: int) -> bool:
    """Whether the page of a status has PADDING for the browsers that need it."""
    return status >= 400 and (status in REASONS or status in BAD_REQUESTS or status == 498)


def _page(status: int, token: str) -> bytes:
    if status in BAD_REQUESTS:
        title = f"400 {BAD_REQUESTS[status]}"
        more = f"<center>{BAD_REQUESTS[status]}</center>\r\n"
        return _PAGE.format(title=title, heading="400 Bad Request", more=more, server=token).encode("ascii")
    if status < 300 or status == 304 or status not in REASONS:
        return _page(404, token) if status == 498 else b""  # nginx's table has it like this
    title = f"{status} {TITLES.get(status, REASONS[status])}"
    return _PAGE.format(title=title, heading=title, more="", server=token).encode("ascii")


def needs_padding(user_agent: bytes) -> bool:
    """Whether a browser with this User-Agent hides short error pages (nginx: ngx_http_process_user_agent).

    These are Internet Explorer with room for a version after its name, and any that claims to be Chrome but neither Gecko nor
    Opera.
    """
    if b"Opera" in user_agent:
        return False
    _, found, version = user_agent.partition(b"MSIE ")
    if found and len(version) >= 3:
        return True
    return b"Chrome/" in user_agent and b"Gecko/" not in user_agent


def absolute(request: Request, target: bytes) -> bytes:
    """Make a Location that begins with a slash a whole URL, as in `absolute_redirect on` (nginx: ngx_http_header_filter)."""
    location = request.location
    if not target.startswith(b"/") or not location.absolute_redirect:
        return target
    client = request.client
    if location.server_name_in_redirect:
        host = request.server.encoded_name
    else:
        host = request.line.authority or request.fields.host or b""  # not $host: that falls back to the server's name
    if not host:
        host = client.server_address.host.encode()
    port = client.server_address.port if location.port_in_redirect else 0
    default = 443 if client.scheme == b"https" else 80
    shown = b":%d" % port if port > 0 and port != default else b""
    return client.scheme + b"://" + host + shown + target


def respond(
    request: Request | None,
    status: int,
    body: bytes,
    content_type: bytes | None,
    server: bytes,
    location: bytes | None = None,
    lines: tuple[tuple[bytes, bytes], ...] = (),
) -> Response:
    """Return a response with a whole body. `request` None: the head could not be read. location: made absolute if necessary."""
    target = location
    if request is not None and location is not None:
        location = absolute(request, location)
    bodiless = has_no_body(status) or (request is not None and request.method == b"HEAD")
    if is_interim(status) and request is not None:
        request.keepalive = False  # the client waits for a final answer: the end of the connection says that none comes
    fields = ResponseFields(
        status,
        lines,
        content_type=None if status == 204 else content_type or None,
        content_length=-1 if status == 204 else len(body),
        server=server,
        location=location,
        owns_location=location is not target,
    )
    return Response(fields, b"" if bodiless else body, bodiless=bodiless)


def error_response(
    request: Request | None,
    status: int,
    server: bytes,
    location: bytes | None = None,
    lines: tuple[tuple[bytes, bytes], ...] = (),
) -> Response:
    """Return the built-in answer for a status; 494 to 497 are sent as 400. location, lines: see `respond`."""
    is_padded = False
    if request is not None:
        if status in CLOSING:
            request.keepalive = False
        is_padded = status >= 400 and request.location.msie_padding and needs_padding(request.fields.get(b"user-agent") or b"")
    body = page(status, server, is_padded)
    told = 400 if status in BAD_REQUESTS else status
    plain = respond(request, told, body, b"text/html" if body else None, server, location, lines)
    return ErrorResponse(plain.fields, plain.body, plain.bodiless, status)


def refreshed(request: Request, redirect: Response) -> Response:
    """Return the answer to a request in place of a built-in redirect: with msie_refresh, old browsers get a page instead."""
    target = redirect.fields.location
    if target is None or redirect.error not in (301, 302) or not is_msie(request.fields.get(b"user-agent") or b""):
        return redirect
    if redirect.fields.owns_location:
        target = target[target.index(b"/", target.index(b"://") + 3) :]  # as it was before it was made absolute
    return respond(request, 200, refresh_page(target), b"text/html", redirect.fields.server)


# What would end the attribute in which the URL stands, and what a URL does not have (nginx: NGX_ESCAPE_REFRESH).
_NOT_IN_REFRESH: Final = re.compile(rb"""[\x00-\x20"'<>\\^`{|~\x7f-\xff]""")


def refresh_page(target: bytes) -> bytes:
    """Return a page that makes a browser go on to another URL."""
    shown = _NOT_IN_REFRESH.sub(lambda match: b"%%%02X" % match[0][0], target)
    return b'<html><head><meta http-equiv="Refresh" content="0; URL=' + shown + b'"></head><body></body></html>\r\n'


def without_validators(request: Request, server: bytes) -> Response | None:
    """Apply conditions to a 200 that has neither ETag nor time: return 304 or 412, None if the 200 stays."""
    conditions = conditions_of(request.fields)
    if conditions is None or request.forced_status not in (0, 200) or request.main is not None:
        return None
    status = judge_without_validators(conditions)
    if status == 304:
        request.forced_status = 0
        return Response(ResponseFields(304, server=server), bodiless=True)
    return error_response(request, 412, server) if status == 412 else None
