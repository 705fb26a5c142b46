"""The handlers that every location needs in this worker, computed when the worker starts.

A phase after rewriting is a row of PHASES: a function that looks at a location and returns the handler it needs in that phase, or
None.

What few locations need is imported for those that do: such a function looks at the setting first.

A location that has only content is answered by that handler itself, without a further call; `phases.drive` is for the others.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from copy import copy
from functools import partial
from types import MethodType
from typing import TYPE_CHECKING, cast

from worker.access import Decide, combine, rules_of
from worker.access.addresses import by_address, rules_alone
from worker.access.auth_request import by_asking
from worker.access.jwt import by_token, disbelieving
from worker.access.password import by_password
from worker.blaming import blaming
from worker.client.http1.learning import learning_exchanges
from worker.client.http1.repeated_answer import learning_answers
from worker.content.files_again import sending_again
from worker.content.index import indexing
from worker.content.precompressed import sending_precompressed
from worker.content.returns import returning_at_once
from worker.content.static import serving_files, serving_files_at_once
from worker.content.try_files import trying_files
from worker.error_pages import error_pages_of
from worker.filters.headers import additions_to_success
from worker.filters.order import filters_of
from worker.limits.check import Check, checked
from worker.limits.choice import limiting_connections, limiting_requests
from worker.pages import error_response
from worker.phases import drive, enter, settle
from worker.post_action import acting_afterwards
from worker.real_ip import RealIp, at_location, at_server
from worker.services import Exchange, Services
from worker.subrequest import makes_subrequests
from worker.upstream.answers import AnswerPlan
from worker.upstream.make_passing import make_passing
from worker.upstream.module_settings import ModuleSettings
from worker.upstream.passing import Passing
from worker.upstream.protocols import settings_of
from worker.upstream.target import proxying_to_variable
from wproxy.config.model import Location, Server
from wproxy.directives.explain_ring import is_recorded
from wproxy.http import Jump, Request, Response
from wproxy.route import Again, Answer, Handler, Route

if TYPE_CHECKING:
    from worker.decisions.recording import Recorder

# The phases after rewriting: the handlers of a location.


def real_ip(location: Location, services: Services) -> Handler | None:
    """Return the handler that finds the client behind a proxy; the server's settings have been tried before."""
    return at_location(location)


def access(location: Location, services: Services) -> Handler | None:
    """Return the handler that decides whether the client may enter."""
    rules = rules_of(ACCESS, location, services)
    refuse = rules_alone(location, rules) or combine(rules, location)
    return refuse if refuse is None or location.auth_jwt is None else disbelieving(refuse)


def precontent(location: Location, services: Services) -> Handler | None:
    """Return try_files."""
    return trying_files(location)


def mirror(location: Location, services: Services) -> Handler | None:
    """Return mirror."""
    if not location.mirror:
        return None
    from worker.content.mirror import mirroring

    return mirroring(location, services)


def api(location: Location, services: Services) -> Handler | None:
    """Return the API."""
    if not location.api:
        return None
    from worker.content.api import controlling

    return controlling(location, services)


def dashboard(location: Location, services: Services) -> Handler | None:
    """Return the dashboard."""
    if location.dashboard is None:
        return None
    from worker.content.dashboard import showing_dashboard

    return showing_dashboard(location, services)


def stub_status(location: Location, services: Services) -> Handler | None:
    """Return stub_status."""
    if not location.stub_status:
        return None
    from worker.content.stub_status import showing_status

    return showing_status(location, services)


def metrics(location: Location, services: Services) -> Handler | None:
    """Return metrics."""
    if not location.metrics:
        return None
    from worker.content.metrics import showing_metrics

    return showing_metrics(location, services)


def empty_gif(location: Location, services: Services) -> Handler | None:
    """Return empty_gif."""
    if not location.empty_gif:
        return None
    from worker.content.empty_gif import sending_empty_gif

    return sending_empty_gif(location)


def random_index(location: Location, services: Services) -> Handler | None:
    """Return random_index."""
    if not location.random_index:
        return None
    from worker.content.random_index import choosing_index

    return choosing_index(location)


def proxying(location: Location, services: Services) -> Handler | None:
    """Return proxy_pass: it always answers, so nothing after it is asked."""
    settings = settings_of(location)
    if settings is None:
        return None
    answer_plan = AnswerPlan(settings, location.route.server_token)
    exchange = exchange_of(settings, services)
    if settings.get("target").template is not None:
        return proxying_to_variable(settings, services, answer_plan, exchange)
    assert location.upstream is not None
    group = services.groups[location.upstream.name]
    passing = services.passings[location] = make_passing(settings, group, answer_plan, services)
    answer: Handler = MethodType(exchange, passing)  # 260 instructions less than a `partial`
    methods = passing.protocol.methods
    return answer if methods is None else only_for(methods, answer)


