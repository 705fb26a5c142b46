"""The filters of a location, in nginx's order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from worker.blaming import blaming
from worker.filters.addition import addition_filter
from worker.filters.brotli import brotli_filter
from worker.filters.charset import charset_filter
from worker.filters.grpc_errors import grpc_errors_filter
from worker.filters.gunzip import gunzip_filter
from worker.filters.gzip import gzip_filter
from worker.filters.headers import headers_filter
from worker.filters.limit_rate import limit_rate_filter
from worker.filters.ranges import ranges_filter
from worker.filters.slices import slice_filter
from worker.filters.ssi import ssi_filter
from worker.filters.store import store_filter
from worker.filters.sub_filter import sub_filter
from worker.filters.trailers import trailers_filter
from worker.filters.userid import userid_filter
from worker.filters.zstd import zstd_filter
from worker.services import Services
from wproxy.config.model import Location
from wproxy.http import Request, Response, ResponseFields

Filter = Callable[[Request, Response], Response]
Unchanged = Callable[[Request, ResponseFields], "ResponseFields | None"]


@runtime_checkable
class BodyFilter(Protocol):
    """A filter that changes bodies in one location."""

    def __call__(self, request: Request, response: Response) -> Response:
        """Return the same response, with other fields and another body or source if it is to be changed."""

    def unchanged(self, request: Request, fields: ResponseFields) -> ResponseFields | None:
        """Return the fields of a response whose body is left as it is; None if it would be changed."""


# In nginx's order, each with its directive. The first coding that a client accepts is chosen.
FILTERS: tuple[tuple[str, Callable[[Location], Filter | None]], ...] = (
    ("grpc_errors", grpc_errors_filter),
    ("add_header", headers_filter),
    ("userid", userid_filter),
    ("gunzip", gunzip_filter),
    ("sub_filter", sub_filter),
    ("charset", charset_filter),
)
# Those of the whole response, subrequests included.
LAST_FILTERS: tuple[tuple[str, Callable[[Location], Filter | None]], ...] = (
    ("brotli", brotli_filter),
    ("zstd", zstd_filter),
    ("gzip", gzip_filter),
    ("proxy_force_ranges", ranges_filter),
    ("proxy_pass_trailers", trailers_filter),
)


def made(location: Location, name: str, make: Callable[[Location], Filter | None]) -> Filter | None:
    """Return one filter of a location, None if it has none. Raises CannotBegin."""
    with blaming(location, name):
        return make(location)


# The filters of a client's response, once it is complete; a response of a subrequest becomes a part of one.
FOR_CLIENTS = frozenset(
    (
        "add_before_body",
        "add_header",
        "slice",
        "userid",
        "brotli",
        "zstd",
        "gzip",
        "proxy_force_ranges",
        "proxy_pass_trailers",
        "limit_rate",
    ),
)


def filters_of(location: Location, services: Services, is_inner: bool = False) -> tuple[Filter | None, Unchanged | None]:
    """Return all filters of a location as one, and a function for the fields if no body is changed. None if there are none.

    The second returns None if a body would be changed. When the first raises, it has closed the response. It first records status
    and fields on the request, so that added fields can use $status and $sent_http_*. is_inner: only those for subrequests.
    """
    # The stored copy is the answer as it came.
    rows = (
        ("proxy_store", lambda location: store_filter(location, services)),
        ("slice", slice_filter),
        *FILTERS,
        ("ssi", lambda location: ssi_filter(location, services)),
        ("add_before_body", lambda location: addition_filter(location, services)),
        *LAST_FILTERS,
        ("limit_rate", lambda location: limit_rate_filter(location, services)),
    )
    if is_inner:
        rows = tuple(row for row in rows if row[0] not in FOR_CLIENTS)
    filters = tuple(found for name, make in rows if (found := made(location, name, make)) is not None)
    bodies = tuple(each for each in filters if isinstance(each, BodyFilter))
    if not filters:
        return None, None

    def apply(request: Request, response: Response) -> Response:
        request.status = response.fields.status
        request.response_fields = response.fields
        try:
            for each in filters:
                response = each(request, response)
        except BaseException:
            response.close()
            raise
        return response

    def unchanged(request: Request, fields: ResponseFields) -> ResponseFields | None:
        found: ResponseFields | None = fields
        for each in bodies:
            if found is not None:
                found = each.unchanged(request, found)
        return found

    return apply, unchanged if bodies else None
