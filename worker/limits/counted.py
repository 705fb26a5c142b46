"""Limits whose decisions are counted, where counters are shown: each zone has a row."""

from __future__ import annotations

from collections.abc import Awaitable

from worker.limits.check import Check, Verdict
from worker.limits.connections import ConnectionLimits
from worker.limits.requests import RequestLimits
from worker.services import Services
from wproxy.counters.layout import LIMIT_DECISIONS, LIMITS
from wproxy.http import Request, Response
from wproxy.route import Answer

_WORDS = {decision.upper().encode(): word for word, decision in enumerate(LIMIT_DECISIONS)}
_PASSED = _WORDS[b"PASSED"]


class CountedCheck(Check):
    """The limits of a location, and the rows of their zones."""

    def __init__(self, limits: RequestLimits | ConnectionLimits, attribute: str, zones: list[str], services: Services) -> None:
        """attribute: where a request has the decision about it."""
        counting = services.counting
        assert counting is not None
        self._limits = limits
        self._attribute = attribute
        self._rows = {zone: counting.row(LIMITS, counting.plan.limits[zone]) for zone in zones}

    def before(self, answer: Answer) -> Answer:
        """See `Check.before`."""
        rows = tuple(self._rows.values())

        def count_and_answer(request: Request) -> Awaitable[Response]:
            for row in rows:
                row[_PASSED] += 1
            return answer(request)

        return self._limits.passing(count_and_answer, super().before(answer))

    def check(self, request: Request) -> Verdict | Awaitable[Verdict]:
        """Decide about a request, and count the decision. Raises CloseConnection."""
        if getattr(request, self._attribute) is not None:
            return self._limits.check(request)  # it has been decided before
        try:
            verdict = self._limits.check(request)
        except BaseException:
            self._count(request)
            raise
        if not isinstance(verdict, Response | int | None):
            return self._count_later(request, verdict)
        self._count(request)
        return verdict

    async def _count_later(self, request: Request, verdict: Awaitable[Verdict]) -> Verdict:
        try:
            return await verdict
        finally:
            self._count(request)

    def _count(self, request: Request) -> None:
        status: bytes | None = getattr(request, self._attribute)
        if status is None:
            return  # no key: nothing was decided
        word = _WORDS[status]
        if word != _PASSED:
            self._rows[self._limits.decided_by][word] += 1
        else:
            for row in self._rows.values():
                row[word] += 1
