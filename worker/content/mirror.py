"""mirror: a copy of each request to other locations of ours, in the background (subrequests.md §3; ngx_http_mirror_module.c).

The client never waits for a copy, and neither do its next request and the end of its connection (in nginx they do). A copy that
fails leaves lines in the error log and nothing else. If a location has too many copies under way, because those that get them are
slow or dead, further ones are dropped until there are fewer again.
"""

from __future__ import annotations

from collections.abc import Callable

from worker.content.returns import CloseConnection
from worker.logs import log_request
from worker.pages import error_response
from worker.services import Services
from worker.subrequest import Cycle, KeptBody, Subrequest, answered_inside
from worker.temporary_files import TemporaryFile
from worker.upstream.outgoing import Streaming, outgoing_of
from wproxy.config.model import Location
from wproxy.failures import ClientError, ClientGone, TimedOut, UpstreamFailure
from wproxy.http import Request, Response
from wproxy.request_body import Outgoing
from wproxy.route import Handler

# The most copies of one location's requests under way at once, in each worker.
MOST_COPIES = 512
# An answer up to this size is read to its end, so that its connection can be used again.
WORTH_READING = 262144
WHOLE = Streaming(False, False)


def mirroring(location: Location, services: Services) -> Handler | None:
    """Return the handler of a location with `mirror`; None for one without."""
    paths = tuple(path for path in location.mirror if path is not None)
    return Mirror(location, paths, services) if paths else None


class Mirror:
    """The copies of one location's requests. count: those under way. is_full: some were dropped since there was much room."""

    __slots__ = ("_paths", "_services", "_with_body", "count", "is_full")

    def __init__(self, location: Location, paths: tuple[bytes, ...], services: Services) -> None:
        self._paths = paths
        self._services = services
        self._with_body = location.mirror_request_body
        self.count = 0
        self.is_full = False

    async def __call__(self, request: Request) -> Response | None:
        """Read the body if the copies get it, and start them. Raises ClientError, ClientGone."""
        if request.trace is not None:
            for path in self._paths:
                request.trace.add("mirror", f"a copy goes to {path.decode('latin-1')}", request.location.origin("mirror"))
            return None
        body = request.body
        if body is not None and self._with_body and await outgoing_of(request, body, WHOLE) is None:
            return error_response(request, 500, request.route.server_token)
        for path in self._paths:
            self._start(request, path)
        return None

    def _start(self, request: Request, path: bytes) -> None:
        if self.count >= MOST_COPIES:
            if not self.is_full:
                text = f"{self.count} copies for {path.decode('latin-1')} are under way, further ones are dropped"
                log_request(request, "warn", f"{text}{request.location.described('mirror')}")
            self.is_full = True
            return
        try:
            copy = Copy(request, path)
        except Cycle:
            return
        except OSError as error:
            log_request(request, "crit", f"dup() failed ({error.errno}: {error.strerror}) while copying a request")
            return
        self.count += 1
        self._services.clients.hold()
        self._services.loop.spawn(self._run(copy), f"copy for {path!r}")

    async def _run(self, copy: Copy) -> None:
        try:
            response = await answered_inside(copy)
            copy.status, copy.response_fields = response.fields.status, response.fields
            try:
                await read_away(response)
            finally:
                response.close()
        except CloseConnection as closing:
            copy.status = closing.status
        except (ClientError, ClientGone, UpstreamFailure, TimedOut, OSError):
            pass  # logged where it happened
        finally:
            self.count -= 1
            self.is_full = self.is_full and self.count > MOST_COPIES // 2
            copy.finish()
            self._services.clients.let_go()


async def read_away(response: Response) -> None:
    """Read an answer to its end, unless it is too large for that. Raises UpstreamFailure."""
    size = 0
    while response.source is not None and size < WORTH_READING:
        piece = await response.source.read()
        if not piece:
            return
        size += len(piece)


class Copy(Subrequest):
    """A copy of a request, with its method, arguments and body. The client's request may be over before it."""

    def __init__(self, request: Request, path: bytes) -> None:
        """Raises Cycle, and OSError when there is no descriptor for the file of the body."""
        super().__init__(request, path, request.args, request.method)
        self._releases: list[Callable[[], None]] = []
        # The connection of the client, which knows the address, may be closed by the time it is asked for.
        assert request.client.server_address
        if isinstance(self.body, KeptBody):
            collected = self.body.collected
            assert collected is not None
            if isinstance(collected.file, TemporaryFile):
                file = collected.file.shared()
                self.body.collected = Outgoing(collected.length, b"", None, file)
                self.body.keep_in(file)

    def call_at_end(self, release: Callable[[], None]) -> None:
        """Have this called when the copy is done with."""
        self._releases.append(release)

    def finish(self) -> None:
        """Log it if its location asks for that, and release all that was taken for it."""
        super().finish()
        for release in self._releases:
            release()
        if self.body is not None:
            self.body.close()
