"""Groups of peers that follow their names: `server NAME`, `server NAME resolve`, `proxy_pass http://NAME`; and the groups of
targets that only a request names (proxy_pass with variables).

Every worker follows every name by itself, with a task for each: a lookup when the last answer expires costs nothing compared to
requests, and no worker's death leaves the others with old addresses. Each adds a random delay, so that they do not all ask at
once.

The servers. A name with `resolve` uses the `resolver` of its upstream, or the system's name servers if it has none. A plain name
was looked up by the system at load, and still is: a `resolver` beside it often serves another purpose (OCSP) and knows other
names.

The effect of an answer. New addresses become peers, missing ones leave, and the others are not affected. When the name servers
say that the name no longer exists, a group with `resolve` loses that server's peers, as in nginx; a plain name keeps them,
because nginx would. A name server that fails says nothing about the name: everything stays as it is, even over a reload, because
workers leave their results to their successors (wproxy.remembered).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from random import random
from typing import NamedTuple, Protocol

from worker.loop import Loop, Task, sleep
from worker.resolver.records import TOUCH_EVERY, SharedRecords
from worker.resolver.resolver import CannotResolve, Resolver
from worker.resolver.services import Endpoint, Endpoints, endpoints_as_text, endpoints_of_text, resolve_endpoints, with_port
from worker.resolver.system import SystemResolver
from wproxy.address import Address, parse_address
from wproxy.config.model import Upstream
from wproxy.directives.resolver import SYSTEM, NameServers
from wproxy.directives.upstream import UpstreamServer

# Seconds until the next question about a name that could not be resolved: doubled with each failure.
RETRY, LONGEST_RETRY = 1.0, 8.0
# The number of seconds after its start within which a worker asks for names that the master has looked up.
FIRST_QUESTION = 1.0
# The limit of targets of requests: more than clients can make use of, too few to matter.
MOST_TARGETS = 256
Log = Callable[[str, str], None]
CountCode = Callable[[int], None]


class LiveGroup(Protocol):
    """The part of worker.upstream.peers.Group that is used here."""

    name: str

    def replace_peers(self, line: UpstreamServer | None, endpoints: Sequence[Endpoint]) -> tuple[list[str], list[str]]:
        """Make these the peers of that line; return the names of those that were added and those that left."""
        ...

    def has_peers(self, line: UpstreamServer | None) -> bool:
        """Whether the line has any peers."""
        ...

    def close_idle(self) -> None:
        """Close idle connections and keep none from now on."""
        ...

    def close_expired(self) -> None:
        """Close the expired idle connections."""
        ...

    def look_at_turns(self) -> None:
        """Decide anew whether the turns of peers may be written down."""
        ...


class FollowedName(NamedTuple):
    """A name that peers come from. line: None for the name of a proxy_pass. resolve: as written."""

    line: UpstreamServer | None
    address: Address
    service: str = ""
    resolve: bool = False

    def __str__(self) -> str:
        return f"{self.service} of {self.address.host}" if self.service else self.address.host


def followed_names(upstream: Upstream) -> list[FollowedName]:
    """Return the names in an upstream."""
    if upstream.implicit:
        names = [FollowedName(None, parse_address(upstream.name, 80))]
    else:
        names = [FollowedName(line, line.address, line.service, line.resolve) for line in upstream.server]
    return [name for name in names if not name.address.is_numeric]


class _Target:
    """The group of a target that a request has named."""

    __slots__ = ("expires", "group")

    def __init__(self, group: LiveGroup) -> None:
        self.group = group
        self.expires = 0.0


class Discovery:
    """All names of one worker."""

    def __init__(
        self,
        loop: Loop,
        log: Log,
        make_group: Callable[[str, Address], LiveGroup],
        records: SharedRecords | None = None,
    ) -> None:
        """make_group: makes a group without peers for the target of a request, from its name and address.

        records: told from time to time that the places it has given out are in use.
        """
        self.loop = loop
        self.log = log
        self.records = records
        # Returns the functions that count the questions and the results of a resolver, where counters are shown.
        self.count_in: Callable[[NameServers], tuple[CountCode, CountCode]] | None = None
        self._make_group = make_group
        self._resolvers: dict[NameServers, Resolver] = {}
        self._targets: dict[tuple[NameServers | None, Address], _Target] = {}
        self._awaited: set[tuple[str, FollowedName]] = set()
        self._recalled: set[tuple[str, FollowedName]] = set()

    def resolver(self, settings: NameServers) -> Resolver:
        """Return the resolver for these settings: one cache for all users of the same name servers."""
        resolver = self._resolvers.get(settings)
        if resolver is None:
            kind = SystemResolver if settings.local else Resolver
            resolver = self._resolvers[settings] = kind(self.loop, settings, self.log)
            if self.count_in is not None:
                resolver.count_question, resolver.count_result = self.count_in(settings)
        return resolver

    # Groups of the configuration.

    def start(self, upstreams: Iterable[Upstream], groups: Mapping[str, LiveGroup]) -> None:
        """Follow every name of these upstreams. groups: by the upstream's name."""
        for upstream in upstreams:
            group = groups[upstream.name]
            for name in followed_names(upstream):
                if not (group.has_peers(name.line) or self._recall(name, upstream, group)):
                    self._awaited.add((upstream.name, name))
                self.loop.spawn(self._follow(name, upstream, group), f"discovery of {name}")
        if self.records is not None:
            self.loop.spawn(self._touch(self.records), "discovery records")

    def _recall(self, name: FollowedName, upstream: Upstream, group: LiveGroup) -> bool:
        """Give a line the peers that earlier workers had found; return False when there are none."""
        if name.line is None or name.line not in upstream.remembered:
            return False
        endpoints = endpoints_of_text(upstream.remembered[name.line].read())
        if not name.service:
            endpoints = with_port(endpoints, name.address.port)
        if endpoints:
            group.replace_peers(name.line, endpoints)
            self._recalled.add((upstream.name, name))
        return bool(endpoints)

    @property
    def is_ready(self) -> bool:
        """Whether there is an answer, good or bad, for every line that began without peers."""
        return not self._awaited

    def follow(self, name: FollowedName, upstream: Upstream, group: LiveGroup) -> Task:
        """Follow another name, of a server that was added; return the task, to be cancelled when the server is removed."""
        self._awaited.add((upstream.name, name))  # so it is looked up at once
        return self.loop.spawn(self._follow(name, upstream, group), f"discovery of {name}")

    async def _follow(self, name: FollowedName, upstream: Upstream, group: LiveGroup) -> None:
        """Keep the peers of one name up to date, forever."""
        settings = upstream.resolver if name.resolve and upstream.resolver is not None else SYSTEM
        resolver = self.resolver(settings)
        trouble, retry = "", RETRY
        unchanged: tuple[Endpoint, ...] | None = None
        if (upstream.name, name) not in self._awaited:
            await sleep(random() * FIRST_QUESTION)
            was_looked_up = (upstream.name, name) not in self._recalled
            if was_looked_up and isinstance(resolver, SystemResolver) and resolver.stands_in_file(name.address.host):
                # getaddrinfo has read the same file, and interprets it in its own way: only a change of the file counts.
                unchanged = (await self._ask(resolver, name, upstream)).endpoints
        while True:
            try:
                found = await self._ask(resolver, name, upstream)
                if found.endpoints != unchanged:
                    unchanged = None
                    self._apply(name, upstream, group, found.endpoints)
                expires, trouble, retry = found.expires, "", RETRY
            except CannotResolve as error:
                expires, retry = self.loop.clock.now + retry, min(retry * 2, LONGEST_RETRY)
                if str(error) != trouble:
                    trouble = str(error)
                    self.log("error", f'{trouble} in upstream "{group.name}"')
                if error.is_gone and name.resolve:
                    self._apply(name, upstream, group, ())
            self._awaited.discard((upstream.name, name))
            wait = max(expires - self.loop.clock.now, 0.0)
            await sleep(wait + random() * min(1.0, 0.05 + wait / 10))

    async def _ask(self, resolver: Resolver, name: FollowedName, upstream: Upstream) -> Endpoints:
        return await resolve_endpoints(resolver, name.address, name.service, upstream.resolver_timeout)

    def _apply(self, name: FollowedName, upstream: Upstream, group: LiveGroup, endpoints: tuple[Endpoint, ...]) -> None:
        if name.line is not None and name.line in upstream.remembered:
            # The port belongs to the line: the next configuration may give it another one.
            found = endpoints if name.service else with_port(endpoints, 0)
            upstream.remembered[name.line].write(endpoints_as_text(found))
        came, went = group.replace_peers(name.line, endpoints)
        if came or went:
            changes = "".join([*(f" +{peer}" for peer in came), *(f" -{peer}" for peer in went)])
            self.log("notice", f'{name} has changed in upstream "{group.name}":{changes}')

    async def _touch(self, records: SharedRecords) -> None:
        while True:
            await sleep(TOUCH_EVERY)
            records.touch(int(self.loop.clock.now))

    # Targets of requests.

    def known_group(self, settings: NameServers | None, address: Address) -> LiveGroup | None:
        """Return the group of a target, as long as its addresses are valid.

        settings: the name servers of the location; None if it has none, which only works for a numeric address.
        """
        target = self._targets.get((settings, address))
        return target.group if target is not None and self.loop.clock.now < target.expires else None

    def group_at(self, address: Address) -> LiveGroup:
        """Return the group of a target with a numeric address: it stays until others need its room."""
        known = self.known_group(None, address)
        return known if known is not None else self._enter(None, address, (Endpoint(address),), math.inf)

    async def group_of(self, settings: NameServers, address: Address, seconds: float) -> LiveGroup:
        """Return the group of a target with a name, its peers up to date. Raises CannotResolve."""
        known = self.known_group(settings, address)
        if known is not None:
            return known
        found = await resolve_endpoints(self.resolver(settings), address, "", seconds)
        return self._enter(settings, address, found.endpoints, found.expires)

    def _enter(
        self, settings: NameServers | None, address: Address, endpoints: tuple[Endpoint, ...], expires: float
    ) -> LiveGroup:
        """Return the group of a target, with these peers from now on."""
        key = (settings, address)
        target = self._targets.get(key)
        if target is None:
            self._make_room()
            target = self._targets[key] = _Target(self._make_group(str(address), address))
        target.group.replace_peers(None, endpoints)
        target.expires = expires
        return target.group

    def _make_room(self) -> None:
        """When there are too many targets, forget the expired ones, or else the first."""
        if len(self._targets) < MOST_TARGETS:
            return
        now = self.loop.clock.now
        over = [key for key, target in self._targets.items() if target.expires <= now]
        for key in over or [next(iter(self._targets))]:
            group = self._targets.pop(key).group
            group.close_idle()
            group.replace_peers(None, ())

    def close_expired(self) -> None:
        """Close the expired idle connections of targets."""
        for target in self._targets.values():
            target.group.close_expired()
            target.group.look_at_turns()

    def close_idle(self) -> None:
        """Close all idle connections of targets: the worker is exiting."""
        for target in self._targets.values():
            target.group.close_idle()

    def __repr__(self) -> str:
        return f"<discovery: {len(self._resolvers)} resolvers, {len(self._targets)} targets, {len(self._awaited)} awaited>"
