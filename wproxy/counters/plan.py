"""The rows that a configuration needs: names are known at load, so that counting a request costs no look-up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from wproxy.config.model import Configuration, Location, Server
from wproxy.counters.layout import LIMITS, LISTENERS, REQUESTS, RESOLVERS, UPSTREAMS, Table
from wproxy.counters.memory import CounterMemory, Names, counter_memory
from wproxy.directives.resolver import SYSTEM, NameServers

# The label of names that found no room.
OTHER = "_other"
# The location of requests for which no location was found.
SERVER_ITSELF = "(server)"


class RequestNames(NamedTuple):
    """The names under which a request is counted. server, location: as they are written. The zones: of status_zone, or ""."""

    server: str
    location: str
    server_zone: str = ""
    location_zone: str = ""


@dataclass(slots=True)
class CountingPlan:
    """The rows of one configuration, and the memory where they are.

    names: those under which each location's requests are counted. requests, upstreams, limits, listeners,
    resolvers: row by name; 0 for those without room. are_rates: whether a zone of limits is one of limit_req.
    resolver_zones: those of status_zone.
    """

    memory: CounterMemory
    names: dict[Location, RequestNames]
    requests: dict[RequestNames, int] = field(default_factory=dict)
    upstreams: dict[str, int] = field(default_factory=dict)
    limits: dict[str, int] = field(default_factory=dict)
    listeners: dict[str, int] = field(default_factory=dict)
    resolvers: dict[str, int] = field(default_factory=dict)
    are_rates: dict[str, bool] = field(default_factory=dict)
    resolver_zones: frozenset[str] = frozenset()

    def __repr__(self) -> str:
        return f"<counting of {len(self.requests)} locations, {len(self.upstreams)} upstreams>"


def plan_counting(
    configuration: Configuration,
    memory: CounterMemory | None = None,
    generation: int = 1,
    alive: Collection[int] = (),
    slots: int = 1,
) -> CountingPlan:
    """Give everything in a configuration that is counted its row.

    To be called before its workers are forked. generation: theirs. alive: the generations that have workers; slots: the slots of
    workers ever in use.
    """
    plan = CountingPlan(memory or counter_memory(), names_of(configuration))

    def rows(table: Table, names: Iterable[Names]) -> dict[Names, int]:
        return plan.memory.rows(table, dict.fromkeys(names), generation, alive, slots)

    plan.requests = {RequestNames(*names): row for names, row in rows(REQUESTS, plan.names.values()).items()}
    plan.upstreams = {name: row for (name,), row in rows(UPSTREAMS, ((each.name,) for each in configuration.upstreams)).items()}
    plan.limits = {zone: row for (zone,), row in rows(LIMITS, ((each.name,) for each in configuration.limit_zones)).items()}
    addresses = (str(each.address) for each in configuration.all_listeners)
    plan.listeners = {address: row for (address,), row in rows(LISTENERS, ((each,) for each in addresses)).items()}
    plan.are_rates = {zone.name: bool(zone.rate) for zone in configuration.limit_zones}
    plan.resolver_zones = frozenset(each.zone for each in name_servers_of(configuration) if each.zone)
    names = (each.shown for each in name_servers_of(configuration))
    plan.resolvers = {name: row for (name,), row in rows(RESOLVERS, ((each,) for each in names)).items()}
    return plan


@lru_cache(1)
def name_servers_of(configuration: Configuration) -> tuple[NameServers, ...]:
    """Return the name servers that a configuration may ask, those of the system included. It is asked as often as `names_of`."""
    found = {SYSTEM: None}
    for upstream in configuration.upstreams:
        found |= {upstream.resolver: None} if upstream.resolver is not None else {}
    for server in configuration.servers:
        found |= {each.resolver: None for each in server.each_location() if each.resolver is not None}
    return tuple(found)


@lru_cache(1)
def names_of(configuration: Configuration) -> dict[Location, RequestNames]:
    """Return what the requests of each location are counted under: no more names than the configuration has.

    Nobody changes it; a program that explains many requests asks for it again and again.
    """
    servers = _server_names(configuration)
    found = {}
    for server in configuration.servers:
        for location in server.each_location():
            zone = "" if location.status_zone_ == "off" else location.status_zone_
            shown = SERVER_ITSELF if location.modifier == "server" else f"{location.modifier} {location.pattern}".strip()
            found[location] = RequestNames(servers[server], shown, server.status_zone or "", zone)
    return found


def _server_names(configuration: Configuration) -> dict[Server, str]:
    """Return a name for each server: its first one, with its port if another server has the same."""
    ports: dict[Server, str] = {}
    for listener in configuration.listeners:
        for server in listener.servers.targets:
            address = listener.address
            ports.setdefault(server, f"unix:{address.host}" if address.is_unix else f":{address.port}")
    names = {server: server.name or "_" for server in configuration.servers}
    times = Counter(names.values())
    return {server: name if times[name] == 1 else name + ports.get(server, "") for server, name in names.items()}
