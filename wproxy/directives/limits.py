"""The arguments of limits of requests per second and of connections (nginx: ngx_http_limit_req_module.c and
ngx_http_limit_conn_module.c).
"""

from __future__ import annotations

import re
from typing import NamedTuple

from wproxy.config.registry import GATHER, HTTP, LOCATION, OWN_GATHER, SERVER, directive
from wproxy.directives.values import flag, number, word
from wproxy.directives.zones import Zone, made_zone
from wproxy.redis_url import RedisServer, redis_server
from wproxy.template import Template, compile_template

REQUESTS, CONNECTIONS = "limit_req_zone", "limit_conn_zone"
MOST_CONNECTIONS = 65535
_RATE = re.compile(r"rate=([0-9]{1,9})(r/s|r/m)?")


class CountedZone(NamedTuple):
    """A `limit_req_zone` or `limit_conn_zone`.

    rate: thousandths of a request per second, 0 when connections are counted. sync: the server at which machines count together.
    """

    key: Template
    zone: Zone
    rate: int = 0
    sync: RedisServer | None = None


class RequestLimit(NamedTuple):
    """A `limit_req`. burst: the number of requests that may come too early; delay: how many of those are served at once."""

    zone: Zone
    burst: int = 0
    delay: int = 0


class ConnectionLimit(NamedTuple):
    """A `limit_conn`."""

    zone: Zone
    most: int


def request_zone(key: str, *parameters: str) -> CountedZone:
    """Read `KEY zone=NAME:SIZE rate=RATE [sync=URL]`."""
    template = compile_template(key)
    zone, rate, sync = None, 1000, None
    for parameter in parameters:
        if parameter.startswith("zone="):
            zone = made_zone(REQUESTS, parameter[5:], parameter)
        elif parameter.startswith("rate="):
            match = _RATE.fullmatch(parameter)
            if match is None or not int(match[1]):
                raise ValueError(f'invalid rate "{parameter}"')
            rate = int(match[1]) * 1000 // (60 if match[2] == "r/m" else 1)
        elif is_sync(parameter):
            sync = synced(parameter, sync)
        else:
            raise ValueError(f'invalid parameter "{parameter}"')
    if zone is None:
        raise ValueError('"limit_req_zone" must have "zone" parameter')
    return CountedZone(template, zone, rate, sync)


def connection_zone(key: str, *parameters: str) -> CountedZone:
    """Read `KEY zone=NAME:SIZE [sync=URL]`."""
    template = compile_template(key)
    zone, sync = None, None
    for parameter in parameters:
        if parameter.startswith("zone="):
            zone = made_zone(CONNECTIONS, parameter[5:], parameter)
        elif is_sync(parameter):
            sync = synced(parameter, sync)
        else:
            raise ValueError(f'invalid parameter "{parameter}"')
    if zone is None:
        raise ValueError('"limit_conn_zone" must have "zone" parameter')
    return CountedZone(template, zone, 0, sync)


def is_sync(parameter: str) -> bool:
    """Whether a parameter is `sync`, with or without what has to follow."""
    return parameter == "sync" or parameter.startswith("sync=")


def synced(parameter: str, before: RedisServer | None) -> RedisServer:
    """Read `sync=URL`. before: the value of another one in the same line. Raises ValueError."""
    if before is not None:
        raise ValueError(f'duplicate parameter "{parameter.partition("=")[0]}"')
    if parameter == "sync":
        raise ValueError('"sync" names the server at which machines count together: sync=redis://HOST')
    return redis_server(parameter[5:])


def _count(parameter: str) -> int:
    word, _, value = parameter.partition("=")
    if not (value.isascii() and value.isdigit() and len(value) < 10 and int(value)):
        raise ValueError(f'invalid {word} value "{parameter}"')
    return int(value)


def request_limit(*parameters: str) -> RequestLimit:
    """Read `zone=NAME [burst=NUMBER] [nodelay | delay=NUMBER]`."""
    name, burst, delay = "", 0, 0
    for parameter in parameters:
        if parameter.startswith("zone="):
            name = parameter[5:]
        elif parameter.startswith("burst="):
            burst = _count(parameter)
        elif parameter.startswith("delay="):
            delay = _count(parameter)
        elif parameter == "nodelay":
            delay = 2**31 - 1
        else:
            raise ValueError(f'invalid parameter "{parameter}"')
    if not name:
        raise ValueError('"limit_req" must have "zone" parameter')
    return RequestLimit(Zone(REQUESTS, name), burst, delay)


def connection_limit(name: str, most: str) -> ConnectionLimit:
    """Read `ZONE NUMBER`."""
    if not (most.isascii() and most.isdigit() and len(most) < 10 and int(most)):
        raise ValueError(f'invalid number of connections "{most}"')
    if int(most) > MOST_CONNECTIONS:
        raise ValueError("connection limit must be less 65536")
    return ConnectionLimit(Zone(CONNECTIONS, name), int(most))


_BLOCKS = HTTP | SERVER | LOCATION
_LEVEL = word(("info", "notice", "warn", "error"))


class LimitDirectives:
    """Limits of requests per second and of requests at once."""

    limit_req_zone: tuple[CountedZone, ...] = directive(
        request_zone,
        HTTP,
        arity=(3, 4),
        inherit=OWN_GATHER,
        doc="A zone that counts requests: the key that they are counted by, `zone=NAME:SIZE` and `rate=NUMBERr/s` or `r/m`; with "
        "`sync=redis://HOST` several machines count together.",
    )
    limit_req: tuple[RequestLimit, ...] = directive(
        request_limit,
        _BLOCKS,
        arity=(1, 3),
        inherit=GATHER,
        doc="How many requests may come too early by the rate of `zone=`: `burst=` of them, of which `delay=` are not delayed, "
        "or none with `nodelay`; others are refused.",
    )
    limit_req_log_level: str = directive(
        _LEVEL, _BLOCKS, default="error", doc="The level at which refusals are logged; delays are logged one level lower."
    )
    limit_req_status: int = directive(number(400, 599), _BLOCKS, default="503", doc="The status of a request that is refused.")
    limit_req_dry_run: bool = directive(
        flag, _BLOCKS, default="off", doc="Whether requests are counted and logged, but neither delayed nor refused."
    )
    limit_conn_zone: tuple[CountedZone, ...] = directive(
        connection_zone,
        HTTP,
        arity=(2, 3),
        inherit=OWN_GATHER,
        doc="A zone that counts requests under way: the key that they are counted by, and `zone=NAME:SIZE`; with "
        "`sync=redis://HOST` several machines count together.",
    )
    limit_conn: tuple[ConnectionLimit, ...] = directive(
        connection_limit,
        _BLOCKS,
        arity=2,
        inherit=GATHER,
        doc="How many requests of one key of a zone may be under way at once; others are refused.",
    )
    limit_conn_log_level: str = directive(_LEVEL, _BLOCKS, default="error", doc="The level at which refusals are logged.")
    limit_conn_status: int = directive(number(400, 599), _BLOCKS, default="503", doc="The status of a request that is refused.")
    limit_conn_dry_run: bool = directive(
        flag, _BLOCKS, default="off", doc="Whether requests are counted and refusals logged, but none is refused."
    )
