"""`return`: answering from the configuration (routing.md §3.7)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from worker.content.pages import error_response, respond
from worker.upstream.protocols.http import checked
from wproxy.config.model import Location
from wproxy.directives.rewrite import REDIRECTS, Return
from wproxy.http import Request, Response


class CloseConnection(Exception):
    """`return 444`: close without a word."""


def returning(location: Location, value: Return) -> Callable[[Request], Awaitable[Response]]:
    """The handler of a `return`."""
    status, template = value
    default_type = location.default_type.encode("utf-8", "surrogateescape")

    async def answer(request: Request) -> Response:
        server = request.location.server_token
        if status == 444:
            raise CloseConnection
        text = template.evaluate(request) if template else b""
        if status in REDIRECTS and template:
            return error_response(request, status, server, absolute(request, checked(text)))
        if template is None:
            return error_response(request, status, server)
        return respond(request, status, text, default_type, server)

    return answer


def absolute(request: Request, target: bytes) -> bytes:
    """A Location that begins with a slash becomes a whole URL, as `absolute_redirect on` asks."""
    if not target.startswith(b"/") or not request.location.absolute_redirect:
        return target
    client = request.client
    port = client.server_address.port
    default = 443 if client.scheme == b"https" else 80
    shown = b":%d" % port if port > 0 and port != default else b""
    return client.scheme + b"://" + request.host + shown + target
