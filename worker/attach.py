"""What every location needs to answer requests in this worker, worked out when the worker starts.

A phase after rewriting is a row of PHASES: a function that looks at a location and gives the handler it needs there, or None.

A location that has nothing but content is answered by that handler itself, which costs no call more; `phases.drive` is for the
others.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from worker.access import Decide, satisfy
from worker.access.addresses import by_address
from worker.blaming import blaming
from worker.content.api import controlling
from worker.content.autoindex import listing
from worker.content.index import indexing
from worker.content.precompressed import sending_precompressed
from worker.content.proxy_variable import proxying_to_variable
from worker.content.static import serving_files, serving_files_at_once
from worker.content.try_files import trying_files
from worker.error_pages import error_pages_of
from worker.filters import filters_of
from worker.filters.headers import additions_to_success
from worker.phases import drive, enter, settle
from worker.services import Services
from worker.upstream.answers import AnswerPlan
from worker.upstream.manner import constant_manner
from worker.upstream.protocols.http import HeadPlan
from worker.upstream.reshaping import protocol_of, reshaping
from wproxy.config.model import Location, Server
from wproxy.directives.temporary_path import TemporaryPath
from wproxy.http import Jump, Request, Response

# Answers, sends elsewhere, or lets the request go on to the next handler by returning None.
Handler = Callable[[Request], Awaitable["Response | Jump | None"]]

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


# The phases after rewriting: what a location needs there.


def access(location: Location, services: Services) -> Handler | None:
    """Return what decides whether the client may enter."""
    return satisfy(ACCESS, location)


def precontent(location: Location, services: Services) -> Handler | None:
    """Return try_files."""
    return trying_files(location)


def api(location: Location, services: Services) -> Handler | None:
    """Return the API."""
    return controlling(location, services)


def proxying(location: Location, services: Services) -> Handler | None:
    """Return proxy_pass: it always answers, so nothing after it is asked."""
    if not location.proxy_target:
        return None
    is_variable = location.proxy_target.template is not None
    return proxying_to_variable(location, services) if is_variable else services.exchange


def index(location: Location, services: Services) -> Handler | None:
    """Return what finds the index of a directory."""
    return indexing(location)


def autoindex(location: Location, services: Services) -> Handler | None:
    """Return what lists a directory."""
    return listing(location)


def precompressed(location: Location, services: Services) -> Handler | None:
    """Return gzip_static and its kin."""
    return sending_precompressed(location)


def static(location: Location, services: Services) -> Handler:
    """Return what serves files: the last resort of a location without content of another kind."""
    return serving_files(location)


# Handlers of the access phase, for `satisfy`, in nginx's order; the modules to come are rows here.
ACCESS: tuple[Callable[[Location], Decide | None], ...] = (by_address,)
PHASES: tuple[Callable[[Location, Services], Handler | None], ...] = (
    access,
    precontent,
    api,
    proxying,
    index,
    autoindex,
    precompressed,
    static,
)
# Of these only `static` has to do with a URI that has no slash at its end.
FOR_FILES = (index, autoindex, static)


# Settings that every request reads. A default lives on the class, and reading it there through the location costs ten times
# as much as reading it from the location itself (measured: 0.06 us, and a request reads a dozen).
_READ_BY_EVERY_REQUEST = (
    "chunked_transfer_encoding",
    "client_body_buffer_size",
    "client_max_body_size",
    "filter",
    "keepalive_disable",
    "keepalive_requests",
    "keepalive_time",
    "keepalive_timeout",
    "noticed_statuses",
    "proxy_buffer_size",
    "proxy_read_timeout",
)


def attach_server(server: Server, services: Services) -> None:
    """Give all locations of a server what they need to answer requests in this worker."""
    for location in server.each_location():
        attach(location, services)
    if server.steps:
        # Everything enters through the server's own steps; the location is found after them.
        fallback = server.locations.fallback
        server.entry = entry = Location(dict(vars(fallback)), fallback.written)
        entry.answer = enter
        entry.client_max_body_size = 0  # the location's counts, when it has been found


def attach(location: Location, services: Services) -> None:
    """Give a location all it needs to answer requests in this worker. Raises CannotBegin."""
    with blaming(location):
        attach_settings(location, services)


def attach_settings(location: Location, services: Services) -> None:
    """Give a location what each of its settings asks for."""
    location.server_token = services.process.identity.server(location.server_tokens)
    for name in ("client_body_temp_path", "proxy_temp_path"):
        place: TemporaryPath | None = getattr(location, name)
        if place is not None:
            setattr(location, name, place.below(services.configuration.path))
    location.log = services.logs.error_of(location)
    with blaming(location, "access_log"):
        location.write_log = services.logs.access_of(location)
    location.group = location.protocol = location.head_plan = None
    if location.proxy_target:
        with blaming(location, "proxy_pass"):
            attach_upstream(location, services)
    location.error_pages = error_pages_of(location)
    location.filter, location.unchanged = filters_of(location, services)
    location.thread_pool = services.thread_pools[location.aio] if location.aio else None
    location.reads_with_care = bool(location.aio or location.directio)
    location.added_to_success = additions_to_success(location)
    location.handlers = handlers = handlers_of(location, services)
    is_open = not (location.steps or location.internal or location.for_other_methods)
    if is_open and len(handlers) == 1 and not location.error_pages:
        location.answer = handlers[0]
    elif is_open and all(phase in FOR_FILES or phase(location, services) is None for phase in PHASES):
        location.answer = serving_files_at_once(location, drive, settle)
    else:
        location.answer = drive
    for name in _READ_BY_EVERY_REQUEST:
        setattr(location, name, getattr(location, name))


def handlers_of(location: Location, services: Services) -> tuple[Handler, ...]:
    """What the phases after rewriting do here; nothing comes after proxying, which always answers."""
    handlers: list[Handler] = []
    for phase in PHASES:
        handler = phase(location, services)
        if handler is not None:
            handlers.append(handler)
        if phase is proxying and handler is not None:
            break
    return tuple(handlers)


def attach_upstream(location: Location, services: Services) -> None:
    """What proxying needs."""
    location.group = services.groups[location.upstream.name] if location.upstream else None
    location.manner = None
    if location.group is not None:
        location.manner = constant_manner(location)
        location.group.lead_here(location, services.workers)
    location.protocol = protocol_of(location)
    location.changes_body = location.proxy_set_body is not None or not location.proxy_pass_request_body
    location.reshape = reshaping(location)
    if location.proxy_store.is_on:
        location.proxy_ignore_client_abort = True
    location.head_plan = HeadPlan(location)
    passed = {name.lower().encode() for name in location.proxy_pass_header}
    more = {name.lower().encode() for name in location.proxy_hide_header}
    location.retried_statuses = frozenset(int(word[5:]) for word in location.proxy_next_upstream if word[:5] == "http_")
    location.hidden = (frozenset(_HIDDEN) | more) - passed | _REGENERATED
    location.answer_plan = AnswerPlan(location)
    location.noticed_statuses = location.retried_statuses
    if location.proxy_intercept_errors:
        location.noticed_statuses |= {status for line in location.error_page for status in line.statuses}
