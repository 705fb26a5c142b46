"""api: upstreams as JSON, and changes to them, in the shapes of nginx's commercial ngx_http_api_module.

    GET                 /9/http/upstreams                      all upstream blocks, with the peers of each
    GET DELETE          /9/http/upstreams/NAME                 one; have its counts begin anew
    GET POST            /9/http/upstreams/NAME/servers         its servers; add one
    GET PATCH DELETE    /9/http/upstreams/NAME/servers/ID      one server; change its parameters; remove it

    GET                 /9/wproxy                              the state of the whole server, for `wproxy top`
    GET                 /9/wproxy/requests, /ID                the decisions about the last requests, or one (explain_ring)
    GET                 /9/http/caches                         all zones of caches: see `worker.content.api_caches`
    GET                 /9/...                                 what only tells: see `worker.content.api_status`
    DELETE              /9/...                                 counts begin anew: see `worker.content.api_resets`

The part before /9 is the location's own. A change is answered when every serving worker has applied it (`worker.edits`). A
mistake is answered with {"error": {"status": ..., "text": ..., "code": ...}}. Pages of other sites change nothing
(`wproxy.origin`).
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from worker.content.api_request import NO_PATH, Outcome, needs_writing, only_get, read_json
from worker.content.api_status import HTTP, ROOT, answer_status, chosen, chosen_of_each
from worker.edits import Edits
from worker.pages import respond
from worker.services import Services
from worker.upstream.report import report_upstream
from wproxy.config.model import Location, Upstream
from wproxy.edits.parameters import Refused, as_json, changed_server, new_server
from wproxy.edits.servers import PresentServer, UpstreamEdits, added, changed, present_servers
from wproxy.files import shown_path
from wproxy.http import Request, Response
from wproxy.variables.request import request_id

# Version 8 of nginx Plus is 9 without workers; what reads 8, such as Debian's exporter, finds all of it in 9.
VERSIONS = ("8", "9")
HREF = "https://nginx.org/en/docs/http/ngx_http_api_module.html"
Handler = Callable[[Request], Awaitable[Response]]
MOST_RECORDED = 20


def controlling(location: Location, services: Services) -> Handler | None:
    """Return the handler of the API, None for a location without one."""
    if location.api is None:
        return None
    may_write = location.api == "write"
    base = location.prefix

    async def handle(request: Request) -> Response:
        try:
            status, value = await answer(request, services, request.path[len(base) :], may_write)
        except Refused as refused:
            error = {"status": refused.status, "text": refused.text, "code": refused.code}
            told = {"error": error, "request_id": (request_id(request) or b"").decode("ascii"), "href": HREF}
            return as_response(request, refused.status, told)
        return as_response(request, status, value)

    return handle


def as_response(request: Request, status: int, value: Any) -> Response:
    """Return a response with JSON, or without a body for 204."""
    # Only without an indent it is C that writes: the state of a thousand peers takes 10 ms instead of 100.
    indent = None if isinstance(value, dict) and "bounds" in value else 2
    body = b"" if value is None else json.dumps(value, indent=indent).encode("ascii") + b"\n"
    lines = ((b"Cache-Control", b"no-store"),)
    return respond(request, status, body, b"application/json", request.route.server_token, lines=lines)


async def answer(request: Request, services: Services, path: bytes, may_write: bool) -> Outcome:
    """Return status and value for a path below the location's own. Raises Refused."""
    method = request.method.decode("latin-1")
    parts = [part for part in shown_path(path).split("/") if part]
    if not parts:
        return only_get(method, [int(version) for version in VERSIONS])
    if parts[0] not in VERSIONS:
        raise Refused(404, "unknown version", "UnknownVersion")
    match parts[1:]:
        case []:
            return only_get(method, list(ROOT))
        case ["wproxy"]:
            from worker.dashboard.snapshot import snapshot

            return only_get(method, {} if request.is_rehearsed else await snapshot(services, services.counting))
        case ["wproxy", "requests", *rest] if len(rest) < 2:
            return only_get(method, recorded(services, rest))
        case ["http"]:
            return only_get(method, list(HTTP))
        case ["http", "caches"] if not services.caches:
            return only_get(method, {})
        case ["http", "caches", *rest] if services.caches:
            from worker.content.api_caches import answer_caches

            return await answer_caches(request, services.caches, method, rest, may_write)
        case ["http", "upstreams", *rest]:
            return await answer_upstreams(request, services, method, rest, may_write)
    if request.is_rehearsed:
        return 200, {}  # `wproxy explain`: only a running worker has counts
    if method == "DELETE":
        return reset(request, services, parts[1:], may_write)
    return answer_status(request, services, method, parts[1:])


