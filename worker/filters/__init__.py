"""Filters of responses, a file per nginx module, and their order.

Each has `NAME_filter(location)`, asked once per location when a worker starts: a function from request and response to
response, or None where the location does not use it. A location that uses none pays nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from worker.filters.headers import headers_filter
from wproxy.config.model import Location
from wproxy.http import Request, Response

Filter = Callable[[Request, Response], Response]

# In nginx's order.
FILTERS: tuple[Callable[[Location], Filter | None], ...] = (headers_filter,)


def filter_of(location: Location) -> Filter | None:
    """All filters of a location as one; None where there are none. It may raise ClientError, having given up the body.

    What is to be sent is told to the request first, so that $status and $sent_http_* can be used in what is added.
    """
    filters = tuple(found for make in FILTERS if (found := make(location)) is not None)
    if not filters:
        return None

    def apply(request: Request, response: Response) -> Response:
        request.status = response.fields.status
        request.response_fields = response.fields
        for each in filters:
            response = each(request, response)
        return response

    return apply
