"""Requests of every client protocol: the way to their location, and the life of one that has a task of its own."""

from __future__ import annotations

import copy
from typing import Protocol

from worker.client.clients import Clients
from worker.client.ending import finish, record_if_refused, replaced_refusal, request_left, request_lost, request_timed_out
from worker.content.returns import CloseConnection
from worker.logs import log_request
from worker.pages import error_response
from wproxy.config.model import Location, Server, Settings
from wproxy.failures import BodyBrokenOff, ClientError, ClientGone, TimedOut, UpstreamFailure
from wproxy.http import Client, Request, Response
from wproxy.regex import RegexTimedOut
from wproxy.route import Route


class WayBack(Protocol):
    """The way of one request's response to its client, for `attend`."""

    def begin(self) -> None:
        """Note that the task of the request has begun. Raises ClientError, ClientGone if it must not be answered as usual."""

    async def reply(self, request: Request, response: Response) -> None:
        """Send a response. Raises ClientGone, ClientError, OSError, TimedOut, UpstreamFailure."""

    def cut(self, request: Request, error: Exception) -> None:
        """Tell the client that no more of its answer comes."""

    def end(self) -> None:
        """Note that the request is over."""


def find_way(client: Client, host: bytes | None, path: bytes, request: Request) -> tuple[Location, Route]:
    """Return the location of a new request and its route: by its host and its path, or the entry of a server with steps."""
    if client.find_server is None:
        server = client.listener.servers.find(host, request)
    else:
        server, refusal = client.find_server(host, request)
        if refusal is not None:
            return refused_way(server, refusal)
    entry = server.entry
    if entry is None:
        location = server.locations.find(path, request)
        return location, location.route
    return entry.location, entry


def refused_way(server: Server, refusal: ClientError) -> tuple[Location, Route]:
    """Return the way of a request that a server must not answer: no phase runs, and an error page may replace the refusal."""

    async def refuse(request: Request) -> Response:
        # Not the error itself: it would refer to this frame, and this frame to it.
        raise ClientError(refusal.status, refusal.reason, refusal.setting, refusal.level, refusal.code)

    location = server.locations.fallback
    route = copy.copy(location.route)
    route.answer = refuse
    route.learn = route.learn_varied = None
    route.client_max_body_size = 0
    return location, route


async def attend(clients: Clients, request: Request, way: WayBack) -> None:
    """Answer a request from its phases to its end, whatever happens to it. (What `phases.answered` does is done here: 0.2 us.)"""
    page: Response | None = None
    try:
        try:
            way.begin()
            response = await request.route.answer(request)
            change = request.route.filter
            if change is not None:
                response = change(request, response)
        except (ClientError, RegexTimedOut) as error:
            page = refused(request, error)
        if page is not None:
            response = await replaced_refusal(request, page)
        await way.reply(request, response)
    except (ClientGone, OSError) as departure:
        request_left(clients, request, departure)
    except TimedOut as delay:
        request_timed_out(clients, request)
        way.cut(request, delay)
    except (ClientError, UpstreamFailure) as failure:
        # A ClientError: the request broke its rules while the answer was sent. A failure of the upstream has been logged.
        if isinstance(failure, ClientError):
            note_refusal(request, failure)
        end_early(clients, request, failure, way)
    except CloseConnection as closing:
        request.status = closing.status
        end_early(clients, request, closing, way)
    except Exception:
        request_lost(clients, request)
        raise
    else:
        finish(clients, request)
    finally:
        if request.at_end is not None:
            request.end()  # a bug, or the end of the worker, has come before the request's own end
        way.end()


def end_early(clients: Clients, request: Request, error: Exception, way: WayBack) -> None:
    """End a request whose answer is not complete."""
    request.is_cut = True
    finish(clients, request)
    way.cut(request, error)


def refused(request: Request, error: ClientError | RegexTimedOut) -> Response:
    """Return the page for a request that breaks the rules, for `replaced_refusal`. Raises the error itself if it gets none."""
    record_if_refused(request)
    if isinstance(error, RegexTimedOut):
        error = ClientError(500, str(error), code="regex_slow")
    if request.replied or error.status == 408 or isinstance(error, BodyBrokenOff):
        request.status = request.status or error.status
        try:
            raise error
        finally:
            # Its traceback has this frame (see tests/worker/client/test_no_cycles.py). mypyc deletes no argument.
            error = ClientError(error.status, "")
    note_refusal(request, error)
    return error_response(request, error.status, request.route.server_token)


def note_refusal(request: Request, error: ClientError) -> None:
    """Log the fault of a request."""
    # Limits of heads are those of the server.
    settings: Settings = request.location if not error.setting or hasattr(request.location, error.setting) else request.server
    setting = settings.described(error.setting)
    log_request(request, error.level, error.reason, setting, error.code)
    request.ends(error.code, f"client: {error.reason}{setting}")
