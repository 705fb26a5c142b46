"""limit_req: how many requests of a key may come in a second (nginx: ngx_http_limit_req_module.c, routing.md §6).

A request that comes too early is served late, or, when too many wait already, not at all. There is one decision for a request,
however often it is led elsewhere.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from worker.limits.check import Check, refuse
from worker.limits.zone import MOST_EXCESS, NO_ROOM, PASSED, Outcome, RequestZone, fails, passes
from worker.logs import log_request
from worker.logs.formats import shown
from worker.services import Services
from wproxy.config.model import Location
from wproxy.http import Clock, Request, Response
from wproxy.native import mypyc_attr
from wproxy.route import Answer
from wproxy.template import Template

LONGEST_KEY: Final = 65535
# The level of a delay, by that of a refusal (nginx: ngx_http_limit_req_merge_conf).
_MILDER: Final = {"error": "warn", "warn": "notice", "notice": "info", "info": "info"}

DELAYED, REJECTED = b"DELAYED", b"REJECTED"
DELAYED_DRY_RUN, REJECTED_DRY_RUN = b"DELAYED_DRY_RUN", b"REJECTED_DRY_RUN"


class Limited:
    """One `limit_req` of a location. burst, delay: in thousandths of a request."""

    __slots__ = ("burst", "delay", "evaluate", "key", "zone")

    def __init__(self, zone: RequestZone, key: Template, burst: int, delay: int) -> None:
        self.zone = zone
        self.key = key
        self.evaluate = key.evaluate
        self.burst = min(burst * 1000, MOST_EXCESS)
        self.delay = delay * 1000

    def wait(self, excess: int) -> int:
        """Return for how long a request with this excess waits, in milliseconds."""
        return (excess - self.delay) * 1000 // self.zone.rate if excess > self.delay else 0

    def passing(
        self,
        clock: Clock,
        answer: Callable[[Request], Outcome],
        decide: Callable[[Request], Outcome],
        others: Callable[[Request], bool] | None,
        is_within: bool = False,
    ) -> Callable[[Request], Outcome]:
        """See `RequestZone.passing`."""
        return self.zone.passing(self.key.read, clock, min(self.burst, self.delay), answer, decide, others, is_within)


Asked = tuple[Limited, bytes]  # a limit, and the key of the request for it
Delay = tuple[int, int, Limited]  # milliseconds, the excess that makes them, and the limit


@mypyc_attr(allow_interpreted_subclasses=True)
class RequestLimits(Check):
    """All `limit_req` of a location."""

    def __init__(self, location: Location, services: Services) -> None:
        zones = services.limit_zones
        self.limits = [
            Limited(zones.requests[limit.zone.name], zones.keys[limit.zone.name], limit.burst, limit.delay)
            for limit in location.limit_req
        ]
        self.only = self.limits[0] if len(self.limits) == 1 else None
        self.level = location.limit_req_log_level
        self.status = location.limit_req_status
        self.dry_run = location.limit_req_dry_run
        self.setting = location.described("limit_req")
        self.decided_by = ""  # the zone of the last decision that was not to let a request pass at once
        self.clock = services.loop.clock

    def before(self, answer: Answer) -> Answer:
        """See `Check.before`."""
        return self.passing(answer, super().before(answer))

    def passing(self, answer: Answer, decide: Answer) -> Answer:
        """Return what does as `decide` does, but is quicker for most requests that pass all limits at once.

        It lets `answer` have them.
        """
        first, *others = self.limits
        is_counted: Callable[[Request], bool] | None = None
        for limit in reversed(others):
            is_counted = limit.passing(self.clock, passes, fails, is_counted, is_within=True)
        return first.passing(self.clock, answer, decide, is_counted)

    def check(self, request: Request) -> Response | int | Awaitable[Response | int]:
        """Decide about a request: 0 to serve it now, the milliseconds it has to wait, or a refusal. Raises CloseConnection.

        This is a function and not a coroutine because nearly all requests pass at once.
        """
        if (request.main or request).limit_req_status is not None:
            return 0
        only = self.only
        if only is None:
            return self._check_all(request)
        key = only.evaluate(request)
        if not key or (len(key) > LONGEST_KEY and self._ignore(request, only, key)):
            return 0
        excess = only.zone.count(key, int(request.client.clock.now * 1000.0), only.burst)
        if excess <= only.delay and 0 <= excess <= only.burst:
            (request.main or request).limit_req_status = PASSED
            return 0
        if 0 <= excess <= only.burst:
            return self._delay(request, only.wait(excess), excess, only)
        return self._refuse(request, excess, only)

    def _check_all(self, request: Request) -> Response | int:
        """Decide with several limits."""
        asked = self._asked(request)
        return self._decide(request, asked) if asked else 0

    def _asked(self, request: Request) -> list[Asked]:
        """Return the limits that hold for a request, and its key for each."""
        asked: list[Asked] = []
        for limit in self.limits:
            key = limit.evaluate(request)
            if key and not (len(key) > LONGEST_KEY and self._ignore(request, limit, key)):
                asked.append((limit, key))
        return asked

    def _decide(self, request: Request, asked: list[Asked], delay: Delay | None = None) -> Response | int:
        """Decide by what this machine knows: any limit refuses, and the longest delay counts.

        The last one counts at once; the others are counted when it is known that none refuses. delay: that of limits which have
        been asked elsewhere.
        """
        now = int(request.client.clock.now * 1000.0)
        wait, told, by = delay or (0, 0, self.limits[-1])
        passed = asked[:-1]
        for limit, key in passed:
            excess = limit.zone.excess(key, now)
            if not 0 <= excess <= limit.burst:
                return self._refuse(request, excess, limit)
        for limit, key in asked[-1:]:
            excess = limit.zone.count(key, now, limit.burst)
            if not 0 <= excess <= limit.burst:
                return self._refuse(request, excess, limit)
            if (longer := limit.wait(excess)) > wait:
                wait, told, by = longer, excess, limit
        for limit, key in reversed(passed):
            excess = limit.zone.count(key, now)
            if (longer := limit.wait(excess)) > wait:
                wait, told, by = longer, excess, limit
        return self._delay(request, wait, told, by)

    def _ignore(self, request: Request, limit: Limited, key: bytes) -> bool:
        text = f'the value of the "{limit.key.text}" key is more than {LONGEST_KEY} bytes: "{shown(key)}"'
        log_request(request, "error", text)
        return True

    def _delay(self, request: Request, wait: int, excess: int, limit: Limited) -> int:
        """Have a request wait."""
        self.decided_by = limit.zone.name
        if not wait:
            (request.main or request).limit_req_status = PASSED
            return 0
        dry = ", dry run" if self.dry_run else ""
        text = f'delaying request{dry}, excess: {excess // 1000}.{excess % 1000:03}, by zone "{limit.zone.name}"'
        log_request(request, _MILDER[self.level], text)
        if self.dry_run:
            (request.main or request).limit_req_status = DELAYED_DRY_RUN
            return 0
        (request.main or request).limit_req_status = DELAYED
        return wait

    def _refuse(self, request: Request, excess: int, limit: Limited) -> Response | int:
        """Refuse a request. excess: NO_ROOM when the zone could not say."""
        self.decided_by = limit.zone.name
        if excess != NO_ROOM:
            dry = ", dry run" if self.dry_run else ""
            text = f'limiting requests{dry}, excess: {excess // 1000}.{excess % 1000:03} by zone "{limit.zone.name}"'
            log_request(request, self.level, text, code="limit_req")
        else:
            text = f'the state of a key in limit_req zone "{limit.zone.name}" cannot be had'
            log_request(request, "alert", text, code="limit_req")
        if self.dry_run:
            (request.main or request).limit_req_status = REJECTED_DRY_RUN
            return 0
        (request.main or request).limit_req_status = REJECTED
        return refuse(request, self.status, "limit_req", f"limit: too many requests by zone {limit.zone.name}{self.setting}")
