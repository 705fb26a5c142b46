"""`try_files`: the first of several files that exists, or something else (routing.md §3.5; ngx_http_try_files_module.c)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from worker.content.open_files import NOT_FOUND, Access, failed
from worker.content.opening import access_of
from worker.content.returns import CLOSING, CloseConnection
from worker.logs import log_end, log_request
from worker.pages import error_response
from wproxy.config.model import Location
from wproxy.directives.files import TryFiles
from wproxy.files import FilePlan, Unmappable, shown_path
from wproxy.http import Jump, Request, Response
from wproxy.template import Template


def trying_files(location: Location) -> Callable[[Request], Awaitable[Response | Jump | None]] | None:
    """Return the handler of a location with `try_files`, None for one without.

    The file that is found becomes `$uri`, and the request goes on in its location.
    """
    if location.try_files is None:
        return None
    tried: TryFiles = location.try_files
    plan = location.files
    search = Search(plan, tried, access_of(location))

    async def try_files(request: Request) -> Response | Jump | None:
        try:
            plan.check(request)
        except Unmappable as refusal:
            log_request(request, refusal.level, refusal.reason)
            return error_response(request, refusal.status, request.route.server_token)
        if search.find(request):
            return None
        if request.trace is not None:
            request.trace.fell_back("try_files", f"={tried.status}" if tried.target is None else tried.target.text)
        if tried.target is None:
            return _answer(request, tried.status)
        text = text_of(request, tried.target, plan.cut)
        if not text.startswith((b"/", b"@")):
            # nginx cuts the alias' part off the URI of `/docs/index.php` too, and goes to a URI that no location can match.
            text = tried.target.evaluate(request)
        return jump_to(request, text)

    return try_files


class Search:
    """The candidates of one `try_files`, and the search for them."""

    __slots__ = ("_access", "_candidates", "_plan")

    def __init__(self, plan: FilePlan, tried: TryFiles, access: Access) -> None:
        self._plan = plan
        self._candidates = tried.candidates
        self._access = access

    def find(self, request: Request) -> bool:
        """Look for the candidates; return True when one exists, which is the URI now."""
        plan = self._plan
        directory = plan.directory(request)
        for template, wants_directory in self._candidates:
            text = text_of(request, template, plan.cut)
            is_there = self._is_there(request, directory, text, wants_directory, template.constant is not None)
            if request.trace is not None:
                shown = shown_path(directory + text)
                request.trace.looked_for("try_files", shown if not wants_directory else shown.rstrip("/") + "/", is_there)
            if is_there:
                self._take(request, text, wants_directory)
                return True
        return False

    def _is_there(self, request: Request, directory: bytes, text: bytes, wants_directory: bool, is_constant: bool) -> bool:
        try:
            path = directory + text if is_constant else self._plan.below(directory, text)
            return self._access.look(request, path) == wants_directory
        except OSError as error:
            if error.errno not in NOT_FOUND:
                log_request(request, "crit", failed(self._access.looking, shown_path(path), error))
        except Unmappable as refusal:
            log_request(request, refusal.level, refusal.reason)
        return False

    def _take(self, request: Request, text: bytes, is_directory: bool) -> None:
        """Make the file that was found the URI."""
        if not self._plan.whole:
            request.path = request.path[: self._plan.cut] + text
        elif not is_directory:
            request.path = text
            request.add_uri_to_alias = True


def text_of(request: Request, template: Template, cut: int) -> bytes:
    """Evaluate the template without the part of the URI that an alias replaces (a constant never has it)."""
    text = template.constant
    if text is None:
        text = template.evaluate(request)
        if cut and text.startswith(request.path[:cut]):
            return text[cut:]
    return text


def _answer(request: Request, status: int) -> Response | None:
    """Answer a `=CODE`; =0 is nginx's OK: the request goes on."""
    if status in CLOSING:
        raise CloseConnection(status)
    return error_response(request, status, request.route.server_token) if status else None


def jump_to(request: Request, target: bytes) -> Response | Jump:
    """Jump to `@name`, or to a URI with only the arguments that are written there."""
    if target.startswith(b"@"):
        named = request.server.named.get(target)
        if named is None:
            log_end(request, "error", f'could not find named location "{shown_path(target)}"', "conf_value")
            return error_response(request, 500, request.route.server_token)
        return Jump(named=named)
    path, question, args = target.partition(b"?")
    return Jump(path, args if question else None)
