"""limit_conn in zones that machines share (`limit_conn_zone … sync=redis://…`).

A request is counted in this machine's memory first: what that refuses, the server would refuse too. Then the server decides for
all limits that are counted there, in one step. Where it says nothing this machine's decision stands, and the server learns of the
request when it answers again (`worker.limits.common_connections`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from worker.limits.common_connections import CommonConnections
from worker.limits.connections import ConnectionLimits
from worker.limits.zone import ConnectionZone
from worker.redis.keys import key_at_server
from worker.services import Services
from wproxy.config.model import Location
from wproxy.http import Request, Response
from wproxy.route import Answer
from wproxy.variables.registry import Reader


class SyncedConnectionZone:
    """A zone of this machine whose requests are counted at a server too."""

    __slots__ = ("_here", "common", "name")

    def __init__(self, here: ConnectionZone, common: CommonConnections) -> None:
        self.name = here.name
        self.common = common
        self._here = here

    def passing(self, read: Reader, most: int, answer: Answer, decide: Answer) -> Answer:
        """See `ConnectionZone.passing`: the server is asked about each."""
        return decide

    def take(self, key: bytes, most: int) -> Callable[[], None] | bool:
        """See `ConnectionZone.take`."""
        give_back = self._here.take(key, most)
        return (
            give_back
            if isinstance(give_back, bool)
            else Taken(self, key_at_server(b"limit_conn", self.name, key), most, give_back)
        )

    def __repr__(self) -> str:
        return f"<{self._here} at {self.common.link.server.shown}>"


class Taken:
    """A request that is counted; calling it gives it back. counts_there: whether the server counts it, now or when it answers."""

    __slots__ = ("_give_back", "counts_there", "key", "most", "zone")

    def __init__(self, zone: SyncedConnectionZone, key: bytes, most: int, give_back: Callable[[], None]) -> None:
        self.zone = zone
        self.key = key
        self.most = most
        self.counts_there = True
        self._give_back = give_back
        zone.common.hold((key,))

    def __call__(self) -> None:
        self._give_back()
        if self.counts_there:
            self.zone.common.give_back((self.key,))
        else:
            self.zone.common.drop((self.key,))


class SyncedConnectionLimits(ConnectionLimits):
    """All `limit_conn` of a location of which at least one is counted at a server."""

    def __init__(self, location: Location, services: Services) -> None:
        super().__init__(location, services)
        at_servers = services.limit_zones.common_connections
        for limit in self.limits:
            if limit.zone.name in at_servers:
                limit.zone = SyncedConnectionZone(limit.zone, at_servers[limit.zone.name])

    def passing(self, answer: Answer, decide: Answer) -> Answer:
        """See `ConnectionLimits.passing`: the server is asked about each."""
        return decide

    def check(self, request: Request) -> Response | Awaitable[Response | None] | None:
        """See `ConnectionLimits.check`; when a server is to be asked, the verdict comes later."""
        if (request.main or request).limit_conn_status is not None:
            return None
        owner = request.main or request
        before = len(owner.at_end or ())  # what a limit takes is added at the end
        verdict = super().check(request)
        if verdict is not None or owner.at_end is None:
            return verdict
        taken = owner.at_end[before:]
        asked = [each for each in taken if isinstance(each, Taken) and each.zone.common.link.is_up]
        return self._ask(request, owner, taken, asked) if asked else None

    async def _ask(
        self, request: Request, owner: Request, taken: tuple[Callable[[], None], ...], asked: list[Taken]
    ) -> Response | None:
        """Ask each server for its limits. taken: what is given back if one refuses."""
        for common in {id(each.zone.common): each.zone.common for each in asked}.values():
            there = [each for each in asked if each.zone.common is common]
            totals = await totals_at(common, there)
            for each, total in zip(there, totals or ()):
                if total >= each.most:
                    for one in there:
                        one.counts_there = False
                    self._give_back(owner, taken)
                    return self._refuse(request, next(limit for limit in self.limits if limit.zone is each.zone), True)
        return None

    def _give_back(self, owner: Request, taken: tuple[Callable[[], None], ...]) -> None:
        owner.at_end = tuple(release for release in owner.at_end or () if release not in taken)
        for give_back in taken:
            give_back()


async def totals_at(common: CommonConnections, asked: list[Taken]) -> list[int] | None:
    """Count a request at a server; return how many of each there were. None: it says nothing."""
    for each in asked:
        each.counts_there = False  # if we are interrupted, the answer gives it back there
    totals = await common.take(tuple(each.key for each in asked), [each.most for each in asked])
    for each in asked:
        each.counts_there = True
    return totals
