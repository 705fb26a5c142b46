"""A worker that sends nothing, and the way of one request through it.

Its services are made like those of every worker; only the exchange with a peer differs: it keeps the head that would be sent.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import replace
from typing import Any

from worker.client.clients import Clients
from worker.client.http1.serve import serve_connection
from worker.client.http2.serve import serve_http2
from worker.client.plan import ListenerPlan
from worker.explain.spoken import as_text, http1_head, http2_answer, http2_fields, http2_wire
from worker.explain.told import ToldNames
from worker.logs import log_request
from worker.loop import Loop, Task
from worker.services import Logs, make_services
from worker.stream import Stream
from worker.threads import Result, ThreadPool
from worker.upstream.exchange import body_for, no_live_upstreams
from worker.upstream.passing import Passing
from worker.upstream.peers import Group
from wproxy.address import Address, is_ip
from wproxy.assignment import Assignment
from wproxy.config.model import Configuration, Listener, Location, Server
from wproxy.error_log import RANKS, ErrorLog
from wproxy.explain import CannotExplain, Explanation, Positions, Question, Trace
from wproxy.http import Client, FixedEndpoint, Process, Request, Response, ResponseFields
from wproxy.identity import WPROXY
from wproxy.log_files import Place
from wproxy.route import Filter
from wproxy.shared import PRIVATE_BYTES, SharedWords
from wproxy.variables import hear_complaints


class _ErrorLog(ErrorLog):
    """Keeps the lines for the error logs of one level of the configuration.

    said: lines of all levels, (level, text, whether it is grave enough to be written).
    """

    def __init__(self, targets: Iterable[tuple[Place, str]], said: list[tuple[str, str, bool]]) -> None:
        super().__init__((), lambda: 0.0)
        self.said = said
        self._threshold = max((RANKS[level] for _, level in targets), default=-1)

    def logs(self, level: str) -> bool:
        return True  # a reason is wanted, even if the log would not have it

    def write(
        self,
        level: str,
        text: str,
        serial: int = 0,
        everywhere: bool = False,
        message: str = "",
        details: Mapping[str, object] | None = None,
    ) -> None:
        self.said.append((level, text, RANKS[level] <= self._threshold))

    @property
    def lines(self) -> list[str]:
        """Return the lines that would be written."""
        return [f"[{level}] {text}" for level, text, is_written in self.said if is_written]


_FAR = float("inf")
# The most turns of all tasks of one request, its subrequests included: pages may include each other in circles.
MOST_TURNS = 1000


class _Loop(Loop):
    """A loop without events: whoever waits for a client or a peer has nothing more to show."""

    def rehearse(self, coroutine: Coroutine[Any, Any, None], client: Script) -> bool:
        """Run a task, and all that it starts and wakes, to where they wait; return whether it waits. Raises CannotExplain."""
        first = self.spawn(coroutine, "the request to explain")
        turns = 0
        while self._runnable:
            task = self._runnable.pop(0)
            turns += 1
            if turns > MOST_TURNS:
                raise CannotExplain("the subrequests of this request do not come to an end")
            self._current = task
            parking = next(task.steps, None)
            if parking is None:
                self.tasks.discard(task)
                continue
            stream, _, seconds = parking
            if (stream is client and client.unread) or (stream is None and seconds < _FAR):
                self._runnable.append(task)
            else:
                task.parked = True
        self._current = None
        return first in self.tasks

    def interrupt(self, task: Task, exception: BaseException) -> None:
        raise AssertionError("nobody else is there to be interrupted")


class _AtOnce(ThreadPool):
    """Threads that are not needed: nobody else waits meanwhile."""

    async def run(self, call: Callable[[], Result]) -> Result:
        """Return the result of the function; raises its OSError."""
        return call()


class Outcome:
    """The outcome of one request. head, passing, group: what its upstream gets, and how.

    response: the one that is sent; unfiltered, unfiltered_fields: the one before the filters, and its lines; proxied: the one in
    place of the upstream's.
    """

    def __init__(self) -> None:
        self.head = b""
        self.passing: Passing | None = None
        self.group: Group | None = None
        self.response: Response | None = None
        self.unfiltered: Response | None = None
        self.unfiltered_fields: tuple[tuple[bytes, bytes], ...] = ()
        self.proxied: Response | None = None


class Rehearsal:
    """The parts of a worker that a request needs, with an exchange that keeps the head instead of sending it."""

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        self.loop = _Loop()
        self.error_log = _ErrorLog(configuration.error_log, [])
        shared = SharedWords(memoryview(bytearray(PRIVATE_BYTES)).cast("Q"))
        assignment = Assignment(configuration, 0, 0, 1, (), shared, -1, -1, rehearses=True)
        process = Process(WPROXY, lambda: (1, 0, 1, 0))
        logs = Logs(self.error_log, self._error_log_of, lambda location: None)
        self.services = make_services(assignment, self.loop, process, logs, Clients(), self.exchange)
        pools = self.services.thread_pools
        for name, pool in pools.items():
            pools[name] = _AtOnce(self.loop, pool.settings, self.error_log.write)
        self._outcomes: dict[Trace | None, Outcome] = {}
        hear_complaints(log_request)

    def outcome_of(self, request: Request) -> Outcome:
        """Return what became of a request; that of a subrequest is its own. (A head that is refused has no trace.)"""
        return self._outcomes.setdefault(request.trace, Outcome())

    async def exchange(self, passing: Passing, request: Request) -> Response:
        """Replace worker.upstream.exchange.proxy_request: compose the head, keep it, and answer with an empty 200.

        Raises ClientError if the head cannot be composed.
        """
        outcome = self.outcome_of(request)
        outcome.passing, outcome.group = passing, passing.group
        body = await body_for(passing, request)
        assert body is not None, "nothing is read, so that nothing fails"
        head = passing.head(request, body.length)
        if all(peer.peer.down for peer in passing.group.peers):
            return no_live_upstreams(passing, request, head, 0)
        outcome.head = passing.protocol.shown(head)
        fields = ResponseFields(200, server=request.route.server_token)
        outcome.proxied = response = Response(fields, bodiless=request.method == b"HEAD")
        return response

    def watch(self, server: Server) -> None:
        """Make the filters of all locations of a server record their input and output."""
        routes = [location.route for location in server.each_location()]
        routes += [route.inner for route in routes if route.inner is not None]
        if server.entry is not None:
            routes.append(server.entry)
        for route in routes:
            route.filter = self._watched(route.filter, is_made_of_parts(route.location))

    def _error_log_of(self, location: Location) -> ErrorLog:
        return _ErrorLog(location.error_log, self.error_log.said) if location.error_log else self.error_log

    def _watched(self, change: Filter | None, has_parts: bool) -> Filter:
        """has_parts: whether the body may ask for subrequests."""

        def watched(request: Request, response: Response) -> Response:
            outcome = self.outcome_of(request)
            outcome.unfiltered = response
            outcome.unfiltered_fields = response.fields.lines
            source = response.source
            if source is not None and not has_parts:
                drop_source(response)
            if change is not None:
                response = change(request, response)
            if response.source is source:
                drop_source(response)
            outcome.response = response
            return response

        return watched


def is_made_of_parts(location: Location) -> bool:
    """Whether pages of a location may consist of several responses."""
    return bool(location.ssi is not None or location.add_before_body or location.add_after_body)


def drop_source(response: Response) -> None:
    """Drop the rest of a body: it shows nothing, and there is no socket for a file to go to."""
    if response.source is not None:
        response.source.close()
        response.source = None


class Script(Stream):
    """The stream of a client that sends one request head and takes the answer. It has no socket."""

    __slots__ = ("sent", "unread")

    def __init__(self, loop: Loop, wire: bytes) -> None:
        self.loop = loop
        self.fd = self.kernel_fd = -1
        self.reader = self.writer = None
        self.armed = 0
        self.unexpected = None
        self.watches_departure = self.holds = False
        self.flush = None
        self.unread = wire
        self.sent = b""

    def recv(self, most: int) -> bytes:
        """Return the unread bytes; raise BlockingIOError when there are none."""
        if not self.unread:
            raise BlockingIOError
        data, self.unread = self.unread[:most], self.unread[most:]
        return data

    def send(self, data: bytes | memoryview, /) -> int:
        """Take all bytes."""
        self.sent += data
        return len(data)

    def end_sending(self) -> None:
        """Note that the client sees the end of the answer."""


def rehearse(
    worker: Rehearsal, listener: Listener, question: Question, positions: Positions, found: Explanation
) -> tuple[Request, bytes]:
    """Serve the request, recording decisions; return the request and the bytes that its client gets. Raises CannotExplain."""
    default = listener.servers.default
    assert default is not None
    trace = Trace(positions)
    told = replace(listener, servers=ToldNames(listener, trace, found))
    if question.http2:
        if not listener.speaks_http2(default):
            raise CannotExplain(f"the listener {listener.address} does not speak HTTP/2 (http2 on)")
        fields = http2_fields(question)
        wire, shown = http2_wire(fields), as_text(fields)
    else:
        wire = shown = http1_head(question)
    found.request_head = shown.decode("latin-1")
    stream = Script(worker.loop, wire)
    host = question.url.host if is_ip(question.url.host) else "127.0.0.1"
    client = Client(
        worker.services.process,
        told,
        worker.loop.clock,
        question.client.encode(),
        40000,
        1,
        FixedEndpoint(Address(host, listener.address.port)),
    )
    client.scheme = b"https" if question.url.scheme in ("https", "wss") else b"http"
    plan = ListenerPlan(default, worker.services.clients)
    serve = serve_http2 if question.http2 else serve_connection
    is_waiting = worker.loop.rehearse(serve(stream, client, plan), stream)
    sent = http2_answer(stream.sent) if question.http2 else stream.sent
    request: Request | None = trace.request
    if request is None or trace.is_refused or not hasattr(request, "location"):
        status = sent.split(b" ")[1].decode() if sent else "no answer"
        why = worker.error_log.said[-1][1].partition(" while reading ")[0].partition(", client: ")[0]
        raise CannotExplain(f"the request is refused with {status}: {why}")
    if is_waiting and worker.outcome_of(request).response is None:
        raise CannotExplain("the answer waits for something that only a running worker has, as a name to be resolved")
    found.steps = trace.steps
    found.log = worker.error_log.lines
    return request, sent
