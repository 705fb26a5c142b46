"""limit_conn: how many requests of a key may be under way at once (nginx: ngx_http_limit_conn_module.c, routing.md §6).

A connection counts while a request on it is served: from when its location is known until it is in the access log.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from worker.limits.check import Check, refuse
from worker.limits.zone import PASSED, ConnectionZone
from worker.logs import log_request
from worker.logs.formats import shown
from worker.services import Services
from wproxy.config.model import Location
from wproxy.http import Request, Response
from wproxy.native import mypyc_attr
from wproxy.route import Answer
from wproxy.template import Template

LONGEST_KEY: Final = 255

REJECTED, REJECTED_DRY_RUN = b"REJECTED", b"REJECTED_DRY_RUN"


class Limited:
    """One `limit_conn` of a location."""

    __slots__ = ("evaluate", "key", "most", "zone")

    def __init__(self, zone: ConnectionZone, key: Template, most: int) -> None:
        self.zone = zone
        self.key = key
        self.evaluate = key.evaluate
        self.most = most


@mypyc_attr(allow_interpreted_subclasses=True)
class ConnectionLimits(Check):
    """All `limit_conn` of a location."""

    def __init__(self, location: Location, services: Services) -> None:
        zones = services.limit_zones
        self.limits = tuple(
            Limited(zones.connections[limit.zone.name], zones.keys[limit.zone.name], limit.most) for limit in location.limit_conn
        )
        self.only = self.limits[0] if len(self.limits) == 1 else None
        self.level = location.limit_conn_log_level
        self.status = location.limit_conn_status
        self.dry_run = location.limit_conn_dry_run
        self.setting = location.described("limit_conn")
        self.decided_by = ""  # the zone of the last refusal

    def before(self, answer: Answer) -> Answer:
        """See `Check.before`."""
        return self.passing(answer, super().before(answer))

    def passing(self, answer: Answer, decide: Answer) -> Answer:
        """Return what does as `decide` does, but is quicker for most requests that are far from all limits.

        It lets `answer` have them.
        """
        for taken in range(len(self.limits) - 1, -1, -1):
            limit = self.limits[taken]
            otherwise = giving_back(taken, decide) if taken else decide
            answer = limit.zone.passing(limit.key.read, limit.most, answer, otherwise)
        return answer

    def check(self, request: Request) -> Response | Awaitable[Response | None] | None:
        """Count a request, until it ends; return a response to refuse it. Raises CloseConnection."""
        if (request.main or request).limit_conn_status is not None:
            return None
        only = self.only
        if only is not None and request.main is None:
            # The most common case, without a loop: 0.4 us less.
            key = only.evaluate(request)
            if not key or (len(key) > LONGEST_KEY and self._ignore(request, only, key)):
                return None
            release = only.zone.take(key, only.most)
            if release is True or release is False:
                return self._refuse(request, only, release)
            (request.main or request).limit_conn_status = PASSED
            request.call_at_end(release)
            return None
        owner = request.main or request  # a subrequest counts until the client's request ends
        before = owner.at_end
        taken: tuple[Callable[[], None], ...] = ()
        for limit in self.limits:
            key = limit.evaluate(request)
            if not key or (len(key) > LONGEST_KEY and self._ignore(request, limit, key)):
                continue
            (request.main or request).limit_conn_status = PASSED
            release = limit.zone.take(key, limit.most)
            if isinstance(release, bool):
                owner.at_end = before
                for give_back in taken:
                    give_back()
                return self._refuse(request, limit, release)
            taken = (*taken, release)
            owner.at_end = taken if before is None else (*before, *taken)
        return None

    def _ignore(self, request: Request, limit: Limited, key: bytes) -> bool:
        text = f'the value of the "{limit.key.text}" key is more than {LONGEST_KEY} bytes: "{shown(key)}"'
        log_request(request, "error", text)
        return True

    def _refuse(self, request: Request, limit: Limited, is_reached: bool) -> Response | None:
        """Refuse a request. is_reached: whether the limit is; otherwise the zone has no room for its key."""
        self.decided_by = limit.zone.name
        if is_reached:
            dry = ", dry run," if self.dry_run else ""
            log_request(request, self.level, f'limiting connections{dry} by zone "{limit.zone.name}"', code="limit_conn")
        if self.dry_run:
            (request.main or request).limit_conn_status = REJECTED_DRY_RUN
            return None
        (request.main or request).limit_conn_status = REJECTED
        return refuse(request, self.status, "limit_conn", f"limit: too many connections by zone {limit.zone.name}{self.setting}")


def giving_back(taken: int, decide: Answer) -> Answer:
    """Return what gives back what a request has taken last, from so many zones, and then has it decided about anew.

    In between each of them counts one too many, as in nginx.
    """

    def give_back_and_decide(request: Request) -> Awaitable[Response]:
        releases = request.at_end or ()
        request.at_end = releases[:-taken] or None
        for release in releases[-taken:]:
            release()
        request.limit_conn_status = None
        return decide(request)

    return give_back_and_decide
