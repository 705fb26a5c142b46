"""The way of a request in a location with a cache (proxy.md §7; nginx: ngx_http_upstream_cache).

    body     → is read first, as proxy_request_buffering says
    purge?   → 204                                 worker/cache/purging.py
    bypass?  → upstream, stored all the same
    valid    → HIT                                 worker/cache/hits.py
    absent   → one request goes upstream, others wait for it if proxy_cache_lock says so
    expired  → the first request updates it (in the background if it may), others get it as it is (STALE, UPDATING) if they may
    upstream → the answer is stored while it is passed on           worker/cache/storing.py
               or what is stored is sent instead: REVALIDATED, STALE   worker/cache/keeping.py

A location without a cache never comes here.
"""

from __future__ import annotations

from copy import copy
from functools import partial

from worker.background import Background, Copy, answered_to_nobody
from worker.cache.dealings import BYPASS, EXPIRED, HIT, MISS, STALE, UPDATING, Dealings
from worker.cache.heads import CannotRead
from worker.cache.hits import send_stored
from worker.cache.hot import HOT
from worker.cache.judging import store
from worker.cache.keeping import Keeping, keeping_of
from worker.cache.plan import CachePlan, UnknownZone, is_met
from worker.cache.purging import purge
from worker.cache.ranges import is_too_far
from worker.cache.stored import Stored
from worker.cache.use import ABSENT, FAILED, SCARCE, VALID, Use
from worker.cache.use import EXPIRED as IS_EXPIRED
from worker.content.accelerated import answer_elsewhere
from worker.logs import log_request
from worker.pages import error_response
from worker.services import Exchange, Services
from worker.subrequest import Cycle
from worker.upstream.answers import SentElsewhere
from worker.upstream.exchange import nothing_to_send
from worker.upstream.module_settings import ModuleSettings
from worker.upstream.outgoing import body_at_hand, outgoing_of
from worker.upstream.passing import Passing
from wproxy.cache import counters
from wproxy.cache.key import cache_key
from wproxy.conditions import conditions_of, first_range
from wproxy.http import Request, Response, http_date
from wproxy.route import Route


def answering_from(settings: ModuleSettings, services: Services) -> Exchange:
    """Return the function that gets a response from the cache of a location, or from the upstream."""
    plan = CachePlan(settings, services.caches)
    updates = Background(services)
    routes: dict[Route, Route] = {}  # at most two: a location has one for clients and one for subrequests

    async def answer(passing: Passing, request: Request) -> Response:
        # Keys and conditions may have $request_body in them: without it, what was sent for one body would answer another.
        body = request.body
        if body is not None and not (body_at_hand(request, body) or await outgoing_of(request, body, passing.streaming)):
            return nothing_to_send(request, None)
        try:
            cache = plan.cache_for(request)
        except UnknownZone:
            return error_response(request, 500, request.route.server_token)
        keeping = keeping_of(plan, passing)
        if request.trace is not None and request.trace.is_rehearsal and cache is not None:
            from worker.cache.explaining import explained  # needed by `wproxy explain` only

            return await explained(services, keeping, cache, passing, request, request.trace)
        if plan.purge and cache is not None and is_met(plan.purge, request) is not None:
            return await purge(cache, cache_key(keeping.key(request)), request)
        if cache is None or request.method not in plan.methods:
            # Also in place of what a location noted that has led here.
            request.cached = plan.no_zone if cache is None else plan.no_method
            return await services.exchange(passing, request)
        key = keeping.key(request)
        if body is not None and body.was_missed:  # all such requests would have one key
            unkeyed = request.cached = Dealings(request, plan, cache, cache_key(key))
            unkeyed.status, unkeyed.stores = BYPASS, False
            unkeyed.note("$request_body is not in memory")
            unkeyed.log()
            return await fetched(services, keeping, passing, request, unkeyed)
        is_plain = request.method == b"GET" and not plan.bypass and conditions_of(request.fields) is None
        hot = HOT.find(key, passing.answer_plan, cache, request.client.clock) if is_plain else None
        if hot is not None:
            request.cached, request.upstream_head = hot.notes, hot.head
            cache.count(counters.HIT, len(hot.body))
            return Response(hot.fields, hot.body)
        dealings = request.cached = Dealings(request, plan, cache, cache_key(key))
        use = dealings.look_up()
        request.call_at_end(dealings.part)
        try:
            if use.state == VALID and not plan.bypass:
                dealings.status = HIT
                assert use.stored is not None
                response: Response | None = send_stored(passing, request, dealings, use.stored)
                if is_plain and response is not None:
                    HOT.remember(request, dealings, passing.answer_plan, response)
            else:
                response = await stored_response(services, updates, keeping, passing, request, dealings, use)
            if response is not None:
                dealings.count(max(response.fields.content_length, 0))
                if response.source is None and dealings.use is not None:
                    dealings.use.end()  # nothing of the file is needed any more
        except CannotRead as error:
            dealings.status, response = MISS, None
            dealings.note(f"what is stored cannot be read: {error}")
        except SentElsewhere as elsewhere:
            return await answer_elsewhere(request, elsewhere.target, elsewhere.kept)
        if response is None:
            own = request.route
            request.route = abides = abiding(routes, own)
            response = await fetched(services, keeping, passing, request, dealings)
            if request.route is abides:
                request.route = own  # from now on the client may leave: what stores the answer goes on by itself
        dealings.log()
        return response

    return answer


