"""`index`: the file that answers for a directory (routing.md §3.4; nginx: ngx_http_index_module.c)."""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable
from typing import Final

from worker.content.open_files import Access, failed
from worker.content.opening import access_of
from worker.logs import log_end, log_request
from worker.pages import error_response
from wproxy.config.model import Location
from wproxy.files import Unmappable, shown_path
from wproxy.http import Jump, Request, Response

# Errors for the first name after which it is useless to try others.
_HOPELESS: Final = frozenset((errno.ENOTDIR, errno.ENAMETOOLONG, errno.EACCES))


# The methods that directories and files answer; others get 405.
METHODS: Final = frozenset((b"GET", b"HEAD", b"POST"))


def indexing(location: Location) -> Callable[[Request], Awaitable[Response | Jump | None]]:
    """Return the handler that redirects a GET, HEAD or POST of a directory to the first existing index file.

    If there is none, the request goes on to the next handler of directories.
    """
    search = Search(location)

    async def find_index(request: Request) -> Response | Jump | None:
        if not request.path.endswith(b"/") or request.method not in METHODS:
            return None
        try:
            return search.find(request)
        except Unmappable as refusal_of_uri:
            log_request(request, refusal_of_uri.level, refusal_of_uri.reason)
            return error_response(request, refusal_of_uri.status, request.route.server_token)

    return find_index


class Search:
    """The names of a location's `index`, and the search for them."""

    __slots__ = ("_access", "_names", "_plan")

    def __init__(self, location: Location) -> None:
        self._plan = location.files
        self._access = access_of(location)
        self._names = tuple(name for line in location.index for name in line)

    def find(self, request: Request) -> Response | Jump | None:
        """Return a jump to the first existing one; None if there is none. Raises Unmappable."""
        directory_seen = False
        directory = self._plan.path(request)
        for template in self._names:
            name = template.constant or template.evaluate(request)
            if name.startswith(b"/"):
                if request.trace is not None:
                    request.trace.fell_back("index", shown_path(name))
                return Jump(name, request.args)
            path = directory + name if template.constant is not None else self._plan.below(directory, name)
            error = self._look(request, path)
            if error is None:
                return Jump(request.path + name, request.args)
            refusal = self._refuse(request, directory, path, error, directory_seen)
            if refusal is not None:
                return refusal
            directory_seen = True
        return None

    def _look(self, request: Request, path: bytes) -> OSError | None:
        """Look for a file; return None if it is there, or the reason why not."""
        found: OSError | None = None
        try:
            self._access.look(request, path)
        except OSError as error:
            found = error
        if request.trace is not None:
            request.trace.looked_for("index", shown_path(path), found is None)
        return found

    def _refuse(self, request: Request, directory: bytes, path: bytes, error: OSError, directory_seen: bool) -> Response | None:
        """Return the answer that ends the search; None if the next name has to be tried."""
        if error.errno in _HOPELESS:
            return refuse_index(request, path, error)
        if error.errno == errno.ELOOP:
            return error_response(request, 403, request.route.server_token)
        refusal = None if directory_seen else check_directory(request, self._access, directory, path)
        if refusal is None and error.errno != errno.ENOENT:
            return fail(request, failed(self._access.looking, shown_path(path), error), "crit")
        return refusal


def check_directory(request: Request, access: Access, directory: bytes, path: bytes) -> Response | None:
    """Return the answer for a directory that is missing or is none; None if it is there. path: that of the first index."""
    try:
        if access.look(request, directory):
            return None
    except OSError as error:
        if error.errno == errno.ENOENT:
            return refuse_index(request, path, error)
        if error.errno == errno.EACCES:
            return None  # it was searched for a name before, and that was not forbidden
        if error.errno == errno.ELOOP:
            return error_response(request, 403, request.route.server_token)
        return fail(request, failed(access.looking, shown_path(directory), error), "crit")
    return fail(request, f'"{shown_path(directory)}" is not a directory', "alert")


def refuse_index(request: Request, path: bytes, error: OSError) -> Response:
    """Answer 403 if access is forbidden, else 404."""
    token = request.route.server_token
    why = f"({error.errno}: {error.strerror})"
    if error.errno == errno.EACCES:
        log_end(request, "error", f'"{shown_path(path)}" is forbidden {why}', "file")
        return error_response(request, 403, token)
    if request.location.log_not_found:
        log_request(request, "error", f'"{shown_path(path)}" is not found {why}')
    return error_response(request, 404, token)


def fail(request: Request, text: str, level: str) -> Response:
    """Log a reason; answer 500."""
    log_end(request, level, text, "file")
    return error_response(request, 500, request.route.server_token)
