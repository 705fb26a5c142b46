"""proxy_store: a copy of an upstream's answer is kept in a file (proxy.md §3.3; nginx: ngx_http_upstream_store).

Only complete answers with the status 200 are stored, as they came, before anything else changes them. The file is made in its
final directory, has no name until it is complete, and then gets it in one step: a part of it is never visible, a worker that is
killed leaves nothing, and nothing has to be copied from one file system to another. (For the last two reasons it does not begin
in proxy_temp_path, as nginx's does.) When a client leaves, the rest is fetched all the same.

A path that leaves its directory because of variables is refused: nginx would follow it.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from worker.logs import log_request, shown
from worker.loop import FAIR_SHARE, Loop, give_way
from worker.outlet import NOTHING, Wrapper
from worker.services import Services
from worker.temporary_files import LATER, DiskTrouble, TemporaryFile
from worker.upstream.buffering import Buffering, buffering_of
from worker.upstream.protocols import settings_of
from wproxy.bodies import BodySource
from wproxy.config.model import Configuration, Location
from wproxy.dates import parse_http_date
from wproxy.directives.store import Store
from wproxy.directives.temporary_path import TemporaryPath
from wproxy.failures import UpstreamFailure
from wproxy.files import Unmappable
from wproxy.http import Request, Response
from wproxy.template import Template

Filter = Callable[[Request, Response], Response]

DOING = "while reading upstream"


def store_filter(location: Location, services: Services) -> Filter | None:
    """Return a filter that stores the answers of the location's upstream; None if proxy_store is off."""
    settings = settings_of(location)
    store: Store | None = None if settings is None else settings.get("store")
    if settings is None or store is None or not store.is_on:
        return None
    mode: int = settings.get("store_access")
    template = store.path
    buffering = buffering_of(settings)

    def apply(request: Request, response: Response) -> Response:
        if is_to_be_stored(request, response, buffering):
            stored = begin(request, response.source, services, template, mode)
            if stored is not None:
                stored.keep(response.body)
                if response.source is None:
                    stored.finish()
                else:
                    response.source = stored
        return response

    return apply


def is_to_be_stored(request: Request, response: Response, buffering: Buffering) -> bool:
    """Whether this is an upstream's own answer, with 200, that is read ahead of the client."""
    head = request.upstream_head
    if head is None or head.status != 200 or response.error or response.bodiless or response.tunnel is not None:
        return False
    return buffering.applies(head)


def begin(request: Request, source: BodySource | None, services: Services, template: Template | None, mode: int) -> Stored | None:
    """Start the copy of an answer; None, logged, if it cannot be made."""
    path = path_of(request, services.configuration, template)
    if path is None:
        return None
    try:
        make_directories(os.path.dirname(path), mode | (mode & 0o444) >> 2)
        file = TemporaryFile(TemporaryPath(os.path.dirname(path)), LATER)
    except DiskTrouble as trouble:
        complain(request, path, trouble)
        return None
    return Stored(request, source, file, path, services.loop, mode)


def path_of(request: Request, configuration: Configuration, template: Template | None) -> str | None:
    """Return the path for the answer; None, logged, if there is no valid one."""
    try:
        path = request.location.files.path(request) if template is None else template.evaluate(request)
    except Unmappable as trouble:
        log_request(request, trouble.level, f"{trouble.reason} {DOING}")
        return None
    is_wild = template is not None and b".." in path.split(b"/") and ".." not in template.text.split("/")
    if is_wild or not path or path.endswith(b"/") or b"\0" in path:
        log_request(request, "error", f'the answer cannot be stored in "{shown(path)}" {DOING}')
        return None
    return configuration.path(os.fsdecode(path))


def make_directories(path: str, mode: int) -> None:
    """Make the missing parts of a directory path, with this mode. Raises DiskTrouble."""
    missing = []
    while path and not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    try:
        for each in reversed(missing):
            os.mkdir(each, 0o700)
            os.chmod(each, mode)  # regardless of the umask
    except FileExistsError as error:
        if not os.path.isdir(each):
            raise DiskTrouble(error) from None
    except OSError as error:
        raise DiskTrouble(error) from None


def complain(request: Request, path: str, trouble: DiskTrouble) -> None:
    """Log the reason why an answer is not stored."""
    log_request(request, "crit", f'storing "{path}" failed ({trouble}) {DOING}')


class Stored(Wrapper):
    """The rest of a body, copied on its way. file: None when it is complete, or has been given up."""

    __slots__ = ("_is_over", "_loop", "_mode", "file", "path", "request")

    def __init__(
        self, request: Request, source: BodySource | None, file: TemporaryFile, path: str, loop: Loop, mode: int
    ) -> None:
        self._loop = loop
        self._mode = mode
        self.request = request
        self._unsent = NOTHING
        self._source = source
        self.file: TemporaryFile | None = file
        self.path = path
        self._is_over = False

    def keep(self, data: bytes) -> None:
        """Copy these bytes, if they are still wanted."""
        if self.file is not None:
            try:
                self.file.write(data)
            except DiskTrouble as trouble:
                complain(self.request, self.path, trouble)
                self._give_up()

    def finish(self) -> None:
        """Give the complete file its name."""
        self._is_over = True
        file = self.file
        head = self.request.upstream_head
        if file is None or head is None:
            return
        modified = head.values.get(b"last-modified")
        seconds = parse_http_date(modified) if modified is not None else None
        try:
            file.place(self.path, self._mode, seconds)
        except DiskTrouble as trouble:
            complain(self.request, self.path, trouble)
        self._give_up()

    async def read(self) -> bytes:
        """Return the next piece, b"" at the end. Raises UpstreamFailure."""
        if self._is_over or self._source is None:
            return b""
        try:
            piece = await self._source.read()
        except UpstreamFailure:
            self._is_over = True
            self._give_up()
            raise
        if piece:
            self.keep(piece)
        else:
            self.finish()
        return piece

    def close(self) -> None:
        """Let the client go; a body that is being stored is fetched all the same."""
        if self._is_over or self.file is None:
            self._is_over = True
            if self._source is not None:
                self._source.close()
            self._give_up()
        else:
            self._loop.spawn(self._go_on(), f"store {self.path}")

    async def _go_on(self) -> None:
        moved = 0
        try:
            while piece := await self.read():
                moved += len(piece)
                if moved >= FAIR_SHARE:
                    moved = 0
                    await give_way()
        except UpstreamFailure:
            pass  # logged where it happened
        finally:
            self._is_over = True
            self.close()

    def _give_up(self) -> None:
        if self.file is not None:
            self.file.close()
            self.file = None

    def __repr__(self) -> str:
        return f"<stored {self.path!r}: {self.file or 'over'}>"
