"""Names to addresses by one set of name servers: both families at once, a bounded cache, one active lookup for each name.

A lookup is a task of its own, so that it does not end with the request that asked first; later requests wait for the same one.
Answers live as long as their TTL, at least LEAST_TTL, or for `valid=`. A negative answer lives as long as the zone says, and not
at all if it says nothing (RFC 2308, section 5): as in nginx the next request asks again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from worker.loop import Event, Loop
from worker.resolver.lookup import look_up
from wproxy.address import Address, is_ip
from wproxy.directives.resolver import NameServers
from wproxy.dns import (
    AAAA,
    HOST_NOT_FOUND,
    NO_ERROR,
    SRV,
    TIMED_OUT,
    A,
    Answer,
    Service,
    canonical_name,
    encode_name,
    reason_of,
)

LEAST_TTL = 1.0
LONGEST_NEGATIVE_TTL = 60.0  # a name that was entered just now should not be missing for hours
LONGEST_TTL = 86400.0
MOST_ANSWERS = 2048  # in the cache; the same limit for active lookups
LOOKUP_LIMIT = 30.0  # seconds for one lookup, however many requests wait for it
# How long the addresses of one family wait for those of the other, for servers that never answer about IPv6.
PATIENCE_FOR_OTHER_FAMILY = 1.0
# How long the addresses of one family alone are valid.
HALF_TTL = 5.0


class CannotResolve(Exception):
    """A name without an address at present. code: HOST_NOT_FOUND, TIMED_OUT, ...; str: nginx's words."""

    def __init__(self, name: str, code: int, expires: float = 0.0) -> None:
        name = name.removesuffix(".")
        super().__init__(f"{name} could not be resolved ({code}: {reason_of(code)})")
        self.name = name
        self.code = code
        self.expires = expires  # the time until which this holds

    @property
    def is_gone(self) -> bool:
        """Whether the name servers say that the name does not exist: any other reason says nothing about the name."""
        return self.code == HOST_NOT_FOUND


class Resolved(NamedTuple):
    """The addresses of a name, IPv4 before IPv6, and their expiry (a time of the loop's clock)."""

    addresses: tuple[str, ...]
    expires: float


class _Lookup:
    """A lookup that is active or done."""

    __slots__ = ("answer", "expires", "is_over")

    def __init__(self, loop: Loop) -> None:
        self.answer: Answer | None = None
        self.expires = 0.0
        self.is_over = Event(loop)


Key = tuple[str, int]


