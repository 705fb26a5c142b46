"""`service=NAME`: the hosts and ports of a service by its SRV records (RFC 2782; nginx: ngx_resolver_report_srv).

The records with the lowest priority value are the servers, all others are backups. Each gets the weight of its record, unless the
`server` line has one of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from worker.resolver.resolver import CannotResolve, Resolver
from wproxy.address import Address


class Endpoint(NamedTuple):
    """One address of a server line. weight: that of its SRV record, 0 for that of the line."""

    address: Address
    weight: int = 0
    is_backup: bool = False


class Endpoints(NamedTuple):
    """All addresses of a server line, and their expiry (a time of the loop's clock)."""

    endpoints: tuple[Endpoint, ...]
    expires: float


def service_name(service: str, host: str) -> str:
    """Return `_http._tcp.example.com` for `http` and `example.com`; a name with a dot is put before the host unchanged."""
    return f"{service}.{host}" if "." in service else f"_{service}._tcp.{host}"


async def resolve_endpoints(resolver: Resolver, address: Address, service: str, seconds: float) -> Endpoints:
    """Return the addresses of a host, or of its SRV records with `service`, within so many seconds. Raises CannotResolve.

    A record with a target that does not exist is left out, as long as there is another.
    """
    if not service:
        addresses, expires = await resolver.resolve(address.host, seconds)
        return Endpoints(tuple(Endpoint(Address(host, address.port)) for host in addresses), expires)
    clock = resolver.loop.clock
    deadline = clock.now + seconds
    services, expires = await resolver.resolve_service(service_name(service, address.host), seconds)
    least = min(record.priority for record in services)
    found: list[Endpoint] = []
    failure: CannotResolve | None = None
    for record in sorted(services, key=lambda record: (record.priority, record.target, record.port)):
        try:
            addresses, until = await resolver.resolve(f"{record.target}.", max(deadline - clock.now, 0.001))
        except CannotResolve as error:
            failure = error
            if not error.is_gone:
                raise
            continue
        expires = min(expires, until)
        found += [Endpoint(Address(host, record.port), record.weight or 1, record.priority > least) for host in addresses]
    if not found:
        assert failure is not None
        raise CannotResolve(address.host, failure.code, failure.expires)
    return Endpoints(tuple(found), expires)


def endpoints_as_text(endpoints: Iterable[Endpoint]) -> str:
    """Return a line for each, in an order that does not depend on that of the answer."""
    return "".join(sorted(f"{each.address.host} {each.address.port} {each.weight} {each.is_backup:d}\n" for each in endpoints))


def endpoints_of_text(text: str) -> tuple[Endpoint, ...]:
    """Read the endpoints in such lines."""
    fields = (line.split(" ") for line in text.splitlines())
    return tuple(Endpoint(Address(host, int(port)), int(weight), is_backup == "1") for host, port, weight, is_backup in fields)


def with_port(endpoints: Iterable[Endpoint], port: int) -> tuple[Endpoint, ...]:
    """Return the same addresses with this port."""
    return tuple(each._replace(address=Address(each.address.host, port)) for each in endpoints)
