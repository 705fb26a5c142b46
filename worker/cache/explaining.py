"""`wproxy explain` in a location with a cache: what would come from it, and why not. Nothing is counted, marked or stored."""

from __future__ import annotations

from worker.cache.cache import Cache
from worker.cache.dealings import Dealings
from worker.cache.hits import send_stored
from worker.cache.keeping import Keeping
from worker.cache.plan import is_met
from worker.cache.stored import Stored
from worker.logs import shown
from worker.services import Services
from worker.upstream.passing import Passing
from wproxy.cache.key import cache_key
from wproxy.explain import Trace
from wproxy.http import Request, Response, http_date


async def explained(
    services: Services, keeping: Keeping, cache: Cache, passing: Passing, request: Request, trace: Trace
) -> Response:
    """Return the stored response if it would be sent, else the one of the upstream; record the reason."""
    plan = keeping.plan
    module, location = plan.settings.module, request.location

    def say(text: str, word: str = "cache") -> None:
        trace.add("cache", f"cache: {text}", location.origin(f"{module}_{word}"))

    key = cache_key(keeping.key(request))
    dealings = request.cached = Dealings(request, plan, cache, key)
    if plan.purge and is_met(plan.purge, request) is not None:
        say(f'what is stored for "{shown(key.text)}" is removed', "cache_purge")
        return await services.exchange(passing, request)
    if request.method not in plan.methods:
        say(f"the method {request.method.decode('latin-1')} is not cached", "cache_methods")
        return await services.exchange(passing, request)
    say(f'zone {cache.zone.name}, key "{shown(key.text)}"', "cache_key" if plan.key is not None else "cache")
    condition = is_met(plan.bypass, request)
    stored = cache.peek(key, dealings.variant_of)
    try:
        say(f"{cache.zone.file(key.digest) if stored is None else stored.path} {state_of(request, stored)}")
        if condition is not None:
            say(f'BYPASS: "{condition.text}" is neither empty nor 0', "cache_bypass")
        elif stored is not None and stored.header.valid_sec >= request.client.clock.wall:
            say("HIT: it is sent without asking the upstream")
            dealings.status = b"HIT"
            return send_stored(passing, request, dealings, stored, keeps=True)
        elif stored is not None:
            say("EXPIRED: the upstream is asked by the first request")
        else:
            say("MISS: the upstream is asked")
        unless = is_met(plan.no_cache, request)
        if unless is not None:
            say(f'the answer is not stored: "{unless.text}" is neither empty nor 0', "no_cache")
    finally:
        if stored is not None:
            stored.close()
    return await services.exchange(keeping.passing, request)


def state_of(request: Request, stored: Stored | None) -> str:
    """Return the state of a file in words."""
    if stored is None:
        return "is not there, or is not a response of this key"
    header = stored.header
    is_valid = header.valid_sec >= request.client.clock.wall
    return f"{'is' if is_valid else 'was'} valid until {http_date(header.valid_sec)}, {stored.body_length} bytes"
