"""The phases of a request, in nginx's order (routing.md §3.1), put together for each location when a worker starts.

    rewrite    return                                       worker/content/returns.py
    content    proxy_pass, else not found                   worker/content/

A phase is a row of PHASES: a function that looks at a location and gives the handler it needs there, or None. The handlers of
a location become one function, `location.answer`; a location that has only content calls nothing else. What comes later
(limits, access, try_files, static files) is a row here and a file of its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from worker.content.pages import error_response
from worker.content.proxy import proxy_request
from worker.content.returns import returning
from worker.upstream.protocols.http import HTTP1, HeadPlan
from wproxy.config.model import Location
from wproxy.http import Request, Response
from wproxy.version import VERSION

if TYPE_CHECKING:
    from worker.run import Worker

# Answers, or lets the request go on to the next phase by returning None.
Handler = Callable[[Request], Awaitable["Response | None"]]
Answer = Callable[[Request], Awaitable[Response]]

# Response fields that are made anew or mean something to us alone (proxy.md §3.2).
_HIDDEN = (
    b"date",
    b"server",
    b"x-pad",
    b"x-accel-expires",
    b"x-accel-redirect",
    b"x-accel-limit-rate",
    b"x-accel-buffering",
    b"x-accel-charset",
)
_REGENERATED = frozenset((b"connection", b"keep-alive", b"transfer-encoding", b"content-length", b"proxy-connection"))


def rewrite(location: Location) -> Handler | None:
    """`return`, the server's before the location's."""
    server = location.server.locations.fallback.return_
    value = server or location.return_
    return returning(location, value) if value else None


def content(location: Location) -> Handler:
    """What makes the answer."""
    return proxy_request if location.upstream else not_found


async def not_found(request: Request) -> Response:
    """A location without content of any kind."""
    return error_response(request, 404, request.location.server_token)


PHASES: tuple[Callable[[Location], Handler | None], ...] = (rewrite, content)


# Settings that every request reads. A default lives on the class, and reading it there through the location costs ten times
# as much as reading it from the location itself (measured: 0.06 us, and a request reads a dozen).
_READ_BY_EVERY_REQUEST = (
    "client_body_buffer_size",
    "client_max_body_size",
    "keepalive_requests",
    "keepalive_time",
    "keepalive_timeout",
    "proxy_buffer_size",
    "proxy_read_timeout",
    "retried_statuses",
)


def attach(location: Location, worker: Worker) -> None:
    """Give a location all it needs to answer requests in this worker."""
    for name in _READ_BY_EVERY_REQUEST:
        setattr(location, name, getattr(location, name))
    location.server_token = f"wproxy/{VERSION}".encode() if location.server_tokens else b"wproxy"
    location.write_log = worker.access_logs.writer(location)
    location.group = location.protocol = location.head_plan = None
    if location.upstream:
        location.group = worker.groups[location.upstream.name]
        location.protocol = HTTP1
        location.head_plan = HeadPlan(location)
        passed = {name.lower().encode() for name in location.proxy_pass_header}
        more = {name.lower().encode() for name in location.proxy_hide_header}
        location.retried_statuses = frozenset(int(word[5:]) for word in location.proxy_next_upstream if word[:5] == "http_")
        location.hidden = (frozenset(_HIDDEN) | more) - passed | _REGENERATED
    handlers = [handler for phase in PHASES if (handler := phase(location))]
    location.answer = handlers[0] if len(handlers) == 1 else in_order(tuple(handlers))


def in_order(handlers: tuple[Handler, ...]) -> Answer:
    """One function that asks handler after handler until one answers; the last one always does."""

    async def answer(request: Request) -> Response:
        for handler in handlers:
            response = await handler(request)
            if response is not None:
                return response
        raise AssertionError("the content phase always answers")

    return answer