def reset(request: Request, services: Services, parts: list[str], may_write: bool) -> Outcome:
    """Have the counts at a path begin anew. Raises Refused."""
    from worker.content.api_resets import reset_counts  # seldom asked for

    return reset_counts(request, services, parts, may_write)


def recorded(services: Services, rest: list[str]) -> Any:
    """Return the decisions about the last requests, or about the one with that id. Raises Refused."""
    if services.positions is None:
        raise Refused(404, "no request is recorded: there is no explain_ring and no explain_secret", "RequestNotFound")
    from wproxy.decisions.ring import decision_ring

    if not rest:
        return decision_ring().last(MOST_RECORDED)
    found = decision_ring().find(rest[0])
    if found is None:
        text = f'request "{rest[0]}" is not among the last ones that were recorded: see "wproxy explain --last"'
        raise Refused(404, text, "RequestNotFound")
    return found


async def answer_upstreams(request: Request, services: Services, method: str, rest: list[str], may_write: bool) -> Outcome:
    """Answer a path below /9/http/upstreams."""
    if request.is_rehearsed:
        return 200, {}  # `wproxy explain`: only a running worker knows the peers
    edits = services.edits
    edits.heed()
    if not rest:
        found = {name: report_upstream(services, upstream) for name, upstream in edits.upstreams.items()}
        return only_get(method, chosen_of_each(request, found))
    upstream = edits.upstreams.get(rest[0])
    if upstream is None:
        raise Refused(404, f'upstream "{rest[0]}" not found', "UpstreamNotFound")
    match rest[1:]:
        case [] if method == "DELETE":
            return reset(request, services, ["http", "upstreams", upstream.name], may_write)
        case []:
            return only_get(method, chosen(request, report_upstream(services, upstream)))
        case ["servers"]:
            return await answer_servers(request, edits, method, upstream, may_write)
        case ["servers", number]:
            return await answer_server(request, edits, method, upstream, number, may_write)
    raise NO_PATH


def servers_of(edits: Edits, upstream: Upstream) -> list[dict[str, Any]]:
    """Return the current servers of an upstream, as JSON."""
    return [as_json(each.id, each.server) for each in edits.present(upstream) if each.server is not None]


async def answer_servers(request: Request, edits: Edits, method: str, upstream: Upstream, may_write: bool) -> Outcome:
    """Answer for all servers of an upstream: list them, or add one."""
    if method in ("GET", "HEAD"):
        return 200, servers_of(edits, upstream)
    needs_writing(request, method, ("POST",), may_write)
    server = new_server(await read_json(request), upstream.balancing.refuses)

    def add(lines: Any, known: UpstreamEdits) -> UpstreamEdits:
        try:
            return added(lines, known, server, bool(upstream.state))
        except ValueError as error:
            raise Refused(409, str(error), "EntryExists") from None

    await edits.change(upstream, add)
    return 201, next(each for each in servers_of(edits, upstream) if each["server"] == server.text)


async def answer_server(request: Request, edits: Edits, method: str, upstream: Upstream, number: str, may_write: bool) -> Outcome:
    """Answer for one server: show, change or remove it."""
    if not (number.isascii() and number.isdigit()):
        raise Refused(400, f'invalid server id "{number}"', "UpstreamBadServerId")
    present = find(edits.present(upstream), number)
    assert present.server is not None
    if method in ("GET", "HEAD"):
        return 200, as_json(present.id, present.server)
    needs_writing(request, method, ("PATCH", "DELETE"), may_write)
    given = await read_json(request) if method == "PATCH" else None

    def edit(lines: Any, known: UpstreamEdits) -> UpstreamEdits:
        # Look it up again: another worker may have changed it meanwhile.
        now = find(present_servers(lines, known), number)
        assert now.server is not None
        server = changed_server(now.server, given, upstream.balancing.refuses) if method == "PATCH" else None
        return changed(lines, known, now, server, bool(upstream.state))

    await edits.change(upstream, edit)
    if method == "DELETE":
        return 200, servers_of(edits, upstream)
    now = find(edits.present(upstream), number)
    assert now.server is not None
    return 200, as_json(now.id, now.server)


def find(present: list[PresentServer], number: str) -> PresentServer:
    """Return the server with an id; raises Refused."""
    found = next((each for each in present if each.server is not None and str(each.id) == number.lstrip("0").rjust(1, "0")), None)
    if found is None:
        raise Refused(404, f"server with ID {number} does not exist", "UpstreamServerNotFound")
    return found
