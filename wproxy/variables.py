"""The variables: `$name` to a function of the request (routing.md §4).

To add one, write a function and decorate it. It returns bytes, or None where nginx says "not found" (empty in text, `-` in
the default log). `varies` tells how long a value holds:

  BLOCK    as long as connection, location and header block are the same and the request line names no authority: so all of
           the connection ($remote_addr) and of the header fields ($http_NAME, $host)
  REQUEST  for this request only; read anew whenever it is used
"""

from __future__ import annotations

import binascii
import os
import time
from collections.abc import Callable
from typing import NamedTuple

from wproxy.http import MONTHS, Attempt, Request
from wproxy.uri import escape_path
from wproxy.version import VERSION

Reader = Callable[[Request], "bytes | None"]

BLOCK = 0
REQUEST = 1


class Variable(NamedTuple):
    """One variable: how to read it, and how long the value holds."""

    read: Reader
    varies: int


VARIABLES: dict[str, Variable] = {}
# Families: `$http_user_agent` is the family `http_` with the rest of the name.
FAMILIES: dict[str, Callable[[str], Variable]] = {}


def variable(name: str, varies: int = BLOCK) -> Callable[[Reader], Reader]:
    """Enter the decorated function as `$name`."""

    def enter(read: Reader) -> Reader:
        VARIABLES[name] = Variable(read, varies)
        return read

    return enter


def family(prefix: str) -> Callable[[Callable[[str], Variable]], Callable[[str], Variable]]:
    """Enter the decorated function as the maker of all `$prefix...`; it gets the rest of the name."""

    def enter(make: Callable[[str], Variable]) -> Callable[[str], Variable]:
        FAMILIES[prefix] = make
        return make

    return enter


def find_variable(name: str) -> Variable | None:
    """The variable of that (lower-case) name, or None."""
    found = VARIABLES.get(name)
    if found is not None:
        return found
    for prefix, make in FAMILIES.items():
        if name.startswith(prefix) and len(name) > len(prefix):
            return make(name[len(prefix) :])
    return None


# The connection.


@variable("remote_addr")
def remote_addr(request: Request) -> bytes:
    return request.client.remote_addr


@variable("remote_port")
def remote_port(request: Request) -> bytes:
    port = request.client.remote_port
    return b"%d" % port if port else b""


@variable("server_addr")
def server_addr(request: Request) -> bytes:
    address = request.client.server_address
    return (str(address) if address.is_unix else address.host).encode()


@variable("server_port")
def server_port(request: Request) -> bytes:
    port = request.client.server_address.port
    return b"%d" % port if port > 0 else b""


@variable("scheme")
def scheme(request: Request) -> bytes:
    return request.client.scheme


@variable("https")
def https(request: Request) -> bytes:
    return b"on" if request.client.scheme == b"https" else b""


@variable("connection")
def connection(request: Request) -> bytes:
    return b"%d" % request.client.serial


@variable("connection_requests", REQUEST)
def connection_requests(request: Request) -> bytes:
    return b"%d" % request.client.requests


@variable("connection_time", REQUEST)
def connection_time(request: Request) -> bytes:
    return b"%.3f" % (request.client.clock.now - request.client.started)


@variable("pid")
def pid(request: Request) -> bytes:
    return b"%d" % os.getpid()


@variable("hostname")
def hostname(request: Request) -> bytes:
    return os.uname().nodename.encode()


@variable("nginx_version")
def nginx_version(request: Request) -> bytes:
    return VERSION.encode()


# The request line and what became of it.


@variable("request", REQUEST)
def request_line(request: Request) -> bytes:
    return request.line.line


@variable("request_method", REQUEST)
def request_method(request: Request) -> bytes:
    return request.method


@variable("request_uri", REQUEST)
def request_uri(request: Request) -> bytes:
    return request.line.origin


@variable("uri", REQUEST)
@variable("document_uri", REQUEST)
def uri(request: Request) -> bytes:
    return request.path


