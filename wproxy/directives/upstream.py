"""Groups of peers (nginx: src/http/ngx_http_upstream.c, modules/ngx_http_upstream_keepalive_module.c)."""

from __future__ import annotations

from typing import Any, NamedTuple

from wproxy.address import Address, parse_address
from wproxy.config.registry import OWN_GATHER, UPSTREAM, directive
from wproxy.directives.addresses import in_upstream
from wproxy.directives.values import number, parse_time, time


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


_NUMBERS = {"weight": 1, "max_fails": 0, "max_conns": 0}  # the least value of each


def upstream_server(text: str, *parameters: str) -> UpstreamServer:
    """`server ADDRESS [weight=N] [max_fails=N] [fail_timeout=T] [max_conns=N] [backup] [down]`."""
    try:
        server = UpstreamServer(text, parse_address(text, 80))
    except ValueError as error:
        raise in_upstream(error) from None
    for parameter in parameters:
        key, equals, value = parameter.partition("=")
        if parameter == "backup":
            server = server._replace(backup=True)
        elif parameter == "down":
            server = server._replace(down=True)
        elif key in _NUMBERS and value.isascii() and value.isdigit() and len(value) < 10 and int(value) >= _NUMBERS[key]:
            numbers: dict[str, Any] = {key: int(value)}
            server = server._replace(**numbers)
        elif key == "fail_timeout" and equals and (seconds := parse_time(value)) is not None:
            server = server._replace(fail_timeout=seconds)
        else:
            raise ValueError(f'invalid parameter "{parameter}"')
    return server


def keepalive(count: str, local: str | None = None) -> int:
    """The number of idle connections kept; all locations of the upstream share them."""
    if local == "local":
        raise ValueError('"local" in "%s" directive is not supported yet')
    if local is not None:
        raise ValueError(f'invalid parameter "{local}"')
    return number()(count)


class UpstreamDirectives:
    """Inside an `upstream` block."""

    server: tuple[UpstreamServer, ...] = directive(
        upstream_server,
        UPSTREAM,
        arity=(1, 8),
        inherit=OWN_GATHER,
        named=True,
        doc="One server of the group, with weight, max_fails, fail_timeout, max_conns, backup, down.",
    )
    keepalive: int = directive(
        keepalive,
        UPSTREAM,
        arity=(1, 2),
        default="32",
        doc="How many idle connections to the group each worker keeps; 0 keeps none.",
    )
    keepalive_requests: int = directive(
        number(), UPSTREAM, default="1000", doc="How many requests one upstream connection may serve."
    )
    keepalive_time: float = directive(
        time, UPSTREAM, default="1h", doc="How old an upstream connection may get and still be kept."
    )
    keepalive_timeout: float = directive(time, UPSTREAM, default="60s", doc="How long an idle upstream connection is kept.")
