"""Static files (routing.md §3.4, §5.2 to §5.5; nginx: ngx_http_static_module.c).

A file costs open, fstat, read and close, and goes out in one send with its head; a large one is sent by the kernel. What a head
says depends on the file's name, size and time alone, so heads are kept and made once.

The order is nginx's: what the client has already (conditions.py) comes before the part it wants (ranges.py). A filter that
changes bodies has to be asked before the ranges are: in nginx, what is compressed has none.
"""

from __future__ import annotations

import os

from worker.content.conditions import Conditions, conditions_of, judge
from worker.content.file_body import FileBody
from worker.content.index import METHODS
from worker.content.open_files import FORBIDDEN, NOT_FOUND, OpenFile, failed
from worker.content.pages import error_response
from worker.content.ranges import Part, Unsatisfiable, frame_parts, next_boundary, parse_ranges, still_holds
from worker.logs import log_request
from worker.upstream.protocols.http import checked
from wproxy.config.model import Location
from wproxy.directives.files import UNLIMITED
from wproxy.files import Unmappable, shown_path
from wproxy.http import Request, Response, ResponseFields
from wproxy.uri import escape_path

# Bodies up to this size are read and sent with the head; sendfile begins to pay beyond it.
SMALL = 65536
# How many heads a location keeps before it starts over.
MOST_HEADS = 1024

ACCEPT_RANGES = ((b"Accept-Ranges", b"bytes"),)


async def serve_file(request: Request) -> Response:
    """Answer with the file of the URI, or say why not."""
    location = request.location
    method = request.method
    if method not in METHODS:
        return error_response(request, 405, location.server_token)
    try:
        path = location.files.path(request)
        if request.path.endswith(b"/"):
            return refuse_directory(request, path)
        if request.trace is not None:
            request.trace.opened(shown_path(path))
        file = OpenFile(path)
    except OSError as error:
        return refuse_file(request, path, error)
    except Unmappable as refusal:
        return refuse_uri(request, refusal)
    response = None
    try:
        if not file.is_file:
            response = redirect_to_directory(request) if file.is_directory else refuse_special(request, path)
        elif method == b"POST":
            response = error_response(request, 405, location.server_token)
        else:
            response = send_file(request, file)
        return response
    finally:
        if response is None or response.source is None:
            file.close()


def send_file(request: Request, file: OpenFile) -> Response:
    """The response to a GET or HEAD of a file."""
    location = request.location
    plan = location.files
    # What answers in the place of an error is neither conditional nor partial.
    stands_in = request.forced_status not in (0, 200)
    key = request.path, file.size, file.modified, stands_in
    fields = plan.heads.get(key)
    if fields is None:
        if len(plan.heads) >= MOST_HEADS:
            plan.heads.clear()
        fields = plan.heads[key] = head_of(location, *key)
    conditions = conditions_of(request.fields)
    if conditions is not None and not stands_in:
        response = send_on_conditions(request, file, fields, conditions)
        if response is not None:
            return response
    return respond(request, fields, file, ((0, file.size),))


def head_of(location: Location, uri: bytes, size: int, modified: int, stands_in: bool) -> ResponseFields:
    """The head of a whole file. stands_in: it answers in the place of an error."""
    return ResponseFields(
        200,
        ((b"ETag", b'"%x-%x"' % (modified, size)),) if location.etag else (),
        content_type=location.files.type_of(uri) or None,
        content_length=size,
        server=location.server_token,
        last_modified=-1 if stands_in else modified,
        last_lines=ACCEPT_RANGES if location.max_ranges and not stands_in else (),
    )


def send_on_conditions(request: Request, file: OpenFile, whole: ResponseFields, conditions: Conditions) -> Response | None:
    """What conditions make of a file: 304, 412, 206 or 416; None when the whole file is to be sent."""
    location = request.location
    token = whole.server
    etag = whole.lines[0][1] if whole.lines else b""
    status = judge(conditions, etag, file.modified, location.if_modified_since)
    if status == 304:
        return Response(ResponseFields(304, whole.lines, server=token, last_modified=file.modified), bodiless=True)
    if status == 412:
        return error_response(request, 412, token)
    wanted, if_range = conditions.range, conditions.if_range
    most = location.max_ranges
    if wanted is None or not most or (if_range is not None and not still_holds(if_range, etag, file.modified)):
        return None
    try:
        parts = parse_ranges(wanted, file.size, most, most == UNLIMITED)
    except Unsatisfiable:
        return error_response(request, 416, token, lines=((b"Content-Range", b"bytes */%d" % file.size),))
    return None if parts is None else send_parts(request, file, whole, parts)


