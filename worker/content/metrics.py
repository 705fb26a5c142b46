"""metrics: the counters of the whole server for Prometheus, in its text format or as OpenMetrics, by the request's Accept.

`?name=PREFIX,...` shows the families whose names begin so, and `?scope=http,upstream` is short for the names of `wproxy_http` and
`wproxy_upstream`. The page is made in pieces between which the loop turns: no piece takes longer than PIECE, but for the rest of
the step that it is reached in.
"""

from __future__ import annotations

import zlib
from time import perf_counter

from worker.filters.accepting import takes
from worker.loop import give_way
from worker.pages import error_response, respond
from worker.services import Services
from wproxy.config.model import Location
from wproxy.directives.metrics import Metrics
from wproxy.http import Request, Response
from wproxy.route import Handler

PIECE = 0.002  # seconds
NOT_COUNTED = b"nothing is counted: no location has metrics, api, dashboard or status_zone\n"
_GZIP = 16  # added to the bits of the window
SCOPES = {
    "server": ("wproxy_build", "wproxy_start", "wproxy_config", "wproxy_upgrades", "wproxy_worker", "wproxy_loop", "wproxy_conn"),
    "http": ("wproxy_http",),
    "tls": ("wproxy_tls",),
    "upstream": ("wproxy_upstream",),
    "limit": ("wproxy_limit",),
    "cache": ("wproxy_cache",),
    "resolver": ("wproxy_resolver",),
    "otel": ("wproxy_otel",),
    "log": ("wproxy_log_",),
    "nginx": ("nginx",),
}


def showing_metrics(location: Location, services: Services) -> Handler | None:
    """Return the handler of a location with metrics; None for any other."""
    settings = location.metrics
    if settings is None:
        return None

    async def show_metrics(request: Request) -> Response:
        server = request.route.server_token
        if request.method not in (b"GET", b"HEAD"):
            return error_response(request, 405, server)
        return await metrics_page(request, services, settings)

    return show_metrics


async def metrics_page(request: Request, services: Services, settings: Metrics) -> Response:
    """Return the page."""
    # With what they need they take 5 ms, and `wproxy explain` does without.
    from worker.counters.page import write_page
    from worker.counters.reading import Reading
    from wproxy.counters.exposition import OPENMETRICS, TEXT, Exposition, wants_openmetrics

    counting = services.counting
    if counting is None:  # at the socket of `wproxy metrics`, which there is without counters, too
        return respond(request, 404, NOT_COUNTED, b"text/plain", request.route.server_token)
    get = request.fields.get
    is_open = wants_openmetrics(get(b"accept"))
    for group in services.groups.values():
        group.publish()
    for _ in counting.publishing():
        await give_way()
    page = Exposition(is_open, settings.bounds, wanted(request.args))
    packer = None
    if takes(get(b"accept-encoding") or b"", b"gzip"):
        packer = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS + _GZIP)
    pieces: list[bytes] = []
    begun = perf_counter()
    for _ in write_page(Reading(services, counting, settings, page)):
        if perf_counter() - begun >= PIECE:
            pieces += packed(page.take(), packer)
            await give_way()
            begun = perf_counter()
    pieces += packed(page.take(), packer)
    lines: tuple[tuple[bytes, bytes], ...] = ((b"Cache-Control", b"no-store"), (b"Vary", b"Accept, Accept-Encoding"))
    if packer is not None:
        pieces.append(packer.flush())
        lines += ((b"Content-Encoding", b"gzip"),)
    kind = OPENMETRICS if is_open else TEXT
    return respond(request, 200, b"".join(pieces), kind, request.route.server_token, lines=lines)


def packed(text: str, packer: zlib._Compress | None) -> list[bytes]:
    """Return a piece of the page as bytes, compressed if it is to be."""
    data = text.encode("utf-8", "replace")
    return [data if packer is None else packer.compress(data)]


def wanted(args: bytes | None) -> tuple[str, ...]:
    """Return the beginnings of the families that a request asks for; none for all."""
    found: list[str] = []
    for pair in (args or b"").decode("latin-1").split("&"):
        name, _, value = pair.partition("=")
        for word in value.split(","):
            if name == "name" and word:
                found.append(word)
            elif name == "scope":
                found += SCOPES.get(word, ())
    return tuple(found)
