"""limit_req in zones that machines share (`limit_req_zone … sync=redis://…`).

The server decides for all limits that are counted there in one step, by the same arithmetic (`worker.redis.scripts`). What it
answers is noted in this machine's memory too: when it is silent, that memory decides in its place, with the state that it would
have had. So a limit holds for each machine then, and never for none.
"""

from __future__ import annotations

from collections.abc import Awaitable

from worker.limits.requests import Asked, Delay, RequestLimits
from worker.limits.zone import MOST_EXCESS
from worker.redis.keys import key_at_server
from worker.redis.link import Link
from worker.redis.scripts import COUNT_REQUEST
from worker.services import Services
from wproxy.config.model import Location
from wproxy.http import Request, Response
from wproxy.route import Answer


class SyncedRequestLimits(RequestLimits):
    """All `limit_req` of a location of which at least one is counted at a server."""

    def __init__(self, location: Location, services: Services) -> None:
        super().__init__(location, services)
        self.links = services.limit_zones.links
        self.servers = list({id(link): link for limit in self.limits if (link := self.links.get(limit.zone.name))}.values())

    def passing(self, answer: Answer, decide: Answer) -> Answer:
        """See `RequestLimits.passing`: the server is asked about each request."""
        return decide

    def check(self, request: Request) -> Response | int | Awaitable[Response | int]:
        """See `RequestLimits.check`; when a server is to be asked, the verdict comes later."""
        if (request.main or request).limit_req_status is not None:
            return 0
        if not any(link.is_up for link in self.servers):
            return super().check(request)
        asked = self._asked(request)
        return self._ask(request, asked) if asked else 0

    async def _ask(self, request: Request, asked: list[Asked]) -> Response | int:
        """Ask each server for its limits, then this machine for the others and for those of servers that say nothing.

        If a later one refuses, servers that were asked before have counted the request all the same: that is the stricter error.
        """
        now = int(request.client.clock.now * 1000.0)
        here = [each for each in asked if each[0].zone.name not in self.links]
        for limit, key in here:
            excess = limit.zone.excess(key, now)
            if not 0 <= excess <= limit.burst:
                return self._refuse(request, excess, limit)
        delay: Delay | None = None
        for link in self.servers:
            there = [each for each in asked if self.links.get(each[0].zone.name) is link]
            excesses = await excesses_at(link, there) if there and link.is_up else None
            if excesses is None:
                here += there
                continue
            for (limit, _), excess in zip(there, excesses):
                if excess > limit.burst:
                    return self._refuse(request, excess, limit)
            for (limit, key), excess in zip(there, excesses):
                limit.zone.note(key, now, excess)
                if (longer := limit.wait(excess)) > (delay[0] if delay else 0):
                    delay = longer, excess, limit
        return self._decide(request, here, delay)


async def excesses_at(link: Link, asked: list[Asked]) -> list[int] | None:
    """Count a request at a server unless a limit refuses it; return the excess for each limit. None: the server says nothing."""
    keys = [key_at_server(b"limit_req", limit.zone.name, key) for limit, key in asked]
    arguments = [number for limit, _ in asked for number in (limit.zone.rate, limit.burst)]
    reply = await link.ask(COUNT_REQUEST, keys, arguments)
    if not isinstance(reply, list) or len(reply) != len(asked):
        return None
    return [min(max(0, int(excess)), MOST_EXCESS) for excess in reply]
