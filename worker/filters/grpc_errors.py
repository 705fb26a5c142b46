"""grpc_errors: an error of ours becomes a status of gRPC for those who call (protocols.md §3).

A gRPC client makes UNAVAILABLE or UNKNOWN of a page with status 502, and shows its user nothing of the reason. nginx has no such
option: there, error_page and a location with add_header stand in for it.
"""

from __future__ import annotations

from collections.abc import Callable

from wproxy.config.model import Location
from wproxy.http import REASONS, Request, Response, ResponseFields

Filter = Callable[[Request, Response], Response]

# The codes of gRPC (https://grpc.io/docs/guides/status-codes) for statuses of HTTP.
CODES = {400: 13, 401: 16, 403: 7, 404: 12, 408: 4, 413: 8, 429: 14, 502: 14, 503: 14, 504: 4}
UNKNOWN = 2


def grpc_errors_filter(location: Location) -> Filter | None:
    """Return a filter that answers calls with a status of gRPC where we answer with an error; None if it is off."""
    if not location.grpc_errors:
        return None

    def apply(request: Request, response: Response) -> Response:
        status = response.error
        if status < 400 or not (request.fields.get(b"content-type") or b"").startswith(b"application/grpc"):
            return response
        response.close()
        fields = ResponseFields(
            200,
            (
                (b"grpc-status", b"%d" % CODES.get(status, UNKNOWN)),
                (b"grpc-message", REASONS.get(status, str(status)).encode()),
            ),
            content_type=b"application/grpc",
            content_length=0,
            server=response.fields.server,
        )
        return Response(fields, bodiless=request.method == b"HEAD")

    return apply
