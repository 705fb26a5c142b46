"""post_action: a request to another location of ours after each request, and one access line for both (subrequests.md §3).

It begins when the response has been sent, or the client has left, and it runs in the background: the client does not wait for it.
(In nginx its connection does.) The line of the access log is that of the location in which it ends.
"""

from __future__ import annotations

from copy import copy
from functools import partial

from worker.background import Background, answered_to_nobody, lasting_body
from worker.logs import log_request
from worker.logs.access import Write
from worker.pages import error_response
from worker.phases import MAX_URI_CHANGES, cycle, settle
from worker.services import Services
from worker.subrequest import UNREAD
from wproxy.config.model import Location
from wproxy.failures import ClientError
from wproxy.files import shown_path
from wproxy.http import Jump, Request, Response
from wproxy.regex import RegexTimedOut
from wproxy.request_body import EMPTY


def acting_afterwards(location: Location, services: Services, write: Write | None) -> Write | None:
    """Return the function that ends the requests of a location. write: writes their lines into the access log."""
    target = location.post_action
    if target is None:
        return write
    actions = Background(services)

    def act(request: Request) -> None:
        try:
            action = action_of(request) if actions.has_room() else None
        except OSError as error:
            action = None
            log_request(request, "crit", f"dup() failed ({error.errno}: {error.strerror}) while preparing post_action")
        if action is None:
            if not actions.is_full and not actions.has_room():
                actions.is_full = True
                text = f"{actions.count} post_actions are under way, further ones are left out"
                log_request(request, "warn", f"{text}{location.described('post_action')}")
        elif action.uri_changes > MAX_URI_CHANGES:
            action = request
            cycle(request, f'internally redirecting to "{shown_path(target)}"')
            request.status = 500
        else:
            actions.begin(partial(run, action, target), f"post_action {target!r}")
            return
        if write is not None:
            write(request)

    return act


def action_of(request: Request) -> Request:
    """Return the same request, to go on without its client. Raises OSError when there is no descriptor for its body."""
    assert request.client.server_address  # it may be unknown once the connection is closed
    action = copy(request)
    action.exchange = action.at_end = action.inside = None
    action.attempts = [*request.attempts]
    action.uri_changes = request.uri_changes + 1
    action.forced_status = 0
    if request.trace is not None:
        action.trace = request.trace.subrequest("post_action", request.location.origin("post_action"))
        action.trace.request = action
    if request.body is not None:
        action.body = body = lasting_body(request.body)
        if body.collected is UNREAD:
            body.collected = EMPTY  # it has been dropped, and nothing will follow
    return action


async def run(action: Request, target: bytes) -> None:
    """Run the action, and write the line of both."""
    status, fields = action.status, action.response_fields
    action.uri_changes -= 1  # the redirect counts it
    named = action.server.named.get(target) if target.startswith(b"@") else None
    jump = Jump(target) if named is None else Jump(named=named)
    try:
        await answered_to_nobody(action, answered(action, jump))
    finally:
        if status != 499:
            action.status, action.response_fields = status, fields
        write = action.route.write_log
        if write is not None:
            write(action)
        if action.body is not None:
            action.body.close()
        action.end()
        action.attempts = ()


async def answered(action: Request, jump: Jump) -> Response:
    """Return the response of the location that a jump leads to. Raises CloseConnection, ClientGone."""
    try:
        response = await settle(action, jump)
        change = action.route.filter
        return response if change is None else change(action, response)
    except (ClientError, RegexTimedOut) as error:
        log_request(action, "error", str(error))
        return error_response(action, 500, action.route.server_token)
