"""Work for a request that goes on without its client: mirrored copies, what post_action does, and updates of a cache.

Each kind of work in a location has a bound, because nothing else bounds it: a client that does not wait sends its next request.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from worker.content.returns import CloseConnection
from worker.services import Services
from worker.subrequest import KeptBody, Subrequest, kept_body
from worker.temporary_files import TemporaryFile
from wproxy.bodies import BodySource
from wproxy.failures import ClientError, ClientGone, TimedOut, UpstreamFailure
from wproxy.http import Request, Response
from wproxy.request_body import Outgoing, RequestBody

# The most of one kind in one location at once, in each worker.
MOST = 512
# A response up to this size is read to its end, so that its connection can be used again.
WORTH_READING = 262144


class Background:
    """Work of one kind for the requests of one location. count: how much is under way.

    is_full: whether some had to be left out since there was much room.
    """

    __slots__ = ("_services", "count", "is_full")

    def __init__(self, services: Services) -> None:
        self._services = services
        self.count = 0
        self.is_full = False

    def has_room(self) -> bool:
        """Whether there is room for more."""
        return self.count < MOST

    def begin(self, work: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        """Begin some work; a worker that is told to leave waits for its end. work: makes the coroutine, when its turn comes."""
        self.count += 1
        self._services.clients.hold()
        self._services.loop.spawn(self._run(work), name)

    async def _run(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await work()
        finally:
            self.count -= 1
            self.is_full = self.is_full and self.count > MOST // 2
            self._services.clients.let_go()


async def answered_to_nobody(request: Request, response: Coroutine[Any, Any, Response]) -> None:
    """Get a response that nobody wants, and drop it; failures are in the error log already."""
    try:
        answer = await response
        request.status, request.response_fields = answer.fields.status, answer.fields
        try:
            await read_away(answer.source)
        finally:
            answer.close()
    except CloseConnection as closing:
        request.status = closing.status
    except (ClientError, ClientGone, UpstreamFailure, TimedOut, OSError):
        pass


async def read_away(source: BodySource | None) -> None:
    """Read a body to its end, unless it is too large for that. Raises UpstreamFailure."""
    size = 0
    while source is not None and size < WORTH_READING:
        piece = await source.read()
        if not piece:
            return
        size += len(piece)


def lasting_body(body: RequestBody) -> KeptBody:
    """Return a body that has been read, for work that may take longer than its request. Raises OSError."""
    kept = kept_body(body)
    collected = kept.collected
    assert collected is not None
    if isinstance(collected.file, TemporaryFile):
        file = collected.file.shared()
        kept.collected = Outgoing(collected.length, b"", None, file)
        kept.keep_in(file)
    return kept


class Copy(Subrequest):
    """A copy of a request, with its method, arguments and body. The client's request may be over before it."""

    def __init__(self, request: Request, path: bytes, made_by: str = "") -> None:
        """made_by: see Subrequest. Raises Cycle, and OSError when there is no descriptor for the file of the body."""
        super().__init__(request, path, request.args, request.method, made_by)
        self._releases: list[Callable[[], None]] = []
        # The connection of the client, which knows the address, may be closed by the time it is asked for.
        assert request.client.server_address
        if request.body is not None:
            self.body = lasting_body(request.body)

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
