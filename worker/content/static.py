"""Static files (routing.md §3.4, §5.2 to §5.5; nginx: ngx_http_static_module.c).

A file costs open, fstat, read and close, and goes out in one send with its head; the kernel sends a large one. A head depends
only on the file's name, size and time, so heads are made once and kept.

The order is nginx's: conditions (conditions.py) come before ranges (ranges.py). A filter that changes bodies has to be asked
before the ranges: in nginx, a compressed body has none.

Small files are read while the loop waits, as nginx reads them: they are nearly always in the page cache, and handing a read to a
thread costs more than the read. With `aio threads` a thread reads those that are not (file_body.py).
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Final

from worker.content.file_body import FileBody, may_read_at_once
from worker.content.index import METHODS
from worker.content.open_files import FILE, FORBIDDEN, KIND, NOT_FOUND, PLAIN, Access, OpenFile, failed, open_path
from worker.content.opening import access_of
from worker.filters.charset import charset_of
from worker.filters.fields import vary_of
from worker.logs import log_end, log_request
from worker.pages import error_response
from wproxy.conditions import Conditions, conditions_of, judge
from wproxy.config.model import Location
from wproxy.directives.files import UNLIMITED
from wproxy.files import Unmappable, shown_path
from wproxy.http import Jump, Request, Response, ResponseFields
from wproxy.ranges import Part, Unsatisfiable, in_parts, parse_ranges, still_holds
from wproxy.template import checked
from wproxy.uri import escape_path

# Bodies up to this size are read and sent with the head; sendfile begins to pay beyond it.
SMALL: Final = 65536
# The number of heads that a location keeps before it starts over.
MOST_HEADS: Final = 1024

ACCEPT_RANGES = ((b"Accept-Ranges", b"bytes"),)

Handler = Callable[[Request], Awaitable[Response]]
Drive = Callable[[Request], Awaitable[Response]]
Settle = Callable[[Request, "Response | Jump"], Awaitable[Response]]


def serving_files(location: Location) -> Handler:
    """Return the handler that answers with the file of the URI, or an error."""
    access = access_of(location)

    async def serve_file(request: Request) -> Response:
        return answer_with_file(request, access)

    return serve_file


def serving_files_at_once(location: Location, drive: Drive, settle: Settle) -> Handler:
    """Return the same for a location whose only earlier handler is `index`, which is for directories.

    It costs no coroutine but its own. drive: the way through the phases, for directories. settle: for error pages.
    """
    access = access_of(location)

    async def serve_file(request: Request) -> Response:
        if request.path[-1:] == b"/" or request.body is not None:
            return await drive(request)
        response = answer_with_file(request, access)
        return await settle(request, response) if response.error else response

    return serve_file


def answer_with_file(request: Request, access: Access) -> Response:
    """Answer with the file of the URI, or an error."""
    location = request.location
    method = request.method
    if method not in METHODS:
        return error_response(request, 405, request.route.server_token)
    try:
        path = location.files.path(request)
        if request.path[-1:] == b"/":
            return refuse_directory(request, path)
        if request.trace is not None:
            request.trace.opened(shown_path(path))
        file = open_or_send(request, path) if access is PLAIN else access.open(request, path)
        if isinstance(file, Response):
            return file
    except OSError as error:
        return refuse_file(request, path, error, access.call)
    except Unmappable as refusal:
        return refuse_uri(request, refusal)
    response = None
    try:
        if not file.is_file:
            response = redirect_to_directory(request) if file.is_directory else refuse_special(request, path)
        elif method == b"POST":
            response = error_response(request, 405, request.route.server_token)
        else:
            response = send_file(request, file)
        return response
    finally:
        if response is None or response.source is None:
            file.close()


def open_or_send(request: Request, path: bytes) -> Response | OpenFile:
    """Return the response with a file whose head is known, as most are; any other file is returned open. Raises OSError.

    The same as `send_file` does, in one function, and for a small file without an OpenFile: 43,500 instructions for a request
    instead of 50,200.
    """
    fd = open_path(path)
    try:
        facts = os.fstat(fd)
        known = request.location.files.heads.get(request.path)
        if known is not None and request.method == b"GET" and not request.forced_status and not request.route.reads_with_care:
            fields, size, modified, stands_in, _ = known
            if (
                size == facts.st_size
                and modified == facts[8]
                and not stands_in
                and facts.st_mode & KIND == FILE
                and conditions_of(request.fields) is None
            ):
                if size > SMALL:
                    return Response(fields, source=FileBody(request, OpenFile(path, fd, facts), ((0, size),)))
                try:
                    body = os.pread(fd, size, 0)
                except OSError:
                    body = b""  # `respond` reads it again, and tells
                if len(body) == size:
                    response = Response(fields, body)
                    os.close(fd)
                    return response
        return OpenFile(path, fd, facts)
    except BaseException:
        os.close(fd)
        raise


def send_file(request: Request, file: OpenFile, coding: bytes = b"") -> Response:
    """Return the response to a GET or HEAD of a file. coding: the Content-Encoding of the file, if any."""
    plan = request.location.files
    heads = plan.heads
    key = request.path if not coding else (request.path, coding)
    # A file in place of an error is neither conditional nor partial.
    stands_in = request.forced_status not in (0, 200)
    size, modified = file.size, file.modified
    known = heads.get(key)
    if known is not None and known[1] == size and known[2] == modified and known[3] is stands_in:
        fields = known[0]
    else:
        if len(heads) >= MOST_HEADS:
            heads.clear()
        fields = head_of(request, size, modified, stands_in, coding)
        heads[key] = fields, size, modified, stands_in, file.path
    conditions = conditions_of(request.fields)
    if conditions is not None and not stands_in and request.main is None:
        response = send_on_conditions(request, file, fields, conditions)
        if response is not None:
            return response
    return respond(request, fields, file, ((0, size),))


def head_of(request: Request, size: int, modified: int, stands_in: bool, coding: bytes = b"") -> ResponseFields:
    """Return the head of a whole file. stands_in: whether it replaces an error. coding: its Content-Encoding."""
    location = request.location
    lines = ((b"ETag", b'"%x-%x"' % (modified, size)),) if location.etag else ()
    return ResponseFields(
        200,
        (*lines, (b"Content-Encoding", coding)) if coding else lines,
        content_type=location.files.type_of(request.path) or None,
        content_length=size,
        server=request.route.server_token,
        last_modified=-1 if stands_in else modified,
        last_lines=ACCEPT_RANGES if location.max_ranges and not stands_in else (),
    )


def send_on_conditions(request: Request, file: OpenFile, whole: ResponseFields, conditions: Conditions) -> Response | None:
    """Apply conditions to a file: return 304, 412, 206 or 416; None if the whole file is to be sent.

    A precompressed file has parts too (nginx: since 1.23.4): it is the same for every request.
    """
    location = request.location
    token = whole.server
    etag = b'"%x-%x"' % (file.modified, file.size) if location.etag else b""
    status = judge(conditions, etag, file.modified, location.if_modified_since)
    if status == 304:
        request.forced_status = 0  # the conditions are about the 200 of an `error_page ... =200`
        return Response(
            ResponseFields(304, whole.lines[: location.etag], server=token, last_modified=file.modified), bodiless=True
        )
    if status == 412:
        return error_response(request, 412, token)
    wanted, if_range = conditions.range, conditions.if_range
    most = location.max_ranges
    if wanted is None or not most or (if_range is not None and not still_holds(if_range, etag, file.modified)):
        return None
    if request.route.unchanged is not None:
        unchanged = request.route.unchanged(request, whole)
        if unchanged is None:
            return None  # a body that filters change has no parts
        whole = unchanged
    try:
        parts = parse_ranges(wanted, file.size, most, most == UNLIMITED)
    except Unsatisfiable:
        return refuse_range(request, whole, file.size)
    return None if parts is None else send_parts(request, file, whole, parts)


def send_parts(request: Request, file: OpenFile, whole: ResponseFields, parts: list[Part]) -> Response:
    """Answer 206: one part, or several in a multipart/byteranges."""
    request.forced_status = 0  # as for a 304

    def type_of_parts() -> bytes:
        # Behind X-Accel-Redirect the type that the upstream gave is that of the parts.
        given = None if request.is_error_page else request.accel_type
        return given or with_charset(request, whole)

    partial = in_parts(parts, file.size, type_of_parts)
    fields = ResponseFields(
        206,
        whole.lines,
        content_type=partial.content_type or whole.content_type,
        content_length=partial.size,
        server=whole.server,
        last_modified=whole.last_modified,
        last_lines=partial.lines,
    )
    return respond(request, fields, file, partial.pieces)


def with_charset(request: Request, whole: ResponseFields) -> bytes:
    """Return the type of each of several parts, with the addition of `charset`; their common type gets none."""
    content_type = whole.content_type or b""
    # What names one already is a stored response whose body is encoded: override_charset does not apply to it.
    name = b"" if b"charset=" in content_type.lower() else charset_of(request, content_type)
    return content_type + b"; charset=" + name if name else content_type


def respond(request: Request, fields: ResponseFields, file: OpenFile, pieces: tuple[bytes | Part, ...]) -> Response:
    """Return the response with this head and these pieces of the file: in memory if they are small, else from the file."""
    if request.method == b"HEAD":
        return Response(fields, bodiless=True)
    if fields.content_length > SMALL or (request.route.reads_with_care and not may_read_at_once(request, file, pieces)):
        return Response(fields, source=FileBody(request, file, pieces))
    try:
        body = b"".join(read_piece(file.fd, piece) for piece in pieces) if len(pieces) > 1 else read_piece(file.fd, pieces[0])
    except OSError as error:
        log_end(request, "crit", failed("pread", shown_path(file.path), error), "file")
        return error_response(request, 500, fields.server)
    if len(body) != fields.content_length:
        text = f'pread() read only {len(body)} of {fields.content_length} from "{shown_path(file.path)}"'
        log_end(request, "alert", text, "file")
        return error_response(request, 500, fields.server)
    return Response(fields, body)


def read_piece(fd: int, piece: bytes | Part) -> bytes:
    """Return a text as it is, or that part of a file; raises OSError."""
    return piece if isinstance(piece, bytes) else os.pread(fd, piece[1] - piece[0], piece[0])


# Errors: no file, or no such part of it.


def refuse_range(request: Request, whole: ResponseFields, size: int) -> Response:
    """Answer 416: a file of this size has none of the requested bytes. whole: the fields of the whole file."""
    add = request.route.added_to_success
    added = () if add is None else add(request, whole)
    lines = (*vary_of(whole), *added, (b"Content-Range", b"bytes */%d" % size))
    return error_response(request, 416, whole.server, lines=lines)


def refuse_file(request: Request, path: bytes, error: OSError, call: str = "open") -> Response:
    """Return the answer when a file cannot be opened. call: the system call that failed."""
    location = request.location
    status, level = 500, "crit"
    if error.errno in NOT_FOUND:
        status, level = 404, "error"
    elif error.errno in FORBIDDEN:
        status, level = 403, "error"
    if status != 404:
        log_end(request, level, failed(call, shown_path(path), error), "file")
    elif location.log_not_found:
        log_request(request, level, failed(call, shown_path(path), error))
    return error_response(request, status, request.route.server_token)


def refuse_uri(request: Request, refusal: Unmappable) -> Response:
    """Return the answer when a URI has no path."""
    log_request(request, refusal.level, refusal.reason)
    return error_response(request, refusal.status, request.route.server_token)


def refuse_directory(request: Request, path: bytes) -> Response:
    """Answer 403 for a directory without an index."""
    log_end(request, "error", f'directory index of "{shown_path(path)}" is forbidden', "file")
    return error_response(request, 403, request.route.server_token)


def refuse_special(request: Request, path: bytes) -> Response:
    """Answer 404 for something that is neither a file nor a directory."""
    log_request(request, "crit", f'"{shown_path(path)}" is not a regular file')
    return error_response(request, 404, request.route.server_token)


def redirect_to_directory(request: Request) -> Response:
    """Redirect (301) the URI of a directory without a slash at its end to the one with it."""
    target = escape_path(request.path) + b"/"
    if request.args:
        target += b"?" + checked(request.args)
    return error_response(request, 301, request.route.server_token, target)
