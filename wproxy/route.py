"""What a worker works out at load to answer requests in a location: typed slots; no setting is looked up again.

A location is words: what the configuration says. Its route is what one worker makes of it, and every request reads it: a slot
is read in 8 ns, a default on a class through its instance in 24. The code that attaches a location fills it in (worker.attach).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from wproxy.native import mypyc_attr

if TYPE_CHECKING:
    from wproxy.config.model import Location
    from wproxy.directives.error_page import ErrorPage
    from wproxy.directives.temporary_path import TemporaryPath
    from wproxy.error_log import ErrorLog
    from wproxy.http import Exchange, FieldsLike, Jump, Request, RequestLineLike, Response, ResponseFields

Answer = Callable[["Request"], Awaitable["Response"]]
# A handler: answers, sends the request elsewhere, or returns None to let the next handler have it.
Handler = Callable[["Request"], Awaitable["Response | Jump | None"]]
Filter = Callable[["Request", "Response"], "Response"]
Unchanged = Callable[["Request", "ResponseFields"], "ResponseFields | None"]
Lines = tuple[tuple[bytes, bytes], ...]
# Fields, the body at hand, and the path and descriptor of the open file with the rest, to be closed.
AnswerAgain = tuple["ResponseFields", bytes, "tuple[bytes, int] | None"]
# Answers a GET without a body from its head alone; None where that is not enough. The last: whether the kernel may send a file.
Again = Callable[["RequestLineLike", "FieldsLike", bool], AnswerAgain | None]

Result = TypeVar("Result")


class Threads(Protocol):
    """Threads that wait for a disk instead of the loop."""

    def run(self, call: Callable[[], Result]) -> Coroutine[Any, Any, Result]:
        """Call a function in a thread, and return its result. Raises OSError."""


class Tracing(Protocol):
    """The tracing of a location (worker.tracing.locations)."""

    def begin(self, request: Request) -> None:
        """Begin the trace of a request that comes to this location first."""

    def checked(self, request: Request, passed: bool) -> None:
        """Note a health check by the settings of the location."""

    def logging(self, write: Callable[[Request], None] | None) -> Callable[[Request], None]:
        """Return the function that logs a finished request, and begins the trace of one that ended early."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Repetition(ABC):
    """A request that a client's connection may repeat byte for byte, in a location that then answers it as before."""

    @abstractmethod
    async def serve(self, exchange: Exchange) -> Response | bytes:
        """Answer it as often as it comes; return what has come in its place, or the response to one that needs more.

        The connection is idle when this begins; with a response it has a request. If that has been `replied` to, the head and the
        rest of the response are out: its body is what has still to be sent.
        """

    @abstractmethod
    def hand_over(self, exchange: Exchange) -> Request:
        """Return the request under way; it has left the repetition, and its connection has it."""


# Notes a request that has been answered, so that it can be repeated; returns None if the next one may get another answer.
Learn = Callable[["Exchange", "Request", "Response"], "Repetition | None"]


@mypyc_attr(allow_interpreted_subclasses=True, serializable=True)
class Route:
    """The way of a request through one location.

    answer: gets a response, from the access phase to the error pages. learn: what repeats the requests of a
    connection that are the same; None where each is looked at for itself. learn_varied: what does that for those whose heads are
    of one form (FieldsForm). handlers: the phases after rewriting. filter: changes
    responses before they are sent; None where nothing does. unchanged: makes the fields of a response whose body the filters
    leave as it is; None where no filter looks at bodies. added_to_success: the lines that go with a 200, for a 416 in its place.
    error_pages: by status. write_log: writes the access log. log: the error log. server_token: the value of Server.
    counts: the row that its requests are counted in. sample: takes what is counted of each that is over: status, bytes received
    and sent, seconds. count_failure: counts one that may have failed, besides. All are None where nothing is counted.
    thread_pool: the threads that read files, with `aio threads`. reads_with_care: `aio` or `directio` say how files are read.
    body_temp_path: client_body_temp_path, absolute. ignores_abort: a client that leaves does not end a request that is proxied.
    chunked: chunked_transfer_encoding. tracing: None where no request is traced. record: begins to record the decisions about a
    request that is refused before it is answered; None where none are recorded.
    inner: the route of subrequests; None if nothing in the configuration makes any.
    content_handlers: in such a route, those of the handlers that make the content.
    All others: the settings of that name.
    """

    __slots__ = (
        "added_to_success",
        "answer",
        "body_temp_path",
        "chunked",
        "client_max_body_size",
        "content_handlers",
        "count_failure",
        "counts",
        "error_pages",
        "filter",
        "handlers",
        "ignores_abort",
        "inner",
        "keepalive_disable",
        "keepalive_requests",
        "keepalive_time",
        "keepalive_timeout",
        "learn",
        "learn_varied",
        "location",
        "log",
        "reads_with_care",
        "record",
        "sample",
        "server",
        "server_token",
        "thread_pool",
        "tracing",
        "unchanged",
        "write_log",
    )

    answer: Answer
    learn: Learn | None
    learn_varied: Learn | None
    handlers: tuple[Handler, ...]
    content_handlers: tuple[Handler, ...]
    filter: Filter | None
    unchanged: Unchanged | None
    added_to_success: Callable[[Request, ResponseFields], Lines] | None
    error_pages: dict[int, ErrorPage] | None
    write_log: Callable[[Request], None] | None
    counts: list[int] | None
    sample: Callable[[tuple[int, int, int, float]], None] | None
    count_failure: Callable[[Request], None] | None
    thread_pool: Threads | None
    body_temp_path: TemporaryPath | None
    tracing: Tracing | None
    record: Callable[[Request], None] | None
    inner: Route | None

    def __init__(self, location: Location, server_token: bytes, log: ErrorLog) -> None:
        """Take over the settings that every request reads; the rest is for `worker.attach`."""
        self.location = location
        self.server = location.server
        self.server_token = server_token
        self.log = log
        self.reads_with_care = bool(location.aio or location.directio)
        self.ignores_abort = False
        self.chunked = location.chunked_transfer_encoding
        self.client_max_body_size = location.client_max_body_size
        self.keepalive_disable = location.keepalive_disable
        self.keepalive_requests = location.keepalive_requests
        self.keepalive_time = location.keepalive_time
        self.keepalive_timeout = location.keepalive_timeout
        self.body_temp_path = location.client_body_temp_path
        self.filter = self.unchanged = self.added_to_success = self.error_pages = self.write_log = self.thread_pool = None
        self.learn = self.learn_varied = None
        self.inner = self.tracing = self.record = self.counts = self.sample = self.count_failure = None
        self.handlers = self.content_handlers = ()

    def __repr__(self) -> str:
        return f"<route of {self.location}>"
