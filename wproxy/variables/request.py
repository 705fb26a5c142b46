"""Variables of the request line, of the URI after changes, and of the request's body."""

from __future__ import annotations

import os
import re

from wproxy import files
from wproxy.directives.values import size
from wproxy.http import Request
from wproxy.uri import escape_path
from wproxy.variables.namespace import active_namespace, assignable
from wproxy.variables.registry import LINE, REQUEST, Reader, Variable, complain, family, variable


@variable("request", LINE)
def request_line(request: Request) -> bytes:
    return request.line.line


@variable("request_method", LINE)
def request_method(request: Request) -> bytes | None:
    """None for a request line that could not be read; the same goes for `$request_uri`, `$uri` and the protocol.

    In a subrequest it is the client's.
    """
    return (request.main or request).method or None


@variable("request_uri", LINE)
def request_uri(request: Request) -> bytes | None:
    line = request.line
    uri = line.origin if line.raw_ok or line.args is None else line.origin[1:]  # for `http://h?a` it is `?a`
    return uri or None


@variable("uri", LINE)
@variable("document_uri", LINE)
def uri(request: Request) -> bytes | None:
    return request.path or None


@variable("wproxy_slashed_uri", REQUEST)
def wproxy_slashed_uri(request: Request) -> bytes:
    """The URI fit for a Location, with a trailing slash."""
    return escape_path(request.path) + b"/"


@variable("args", LINE)
@variable("query_string", LINE)
def args(request: Request) -> bytes | None:
    """The arguments as received or set; b"" where something has emptied them, which a log tells from none."""
    return request.args


@assignable("args")
def set_args(request: Request, value: bytes) -> None:
    """Carry out `set $args VALUE`. The target as received no longer applies."""
    request.args = value
    request.origin_stands = False


@variable("is_args", LINE)
def is_args(request: Request) -> bytes:
    return b"?" if request.args else b""


@variable("server_protocol", LINE)
def server_protocol(request: Request) -> bytes | None:
    return request.line.line.rpartition(b" ")[2] if request.line.target else None


@variable("request_length", REQUEST)
def request_length(request: Request) -> bytes:
    return b"%d" % request.request_length


@variable("request_id", REQUEST)
def request_id(request: Request) -> bytes:
    """32 hex digits, the same wherever it is asked for during one request and its subrequests."""
    request = request.main or request
    if request._id is None:
        request._id = os.urandom(16).hex().encode()
    return request._id


@family("arg_")
def argument(rest: str) -> Variable:
    wanted = rest.encode()

    def read(request: Request) -> bytes | None:
        for pair in (request.args or b"").split(b"&"):
            name, equals, value = pair.partition(b"=")
            if equals and wanted and name.lower() == wanted:
                return value
        return None

    return Variable(read, LINE)


# Captures of the last regex that matched.


class Capture(Variable):
    """`$1` to `$9`."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(_capture_reader(number), REQUEST)


def _capture_reader(number: int) -> Reader:
    def read(request: Request) -> bytes:
        match = request.captures
        if match is None or number > match.re.groups:
            return b""
        value: bytes | None = match[number]
        return value or b""

    return read


CAPTURES = tuple(map(Capture, range(1, 10)))

# nginx: ngx_escape_uri, NGX_ESCAPE_ARGS.
_NOT_IN_ARGS = re.compile(rb"""[\x00-\x20"#%&+;<>?\\^`{|}\x7f-\xff]""")


@family("wproxy_escaped_capture_")
def escaped_capture(rest: str) -> Variable:
    """Return `$1` for use in arguments: escaped if the path that the client sent had a `%` or a `+`."""
    if len(rest) != 1 or rest not in "123456789":
        return Variable(lambda request: None, REQUEST)
    read = CAPTURES[int(rest) - 1].read
    active_namespace().captures_are_read = True

    def read_escaped(request: Request) -> bytes:
        value = read(request) or b""
        if not value or not (request.line.has_escapes or b"+" in request.line.origin.partition(b"?")[0]):
            return value
        return _NOT_IN_ARGS.sub(lambda match: b"%%%02X" % match[0][0], value)

    return Variable(read_escaped, REQUEST)


# The body.


@variable("content_length", LINE)
def content_length(request: Request) -> bytes | None:
    """The client's Content-Length; for a chunked body its length, once it has been read to its end."""
    length = request.fields.content_length
    if length < 0 and request.body is not None and request.fields.chunked and request.body.finished:
        length = request.body.received
    return b"%d" % length if length >= 0 else None


@variable("request_body", REQUEST)
def request_body(request: Request) -> bytes | None:
    """The body, once it has been read and as long as it is in memory."""
    body = request.body
    if body is None:
        return None
    if body.data is None and body.collected is not None:
        body.was_missed = True
    return body.data


@variable("request_body_file", REQUEST)
def request_body_file(request: Request) -> bytes | None:
    """The temporary file of the body; a body too large for memory is streamed here, so there is none."""
    name: bytes | None = getattr(request.body, "file", None)
    return name


# Files.


@variable("document_root", LINE)
def document_root(request: Request) -> bytes:
    return files.document_root(request)


@variable("realpath_root", REQUEST)
def realpath_root(request: Request) -> bytes | None:
    root = files.document_root(request)
    try:
        return os.path.realpath(root, strict=True)
    except (OSError, ValueError) as error:
        complain(request, "crit", f'realpath() "{files.shown_path(root)}" failed ({_why(error)})')
        return None


def _why(error: OSError | ValueError) -> str:
    return f"{error.errno}: {error.strerror}" if isinstance(error, OSError) else str(error)


@variable("request_filename", LINE)
def request_filename(request: Request) -> bytes:
    return files.filename(request)


# The pace of the response.


@variable("limit_rate", REQUEST)
def limit_rate(request: Request) -> bytes:
    """Bytes per second, 0 for no limit."""
    rate = request.location.limit_rate if request.limit_rate is None else request.limit_rate
    return b"%d" % rate if isinstance(rate, int) else b"0"


@assignable("limit_rate")
def set_limit_rate(request: Request, value: bytes) -> None:
    """Carry out `set $limit_rate 10k`."""
    try:
        request.limit_rate = size(value.decode("ascii"))
    except ValueError:
        complain(request, "error", f'invalid $limit_rate "{value.decode("latin-1")}"')


# The port that the client named.


@variable("request_port")
def request_port(request: Request) -> bytes:
    line = request.line
    port = line.authority_port if line.authority is not None else request.fields.host_port
    return b"%d" % port if port is not None else b""


@variable("is_request_port")
def is_request_port(request: Request) -> bytes:
    return b":" if request_port(request) else b""
