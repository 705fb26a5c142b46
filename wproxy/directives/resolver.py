"""Name servers, and the queries sent to them (nginx: ngx_resolver_create in src/core/ngx_resolver.c).

    resolver ADDRESS[:PORT] ... [valid=T] [ipv4=on|off] [ipv6=on|off] [local=on|off] [status_zone=NAME]

`local=on` (as in OpenResty) asks the name servers of /etc/resolv.conf, after /etc/hosts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from wproxy.address import Address, parse_address
from wproxy.config.registry import HTTP, LOCATION, SERVER, UPSTREAM, directive
from wproxy.directives.addresses import in_resolver
from wproxy.directives.values import flag, parse_time, time, word

MOST_WORDS = 100
_NAME_SERVER_PORT = 53
_SWITCHES = ("ipv4", "ipv6", "local")


class NameServers(NamedTuple):
    """A `resolver`: the servers, and what to ask them.

    servers: addresses, names among them until `with_addresses` has looked them up. valid: seconds that an answer is trusted, None
    for its own ttl. local: the system's own name servers, and its hosts file. zone: the name of their counters, "" without one.
    """

    servers: tuple[Address, ...]
    valid: float | None = None
    ipv4: bool = True
    ipv6: bool = True
    local: bool = False
    zone: str = ""

    @property
    def shown(self) -> str:
        """The name under which its lookups are counted: that of status_zone, or its servers."""
        servers = [str(server) for server in self.servers]
        return self.zone or " ".join([*servers, "local"] if self.local and servers else servers or ["local"])

    def with_addresses(self, look_up: Callable[[str, int], list[Address]]) -> NameServers:
        """Return the same with numeric addresses; raises OSError, its `filename` the name that is not found."""
        servers: list[Address] = []
        for server in self.servers:
            if server.is_numeric:
                servers.append(server)
                continue
            try:
                servers += look_up(server.host, server.port)
            except OSError as error:
                raise OSError(error.errno, f'host not found in resolver "{server.host}"', server.host) from None
        return self._replace(servers=tuple(servers))


# The system's queries where a configuration says nothing.
SYSTEM = NameServers((), local=True)


def name_servers(*words: str) -> NameServers:
    """Read the arguments of `resolver`; raises ValueError in nginx's words."""
    servers: list[Address] = []
    valid: float | None = None
    zone = ""
    switches = {"ipv4": True, "ipv6": True, "local": False}
    for argument in words:
        key, equals, value = argument.partition("=")
        if not equals:
            servers.append(_name_server(argument))
        elif key == "valid":
            valid = parse_time(value)
            if valid is None or "ms" in value:
                raise ValueError(f"invalid parameter: {argument}")
        elif key in _SWITCHES:
            try:
                switches[key] = flag(value)
            except ValueError:
                raise ValueError(f"invalid parameter: {argument}") from None
        elif key == "status_zone" and value:
            zone = value
        else:
            raise ValueError(f'host not found in resolver "{argument}"')
    if not switches["ipv4"] and not switches["ipv6"]:
        raise ValueError('"ipv4" and "ipv6" cannot both be "off"')
    if not servers and not switches["local"]:
        raise ValueError("no name servers defined")
    return NameServers(tuple(servers), valid, **switches, zone=zone)


def _name_server(text: str) -> Address:
    try:
        address = parse_address(text, _NAME_SERVER_PORT)
    except ValueError as error:
        raise in_resolver(error, text) from None
    if address.is_unix:
        raise ValueError(f'invalid host in resolver "{text}"')
    return address


LEVELS = HTTP | SERVER | LOCATION | UPSTREAM


class ResolverDirectives:
    """The resolution of names while the server runs."""

    resolver: NameServers | None = directive(
        name_servers,
        LEVELS,
        arity=(1, MOST_WORDS),
        doc="The name servers for names in proxy_pass variables and `server ... resolve`, with valid=, ipv4=, ipv6=, local=.",
    )
    resolver_timeout: float = directive(time, LEVELS, default="30s", doc="How long resolving a name may take.")
    upstream_start: str = directive(
        word(("strict", "degraded")),
        LEVELS,
        default="strict",
        doc="Whether a name that is not found at the start prevents it (strict), or its upstream starts empty (degraded).",
    )
