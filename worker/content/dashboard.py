"""dashboard: a page that shows what the server is doing, its updates, and the API behind its buttons.

    PREFIX/           the page
    PREFIX/events     the state, and then what changes in it, as server-sent events
    PREFIX/api/9/...  the API, as `worker.content.api` answers it; it changes nothing without write=on

A dashboard that may write and that nothing guards is only for this machine.
"""

from __future__ import annotations

import ipaddress
from copy import copy

from worker.content.api import answer, as_response
from worker.dashboard.snapshot import snapshot
from worker.dashboard.updates import Updates
from worker.pages import error_response, respond
from worker.services import Services
from wproxy.config.model import Location
from wproxy.dashboard import load_page
from wproxy.edits.parameters import Refused
from wproxy.http import Request, Response, ResponseFields
from wproxy.route import Handler

# The directives that guard a location.
GUARDS = ("allow", "deny", "auth_basic", "auth_request", "ssl_verify_client")
# Read as the module is imported, which a master does before it forks (worker/imports.py): all workers show the same.
PAGE = load_page()


def showing_dashboard(location: Location, services: Services) -> Handler | None:
    """Return the handler of a location with a dashboard; None for any other."""
    if location.dashboard is None:
        return None
    may_write = location.dashboard == "write"
    is_open = not any(location.written.get(name) for name in GUARDS)
    base = location.prefix.rstrip(b"/")
    counting = services.counting
    updates = Updates(services, counting)
    lines = (
        (b"Content-Security-Policy", PAGE.policy),
        (b"X-Content-Type-Options", b"nosniff"),
        (b"Referrer-Policy", b"no-referrer"),
        (b"Cache-Control", b"no-store"),
    )

    async def show(request: Request) -> Response:
        server = request.route.server_token
        if may_write and is_open and not is_local(request.client.remote_addr):
            return error_response(request, 403, server)
        rest = request.path[len(base) :]
        if not rest:
            return error_response(request, 301, server, base + b"/")
        if rest.startswith(b"/api/"):
            return await answer_api(request, services, rest[4:], may_write)
        if request.method not in (b"GET", b"HEAD"):
            return error_response(request, 405, server)
        if rest == b"/events":
            return await stream_events(request, updates)
        if rest == b"/":
            # For `wproxy explain` there is nothing to show: only a running worker has counts.
            body = PAGE.render(await snapshot(services, counting), may_write) if not request.is_rehearsed else b""
            return respond(request, 200, body, b"text/html; charset=utf-8", server, lines=lines)
        return error_response(request, 404, server)

    return show


async def answer_api(request: Request, services: Services, path: bytes, may_write: bool) -> Response:
    """Return the API's answer for a path below the one of the dashboard."""
    try:
        status, value = await answer(request, services, path, may_write)
    except Refused as refused:
        error = {"status": refused.status, "text": refused.text, "code": refused.code}
        return as_response(request, refused.status, {"error": error})
    return as_response(request, status, value)


async def stream_events(request: Request, updates: Updates) -> Response:
    """Return the stream of updates; 503 if too many look already."""
    server = request.route.server_token
    if updates.is_full:
        return error_response(request, 503, server)
    # How long somebody looks says nothing about the server.
    request.route = route = copy(request.route)
    route.sample = None
    lines = ((b"Cache-Control", b"no-store"), (b"X-Accel-Buffering", b"no"), (b"X-Content-Type-Options", b"nosniff"))
    fields = ResponseFields(200, lines, content_type=b"text/event-stream", server=server)
    if request.method == b"HEAD":
        return Response(fields, bodiless=True)
    if request.is_rehearsed:
        return Response(fields)
    return Response(fields, source=await updates.join())


def is_local(address: bytes) -> bool:
    """Whether a client is on this machine."""
    if address == b"unix:":
        return True
    try:
        return ipaddress.ip_address(address.decode("latin-1")).is_loopback
    except ValueError:
        return False
