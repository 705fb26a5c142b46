"""mirror: a copy of each request to other locations of ours, in the background (subrequests.md §3; ngx_http_mirror_module.c).

The client never waits for a copy, and neither do its next request and the end of its connection (in nginx they do). A copy that
fails leaves lines in the error log and nothing else. If a location has too many copies under way, because those that get them are
slow or dead, further ones are dropped until there are fewer again.
"""

from __future__ import annotations

from functools import partial

from worker.background import Background, Copy, answered_to_nobody
from worker.logs import log_request
from worker.pages import error_response
from worker.services import Services
from worker.subrequest import Cycle, answered_inside
from worker.upstream.outgoing import Streaming, outgoing_of
from wproxy.config.model import Location
from wproxy.http import Request, Response
from wproxy.route import Handler

WHOLE = Streaming(False, False)


def mirroring(location: Location, services: Services) -> Handler | None:
    """Return the handler of a location with `mirror`; None for one without."""
    paths = tuple(path for path in location.mirror if path is not None)
    if not paths:
        return None
    with_body = location.mirror_request_body
    copies = Background(services)

    async def mirror(request: Request) -> Response | None:
        """Read the body if the copies get it, and start them. Raises ClientError, ClientGone."""
        body = request.body
        if body is not None and with_body and await outgoing_of(request, body, WHOLE) is None:
            return error_response(request, 500, request.route.server_token)
        for path in paths:
            begin_copy(copies, request, path)
        return None

    return mirror


def begin_copy(copies: Background, request: Request, path: bytes) -> None:
    """Start one copy of a request, if there is room for it."""
    if not copies.has_room():
        if not copies.is_full:
            text = f"{copies.count} copies for {path.decode('latin-1')} are under way, further ones are dropped"
            log_request(request, "warn", f"{text}{request.location.described('mirror')}")
        copies.is_full = True
        return
    try:
        copy = Copy(request, path, "mirror")
    except Cycle as cycle:
        log_request(request, "error", str(cycle))
        return
    except OSError as error:
        log_request(request, "crit", f"dup() failed ({error.errno}: {error.strerror}) while copying a request")
        return
    copies.begin(partial(send_copy, copy), f"copy for {path!r}")


async def send_copy(copy: Copy) -> None:
    """Send a copy, and drop its answer."""
    try:
        await answered_to_nobody(copy, answered_inside(copy))
    finally:
        copy.finish()