async def stored_response(
    services: Services, updates: Background, keeping: Keeping, passing: Passing, request: Request, dealings: Dealings, use: Use
) -> Response | None:
    """Return what is stored, when it is not simply a HIT; None to ask the upstream. Raises SentElsewhere, CannotRead."""
    plan = dealings.plan
    condition = is_met(plan.bypass, request)
    if condition is not None:
        dealings.status = BYPASS
        dealings.note(f'{plan.settings.module}_cache_bypass "{condition.text}"')
        return None
    dealings.status = MISS
    clock = request.client.clock
    last = clock.now + plan.lock_timeout
    while use.state == ABSENT:
        if not plan.lock or use.lock(plan.lock_age):
            dealings.note("it is not stored")
            return None
        if clock.now >= last or not await use.wait(last - clock.now):
            use.again()
            if use.state == ABSENT:
                dealings.stores = False
                dealings.note("cache lock timeout")
                return None
            break
        use.again()
    if use.state == SCARCE:
        dealings.stores = False
        dealings.note(f"fewer requests than {plan.settings.module}_cache_min_uses {plan.min_uses}")
        return None
    if use.state == FAILED:
        dealings.status = HIT
        dealings.settle()
        return error_response(request, use.status, request.route.server_token)
    stored = use.stored
    assert stored is not None
    if use.state == VALID:
        dealings.status = HIT
        return send_stored(passing, request, dealings, stored)
    header = stored.header
    wall = clock.wall
    may_be_old = "updating" in plan.use_stale or wall <= header.valid_sec + header.updating_sec
    dealings.outlasts_errors = wall <= header.valid_sec + header.error_sec
    if may_be_old and use.state != IS_EXPIRED:
        dealings.status = UPDATING
        return send_stored(passing, request, dealings, stored)
    if may_be_old and plan.background_update and updates.has_room():
        dealings.status = STALE
        response = kept_beyond(passing, request, dealings, stored)
        if response is not None:
            if begin_update(services, updates, keeping, passing, request, dealings):
                return response
            response.close()
            dealings.is_settled = False
    dealings.status = EXPIRED
    dealings.note(f"it was valid until {http_date(header.valid_sec)}")
    ask_whether_changed(dealings)
    return None


def kept_beyond(passing: Passing, request: Request, dealings: Dealings, stored: Stored) -> Response | None:
    """Return what is stored, as a response that outlives its entry; None when there is no descriptor for it."""
    try:
        return send_stored(passing, request, dealings, stored, keeps=True)
    except OSError as error:
        log_request(request, "crit", f"dup() failed ({error.errno}: {error.strerror}) while sending a cached response")
        return None


def ask_whether_changed(dealings: Dealings) -> None:
    """Have the upstream asked whether what is stored has changed, if it is to be asked and there is anything to ask by."""
    use = dealings.use
    if dealings.plan.revalidate and use is not None and use.stored is not None:
        header = use.stored.header
        dealings.last_modified = http_date(header.last_modified).encode() if header.last_modified >= 0 else None
        dealings.etag = header.etag or None


async def fetched(services: Services, keeping: Keeping, passing: Passing, request: Request, dealings: Dealings) -> Response:
    """Return the answer of the upstream, which is stored on its way; or what is stored, in its place."""
    if dealings.stores and is_too_far(first_range(request.fields), dealings.plan.max_range_offset):
        dealings.stores = False
        dealings.note(f"not stored: the range begins at {dealings.plan.settings.module}_cache_max_range_offset or later")
    if not dealings.stores:
        response = await services.exchange(passing, request)
        dealings.count(max(response.fields.content_length, 0))
        return response
    is_head = request.method == b"HEAD"
    dealings.convert_head()
    try:
        response = await services.exchange(keeping.passing, request)
    except SentElsewhere as elsewhere:  # what is stored in place of an answer
        return await answer_elsewhere(request, elsewhere.target, elsewhere.kept)
    finally:
        dealings.restore_head()
    if not dealings.is_settled and not response.error and response.tunnel is None:
        response = store(services, dealings, request, response)
    else:
        dealings.count(max(response.fields.content_length, 0))
    if is_head and not response.bodiless:
        response.close()
        response.body, response.source, response.bodiless = b"", None, True
    return response


# Updates without a client.


def begin_update(
    services: Services, updates: Background, keeping: Keeping, passing: Passing, request: Request, dealings: Dealings
) -> bool:
    """Begin to update what is stored, for no client; return whether that was possible. The entry is the update's from then on."""
    try:
        twin = Copy(request, request.path)
    except (Cycle, OSError):
        return False
    twin.stand_beside(request)
    other = twin.cached = Dealings(twin, dealings.plan, dealings.cache, dealings.digested)
    other.is_background, other.status = True, EXPIRED
    other.take_over(dealings.hand_over())
    twin.call_at_end(other.part)
    ask_whether_changed(other)
    updates.begin(partial(update, services, keeping, passing, twin, other), f"update {dealings.key!r}")
    return True


async def update(services: Services, keeping: Keeping, passing: Passing, twin: Copy, dealings: Dealings) -> None:
    """Ask the upstream for what is stored, and store it anew."""
    try:
        await answered_to_nobody(twin, fetched(services, keeping, passing, twin, dealings))
        dealings.log()
    finally:
        twin.finish()


def abiding(routes: dict[Route, Route], route: Route) -> Route:
    """Return a route like this one, on which a client that leaves does not end its request: the answer is stored all the same."""
    if route.ignores_abort:
        return route
    found = routes.get(route)
    if found is None:
        found = routes[route] = copy(route)
        found.ignores_abort = True
    return found
