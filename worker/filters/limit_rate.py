"""limit_rate for bodies at hand: a small file, a text of `return`, an upstream's short answer (nginx: ngx_http_write_filter).

A body at hand goes out with the head at once. If the location has a rate, or something sets `$limit_rate`, a body larger than the
first second allows is held back as a source instead, and sent like any other at that rate (worker/outlet.py).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from worker.outlet import NOTHING, Wrapper
from worker.rates import client_rate, rate_of
from worker.services import Services
from worker.upstream.buffering import buffering_of
from worker.upstream.protocols import settings_of
from wproxy.bodies import BodySource
from wproxy.config.model import Configuration, Location
from wproxy.directives.rewrite import Assignment, Step, walk_steps
from wproxy.http import Request, Response

Filter = Callable[[Request, Response], Response]


def limit_rate_filter(location: Location, services: Services) -> Filter | None:
    """Return the filter of a location; None if a response can have no rate."""
    if not location.limit_rate and not sets_rate(services.configuration):
        return None
    settings = settings_of(location)
    buffering = None if settings is None else buffering_of(settings)

    def apply(request: Request, response: Response) -> Response:
        head = request.upstream_head
        is_direct = buffering is not None and head is not None and not response.error and not buffering.applies(head)
        if not is_direct:  # nginx sends an unbuffered response as fast as it arrives
            hold_back(request, response)
        return response

    return apply


@lru_cache(2)
def sets_rate(configuration: Configuration) -> bool:
    """Whether a `set` anywhere assigns $limit_rate."""
    found = False

    def visit(step: Step) -> None:
        nonlocal found
        found = found or (isinstance(step, Assignment) and step.name == "limit_rate")

    for server in configuration.servers:
        walk_steps(server.steps, visit)
        for location in server.each_location():
            walk_steps(location.steps, visit)
    return found


def hold_back(request: Request, response: Response) -> bool:
    """Move the body at hand into the source if the rate does not let all of it go at once; return whether it was moved."""
    rate = client_rate(request)
    if not rate or response.tunnel is not None:
        return False
    if len(response.body) <= rate + rate_of(request.location.limit_rate_after, request):
        return False
    response.source = HeldBack(response.body, response.source)
    response.body = b""
    return True


class HeldBack(Wrapper):
    """A body at hand and the source that follows it."""

    __slots__ = ("_at_hand",)

    def __init__(self, at_hand: bytes, source: BodySource | None) -> None:
        self._unsent = NOTHING
        self._at_hand = at_hand
        self._source = source

    async def read(self) -> bytes:
        """Return the next piece, b"" at the end. Raises UpstreamFailure."""
        if self._at_hand:
            piece, self._at_hand = self._at_hand, b""
            return piece
        return b"" if self._source is None else await self._source.read()

    def close(self) -> None:
        """Give up the rest."""
        self._at_hand = b""
        super().close()
