"""Groups of peers (nginx: src/http/ngx_http_upstream.c, modules/ngx_http_upstream_keepalive_module.c)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from wproxy.address import Address, parse_address
from wproxy.config.registry import OWN, OWN_GATHER, UPSTREAM, directive
from wproxy.directives.addresses import in_upstream
from wproxy.directives.balancing import (
    IP_HASH,
    LEAST_CONN,
    ROUND_ROBIN,
    Balancing,
    StickyPlan,
    hash_key,
    least_time,
    present,
    queue,
    random,
    sticky,
)
from wproxy.directives.values import number, parse_time, size, text, time
from wproxy.remembered import Remembered


class UpstreamServer(NamedTuple):
    """One `server` line of an upstream: the address as written and its parameters."""

    text: str
    address: Address
    weight: int = 1
    max_fails: int = 1
    fail_timeout: float = 10.0
    max_conns: int = 0
    backup: bool = False
    down: bool = False
    drain: bool = False
    slow_start: float = 0.0
    route: str = ""  # the name that binds sessions to it, instead of the MD5 of its address
    resolve: bool = False
    service: str = ""


_NUMBERS = {"weight": 1, "max_fails": 0, "max_conns": 0}  # the least value of each
_TIMES = ("fail_timeout", "slow_start")
_FLAGS = ("backup", "down", "drain", "resolve")
_LONGEST_ROUTE = 32
# Parameters without effect yet.
INEFFECTIVE_PARAMETERS: tuple[str, ...] = ()


def upstream_server(text: str, *parameters: str) -> UpstreamServer:
    """Read `server ADDRESS [weight=N] [max_fails=N] [fail_timeout=T] [max_conns=N] [backup] [down] [drain] [slow_start=T]
    [route=S] [resolve] [service=S]`.
    """
    try:
        server = UpstreamServer(text, parse_address(text, 80))
    except ValueError as error:
        raise in_upstream(error) from None
    for parameter in parameters:
        key, equals, value = parameter.partition("=")
        if parameter in _FLAGS:
            flags: dict[str, Any] = {parameter: True}
            server = server._replace(**flags)
        elif key in _NUMBERS and value.isascii() and value.isdigit() and len(value) < 10 and int(value) >= _NUMBERS[key]:
            numbers: dict[str, Any] = {key: int(value)}
            server = server._replace(**numbers)
        elif key in _TIMES and equals and (seconds := parse_time(value)) is not None:
            times: dict[str, Any] = {key: seconds}
            server = server._replace(**times)
        elif key == "route" and 0 < len(value) <= _LONGEST_ROUTE and value.isascii() and value.isprintable() and ";" not in value:
            server = server._replace(route=value)
        elif key == "service" and value:
            server = server._replace(service=value)
        else:
            raise ValueError(f'invalid parameter "{parameter}"')
    if server.service and not server.resolve:
        raise ValueError(f'service upstream "{text}" requires "resolve" parameter')
    if server.service and text != server.address.host:
        raise ValueError(f'service upstream "{text}" may not have port')
    return server


class IdleConnections(int):
    """The idle connections that a group keeps. is_local: whether only the location that opened one may reuse it."""

    is_local: bool

    def __new__(cls, count: int, is_local: bool = False) -> IdleConnections:
        made = super().__new__(cls, count)
        made.is_local = is_local
        return made


def keepalive(count: str, local: str | None = None) -> IdleConnections:
    """Read `keepalive N [local]`: the number of idle connections to keep."""
    if local not in (None, "local"):
        raise ValueError(f'invalid parameter "{local}"')
    return IdleConnections(number()(count), local is not None)


class Zone(NamedTuple):
    """A name, and the bytes that nginx would allocate; None when another upstream gives the size."""

    name: str
    size: int | None = None


# Eight pages: with less, nginx's allocator has no room for itself.
LEAST_ZONE = 8 * 4096


def zone(name: str, bytes_each: str | None = None) -> Zone:
    """Read `zone NAME [SIZE]`."""
    if not name:
        raise ValueError(f'invalid zone name "{name}"')
    if bytes_each is None:
        return Zone(name)
    try:
        count = size(bytes_each)
    except ValueError:
        raise ValueError(f'invalid zone size "{bytes_each}"') from None
    if count < LEAST_ZONE:
        raise ValueError(f'zone "{name}" is too small')
    return Zone(name, count)


class UpstreamDirectives:
    """Inside an `upstream` block.

    balancing: the method of the last balancing directive. peer_lines: for each peer, the `server` line that
    named it; empty when no line did. session_memory: the memory of `sticky learn` (wproxy.sessions). remembered: for each
    `server` line with a name, the memory for the addresses that workers have found.
    """

    balancing: Balancing = ROUND_ROBIN
    peer_lines: tuple[UpstreamServer, ...] = ()
    session_memory: memoryview | None = None
    remembered: Mapping[UpstreamServer, Remembered] = MappingProxyType({})

    server: tuple[UpstreamServer, ...] = directive(
        upstream_server,
        UPSTREAM,
        arity=(1, 14),
        inherit=OWN_GATHER,
        named=True,
        doc="One server of the group, with weight, max_fails, fail_timeout, max_conns, backup, down, drain, slow_start, route.",
    )
    zone: Zone | None = directive(
        zone,
        UPSTREAM,
        arity=(1, 2),
        inherit=OWN,
        doc="Make all workers count requests under way together, for max_conns, least_conn and random two. Any size will do.",
    )
    keepalive: IdleConnections = directive(
        keepalive,
        UPSTREAM,
        arity=(1, 2),
        default="32",
        doc="The number of idle connections to the group that each worker keeps; 0 keeps none. Those that a burst has opened "
        "beyond it are closed up to a second later.",
    )
    keepalive_requests: int = directive(number(), UPSTREAM, default="1000", doc="The most requests on one upstream connection.")
    keepalive_time: float = directive(
        time, UPSTREAM, default="1h", doc="The age after which an upstream connection is no longer kept."
    )
    keepalive_timeout: float = directive(time, UPSTREAM, default="60s", doc="How long an idle upstream connection is kept.")
    state: str | None = directive(
        text, UPSTREAM, inherit=OWN, doc="The file that keeps the servers, instead of server lines: the API changes both."
    )
    ip_hash: bool | None = directive(
        present, UPSTREAM, arity=0, inherit=OWN, doc="Send clients of one network (IPv4: the first three bytes) to one server."
    )
    least_conn: bool | None = directive(
        present, UPSTREAM, arity=0, inherit=OWN, doc="Choose the server with the fewest requests under way for its weight."
    )
    least_time: Balancing | None = directive(
        least_time,
        UPSTREAM,
        arity=(1, 2),
        inherit=OWN,
        doc="Choose the server with the shortest time to header or last_byte, and few requests.",
    )
    hash: Balancing | None = directive(
        hash_key,
        UPSTREAM,
        arity=(1, 2),
        inherit=OWN,
        doc="Send requests with the same key to one server; consistent: with ketama hashing.",
    )
    random: Balancing | None = directive(
        random, UPSTREAM, arity=(0, 2), inherit=OWN, doc="Choose a server at random, by weight; two: the better of two."
    )
    sticky: StickyPlan | None = directive(
        sticky, UPSTREAM, arity=(2, 1000), inherit=OWN, doc="Keep sessions with their server: by cookie, by route, or learnt."
    )
    queue: tuple[int, float] | None = directive(
        queue,
        UPSTREAM,
        arity=(1, 2),
        inherit=OWN,
        doc="The most requests that wait for a server with free capacity, and timeout=: how long.",
    )


# The directives that choose a method; the last one in a block counts.
METHODS = ("ip_hash", "least_conn", "least_time", "hash", "random")
_WITHOUT_PARAMETERS = {"ip_hash": IP_HASH, "least_conn": LEAST_CONN}


def method(name: str, value: Balancing | bool) -> Balancing:
    """Return the method of one of METHODS, from the value that its reader returned."""
    return value if isinstance(value, Balancing) else _WITHOUT_PARAMETERS[name]
