"""stub_status: the counts of the whole server as text (nginx: src/http/modules/ngx_http_stub_status_module.c).

Every number covers all workers, and those of workers that are gone: this worker's own as of now, others' as of their last tick.
"""

from __future__ import annotations

from worker.connection_totals import read_totals
from worker.pages import error_response, respond
from worker.services import Services
from wproxy.config.model import Location
from wproxy.http import Request, Response
from wproxy.route import Handler

# Lines end with LF, and all but the second with a space before it: tools split them so.
PAGE = b"""Active connections: %d \nserver accepts handled requests\n %d %d %d \nReading: %d Writing: %d Waiting: %d \n"""


def showing_status(location: Location, services: Services) -> Handler | None:
    """Return the handler of a location with stub_status; None for any other."""
    if not location.stub_status:
        return None

    async def show_status(request: Request) -> Response:
        server = request.route.server_token
        if request.method not in (b"GET", b"HEAD"):
            return error_response(request, 405, server)
        return respond(request, 200, page_of(services), b"text/plain", server)

    return show_status


def page_of(services: Services) -> bytes:
    """Return the page."""
    totals = read_totals(services)
    active, reading, writing, waiting = services.process.count_connections()
    return PAGE % (active, totals.accepted, totals.handled, totals.requests, reading, writing, waiting)
