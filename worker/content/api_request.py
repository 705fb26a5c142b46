"""The parts of the API that all its subjects have in common: which methods are answered, and the JSON of a request."""

from __future__ import annotations

import json
from typing import Any

from wproxy.edits.parameters import Refused
from wproxy.http import Request
from wproxy.origin import foreign_origin

# The largest body of a request; a server with all its parameters takes a few hundred bytes.
LARGEST_BODY = 65536
NO_PATH = Refused(404, "path not found", "PathNotFound")

Outcome = tuple[int, Any]


def only_get(method: str, value: Any) -> Outcome:
    """Return a read-only value. Raises Refused for other methods."""
    if method not in ("GET", "HEAD"):
        raise Refused(405, f"method not supported: only GET is, not {method}", "MethodNotSupported")
    return 200, value


def needs_writing(request: Request, method: str, methods: tuple[str, ...], may_write: bool) -> None:
    """Raise Refused unless the method is one of these, allowed here, and not used by a page of another site."""
    if method not in methods:
        supported = ", ".join(("GET", *methods))
        raise Refused(405, f"method not supported: only {supported}, not {method}", "MethodNotSupported")
    if not may_write:
        raise Refused(405, "method disabled: the api directive has no write=on", "MethodDisabled")
    servers = request.client.listener.servers
    reason = foreign_origin(request.fields.get, lambda name: servers.explain(name, request) != "default")
    if reason:
        raise Refused(403, f"forbidden: {reason}", "ForeignOrigin")


async def read_json(request: Request) -> Any:
    """Return the body of a request as JSON. Raises Refused, ClientError, ClientGone."""
    body = request.body
    if body is None:
        raise Refused(400, "a JSON object is expected in the body", "JsonError")
    pieces: list[bytes] = []
    size = max(request.fields.content_length, 0)
    while size <= LARGEST_BODY and (piece := await body.read()):
        pieces.append(piece)
        size = max(size, sum(map(len, pieces)))
    if size > LARGEST_BODY:
        request.keepalive = False
        raise Refused(413, f"the body is larger than {LARGEST_BODY} bytes", "RequestTooLarge")
    try:
        return json.loads(b"".join(pieces))
    except (ValueError, RecursionError) as error:
        raise Refused(415, f"JSON error: {error}", "JsonError") from None