@variable("wproxy_slashed_uri", REQUEST)
def wproxy_slashed_uri(request: Request) -> bytes:
    """The URI fit for a Location, with a slash at its end."""
    return escape_path(request.path) + b"/"


@variable("args", REQUEST)
@variable("query_string", REQUEST)
def args(request: Request) -> bytes | None:
    return request.args


@variable("is_args", REQUEST)
def is_args(request: Request) -> bytes:
    return b"?" if request.args else b""


@variable("server_protocol", REQUEST)
def server_protocol(request: Request) -> bytes:
    return request.line.line.rpartition(b" ")[2]


@variable("request_length", REQUEST)
def request_length(request: Request) -> bytes:
    return b"%d" % request.request_length


@variable("request_id", REQUEST)
def request_id(request: Request) -> bytes:
    """32 hex digits, the same wherever it is asked for during one request."""
    if request._id is None:
        request._id = os.urandom(16).hex().encode()
    return request._id


# The header block.


@variable("host")
def host(request: Request) -> bytes:
    return request.host


@variable("server_name")
def server_name(request: Request) -> bytes:
    return request.server.name.encode("utf-8", "surrogateescape")


@variable("content_length")
def content_length(request: Request) -> bytes | None:
    length = request.fields.content_length
    return b"%d" % length if length >= 0 else None


@variable("content_type")
def content_type(request: Request) -> bytes | None:
    return request.fields.get(b"content-type")


@variable("proxy_add_x_forwarded_for")
def proxy_add_x_forwarded_for(request: Request) -> bytes:
    """What the client sent as X-Forwarded-For, all lines, and its address at the end."""
    before = request.fields.get(b"x-forwarded-for")
    return before + b", " + request.client.remote_addr if before else request.client.remote_addr


@variable("remote_user")
def remote_user(request: Request) -> bytes | None:
    """The user of Basic credentials, verified or not, as in nginx; None without any."""
    kind, _, credentials = (request.fields.get(b"authorization") or b"").partition(b" ")
    if kind.lower() != b"basic":
        return None
    try:
        user, colon, _ = binascii.a2b_base64(credentials.strip(b" ")).partition(b":")
    except binascii.Error:
        return None
    return user if user and colon else None


@variable("wproxy_connection_upgrade")
def wproxy_connection_upgrade(request: Request) -> bytes:
    """`upgrade` when the client asks for one, else nothing: what everybody writes a map for, ready made."""
    return b"upgrade" if request.fields.upgrade else b""


@family("http_")
def http_field(rest: str) -> Variable:
    name = rest.replace("_", "-").encode()
    return Variable(lambda request: request.fields.get(name), BLOCK)


@family("cookie_")
def cookie(rest: str) -> Variable:
    wanted = rest.encode()

    def read(request: Request) -> bytes | None:
        for pair in (request.fields.get(b"cookie") or b"").split(b";"):
            name, equals, value = pair.strip(b" ").partition(b"=")
            if equals and name.lower() == wanted:
                return value
        return None

    return Variable(read, BLOCK)


@family("arg_")
def argument(rest: str) -> Variable:
    wanted = rest.encode()

    def read(request: Request) -> bytes | None:
        for pair in (request.args or b"").split(b"&"):
            name, equals, value = pair.partition(b"=")
            if equals and name.lower() == wanted:
                return value
        return None

    return Variable(read, REQUEST)


# The upstream.


@variable("proxy_host")
def proxy_host(request: Request) -> bytes | None:
    target = request.location.proxy_target
    return target.host_header if target else None


@variable("proxy_port")
def proxy_port(request: Request) -> bytes | None:
    target = request.location.proxy_target
    return b"%d" % target.port if target and target.port > 0 else None


def each_attempt(show: Callable[[Attempt], bytes]) -> Reader:
    """A reader that joins one item per attempt with ", " (proxy.md §8)."""

    def read(request: Request) -> bytes | None:
        return b", ".join(map(show, request.attempts)) if request.attempts else None

    return read


