"""The services of a worker for everything in it: its loop, its logs, its groups of peers, and its other unique objects.

`Worker` makes them from its assignment, and `wproxy explain` makes its own. Connections, locations and handlers get the ones they
need when they are made or attached; a request carries none of them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from worker.access.remembered import RightPasswords
from worker.bell import Bell
from worker.blaming import blaming
from worker.client.clients import Clients
from worker.edits import Edits
from worker.limits.zones import LimitZones, limit_zones
from worker.logs import Write
from worker.loop import Loop
from worker.redis.links import Links
from worker.resolver.discovery import Discovery
from worker.resolver.records import SharedRecords, private_records
from worker.threads import ThreadPool, thread_pools
from worker.upstream.counts import UpstreamCounts
from worker.upstream.passing import Passing
from worker.upstream.peers import Group
from worker.upstream.tls.connector import Connectors
from wproxy.address import Address
from wproxy.assignment import Assignment
from wproxy.config.counting import wants_counters
from wproxy.config.model import Configuration, Location, Upstream
from wproxy.error_log import ErrorLog
from wproxy.http import Process, Request, Response
from wproxy.record_locks import RecordLocks
from wproxy.shared import FIRST_LATE_PEER, MAX_LATE_PEERS, PLACES_OFFSET, SharedWords

if TYPE_CHECKING:
    from worker.cache.cache import Cache
    from worker.counters.counting import Counting
    from worker.tracing.span import Span
    from wproxy.explain import Positions

Exchange = Callable[[Passing, Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Logs:
    """The logs of a worker.

    error: that of the main level. error_of: that of a location. access_of: returns the function that logs a finished request of a
    location; None when nothing is to be logged.
    """

    error: ErrorLog
    error_of: Callable[[Location], ErrorLog]
    access_of: Callable[[Location], Write | None]


@dataclass(slots=True)
class Services:
    """The services of one worker.

    workers: the number of workers of its generation. process: the facts about it that words may use. groups: keyed by the name of
    the upstream.
    links: to the servers at which machines count together.
    exchange: the function that gets a response from an upstream. connectors: how connections to upstreams are encrypted.
    counting: its counts; None where nothing shows counters. caches: keyed by the name of the zone.
    passings: how the attached locations pass requests on.
    add_spans: gives spans of traces to the exporter; None without one.
    positions: of the steps of the configuration; None where no decisions are recorded.
    """

    loop: Loop
    configuration: Configuration
    shared: SharedWords
    limit_zones: LimitZones
    links: Links
    workers: int
    process: Process
    logs: Logs
    clients: Clients
    thread_pools: dict[str, ThreadPool]
    groups: dict[str, Group]
    discovery: Discovery
    edits: Edits
    bell: Bell
    caches: dict[str, Cache]
    exchange: Exchange
    connectors: Connectors
    counting: Counting | None = None
    passings: dict[Location, Passing] = field(default_factory=dict)
    add_spans: Callable[[Iterable[Span]], None] | None = None
    positions: Positions | None = None
    right_passwords: RightPasswords = field(default_factory=RightPasswords)


def make_services(
    assignment: Assignment, loop: Loop, process: Process, logs: Logs, clients: Clients, exchange: Exchange
) -> Services:
    """Make the services of a worker from its assignment. Raises CannotBegin."""
    configuration, shared, log = assignment.configuration, assignment.shared, logs.error.write
    counting = make_counting(assignment, loop, clients)
    groups: dict[str, Group] = {}
    for upstream in configuration.upstreams:
        with blaming(upstream):
            groups[upstream.name] = Group(upstream, shared, loop, log, counts_of_upstream(counting, upstream.name))
    # The health records of peers that were unknown at the start; all groups get them.
    locks = RecordLocks(assignment.memory_fileno)
    records = SharedRecords(shared, PLACES_OFFSET, FIRST_LATE_PEER, MAX_LATE_PEERS, locks, private_records())
    for group in groups.values():
        group.renewal.records = records

    def make_group(name: str, address: Address) -> Group:
        """Make a group without peers, for a target that a request names: no other worker knows of it."""
        upstream = Upstream({}, {})
        upstream.name = name
        upstream.position = configuration.servers[0].position
        upstream.implicit = True
        upstream.peers = ()
        group = Group(upstream, private_records().shared, loop, log, counts_of_upstream(counting, name))
        group.renewal.records = private_records()
        group.asks_the_resting = True
        return group

    links = Links(loop, log)
    exchange = share_sessions(groups, links, exchange)
    discovery = Discovery(loop, log, make_group, records)
    if counting is not None:
        discovery.count_in = counting.resolver
    bell = Bell(loop, assignment.bell)
    return Services(
        loop,
        configuration,
        shared,
        limit_zones(assignment, loop, log, links),
        links,
        assignment.workers,
        process,
        logs,
        clients,
        thread_pools(configuration.thread_pool, loop, log),
        groups,
        discovery,
        Edits(assignment, loop, groups, discovery, log, bell),
        bell,
        _caches(assignment, loop, log, bell),
        exchange,
        Connectors(assignment.client_contexts),
        counting,
        positions=positions_of(assignment),
    )


def positions_of(assignment: Assignment) -> Positions | None:
    """Return the positions of the steps of a configuration whose requests are recorded; None for any other."""
    configuration = assignment.configuration
    if configuration.tree is None or assignment.rehearses:
        return None
    from wproxy.explain import Positions

    return Positions(configuration, configuration.tree)


def _caches(assignment: Assignment, loop: Loop, log: Callable[[str, str], object], bell: Bell) -> dict[str, Cache]:
    """Return the caches of a worker, by the names of their zones."""
    if not assignment.configuration.cache_zones:
        return {}
    from worker.cache.cache import make_caches  # with ctypes, needed only with zones

    return make_caches(assignment, loop, log, bell)


def share_sessions(groups: dict[str, Group], links: Links, exchange: Exchange) -> Exchange:
    """Link the groups whose sessions machines share to their servers; return the exchange of requests."""
    synced = [
        group for group in groups.values() if group.upstream.sticky is not None and group.upstream.sticky.server is not None
    ]
    if not synced:
        return exchange
    from worker.upstream.synced_sticky import SyncedStickyLearn, asking_first  # only where it is needed

    for group in synced:
        plan = group.upstream.sticky
        assert plan is not None and plan.server is not None
        group.share_sessions(partial(SyncedStickyLearn, links.link_to(plan.server)))
    return asking_first(exchange)


def make_counting(assignment: Assignment, loop: Loop, clients: Clients) -> Counting | None:
    """Return the counts of the worker; None where nothing in its configuration shows counters."""
    if not wants_counters(assignment.configuration):
        return None
    # They take 5 ms, needed only where they are shown.
    from worker.counters.counting import Counting, private_memory
    from wproxy.counters.plan import plan_counting

    plan = assignment.counting or plan_counting(assignment.configuration, private_memory(assignment.slot))
    own = plan.memory if assignment.slot < plan.memory.reach(assignment.slot + 1) else private_memory(assignment.slot)
    return Counting(plan, assignment.configuration, assignment.shared, loop.clock, clients, own)


def counts_of_upstream(counting: Counting | None, name: str) -> UpstreamCounts | None:
    """Return the counts of an upstream and its peers."""
    if counting is None:
        return None
    from worker.counters.peers import SharedUpstreamCounts

    return SharedUpstreamCounts(counting, name)