def exchange_of(settings: ModuleSettings, services: Services) -> Exchange:
    """Return the function that gets a response: from an upstream, or also from the location's cache."""
    if not settings.has_cache:
        return partial(without_cache, services.exchange) if services.caches else services.exchange
    from worker.cache.answering import answering_from  # needed only here

    return answering_from(settings, services)


def without_cache(exchange: Exchange, passing: Passing, request: Request) -> Awaitable[Response]:
    """Get a response in a location without a cache; what a cache had to do with the request, before it was led here, is over."""
    request.cached = None
    return exchange(passing, request)


def only_for(methods: frozenset[bytes], answer: Handler) -> Handler:
    """Return a handler that refuses requests with other methods."""

    async def refuse_others(request: Request) -> Response | Jump | None:
        if request.method not in methods:
            return error_response(request, 405, request.route.server_token)
        return await answer(request)

    return refuse_others


def dav(location: Location, services: Services) -> Handler | None:
    """Return the handler of dav_methods."""
    if not location.dav_methods:
        return None
    from worker.content.dav import changing_files

    return changing_files(location, services)


def index(location: Location, services: Services) -> Handler | None:
    """Return the handler that finds the index of a directory."""
    return indexing(location)


def autoindex(location: Location, services: Services) -> Handler | None:
    """Return the handler that lists a directory."""
    if not location.autoindex:
        return None
    from worker.content.autoindex import listing

    return listing(location)


def precompressed(location: Location, services: Services) -> Handler | None:
    """Return the handler of gzip_static and the like."""
    return sending_precompressed(location)


def static(location: Location, services: Services) -> Handler:
    """Return the handler that serves files: the last resort of a location without other content."""
    return serving_files(location)


# Handlers of the access phase, for `satisfy`, in nginx's order; further modules will be rows here.
ACCESS: tuple[Callable[[Location, Services], Decide | None], ...] = (by_address, by_password, by_asking, by_token)
MakeHandler = Callable[[Location, Services], Handler | None]
Made = list[tuple[MakeHandler, Handler]]
# Handlers before the access phase, in nginx's order.
PREACCESS: tuple[MakeHandler, ...] = (real_ip, limiting_requests, limiting_connections)
CONTENT: tuple[MakeHandler, ...] = (
    api,
    dashboard,
    stub_status,
    metrics,
    empty_gif,
    proxying,
    random_index,
    index,
    autoindex,
    dav,
    precompressed,
    static,
)
PHASES: tuple[MakeHandler, ...] = (*PREACCESS, access, precontent, mirror, *CONTENT)
# Only `static` of these is needed for a URI without a slash at its end.
FOR_FILES = (index, autoindex, static)
# Subrequests do without these: whoever may see a page may see what it consists of.
FOR_CLIENTS = (access, mirror)


def attach_server(server: Server, services: Services) -> None:
    """Give all locations of a server what they need to answer requests in this worker."""
    fallback = server.locations.fallback
    first = RealIp(fallback) if fallback.set_real_ip_from else None
    for location in server.each_location():
        attach(location, services)
        if first is not None:
            location.route.answer = at_server(first, location.route.answer)
            location.route.learn = location.route.learn_varied = None
    if server.steps:
        # Every request enters through the server's own steps; the location is found after them.
        server.entry = entry = copy(fallback.route)
        entry.answer = enter
        entry.learn = entry.learn_varied = None
        recorder = recorder_of(fallback, services, any(map(is_recorded, server.each_location())))
        if recorder is not None:
            entry.answer = recorder.answering(enter)
        if first is not None:
            entry.answer = at_server(first, entry.answer)
        # The location's limit applies, when it has been found.
        entry.client_max_body_size = 0
        entry.keepalive_requests, entry.keepalive_time, entry.keepalive_timeout = 1 << 62, math.inf, (math.inf, None)
        entry.keepalive_disable = frozenset()


def detach_server(server: Server) -> None:
    """Take from a server what `attach_server` gave it: the services of a worker that is over stay alive no longer."""
    for location in server.each_location():
        if hasattr(location, "route"):
            del location.route
    server.entry = None


def attach(location: Location, services: Services) -> None:
    """Give a location all it needs to answer requests in this worker. Raises CannotBegin."""
    with blaming(location):
        token = services.process.identity.server(location.server_tokens)
        location.route = route = Route(location, token, services.logs.error_of(location))
        made = attach_settings(location, route, services)
        if makes_subrequests(services.configuration):
            route.inner = inner_route(location, made, services)


