"""Requests of our own making inside of a client's request (subrequests.md §1; nginx: ngx_http_subrequest).

A subrequest goes through the phases of a location of ours, except for access rules and mirrors, and through the filters that
come before its response is merged into another one. Its response is returned, not sent: the caller reads it, waits for no more
than its head, or drops it.

It has its own URI, location, captures, attempts, response and count of URI changes. It shares the client, the request line and
the header fields with the client's request, and one set of values of variables: whatever is `set`, mapped or captured by name in
one of them holds in all. Of the body it sees what had been read when it was made.

A location has a second route for subrequests (`Route.inner`), made at load if anything in the configuration makes subrequests.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from functools import lru_cache

from worker.client.ending import replaced_refusal
from worker.client.requests import refused
from worker.phases import content_phase, go, server_phases
from wproxy.config.model import Configuration, Location
from wproxy.failures import ClientError
from wproxy.files import shown_path
from wproxy.http import Request, Response
from wproxy.regex import RegexTimedOut
from wproxy.request_body import BODILESS, NO_BODY, Outgoing, RequestBody

# The directives that make subrequests, in any location.
MAKERS = (
    *("auth_request", "mirror", "add_before_body", "add_after_body", "ssi", "slice"),
    *(f"{module}_cache_background_update" for module in ("proxy", "fastcgi", "uwsgi", "scgi")),
)

# How deep subrequests may be inside of each other (nginx: NGX_HTTP_MAX_SUBREQUESTS).
MAX_DEPTH = 50


@lru_cache(2)
def makes_subrequests(configuration: Configuration) -> bool:
    """Whether a request to any location may make a subrequest."""
    locations = (location for server in configuration.all_servers for location in server.each_location())
    return any(getattr(location, name) for location in locations for name in MAKERS)


class Cycle(Exception):
    """Subrequests are too deep inside of each other; the message is for the log."""


class Subrequest(Request):
    """A request inside of another one. depth: how deep; within: the client's request, which is also its `main`."""

    is_in_memory = False  # its response becomes the value of a variable
    has_stub = False  # a text takes the place of a response that is a built-in error page or empty

    def __init__(
        self, parent: Request, path: bytes, args: bytes | None = None, method: bytes = b"GET", made_by: str = ""
    ) -> None:
        """Make it; `answered_inside` starts it. made_by: the directive that asks for it, for explanations. Raises Cycle."""
        main = parent.main or parent
        super().__init__(main.client, parent.line, main.fields, main.client.clock.now)
        self.main = self.within = main
        self.depth: int = parent.depth + 1 if isinstance(parent, Subrequest) else 0
        if self.depth > MAX_DEPTH:
            raise Cycle(f'subrequests cycle while processing "{shown_path(path)}"')
        if main.values is None:
            main.values = {}
        self.values = main.values
        self.method = method
        if path is parent.line.path:
            self.line = copy(parent.line)  # the memory of its line does not apply to this URI
        self.path = path
        self.args = args
        self.internal = True
        self.origin_stands = False
        self.keepalive = main.keepalive
        self.server = parent.server
        self.body = None if parent.body is None else kept_body(parent.body)
        if parent.trace is not None and made_by:
            self.trace = parent.trace.subrequest(made_by, parent.location.origin(made_by))
            self.trace.request = self
        if main.inside is None:
            main.inside = set()
        main.inside.add(self)
        self.lead_to(parent.location)

    def lead_to(self, location: Location) -> None:
        """Continue in this location, by its route for subrequests."""
        self.location = location
        self.route = location.route.inner or location.route

    def stand_beside(self, parent: Request) -> None:
        """Go on in the location of the parent with what has been found out on the way there (nginx: a clone)."""
        self.captures = parent.captures
        self.valid_location = parent.valid_location
        self.origin_stands = parent.origin_stands
        self.add_uri_to_alias = parent.add_uri_to_alias
        self.upstream_uri = parent.upstream_uri
        self.lead_to(parent.location)

    def call_at_end(self, release: Callable[[], None]) -> None:
        """Have this called when the client's request is over."""
        self.within.call_at_end(release)

    def finish(self) -> None:
        """Log it if its location asks for that: its response has been read or dropped."""
        if self.within.inside is not None:
            self.within.inside.discard(self)
        self.bytes_sent, self.body_bytes_sent = self.within.bytes_sent, self.within.body_bytes_sent
        write = self.route.write_log
        if write is not None:
            write(self)
        context = self.within.trace_context
        if context is not None:
            context.note(self, self.client.clock.now)
        self.attempts = ()


class Clone(Subrequest):
    """One more request for the content of its parent: it goes on in the parent's location after all phases but the content."""

    def __init__(self, parent: Request) -> None:
        """Raises Cycle."""
        super().__init__(parent, parent.path, parent.args, parent.method, "slice")
        self.stand_beside(parent)


async def answered_again(request: Clone) -> Response:
    """Return the response of a clone, not filtered and not sent. Raises ClientGone, CloseConnection."""
    try:
        return await go(request, content_phase)
    except (ClientError, RegexTimedOut) as error:
        page = refused(request, error)
    return await replaced_refusal(request, page)


async def answered_inside(request: Subrequest) -> Response:
    """Return the response of a subrequest, filtered and not sent. Raises ClientGone, CloseConnection."""
    try:
        response = await go(request, server_phases)
        change = request.route.filter
        return response if change is None else change(request, response)
    except (ClientError, RegexTimedOut) as error:
        page = refused(request, error)
    return await replaced_refusal(request, page)


def kept_body(body: RequestBody) -> KeptBody:
    """Return the body of a parent as its subrequest sees it: what has not been read by now never will be."""
    collected = body.collected
    if collected is None or collected is BODILESS or collected.rest is not None or collected.consumed:
        collected = UNREAD
    return KeptBody(body, collected)


# Not BODILESS, which also says that the limit of a location does not apply (worker.phases.limit_body).
UNREAD = Outgoing(NO_BODY, b"", None)


class KeptBody(RequestBody):
    """A body that may be sent once more, or that was not read: then nothing is sent, and no length announced.

    (nginx announces the length all the same, and the upstream waits for the body until one of the two gives up.)
    """

    __slots__ = ("_received",)

    def __init__(self, body: RequestBody, collected: Outgoing) -> None:
        super().__init__(body.length, False)
        self.collected = collected
        self.data, self.file = body.data, body.file
        self._received = body.received

    @property
    def received(self) -> int:
        """Return how much of it the parent has read."""
        return self._received

    @property
    def wire_bytes(self) -> int:
        """Return 0: nothing is read for a subrequest."""
        return 0

    @property
    def finished(self) -> bool:
        """Return True: nothing will be read."""
        return True

    @property
    def limit(self) -> int:
        """Return 0: nothing is read that could be limited."""
        return 0

    @limit.setter
    def limit(self, limit: int) -> None:
        """Ignore a limit."""