def seconds(value: float | None) -> bytes:
    """Seconds as nginx logs them; `-` when they are not known."""
    return b"-" if value is None else b"%.3f" % value


for _name, _show in {
    "upstream_addr": lambda attempt: attempt.peer.encode(),
    "upstream_status": lambda attempt: b"%d" % attempt.status if attempt.status else b"-",
    "upstream_connect_time": lambda attempt: seconds(attempt.connect_time),
    "upstream_header_time": lambda attempt: seconds(attempt.header_time),
    "upstream_response_time": lambda attempt: seconds(attempt.response_time),
    "upstream_response_length": lambda attempt: b"%d" % attempt.response_length,
    "upstream_bytes_received": lambda attempt: b"%d" % attempt.bytes_received,
}.items():
    VARIABLES[_name] = Variable(each_attempt(_show), REQUEST)


@family("upstream_http_")
def upstream_field(rest: str) -> Variable:
    name = rest.replace("_", "-").encode()

    def read(request: Request) -> bytes | None:
        head = request.upstream_head
        if head is None:
            return None
        values = [value for lower, _, value in head.lines if lower == name]
        return b", ".join(values) if values else None

    return Variable(read, REQUEST)


# The end of the request, for logs.


@variable("status", REQUEST)
def status(request: Request) -> bytes:
    return b"%03d" % request.status


@variable("bytes_sent", REQUEST)
def bytes_sent(request: Request) -> bytes:
    return b"%d" % request.bytes_sent


@variable("body_bytes_sent", REQUEST)
def body_bytes_sent(request: Request) -> bytes:
    return b"%d" % request.body_bytes_sent


@variable("request_time", REQUEST)
def request_time(request: Request) -> bytes:
    return b"%.3f" % max(0.0, request.client.clock.now - request.started)


@variable("msec", REQUEST)
def msec(request: Request) -> bytes:
    return b"%.3f" % request.client.clock.wall


class _PerSecond:
    """A text that changes once a second: made when it is asked for in a new second."""

    def __init__(self, make: Callable[[int], str]) -> None:
        self.make = make
        self.second = -1
        self.text = b""

    def at(self, wall: float) -> bytes:
        second = int(wall)
        if second != self.second:
            self.second = second
            self.text = self.make(second).encode("ascii")
        return self.text


def _local(second: int) -> str:
    at = time.localtime(second)
    return f"{at.tm_mday:02}/{MONTHS[at.tm_mon - 1]}/{at.tm_year}:{at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02} {_zone(at)}"


def _iso8601(second: int) -> str:
    at = time.localtime(second)
    zone = _zone(at)
    return time.strftime("%Y-%m-%dT%H:%M:%S", at) + f"{zone[:3]}:{zone[3:]}"


def _zone(at: time.struct_time) -> str:
    minutes = at.tm_gmtoff // 60
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}{abs(minutes) % 60:02}"


def error_log_time(second: int) -> str:
    """`2026/11/22 13:50:59`, local time, as the error log begins its lines."""
    return time.strftime("%Y/%m/%d %H:%M:%S", time.localtime(second))


_TIME_LOCAL = _PerSecond(_local)
_TIME_ISO8601 = _PerSecond(_iso8601)


@variable("time_local", REQUEST)
def time_local(request: Request) -> bytes:
    return _TIME_LOCAL.at(request.client.clock.wall)


@variable("time_iso8601", REQUEST)
def time_iso8601(request: Request) -> bytes:
    return _TIME_ISO8601.at(request.client.clock.wall)


@variable("request_completion", REQUEST)
def request_completion(request: Request) -> bytes:
    return b"OK" if request.replied and not request.end_cause else b""


@variable("wproxy_end_cause", REQUEST)
def wproxy_end_cause(request: Request) -> bytes:
    """Why the request ended as it did: which side, timer or limit, and the directive behind it; empty when all went well."""
    return request.end_cause.encode()
