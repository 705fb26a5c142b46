"""The way of a request through its phases, in nginx's order (routing.md §3.1).

    server rewrite     the server's steps                            worker/rewrite.py
    find location      by $uri, limit_except, internal               here, wproxy/matching.py
    location rewrite   the location's steps; a changed URI goes back to finding a location
    preaccess          limits, before access is checked              rows of PREACCESS (worker/attach.py)
    access             refusals, by all or any (satisfy)             worker/access/
    precontent         try_files                                     worker/content/try_files.py
    content            api; proxy_pass; else index, static files     worker/content/
    error pages        answers in place of a status                  worker/error_pages.py

The `handlers` of a location for the phases after rewriting are computed at load (worker/attach.py). A handler answers, sends
the request elsewhere (a Jump), or lets it go on to the next one by returning None.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from copy import copy
from typing import Final

from worker.error_pages import page_for
from worker.filters.fields import vary_of
from worker.logs import log_request, shown
from worker.pages import error_response, refreshed, without_validators
from worker.rewrite import run_steps
from wproxy.config.model import Location
from wproxy.files import shown_path
from wproxy.http import Jump, Request, Response, ResponseFields, has_no_body, is_interim
from wproxy.request_body import BODILESS, RequestBody

# The limit of changes of the URI of one request (nginx: NGX_HTTP_MAX_URI_CHANGES).
MAX_URI_CHANGES: Final = 10

Phases = Callable[[Request], Awaitable["Response | Jump"]]


async def answered(request: Request) -> Response:
    """Answer a request whose route is known, from its phases through the filters: the result is ready to be sent.

    This answers subrequests, and requests of a protocol that serves several at once. (An HTTP/1 connection does the same in its
    own coroutine: each further one costs 0.2 us.)
    """
    response = await request.route.answer(request)
    change = request.route.filter
    return response if change is None else change(request, response)


async def enter(request: Request) -> Response:
    """Answer a request to a server that has steps of its own."""
    return await go(request, server_phases)


async def drive(request: Request) -> Response:
    """Answer a request whose location has been found."""
    refusal = admit(request)
    return await settle(request, refusal) if refusal is not None else await go(request, location_phases)


async def answer_error(request: Request, response: Response) -> Response:
    """Replace a response that was raised before or outside of the phases with an error page.

    The error page does not get the request body.
    """
    if request.body is not None:
        request.body.collected = BODILESS
    return await settle(request, response)


async def go(request: Request, phases: Phases) -> Response:
    """Run these phases, and all jumps from there, to a response."""
    return await settle(request, await phases(request))


async def settle(request: Request, outcome: Response | Jump) -> Response:
    """Follow jumps and error pages until there is a response to send."""
    replaced: list[ResponseFields] = []
    while True:
        if isinstance(outcome, Jump):
            phases = follow(request, outcome)
            outcome = await phases(request) if phases is not None else cycle(request, _destination(outcome))
            continue
        page = page_for(request, outcome) if outcome.error else None
        if page is None:
            if not (outcome.error and request.location.msie_refresh):
                break
            redirect, outcome = outcome, refreshed(request, outcome)
            changed = without_validators(request, redirect.fields.server) if outcome is not redirect else None
            if changed is None:
                break
            outcome = changed  # a 412 may have a page of its own
            continue
        replaced.append(outcome.fields)
        outcome = page
    if not replaced:
        return outcome
    response = in_place_of(replaced, outcome, request)
    if is_interim(response.fields.status) and response.tunnel is None:
        request.keepalive = False  # the client waits for a final answer: the end of the connection says that none comes
    return response


def in_place_of(replaced: list[ResponseFields], response: Response, request: Request) -> Response:
    """Return an error page with the fields of the errors that it replaces: a Location, WWW-Authenticate, Content-Range.

    Its status is the one that error_page sets, if it does.
    """
    own, status = response.fields, request.forced_status
    response.fields = fields = own.with_status(status or own.status)
    if not status:
        fields.reason = own.reason
    if fields.location is not None and not fields.owns_location and any(error.lines for error in replaced):
        # In the order in which they were made: a Location that is not ours to make absolute is a line like others.
        fields.lines, fields.location = ((b"Location", fields.location), *fields.lines), None
    for error in reversed(replaced):
        fields.lines = (*error.lines, *fields.lines[len(vary_of(fields) and vary_of(error)) :])
        fields.last_lines = (*error.last_lines, *fields.last_lines)
        if fields.location is None:
            fields.location, fields.owns_location = error.location, error.owns_location
    if fields.status != own.status and (has_no_body(own.status) or has_no_body(fields.status)):
        drop_body(response, fields, request.method)
    return response


def drop_body(response: Response, fields: ResponseFields, method: bytes) -> None:
    """Drop the body of a response whose status has changed from or to one without a body.

    The final status decides about a body: a 304 that is sent as a 404 has an empty one, and announces it. Otherwise it would have
    no end on a kept connection, and the client would take the next response for this one's body.
    """
    response.close()
    response.body, response.source, response.tunnel = b"", None, None
    response.bodiless = has_no_body(fields.status) or method == b"HEAD"
    if not has_no_body(fields.status):
        fields.content_length = 0
    elif fields.status == 204:
        fields.content_type, fields.content_length = None, -1


def follow(request: Request, jump: Jump) -> Phases | None:
    """Return the phases that a jump leads to; None after too many jumps."""
    if not may_change_uri(request):
        return None
    request.internal = True
    request.add_uri_to_alias = False
    request.upstream_uri, request.sent_method = b"", None  # they were for the upstream of the location that is left
    if request.slices is not None:
        request.slices = None
    if jump.named is not None:
        if request.trace is not None:
            request.trace.jump(f"to the named location {jump.named.pattern}")
        request.lead_to(jump.named)
        heed_limit_except(request)
        return location_phases
    request.valid_location = True
    request.origin_stands = False
    if jump.path is request.line.path:
        request.line = copy(request.line)  # the memory of its line does not apply to this URI
    request.path = jump.path
    request.args = jump.args
    if request.trace is not None:
        request.trace.jump(f"internal redirect to {shown(jump.path)}")
    return server_phases


def _destination(jump: Jump) -> str:
    if jump.named is not None:
        return f'redirect to named location "{jump.named.pattern}"'
    return f'internally redirecting to "{shown_path(jump.path)}"'


def may_change_uri(request: Request) -> bool:
    """Count one more change of the URI; return False if it is one too many."""
    request.uri_changes += 1
    return request.uri_changes <= MAX_URI_CHANGES


def cycle(request: Request, doing: str) -> Response:
    """Return the answer to a request that goes in circles; an error page would continue the circle. doing: the next step."""
    request.is_error_page = True
    text = f"rewrite or internal redirection cycle while {doing}"
    log_request(request, "error", text, code="conf_cycle")
    request.ends("conf_cycle", text)
    return error_response(request, 500, request.route.server_token)


async def server_phases(request: Request) -> Response | Jump:
    """Run the server's steps, then find a location for the resulting URI."""
    server = request.server
    if server.steps:
        # Not `lead_to`: the location that is found after the steps decides whether the connection is kept.
        fallback = server.locations.fallback
        request.location, request.route = fallback, fallback.route
        request.has_rewritten = False
        outcome = run_steps(request, server.steps)
        if isinstance(outcome, Response):
            if request.location is fallback:
                request.lead_to(fallback)
            return outcome
        request.uri_changed = False
    refusal = find_location(request)
    return refusal or await location_phases(request)


