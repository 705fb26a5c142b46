"""empty_gif: a transparent image of one pixel, from memory (nginx: src/http/modules/ngx_http_empty_gif_module.c)."""

from __future__ import annotations

from worker.pages import error_response
from wproxy.conditions import conditions_of, judge
from wproxy.config.model import Location
from wproxy.http import Request, Response, ResponseFields
from wproxy.route import Handler

GIF = bytes.fromhex("47494638396101000100800100000000ffffff21f90401000001002c00000000010001000002024c01003b")
MODIFIED = 23349600  # Mon, 28 Sep 1970 06:00:00 GMT


def sending_empty_gif(location: Location) -> Handler | None:
    """Return the handler of a location with empty_gif; None for any other."""
    if not location.empty_gif:
        return None
    mode = location.if_modified_since

    async def send_empty_gif(request: Request) -> Response:
        server = request.route.server_token
        if request.method not in (b"GET", b"HEAD"):
            return error_response(request, 405, server)
        stands_in = request.forced_status not in (0, 200)  # for an error: then it is neither conditional nor dated
        conditions = None if stands_in or request.main is not None else conditions_of(request.fields)
        if conditions is not None:
            status = judge(conditions, b"", MODIFIED, mode)
            if status == 304:
                request.forced_status = 0
                return Response(ResponseFields(304, server=server, last_modified=MODIFIED), bodiless=True)
            if status == 412:
                return error_response(request, 412, server)
        modified = -1 if stands_in else MODIFIED
        fields = ResponseFields(200, content_type=b"image/gif", content_length=len(GIF), server=server, last_modified=modified)
        return Response(fields, bodiless=True) if request.method == b"HEAD" else Response(fields, GIF)

    return send_empty_gif
