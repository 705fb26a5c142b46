"""Variables of the response and of the end of the request, for logs and header filters."""

from __future__ import annotations

from collections.abc import Callable

from wproxy.end_causes import end_code_of
from wproxy.http import Request, ResponseFields, http_date
from wproxy.variables.registry import FIELDS, REQUEST, Variable, family, variable


@variable("status", REQUEST)
def status(request: Request) -> bytes:
    # The status chosen by error_page is known before it is sent, and the page may read it.
    return b"%03d" % (request.forced_status or request.status)


@variable("gzip_ratio", REQUEST)
def gzip_ratio(request: Request) -> bytes | None:
    """The ratio by which gzip has made the body smaller, rounded to hundredths; known when the body has been sent."""
    if request.gzipped is None or not request.gzipped[1]:
        return None
    before, after = request.gzipped
    hundredths, rest = divmod(before * 1000 // after, 10)
    return b"%d.%02d" % divmod(hundredths + (rest > 4), 100)


# The fields of the response, as sent. Server and Date, which we add to every response, are not among them.


def fields_of(request: Request) -> ResponseFields | None:
    """Return the fields of the response made so far; None before that."""
    return request.response_fields


def _content_type(request: Request, fields: ResponseFields) -> bytes | None:
    return fields.content_type


def _content_length(request: Request, fields: ResponseFields) -> bytes | None:
    return b"%d" % fields.content_length if fields.content_length >= 0 else None


def _location(request: Request, fields: ResponseFields) -> bytes | None:
    return fields.location if fields.location is not None else _line(request, fields, b"location")


def _connection(request: Request, fields: ResponseFields) -> bytes | None:
    if fields.status == 101:
        return b"upgrade"
    return b"keep-alive" if request.keepalive else b"close"


def _keep_alive(request: Request, fields: ResponseFields) -> bytes | None:
    announced = request.location.keepalive_timeout[1]
    return b"timeout=%d" % announced if request.keepalive and announced else None


def _transfer_encoding(request: Request, fields: ResponseFields) -> bytes | None:
    bodiless = request.method == b"HEAD" or fields.status in (101, 204, 304)
    is_chunked = fields.content_length < 0 and request.version == 11 and request.location.chunked_transfer_encoding
    return b"chunked" if is_chunked and not bodiless else None


def _last_modified(request: Request, fields: ResponseFields) -> bytes | None:
    return http_date(fields.last_modified).encode() if fields.last_modified >= 0 else _line(request, fields, b"last-modified")


# Fields that have a place of their own, or that are made when the head is written.
_SENT: dict[bytes, Callable[[Request, ResponseFields], bytes | None]] = {
    b"content-type": _content_type,
    b"content-length": _content_length,
    b"location": _location,
    b"connection": _connection,
    b"keep-alive": _keep_alive,
    b"transfer-encoding": _transfer_encoding,
    b"last-modified": _last_modified,
}


def _line(request: Request, fields: ResponseFields, wanted: bytes) -> bytes | None:
    # As with nginx, what tells of ranges comes after all that add_header can see.
    lines = fields.lines + fields.last_lines if request.replied else fields.lines
    values = [value for name, value in lines if name.lower() == wanted]
    return b", ".join(values) if values else None


@family("sent_http_")
def sent_field(rest: str) -> Variable:
    wanted = rest.replace("_", "-").encode()
    special = _SENT.get(wanted)

    def read(request: Request) -> bytes | None:
        fields = fields_of(request)
        if fields is None:
            return None
        return special(request, fields) if special is not None else _line(request, fields, wanted)

    return Variable(read, FIELDS)


@family("sent_trailer_")
def sent_trailer(rest: str) -> Variable:
    wanted = rest.replace("_", "-").encode()

    def read(request: Request) -> bytes | None:
        values = [value for name, value in request.response_trailers if name.lower() == wanted]
        return b", ".join(values) if values else None

    return Variable(read, REQUEST)


# The bytes that were sent, and the time it took.


@variable("bytes_sent", REQUEST)
def bytes_sent(request: Request) -> bytes:
    return b"%d" % request.bytes_sent


@variable("body_bytes_sent", REQUEST)
def body_bytes_sent(request: Request) -> bytes:
    return b"%d" % request.body_bytes_sent


@variable("request_time", REQUEST)
def request_time(request: Request) -> bytes:
    return b"%.3f" % max(0.0, request.client.clock.now - request.started)


@variable("request_completion", REQUEST)
def request_completion(request: Request) -> bytes:
    return b"OK" if request.replied and not request.is_cut else b""


@variable("wproxy_end_code", REQUEST)
def wproxy_end_code(request: Request) -> bytes:
    """The word of docs/end-causes.md for the way in which the request ended; empty when all went well."""
    return end_code_of(request).encode()


@variable("wproxy_end_cause", REQUEST)
def wproxy_end_cause(request: Request) -> bytes:
    """Why the request ended as it did: the side, timer or limit, and the directive behind it; empty when all went well."""
    return request.end_cause.encode()
