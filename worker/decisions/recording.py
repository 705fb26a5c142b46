"""The recorder of a location: it gives a request a trace, and keeps what that has heard when the request is over.

A trace is what `wproxy explain` listens with; here the request is served all the same. A client whose field is signed
(`wproxy.decisions.signature`) gets the decisions that came before the head of its response in a field of the same name, and its
request is kept as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import Any

from worker.filters.fields import copied
from worker.services import Services
from wproxy.config.model import Location
from wproxy.decisions.ring import DecisionRing, Decisions, decision_ring
from wproxy.decisions.signature import FIELD, is_signed
from wproxy.explain import NO_MATCH, LiveTrace, Positions, Trace, shown_location
from wproxy.http import Attempt, Request, Response
from wproxy.regex import RegexTimedOut
from wproxy.route import Answer, Filter
from wproxy.variables.request import request_id

# What a client gets in a field of its response, in bytes at most: clients refuse heads that are much larger.
MOST_IN_FIELD = 3000
# How many steps and attempts are kept of a request that has too many.
MOST_STEPS = 8
_SHOWN_NAME = b"X-Wproxy-Explain"


class Recorder:
    """Records the requests that enter by a location. positions: of the steps of its configuration."""

    def __init__(self, location: Location, services: Services, positions: Positions) -> None:
        self._is_on: bool = location.explain_ring
        # Where a server has steps, its requests enter before their location is known.
        self._is_before: bool = bool(location.server.steps)
        self._secret: bytes | None = location.explain_secret
        self._positions = positions
        self._ring: DecisionRing = decision_ring()
        self._slot = services.shared.slot

    def answering(self, answer: Answer) -> Answer:
        """Return the function that answers a request and listens to what is decided."""
        secret = self._secret

        async def answer_and_record(request: Request) -> Response:
            if request.main is None and request.trace is None:
                value = None if secret is None else request.fields.get(FIELD)
                if self._is_on or self._is_before or value is not None:
                    self._begin(request, value)
            return await answer(request)

        return answer_and_record

    def refused(self, request: Request) -> None:
        """Listen to a request that is refused before it is answered: what is known of it by now, and its error page."""
        self._begin(request, None if self._secret is None else request.fields.get(FIELD), is_refused=True)

    def filtering(self, change: Filter | None) -> Filter | None:
        """Return the filter that shows the decisions to a client that may ask for them."""
        if self._secret is None:
            return change

        def change_and_show(request: Request, response: Response) -> Response:
            if change is not None:
                response = change(request, response)
            trace = request.trace
            if isinstance(trace, LiveTrace) and trace.is_signed and request.main is None:
                response.fields = fields = copied(response.fields)
                fields.lines = (*fields.lines, (_SHOWN_NAME, shown_in_field(decisions_of(request, trace, self._slot))))
            return response

        return change_and_show

    def _begin(self, request: Request, value: bytes | None, is_refused: bool = False) -> None:
        """Listen to the request, if that is wanted. value: that of the field by which its client asks.

        is_refused: perhaps before its head was read, and a location found.
        """
        is_asked = False
        if value is not None:
            # It is for us: whoever reads the upstream's logs could ask with it.
            request.fields = request.fields.with_lines(tuple(line for line in request.fields.lines if line[0] != FIELD))
            is_asked = self._secret is not None and is_signed(value, self._secret, request.client.clock.wall)
        if not (self._is_on or self._is_before or is_asked):
            return
        trace = request.trace = LiveTrace(self._positions)
        trace.request = request
        trace.is_signed = is_asked
        server = request.server
        with suppress(RegexTimedOut):
            trace.server_why = why_server(request)
        is_found = not is_refused or request.location.kind != "server"
        if is_found and not server.steps:  # otherwise the location is found, and told, after them
            trace.located(server.locations.explain(request.path, request))
        request.call_at_end(partial(self._keep, request, trace))

    def _keep(self, request: Request, trace: LiveTrace) -> None:
        """Keep the decisions about a request that is over."""
        request.trace = None
        if not (self._is_on or trace.is_signed or request.location.explain_ring):
            return
        decisions = decisions_of(request, trace, self._slot)
        for some in shorter_and_shorter(decisions):
            if self._ring.keep(self._slot, request.client.clock.wall, decisions["request_id"], some):
                return


def decisions_of(request: Request, trace: LiveTrace, slot: int) -> Decisions:
    """Return what has been decided about a request so far, as plain values."""
    client, location, context = request.client, request.location, request.trace_context
    return {
        "request_id": (request_id(request) or b"").decode("ascii"),
        "at": round(client.clock.wall, 3),
        "worker": slot,
        "connection": client.serial,
        "client": as_text(client.remote_addr),
        "request": as_text(request.line.line)[:1024],
        "server": request.server.name or "(no name)",
        "server_at": str(request.server.position),
        "server_why": trace.server_why,
        "location": shown_location(location),
        "location_at": str(location.position),
        "steps": trace.steps,
        "is_cut": False,
        "limit_req": as_text(request.limit_req_status or b""),
        "limit_conn": as_text(request.limit_conn_status or b""),
        "cache": "" if request.cached is None else as_text(request.cached.status),
        "attempts": [attempt_of(attempt) for attempt in request.attempts],
        "subrequests": [subrequest_of(inner) for inner in trace.subrequests],
        "status": request.status,
        "end_code": request.end_code,
        "end_cause": request.end_cause,
        "seconds": round(client.clock.now - request.started, 3),
        "bytes_sent": request.bytes_sent,
        "trace_id": "" if context is None else as_text(context.trace_id),
    }


def why_server(request: Request) -> str:
    """Return why a request got its server."""
    kind = request.client.listener.servers.explain(request.host, request)
    return "the default server" if kind == "default" else f"{_KINDS[kind]} for {as_text(request.host)[:255]}"


_KINDS = {"exact": "a server_name", "wildcard": "a wildcard", "regex": "a regex"}


def attempt_of(attempt: Attempt) -> Decisions:
    """Return what became of one attempt at a peer."""
    return {
        "peer": attempt.peer,
        "status": attempt.status,
        "end_code": attempt.end_code,
        "connect": rounded(attempt.connect_time),
        "header": rounded(attempt.header_time),
        "response": rounded(attempt.response_time),
    }


def subrequest_of(trace: Trace) -> Decisions:
    """Return what has been decided about a request that another one makes."""
    request: Request = trace.request
    args = b"" if request.args is None else b"?" + request.args
    return {
        "method": as_text(request.method),
        "uri": as_text(request.path + args)[:1024],
        "directive": trace.directive,
        "at": trace.directive_at,
        "location": shown_location(request.location),
        "steps": trace.steps,
    }


def rounded(seconds: float | None) -> float | None:
    """Return a duration in milliseconds' precision."""
    return None if seconds is None else round(seconds, 3)


