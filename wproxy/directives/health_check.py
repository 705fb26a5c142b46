"""Active health checks, in the syntax of nginx's commercial edition (ngx_http_upstream_hc_module)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from wproxy.config.registry import HTTP, LOCATION, MATCH, OWN, OWN_GATHER, directive
from wproxy.directives.core import nothing
from wproxy.directives.values import parse_time
from wproxy.health_match import BodyTest, HeaderTest, StatusTest
from wproxy.regex import compile_regex
from wproxy.template import Template, compile_template

HTTP_CHECK = "http"
TCP_CHECK = "tcp"
GRPC_CHECK = "grpc"

_URI = re.compile(r"/[^\x00-\x20\x7f]*")
_STATUS = re.compile(r"([1-9][0-9][0-9])(?:-([1-9][0-9][0-9]))?")
_HIGHEST_PORT = 65535
_HIGHEST_GRPC_STATUS = 16


class HealthCheck(NamedTuple):
    """One `health_check`. interval, jitter, keepalive_time: seconds. port: 0 for that of the peer. match: "" for none.

    keepalive_time: the greatest age of a check's connection; 0: each check opens a new one. kind: HTTP_CHECK, TCP_CHECK or
    GRPC_CHECK. grpc_service: the service that is asked about, "" for the whole server. grpc_status: the status of a server that
    does not know health checks and is healthy all the same; 0: there is none.
    """

    interval: float = 5.0
    jitter: float = 0.0
    fails: int = 1
    passes: int = 1
    uri: str = "/"
    port: int = 0
    match: str = ""
    mandatory: bool = False
    persistent: bool = False
    keepalive_time: float = 0.0
    kind: str = HTTP_CHECK
    grpc_service: str = ""
    grpc_status: int = 0


def _seconds(value: str) -> float | None:
    return parse_time(value, "wdhms")


def _positive_seconds(value: str) -> float | None:
    return parse_time(value, "wdhms") or None


def _count(value: str) -> int | None:
    return int(value) if value.isascii() and value.isdigit() and 0 < len(value) < 10 and int(value) else None


def _port(value: str) -> int | None:
    port = _count(value)
    return port if port is not None and port <= _HIGHEST_PORT else None


def _uri(value: str) -> str | None:
    return value if _URI.fullmatch(value) else None


def _kind(value: str) -> str | None:
    return value if value in (HTTP_CHECK, TCP_CHECK, GRPC_CHECK) else None


def _grpc_status(value: str) -> int | None:
    status = _count(value)
    return status if status is not None and status <= _HIGHEST_GRPC_STATUS else None


# The name of a parameter, its attribute, and its reader, which returns None for a value that makes no sense.
_PARAMETERS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "interval": ("interval", _positive_seconds),
    "jitter": ("jitter", _seconds),
    "fails": ("fails", _count),
    "passes": ("passes", _count),
    "uri": ("uri", _uri),
    "port": ("port", _port),
    "match": ("match", lambda value: value or None),
    "keepalive_time": ("keepalive_time", _positive_seconds),
    "type": ("kind", _kind),
    "grpc_service": ("grpc_service", lambda value: value or None),
    "grpc_status": ("grpc_status", _grpc_status),
}
_FLAGS = ("mandatory", "persistent")
# Parameters that only a check of one kind has, and what another kind does.
_OF_HTTP = ("uri", "match", "keepalive_time")
_OF_GRPC = ("grpc_service", "grpc_status")
_DOES = {TCP_CHECK: "only connects", GRPC_CHECK: "makes the call that gRPC has for it"}


def health_check(*parameters: str) -> HealthCheck:
    """Read `health_check [interval=T] [jitter=T] [fails=N] [passes=N] [uri=URI] [port=N] [match=NAME] [mandatory [persistent]]
    [keepalive_time=T] [type=http|tcp|grpc [grpc_service=NAME] [grpc_status=N]]`.
    """
    values: dict[str, Any] = {}
    given: set[str] = set()
    for parameter in parameters:
        key, equals, text = parameter.partition("=")
        if key in given:
            raise ValueError(f'duplicate parameter "{parameter}"')
        given.add(key)
        if parameter in _FLAGS:
            values[parameter] = True
            continue
        name, read = _PARAMETERS.get(key, (key, lambda text: None))
        value = read(text) if equals else None
        if value is None:
            raise ValueError(f'invalid parameter "{parameter}"')
        values[name] = value
    check = HealthCheck(**values)
    if check.persistent and not check.mandatory:
        raise ValueError('"persistent" requires "mandatory"')
    for key in _OF_HTTP:
        if check.kind != HTTP_CHECK and key in given:
            raise ValueError(f'"{key}" makes no sense with "type={check.kind}": such a check {_DOES[check.kind]}')
    for key in _OF_GRPC:
        if check.kind != GRPC_CHECK and key in given:
            raise ValueError(f'"{key}" makes no sense without "type=grpc"')
    return check


# The tests of a `match`.


def status(*words: str) -> StatusTest:
    """Read `status [!] CODE[-CODE]...`."""
    negated = words[0] == "!"
    ranges = []
    for word in words[negated:]:
        found = _STATUS.fullmatch(word)
        if found is None or int(found[2] or found[1]) < int(found[1]):
            raise ValueError(f'invalid status "{word}"')
        ranges.append((int(found[1]), int(found[2] or found[1])))
    if not ranges:
        raise ValueError('no status after "!"')
    return StatusTest(tuple(ranges), negated)


def header(first: str, second: str | None = None, third: str | None = None) -> HeaderTest:
    """Read `header NAME`, `header ! NAME`, or `header NAME =|!=|~|!~ VALUE`."""
    if third is None:
        if second is not None and first != "!":
            raise ValueError(f'invalid header test "{first} {second}"')
        return HeaderTest(_field_name(first if second is None else second), "" if second is None else "!")
    if second not in ("=", "!=", "~", "!~"):
        raise ValueError(f'invalid operator "{second}", it must be one of =, !=, ~ and !~')
    regex = compile_regex(third) if second.endswith("~") else None
    return HeaderTest(_field_name(first), second, third.encode("utf-8", "surrogateescape"), regex)


def _field_name(name: str) -> bytes:
    if not name or any(character <= " " or character >= "\x7f" or character in '":(),/;<=>?@[\\]{}!~' for character in name):
        raise ValueError(f'invalid header name "{name}"')
    return name.lower().encode()


def body(operator: str, pattern: str) -> BodyTest:
    """Read `body ~ REGEX` or `body !~ REGEX`."""
    if operator not in ("~", "!~"):
        raise ValueError(f'invalid operator "{operator}", it must be ~ or !~')
    return BodyTest(compile_regex(pattern), operator == "!~")


def require(*variables: str) -> tuple[Template, ...]:
    """Read `require $VARIABLE...`."""
    for variable in variables:
        if not variable.startswith("$"):
            raise ValueError(f'invalid variable name "{variable}"')
    return tuple(compile_template(variable) for variable in variables)


class HealthCheckDirectives:
    """In a location with a proxy_pass."""

    health_check: HealthCheck | None = directive(
        health_check,
        LOCATION,
        arity=(0, 13),
        inherit=OWN,
        doc="Check every server of the proxy_pass regularly, and send nothing to those that fail: interval=, jitter=, fails=, "
        "passes=, uri=, port=, match=, mandatory, persistent, keepalive_time=, type=http, type=tcp (only connect), type=grpc "
        "with grpc_service= and grpc_status=.",
    )


class MatchBlock:
    """The block."""

    match: None = directive(
        nothing,
        HTTP,
        arity=1,
        inherit=OWN_GATHER,
        block=MATCH,
        named=True,
        doc="The tests that a health_check makes on an answer.",
    )


class MatchDirectives:
    """Inside a `match`: an answer has to pass all tests."""

    status: StatusTest | None = directive(
        status,
        MATCH,
        arity=(1, 1000),
        inherit=OWN,
        doc="The status must be one of these codes and ranges; after !: none of them.",
    )
    header: tuple[HeaderTest, ...] = directive(
        header,
        MATCH,
        arity=(1, 3),
        inherit=OWN_GATHER,
        doc="A field must be present (NAME), absent (! NAME), or have a value (NAME with =, !=, ~ or !~ and a value or regex).",
    )
    body: tuple[BodyTest, ...] = directive(
        body, MATCH, arity=2, inherit=OWN_GATHER, doc="A regex must be found (~) or not (!~) in the first 256 KB of the body."
    )
    require: tuple[tuple[Template, ...], ...] = directive(
        require, MATCH, arity=(1, 1000), inherit=OWN_GATHER, doc="These variables must be neither empty nor 0."
    )