async def location_phases(request: Request) -> Response | Jump:
    """Run the location's steps, then its other phases."""
    if request.route.tracing is not None:
        begin_trace(request)
    while request.location.steps:
        request.has_rewritten = False
        outcome = run_steps(request, request.location.steps)
        if isinstance(outcome, Response):
            return outcome
        if not request.uri_changed:
            break
        request.uri_changed = False
        if not may_change_uri(request):
            return cycle(request, f'processing "{shown_path(request.path)}"')
        refusal = find_location(request)
        if refusal is not None:
            return refusal
        if request.route.tracing is not None:
            begin_trace(request)
    for handler in request.route.handlers:
        answer = await handler(request)
        if answer is not None:
            return answer
    raise AssertionError("the content phase always answers")


async def content_phase(request: Request) -> Response | Jump:
    """Run the content phase of a subrequest that is in its location already."""
    for handler in request.route.content_handlers:
        answer = await handler(request)
        if answer is not None:
            return answer
    raise AssertionError("the content phase always answers")


def begin_trace(request: Request) -> None:
    """Begin the trace of a client's request in the first location that it comes to."""
    tracing, context = request.route.tracing, request.trace_context
    if tracing is not None and not request.internal and request.main is None and (context is None or not context.has_begun):
        tracing.begin(request)


def find_location(request: Request) -> Response | None:
    """Find the location for the URI; return a response if it may not be used."""
    locations = request.server.locations
    if request.trace is not None:
        location = locations.explain(request.path, request)
        request.trace.located(location)
    else:
        location = locations.find(request.path, request)
    request.lead_to(location)
    return admit(request)


def admit(request: Request) -> Response | None:
    """Return a response if this request may not use its location (nginx: ngx_http_core_find_config_phase)."""
    location = request.location
    if location.internal and not request.internal:
        return error_response(request, 404, request.route.server_token)
    heed_limit_except(request)
    return limit_body(request, request.body, location) if request.body is not None else None


def heed_limit_except(request: Request) -> None:
    """Lead a method that the location's limit_except does not name to the other settings, without the location's steps."""
    location = request.location
    others = location.for_other_methods
    if others is not None and location.limit_except is not None and request.method not in location.limit_except.methods:
        request.lead_to(others)


def limit_body(request: Request, body: RequestBody, location: Location) -> Response | None:
    """Apply the location's limit to the body: 413 when its announced length is larger, unless it will not be read."""
    limit = location.client_max_body_size
    body.limit = limit
    length = max(request.fields.content_length, body.received)  # received: another location has read a chunked one
    if not limit or length <= limit or body.collected is BODILESS:
        return None
    body.collected = BODILESS
    setting = location.described("client_max_body_size")
    text = f"client intended to send too large body: {length} bytes"
    log_request(request, "error", text, setting, "cl_body_too_big")
    request.ends("cl_body_too_big", f"client: {text[7:]}{setting}")
    return error_response(request, 413, request.route.server_token)
