"""A check before the access phase: most requests pass at once, some are refused, some have to wait.

It is a function, since a coroutine costs 0.2 us more. In a location that has checks and content, and nothing else, they run
before the coroutine of the content is made (`checked`); otherwise each is a handler among the others. One that has to ask another
machine returns what its verdict is awaited from.
"""

from __future__ import annotations

from collections.abc import Awaitable

from worker.content.returns import CLOSING, CloseConnection
from worker.loop import sleep
from worker.pages import error_response
from wproxy.http import Request, Response
from wproxy.native import mypyc_attr
from wproxy.route import Answer

# Nothing or 0 lets a request pass, a number is the milliseconds it has to wait, a response refuses it.
Verdict = Response | int | None


@mypyc_attr(allow_interpreted_subclasses=True)
class Check:
    """One kind of limit in one location; also the handler of its phase."""

    def check(self, request: Request) -> Verdict | Awaitable[Verdict]:
        """Decide about a request, at once or later. Raises CloseConnection, as does what it returns."""
        raise NotImplementedError

    def before(self, answer: Answer) -> Answer:
        """Return the answer of a location with this check before it, for clients' requests that have not been led elsewhere.

        So no limit of this kind has decided about them.
        """

        def check_and_answer(request: Request) -> Awaitable[Response]:
            verdict = self.check(request)
            return hold_up(request, verdict) if verdict else answer(request)

        async def hold_up(request: Request, verdict: Verdict | Awaitable[Verdict]) -> Response:
            return await final(verdict) or await answer(request)

        return check_and_answer

    async def __call__(self, request: Request) -> Response | None:
        """Answer a request that is refused; let one that has to wait do so."""
        verdict = self.check(request)
        return await final(verdict) if verdict else None


async def final(verdict: Verdict | Awaitable[Verdict]) -> Response | None:
    """Return the response that a request is refused with; let one that has to wait do so. Raises CloseConnection."""
    if not isinstance(verdict, Response | int | None):
        verdict = await verdict
    if isinstance(verdict, Response):
        return verdict
    if verdict:
        await sleep(verdict / 1000)
    return None


def checked(checks: tuple[Check, ...], answer: Answer) -> Answer:
    """Return the answer of a location with these checks before it."""
    for check in reversed(checks):
        answer = check.before(answer)
    return answer


def refuse(request: Request, status: int, code: str, cause: str) -> Response:
    """Return the answer to a request that a limit refuses. Raises CloseConnection for a status that sends nothing."""
    request.ends(code, cause)
    if status in CLOSING:
        raise CloseConnection(status)
    return error_response(request, status, request.route.server_token)