class Resolver:
    """One `resolver` at work. A repeated name costs a dictionary look-up."""

    # Count a question of a kind, and the code that it ended with, where counters are shown.
    count_question: Callable[[int], None] | None = None
    count_result: Callable[[int], None] | None = None

    def __init__(self, loop: Loop, settings: NameServers, log: Callable[[str, str], None]) -> None:
        """settings: its servers have numeric addresses. log: (level, text)."""
        self.loop = loop
        self.settings = settings
        self.servers: Sequence[Address] = settings.servers
        self.log = log
        self._known: dict[Key, _Lookup] = {}
        self._under_way: dict[Key, _Lookup] = {}
        self._turn = 0

    async def resolve(self, name: str, seconds: float) -> Resolved:
        """Return the addresses of a host within so many seconds. Raises CannotResolve, or what interrupts the task meanwhile."""
        if is_ip(name):
            return Resolved((name,), self.loop.clock.now + LONGEST_TTL)
        host = self._checked(name)
        kinds = [kind for kind, wanted in ((A, self.settings.ipv4), (AAAA, self.settings.ipv6)) if wanted]
        lookups = [self._lookup((host, kind), name) for kind in kinds]
        deadline = self.loop.clock.now + seconds
        addresses: list[str] = []
        found: list[float] = []  # expiry times of the addresses
        codes = set()
        for lookup in lookups:
            answer = await self._answer(lookup, deadline)
            if answer.values:
                deadline = min(deadline, self.loop.clock.now + PATIENCE_FOR_OTHER_FAMILY)
                addresses += [str(value) for value in answer.values]
                found.append(lookup.expires)
            codes.add(answer.code)
        failures = codes - {NO_ERROR, HOST_NOT_FOUND}
        if not addresses:
            raise CannotResolve(name, max(failures) if failures else HOST_NOT_FOUND, min(each.expires for each in lookups))
        return Resolved(tuple(addresses), self.loop.clock.now + HALF_TTL if failures else min(found))

    async def resolve_service(self, name: str, seconds: float) -> tuple[tuple[Service, ...], float]:
        """Return the SRV records of a name, and their expiry. Raises CannotResolve."""
        lookup = self._lookup((self._checked(name), SRV), name)
        answer = await self._answer(lookup, self.loop.clock.now + seconds)
        services = tuple(value for value in answer.values if isinstance(value, Service) and value.target)
        if not services:
            raise CannotResolve(name, answer.code or HOST_NOT_FOUND, lookup.expires)
        return services, lookup.expires

    def _checked(self, name: str) -> str:
        try:
            encode_name(name)
        except ValueError:
            raise CannotResolve(name, HOST_NOT_FOUND) from None
        return canonical_name(name)

    def _lookup(self, key: Key, name: str) -> _Lookup:
        """Return the known lookup, or the active one, or start one."""
        known = self._known.get(key)
        if known is not None:
            if known.expires > self.loop.clock.now:
                return known
            del self._known[key]
        lookup = self._under_way.get(key)
        if lookup is None:
            if len(self._under_way) >= MOST_ANSWERS:
                raise CannotResolve(name, TIMED_OUT)
            lookup = self._under_way[key] = _Lookup(self.loop)
            self._turn += 1
            self.loop.spawn(self._run(lookup, key, self._turn), f"resolver of {key[0]}")
        return lookup

    async def _run(self, lookup: _Lookup, key: Key, turn: int) -> None:
        """Run one lookup to its end."""
        clock = self.loop.clock
        name, kind = key
        answer = Answer(TIMED_OUT, (), name, 0)
        if self.count_question is not None:
            self.count_question(kind)
        try:
            answer = await look_up(self.loop, self.servers, turn, name, kind, clock.now + LOOKUP_LIMIT, self.log)
        finally:
            if self.count_result is not None:
                self.count_result(answer.code)
            lookup.answer = answer
            del self._under_way[key]
            lookup.expires = clock.now + self._lifetime(answer)
            if lookup.expires > clock.now:
                self._keep(key, lookup)
            lookup.is_over.set()

    def _lifetime(self, answer: Answer) -> float:
        """Return the number of seconds for which an answer is valid."""
        if answer.values:
            ttl = answer.ttl if self.settings.valid is None else self.settings.valid
            return min(max(ttl, LEAST_TTL), LONGEST_TTL)
        if answer.code in (NO_ERROR, HOST_NOT_FOUND):
            return min(answer.ttl, LONGEST_NEGATIVE_TTL)
        return 0.0

    def _keep(self, key: Key, lookup: _Lookup) -> None:
        """Remember an answer; if there is no room, forget the expired ones, or the oldest."""
        known = self._known
        if len(known) >= MOST_ANSWERS:
            now = self.loop.clock.now
            for old in [old for old, other in known.items() if other.expires <= now] or [next(iter(known))]:
                del known[old]
        known[key] = lookup

    async def _answer(self, lookup: _Lookup, deadline: float) -> Answer:
        """Wait for a lookup, at most until that time."""
        if lookup.answer is None:
            await lookup.is_over.wait(max(deadline - self.loop.clock.now, 0.001))
        return lookup.answer or Answer(TIMED_OUT, (), "", 0)

    def __repr__(self) -> str:
        return f"<resolver {', '.join(map(str, self.servers))}: {len(self._known)} known, {len(self._under_way)} under way>"
