"""The access phase: may this client enter? A file for each nginx module that can refuse; `satisfy` combines several (routing.md
§3.7).

An access handler returns a response to refuse, None to let the request in, or DECLINED when its rules do not apply to this
client: then the others decide, and if all decline the request is let in.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from worker.logs import log_request
from worker.loop import sleep
from wproxy.config.model import Location
from wproxy.http import Request, Response


class Declined:
    """The result of a handler whose rules do not apply."""


DECLINED = Declined()

Decide = Callable[[Request], Awaitable["Response | Declined | None"]]
Refuse = Callable[[Request], Awaitable["Response | None"]]

# The log text for a refusal by an access rule.
FORBIDDEN = "access forbidden by rule"

# The statuses of a refused client; any other failure ends the search of `satisfy any` at once.
REFUSALS = (401, 403)
# The statuses that auth_delay holds back (nginx: ngx_http_core_auth_delay).
DELAYED = (401, 407)

Context = TypeVar("Context")


def rules_of(
    modules: tuple[Callable[[Location, Context], Decide | None], ...], location: Location, context: Context
) -> tuple[Decide, ...]:
    """Return the rules of these modules that a location has."""
    return tuple(rule for module in modules if (rule := module(location, context)) is not None)


def combine(rules: tuple[Decide, ...], location: Location) -> Refuse | None:
    """Return one handler for these rules.

    `satisfy all`: the first refusal counts. `satisfy any`: one that lets the client in is enough; when all refuse, a 401 is
    preferred, because it tells the client what to do, with the challenges of all (nginx: ngx_http_core_access_phase).
    """
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
        challenges: tuple[tuple[bytes, bytes], ...] = ()
        for rule in rules:
            refusal = await rule(request)
            if refusal is None:
                return None
            if isinstance(refusal, Declined):
                continue
            # Whoever asks for a password or a token does so in the answer of all.
            refusal.fields.lines = challenges = (*challenges, *refusal.fields.lines)
            if refusal.error not in REFUSALS:
                return refusal
            if worst is None or refusal.error == 401:
                worst = refusal
        if worst is not None and worst.error == 403:
            request.ends("deny_rule", f"client: {FORBIDDEN}")
            log_request(request, "error", FORBIDDEN, code="deny_rule")
        return worst

    decide = any_of if location.satisfy == "any" else all_of
    seconds = location.auth_delay
    if not seconds:
        return decide

    async def delayed(request: Request) -> Response | None:
        refusal = await decide(request)
        if refusal is not None and refusal.error in DELAYED:
            log_request(request, "info", "delaying unauthorized request")
            await sleep(seconds)
        return refusal

    return delayed
