"""The access phase: who may. A file for each nginx module that can refuse; `satisfy` decides between several (routing.md §3.7).

An access handler returns a response to refuse, or None to let the request in.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from wproxy.config.model import Location
from wproxy.http import Request, Response

Refuse = Callable[[Request], Awaitable["Response | None"]]


def satisfy(modules: tuple[Callable[[Location], Refuse | None], ...], location: Location) -> Refuse | None:
    """One handler for all that a location asks of a client; None when it asks nothing.

    `satisfy all`: the first refusal counts. `satisfy any`: one that lets in is enough; when all refuse, a 401 is preferred,
    because it tells the client what to do.
    """
    rules = tuple(rule for module in modules if (rule := module(location)) is not None)
    if not rules:
        return None
    if len(rules) == 1:
        return rules[0]

    async def all_of(request: Request) -> Response | None:
        for rule in rules:
            refusal = await rule(request)
            if refusal is not None:
                return refusal
        return None

    async def any_of(request: Request) -> Response | None:
        worst: Response | None = None
        for rule in rules:
            refusal = await rule(request)
            if refusal is None:
                return None
            if worst is None or refusal.error == 401:
                worst = refusal
        return worst

    return any_of if location.satisfy == "any" else all_of
