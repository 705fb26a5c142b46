"""The built-in pages for errors and redirects, byte for byte nginx's but for the server's name (routing.md §5.8)."""

from __future__ import annotations

from wproxy.http import REASONS, ErrorResponse, Request, Response, ResponseFields

# What the page says where it differs from the reason phrase (ngx_http_special_response.c).
TITLES = {302: "Found", 401: "Authorization Required"}
# These are told to the client as 400, with a page that says more.
BAD_REQUESTS = {
    494: "Request Header Or Cookie Too Large",
    495: "The SSL certificate error",
    496: "No required SSL certificate was sent",
    497: "The plain HTTP request was sent to HTTPS port",
}
# After these the client's connection is closed (routing.md §2.6).
CLOSING = frozenset((400, 413, 414, 494, 495, 496, 497, 500, 501))

_PAGE = (
    "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{heading}</h1></center>\r\n"
    "{more}<hr><center>{server}</center>\r\n</body>\r\n</html>\r\n"
)


def page(status: int, server: bytes) -> bytes:
    """The HTML for a status; b"" where nginx has none."""
    token = server.decode("ascii")
    if status in BAD_REQUESTS:
        title = f"400 {BAD_REQUESTS[status]}"
        more = f"<center>{BAD_REQUESTS[status]}</center>\r\n"
        return _PAGE.format(title=title, heading="400 Bad Request", more=more, server=token).encode("ascii")
    if status < 300 or status == 304 or status not in REASONS:
        return b""
    title = f"{status} {TITLES.get(status, REASONS[status])}"
    return _PAGE.format(title=title, heading=title, more="", server=token).encode("ascii")


def respond(
    request: Request | None,
    status: int,
    body: bytes,
    content_type: bytes | None,
    server: bytes,
    location: bytes | None = None,
) -> Response:
    """A response with a whole body at hand. `request` None: the head could not be read."""
    bodiless = status in (204, 304) or (request is not None and request.method == b"HEAD")
    if status in (204, 304):
        content_type, length = None, -1
    else:
        length = len(body)
    fields = ResponseFields(
        status, content_type=content_type if length else None, content_length=length, server=server, location=location
    )
    return Response(fields, b"" if bodiless else body, bodiless=bodiless)


def error_response(request: Request | None, status: int, server: bytes, location: bytes | None = None) -> Response:
    """The built-in answer for a status; 494 to 497 go out as 400."""
    if request is not None and status in CLOSING:
        request.keepalive = False
    body = page(status, server)
    plain = respond(request, 400 if status in BAD_REQUESTS else status, body, b"text/html", server, location)
    return ErrorResponse(plain.fields, plain.body, plain.bodiless, status)