def inner_route(location: Location, made: Made, services: Services) -> Route:
    """Return the route of subrequests through a location. made: its handlers, with their phases."""
    inner = copy(location.route)
    inner.handlers = tuple(handler for phase, handler in made if phase not in FOR_CLIENTS)
    inner.content_handlers = tuple(handler for phase, handler in made if phase in CONTENT)
    inner.filter, inner.unchanged = filters_of(location, services, is_inner=True)
    # Not that of the route, which is followed by post_action.
    inner.write_log = services.logs.access_of(location) if location.log_subrequest else None
    return inner


def attach_settings(location: Location, route: Route, services: Services) -> Made:
    """Set the parts of a route that single settings of its location ask for; return its handlers, with their phases."""
    if location.client_body_temp_path is not None:
        route.body_temp_path = location.client_body_temp_path.below(services.configuration.path)
    with blaming(location, "access_log"):
        route.write_log = acting_afterwards(location, services, services.logs.access_of(location))
    count_in(location, route, services)
    settings = settings_of(location)
    if settings is not None:
        route.ignores_abort = settings.get("ignore_client_abort", False) or bool((store := settings.get("store")) and store.is_on)
    route.error_pages = error_pages_of(location)
    route.filter, route.unchanged = filters_of(location, services)
    route.thread_pool = services.thread_pools[location.aio] if location.aio else None
    route.added_to_success = additions_to_success(location)
    made = [(phase, handler) for phase in PHASES if (handler := make_handler(phase, location, services)) is not None]
    # Proxying always answers: nothing comes after it.
    del made[next((number for number, (phase, _) in enumerate(made, 1) if phase is proxying), len(made)) :]
    route.handlers = handlers = tuple(handler for _, handler in made)
    again: Again | None = None
    is_open = not (location.internal or location.for_other_methods)
    at_once = returning_at_once(location, drive) if is_open else None
    checks = tuple(handler for handler in handlers if isinstance(handler, Check))
    if at_once is not None:
        route.answer, again = at_once
    elif location.steps or not is_open:
        route.answer = drive
    elif len(handlers) == len(checks) + 1 and not route.error_pages:
        answer = cast(Answer, handlers[-1])
        route.answer = checked(checks, answer) if checks else answer
    elif all(phase in FOR_FILES for phase, _ in made):
        route.answer = serving_files_at_once(location, drive, settle)
        again = sending_again(location)
    else:
        route.answer = drive
    if is_traced(location):
        attach_tracing(location, route, services)
    recorder = recorder_of(location, services, is_recorded(location))
    if recorder is not None:
        route.answer = recorder.answering(route.answer)
        route.record = recorder.refused
        route.filter = recorder.filtering(route.filter)
    elif route.filter is None and route.tracing is None and location.post_action is None:
        if again is not None:
            route.learn = learning_answers(again)
        else:
            passing = passing_alone(location, services, handlers)
            if passing is not None:
                route.learn, route.learn_varied = learning_exchanges(passing)
    return made


def passing_alone(location: Location, services: Services, handlers: tuple[Handler, ...]) -> Passing | None:
    """Return the passing of a location that does nothing but pass requests on; None for any other."""
    passing = services.passings.get(location)
    if passing is None or location.steps or location.internal or location.for_other_methods:
        return None
    # Where other locations have caches, the function of the method is `without_cache`.
    return passing if len(handlers) == 1 and getattr(handlers[0], "__self__", None) is passing else None


def recorder_of(location: Location, services: Services, listens: bool) -> Recorder | None:
    """Return what records the decisions about requests that enter by a location; None where nothing does."""
    if services.positions is None or not listens:
        return None
    from worker.decisions.recording import Recorder

    return Recorder(location, services, services.positions)


def count_in(location: Location, route: Route, services: Services) -> None:
    """Have the requests of a location counted, where counters are shown."""
    counting = services.counting
    names = None if counting is None else counting.plan.names.get(location)
    if counting is None or names is None:
        return
    from worker.counters.requests import counting_requests, with_exemplars

    route.counts, route.sample, route.count_failure = counting_requests(counting, names)
    if is_traced(location):
        route.write_log = with_exemplars(counting, names, route.write_log)


def is_traced(location: Location) -> bool:
    """Whether requests of a location may be traced, or pass a trace on."""
    return location.otel_trace.constant != b"off" or location.otel_trace_context != "ignore"


def attach_tracing(location: Location, route: Route, services: Services) -> None:
    """Have the requests of a location traced: they begin in its phases, and end with their log line."""
    from worker.tracing.locations import Tracing

    tracing = route.tracing = Tracing(location, services.add_spans)
    route.answer = drive
    route.write_log = tracing.logging(route.write_log)


def make_handler(phase: MakeHandler, location: Location, services: Services) -> Handler | None:
    """Ask one phase for its handler. Raises CannotBegin."""
    if phase is not proxying:
        return phase(location, services)
    with blaming(location, f"{location.pass_module}_pass"):
        return phase(location, services)