def send_parts(request: Request, file: OpenFile, whole: ResponseFields, parts: list[Part]) -> Response:
    """206: one part, or several in a multipart/byteranges."""
    content_type = whole.content_type
    if len(parts) == 1:
        begin, end = parts[0]
        last_lines: tuple[tuple[bytes, bytes], ...] = ((b"Content-Range", b"bytes %d-%d/%d" % (begin, end - 1, file.size)),)
        pieces: tuple[bytes | Part, ...] = (parts[0],)
        size = end - begin
    else:
        boundary = next_boundary()
        framed, size = frame_parts(parts, file.size, content_type or b"", boundary)
        content_type = b"multipart/byteranges; boundary=" + boundary
        pieces, last_lines = tuple(framed), ()
    fields = ResponseFields(
        206,
        whole.lines,
        content_type=content_type,
        content_length=size,
        server=whole.server,
        last_modified=whole.last_modified,
        last_lines=last_lines,
    )
    return respond(request, fields, file, pieces)


def respond(request: Request, fields: ResponseFields, file: OpenFile, pieces: tuple[bytes | Part, ...]) -> Response:
    """The response with this head, made of these pieces of the file: at hand where that is little, else from the file."""
    if request.method == b"HEAD":
        return Response(fields, bodiless=True)
    if fields.content_length > SMALL:
        return Response(fields, source=FileBody(request, file, pieces))
    try:
        body = b"".join(read_piece(file.fd, piece) for piece in pieces) if len(pieces) > 1 else read_piece(file.fd, pieces[0])
    except OSError as error:
        log_request(request, "crit", failed("pread", shown_path(file.path), error))
        return error_response(request, 500, fields.server)
    if len(body) != fields.content_length:
        text = f'pread() read only {len(body)} of {fields.content_length} from "{shown_path(file.path)}"'
        log_request(request, "alert", text)
        return error_response(request, 500, fields.server)
    return Response(fields, body)


def read_piece(fd: int, piece: bytes | Part) -> bytes:
    """A text as it is, or that part of a file; raises OSError."""
    return piece if isinstance(piece, bytes) else os.pread(fd, piece[1] - piece[0], piece[0])


# What is no file.


def refuse_file(request: Request, path: bytes, error: OSError) -> Response:
    """The answer when a file cannot be opened."""
    location = request.location
    status, level = 500, "crit"
    if error.errno in NOT_FOUND:
        status, level = 404, "error"
    elif error.errno in FORBIDDEN:
        status, level = 403, "error"
    if status != 404 or location.log_not_found:
        log_request(request, level, failed("open", shown_path(path), error))
    return error_response(request, status, location.server_token)


def refuse_uri(request: Request, refusal: Unmappable) -> Response:
    """The answer when a URI has no path."""
    log_request(request, refusal.level, refusal.reason)
    return error_response(request, refusal.status, request.location.server_token)


def refuse_directory(request: Request, path: bytes) -> Response:
    """A directory that no index answers for: 403."""
    log_request(request, "error", f'directory index of "{shown_path(path)}" is forbidden')
    return error_response(request, 403, request.location.server_token)


def refuse_special(request: Request, path: bytes) -> Response:
    """Neither a file nor a directory: 404."""
    log_request(request, "crit", f'"{shown_path(path)}" is not a regular file')
    return error_response(request, 404, request.location.server_token)


def redirect_to_directory(request: Request) -> Response:
    """The URI is a directory's and has no slash at its end: 301 to the one that has."""
    target = escape_path(request.path) + b"/"
    if request.args:
        target += b"?" + checked(request.args)
    return error_response(request, 301, request.location.server_token, target)
