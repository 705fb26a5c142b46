"""error_page: answers in place of a built-in page (routing.md §3.6; nginx: ngx_http_special_response_handler)."""

from __future__ import annotations

from worker.pages import error_response
from wproxy.config.model import Location
from wproxy.directives.error_page import KEPT, ErrorPage
from wproxy.directives.rewrite import REDIRECTS
from wproxy.http import Jump, Request, Response
from wproxy.template import checked


def error_pages_of(location: Location) -> dict[int, ErrorPage] | None:
    """Return the pages of a location by status, the first of several; None if there are none."""
    pages: dict[int, ErrorPage] = {}
    for line in location.error_page:
        for status in line.statuses:
            pages.setdefault(status, line)
    return pages or None


def page_for(request: Request, response: Response) -> Response | Jump | None:
    """Return the answer in place of this response, which has an `error`; None if the response stays."""
    pages = request.route.error_pages
    request.forced_status = 0
    if not pages or request.is_error_page:
        return None
    request.is_error_page = not request.location.recursive_error_pages
    page = pages.get(response.error)
    if page is None:
        return None
    request.forced_status = response.fields.status if page.status == KEPT else page.status
    target = page.target.evaluate(request)
    if request.trace is not None:
        request.trace.jump(f"error_page {response.error} to {target!r}")
    if target.startswith(b"@"):
        named = request.server.named.get(target)
        if named is None:
            request.forced_status = 0
            return error_response(request, 500, request.route.server_token)
        return Jump(named=named)
    if target.startswith(b"/"):
        if request.method != b"HEAD":
            request.method = b"GET"
        path, question, args = target.partition(b"?")
        return Jump(path, args if question else None)
    status = page.status if page.status in REDIRECTS else 302
    request.forced_status = 0
    redirect = error_response(request, status, request.route.server_token, checked(target))
    # This is the answer, whatever pages there are for its own status.
    return Response(redirect.fields, redirect.body, bodiless=redirect.bodiless)
