"""The filters of a location, in nginx's order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from worker.blaming import blaming
from worker.filters.charset import charset_filter
from worker.filters.gzip import gzip_filter
from worker.filters.headers import headers_filter
from worker.filters.limit_rate import limit_rate_filter
from worker.filters.ranges import ranges_filter
from worker.filters.trailers import trailers_filter
from worker.services import Services
from worker.upstream.module_settings import ModuleSettings
from worker.upstream.protocols import settings_of
from wproxy.config.model import Location
from wproxy.directives.store import Store
from wproxy.http import Request, Response, ResponseFields

Filter = Callable[[Request, Response], Response]
Make = Callable[[Location, Services], Filter | None]
Unchanged = Callable[[Request, ResponseFields], "ResponseFields | None"]


@runtime_checkable
class BodyFilter(Protocol):
    """A filter that changes bodies in one location."""

    def __call__(self, request: Request, response: Response) -> Response:
        """Return the same response, with other fields and another body or source if it is to be changed."""

    def unchanged(self, request: Request, fields: ResponseFields) -> ResponseFields | None:
        """Return the fields of a response whose body is left as it is; None if it would be changed."""


# Filters that few locations need: their modules are imported for those that do.


def _store(location: Location, services: Services) -> Filter | None:
    settings = settings_of(location)
    if settings is None or not stores(settings):
        return None
    from worker.filters.store import store_filter

    return store_filter(location, services)


def _slice(location: Location, services: Services) -> Filter | None:
    if not location.slice:
        return None
    from worker.filters.slices import slice_filter

    return slice_filter(location)


def _grpc_errors(location: Location, services: Services) -> Filter | None:
    if not location.grpc_errors:
        return None
    from worker.filters.grpc_errors import grpc_errors_filter

    return grpc_errors_filter(location)


def _userid(location: Location, services: Services) -> Filter | None:
    if not location.user_ids:
        return None
    from worker.filters.userid import userid_filter

    return userid_filter(location)


def _gunzip(location: Location, services: Services) -> Filter | None:
    if not location.gunzip:
        return None
    from worker.filters.gunzip import gunzip_filter

    return gunzip_filter(location)


def _sub_filter(location: Location, services: Services) -> Filter | None:
    if not location.sub_filter:
        return None
    from worker.filters.sub_filter import sub_filter

    return sub_filter(location)


def _ssi(location: Location, services: Services) -> Filter | None:
    if not location.ssi:
        return None
    from worker.filters.ssi import ssi_filter

    return ssi_filter(location, services)


def _addition(location: Location, services: Services) -> Filter | None:
    if not (location.add_before_body or location.add_after_body):
        return None
    from worker.filters.addition import addition_filter

    return addition_filter(location, services)


def _brotli(location: Location, services: Services) -> Filter | None:
    if not location.brotli:
        return None
    from worker.filters.brotli import brotli_filter

    return brotli_filter(location)


def _zstd(location: Location, services: Services) -> Filter | None:
    if not location.zstd:
        return None
    from worker.filters.zstd import zstd_filter

    return zstd_filter(location)


def stores(settings: ModuleSettings) -> bool:
    """Whether a location may store the answers of its upstream."""
    store: Store | None = settings.get("store")
    return store is not None and store.is_on


def of_location(make: Callable[[Location], Filter | None]) -> Make:
    """Return a row's function for a filter that needs nothing but its location."""
    return lambda location, services: make(location)


# In nginx's order, each with its directive. The stored copy is the answer as it came. The first coding that a client accepts is
# chosen.
FILTERS: tuple[tuple[str, Make], ...] = (
    ("proxy_store", _store),
    ("slice", _slice),
    ("grpc_errors", _grpc_errors),
    ("add_header", of_location(headers_filter)),
    ("userid", _userid),
    ("gunzip", _gunzip),
    ("sub_filter", _sub_filter),
    ("charset", of_location(charset_filter)),
    ("ssi", _ssi),
    ("add_before_body", _addition),
    # Those of the whole response, subrequests included.
    ("brotli", _brotli),
    ("zstd", _zstd),
    ("gzip", of_location(gzip_filter)),
    ("proxy_force_ranges", of_location(ranges_filter)),
    ("proxy_pass_trailers", of_location(trailers_filter)),
    ("limit_rate", limit_rate_filter),
)


def made(location: Location, services: Services, name: str, make: Make) -> Filter | None:
    """Return one filter of a location, None if it has none. Raises CannotBegin."""
    with blaming(location, name):
        return make(location, services)


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
    rows = FILTERS
    if is_inner:
        rows = tuple(row for row in rows if row[0] not in FOR_CLIENTS)
    filters = tuple(found for name, make in rows if (found := made(location, services, name, make)) is not None)
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
