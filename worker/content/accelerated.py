"""X-Accel-Redirect: an upstream has looked at a request and lets another of our locations answer it (proxy.md §3.2).

nginx: ngx_http_upstream_process_headers, ngx_http_parse_unsafe_uri.
"""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from worker.filters.charset import with_accel_charset
from worker.logs import log_end, log_request, shown
from worker.pages import error_response
from worker.phases import settle
from worker.upstream.failing import READING_HEAD
from wproxy.http import Jump, Request, Response, ResponseFields

_DOING = f"while {READING_HEAD}"


async def answer_elsewhere(request: Request, target: bytes, kept: ResponseFields) -> Response:
    """Return the answer of the location that the upstream names, with the fields of the upstream that go with it.

    For the parameters see `SentElsewhere`.
    """
    head = request.upstream_head
    # The type from an earlier upstream stays if this one gives none.
    request.accel_type = kept.content_type = kept.content_type or request.accel_type
    response = await settle(request, destination(request, target))
    # The type that an upstream gives for its own body takes precedence; the type of an error page is that of the page.
    own_type_counts = response.fields.content_type is not None and request.upstream_head is not head
    if own_type_counts or response.error or request.is_error_page or is_in_parts(response.fields):
        kept.content_type = None
    return with_kept(request, response, kept)


def is_in_parts(fields: ResponseFields) -> bool:
    """Whether the type tells of several ranges: it has to stay, for the client finds the parts by it."""
    return fields.status == 206 and (fields.content_type or b"").startswith(b"multipart/byteranges")


def destination(request: Request, target: bytes) -> Jump | Response:
    """Return the destination of X-Accel-Redirect: `@name` or a URI; 404 for one that could lead out of the root."""
    if target.startswith(b"@"):
        named = request.server.named.get(target)
        if named is None:
            log_end(request, "error", f'could not find named location "{shown(target)}" {_DOING}', "conf_value")
            return error_response(request, 500, request.route.server_token)
        return Jump(named=named)
    path, question, args = target.partition(b"?")
    decoded = unquote_to_bytes(path) if b"%" in path else path
    if is_unsafe(decoded):
        log_request(request, "error", f'unsafe URI "{shown(decoded + question + args)}" was detected {_DOING}')
        return error_response(request, 404, request.route.server_token)
    if request.method != b"HEAD":
        request.method = b"GET"
    return Jump(decoded, args if question else None)


def is_unsafe(path: bytes) -> bool:
    """Whether a path is empty, has a zero byte, or has a segment `..`."""
    return not path or b"\0" in path or b".." in path.split(b"/")


def with_kept(request: Request, response: Response, kept: ResponseFields) -> Response:
    """Return the response with the upstream's fields: its Content-Type, if any, and its lines before the others."""
    own = response.fields
    if response.error or own.status == 304:
        kept.lines = tuple(line for line in kept.lines if line[0].lower() != b"accept-ranges")
    fields = own.with_status(own.status)
    fields.reason = own.reason
    replaced = {name.lower() for name, _ in kept.lines if name.lower() != b"set-cookie"}
    fields.lines = (*kept.lines, *((name, value) for name, value in own.lines if name.lower() not in replaced))
    if kept.content_type is not None and own.status != 304:
        fields.content_type = kept.content_type
    response.fields = with_accel_charset(request, fields, "sending response to client")
    return response