def as_text(value: bytes) -> str:
    """Return bytes of a request as text."""
    return value.decode("utf-8", "backslashreplace")


def shorter_and_shorter(decisions: Decisions) -> Iterator[Decisions]:
    """Yield decisions, then less and less of them: the last ones always have room."""
    yield decisions
    steps = [without_losers(step) for step in decisions["steps"]]
    yield {**decisions, "steps": steps}
    few = {
        "is_cut": True,
        "steps": [{"kind": step["kind"], "text": step["text"][:100], "at": step["at"][-100:]} for step in steps[:MOST_STEPS]],
        "attempts": decisions["attempts"][-MOST_STEPS:],
        "subrequests": [],
    }
    yield {**decisions, **few}
    yield {name: value[:100] if isinstance(value, str) else value for name, value in {**decisions, **_NOTHING}.items()}


_NOTHING: Decisions = {"is_cut": True, "steps": [], "attempts": [], "subrequests": []}


def without_losers(step: dict[str, Any]) -> dict[str, Any]:
    """Return a step without the locations that had nothing to do with the URI."""
    if "considered" not in step:
        return step
    return {**step, "considered": [one for one in step["considered"] if one["why"] not in NO_MATCH]}


def shown_in_field(decisions: Decisions) -> bytes:
    """Return decisions as the value of a field, one line of JSON in ASCII; what is not known yet is left out."""
    value = b""
    for some in shorter_and_shorter(decisions):
        known = {name: value for name, value in some.items() if name not in _LATER and (value or name == "worker")}
        value = json.dumps(known, separators=(",", ":")).encode("ascii")
        if len(value) <= MOST_IN_FIELD:
            break
    return value


# What is known when a request is over.
_LATER = frozenset(("status", "seconds", "bytes_sent"))
