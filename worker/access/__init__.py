"""The access phase: who may. A file for each nginx module that can refuse; `satisfy` decides between several (routing.md §3.7).

An access handler returns a response to refuse, None to let the request in, or DECLINED when its rules say nothing of this
client: then the others decide, and where all decline the request is let in.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from worker.logs import log_request
from wproxy.config.model import Location
from wproxy.http import Request, Response


class Declined:
    """What a handler returns that has nothing to say."""


DECLINED = Declined()

Decide = Callable[[Request], Awaitable["Response | Declined | None"]]
Refuse = Callable[[Request], Awaitable["Response | None"]]

# What the log says where it is an access rule that refuses.
FORBIDDEN = "access forbidden by rule"

# Only these say that the client may not; of a failure nothing follows but itself.
REFUSALS = (401, 403)


def satisfy(modules: tuple[Callable[[Location], Decide | None], ...], location: Location) -> Refuse | None:
    """One handler for all that a location asks of a client; None when it asks nothing.

    `satisfy all`: the first refusal counts. `satisfy any`: one that lets in is enough; when all refuse, a 401 is preferred,
    because it tells the client what to do (nginx: ngx_http_core_access_phase).
    """
    rules = tuple(rule for module in modules if (rule := module(location)) is not None)
    if not rules:
        return None

    async def all_of(request: Request) -> Response | None:
        for rule in rules:
            refusal = await rule(request)
            if isinstance(refusal, Response):
                return refusal
        return None

    async def any_of(request: Request) -> Response | None:
        worst: Response | None = None
        for rule in rules:
            refusal = await rule(request)
            if refusal is None:
                return None
            if isinstance(refusal, Declined):
                continue
            if refusal.error not in REFUSALS:
                return refusal
            if worst is None or refusal.error == 401:
                worst = refusal
        if worst is not None and worst.error == 403:
            request.end_cause = f"client: {FORBIDDEN}"
            log_request(request, "error", FORBIDDEN)
        return worst

    return any_of if location.satisfy == "any" else all_of
