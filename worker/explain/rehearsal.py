"""A worker that sends nothing, and the way of one request through it.

Its services are made like those of every worker; only the exchange with a peer differs: it keeps the head that would be sent.
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterable, Iterator
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
from worker.upstream.exchange import body_for, no_live_upstreams
from worker.upstream.passing import Passing
from worker.upstream.peers import Group
from wproxy.address import Address, is_ip
from wproxy.assignment import Assignment
from wproxy.config.model import Configuration, Listener, Location, Server
from wproxy.error_log import RANKS, ErrorLog
from wproxy.explain import CannotExplain, Explanation, Positions, Question, Trace
from wproxy.http import Client, Endpoint, Process, Request, Response, ResponseFields
from wproxy.identity import WPROXY
from wproxy.request_body import UNKNOWN_LENGTH, Outgoing
from wproxy.route import Filter
from wproxy.shared import PRIVATE_BYTES, SharedWords
from wproxy.syslog import Syslog
from wproxy.variables import hear_complaints


class _ErrorLog(ErrorLog):
    """Keeps the lines for the error logs of one level of the configuration.

    said: lines of all levels, (level, text, whether it is grave enough to be written).
    """

    def __init__(self, targets: Iterable[tuple[str | Syslog, str]], said: list[tuple[str, str, bool]]) -> None:
        super().__init__((), lambda: 0.0)
        self.said = said
        self._threshold = max((RANKS[level] for _, level in targets), default=-1)

    def logs(self, level: str) -> bool:
        return True  # a reason is wanted, even if the log would not have it

    def write(self, level: str, text: str, serial: int = 0, everywhere: bool = False) -> None:
        self.said.append((level, text, RANKS[level] <= self._threshold))

    @property
    def lines(self) -> list[str]:
        """Return the lines that would be written."""
        return [f"[{level}] {text}" for level, text, is_written in self.said if is_written]


class _Loop(Loop):
    """A loop that never turns: a task that parks has nothing more to show."""

    def __init__(self) -> None:
        super().__init__()
        self.spawned: list[Task] = []

    def spawn(self, coroutine: Coroutine[Any, Any, None], name: str = "") -> Task:
        """Note a task; it runs only where somebody resumes it."""
        task = super().spawn(coroutine, name)
        self.spawned.append(task)
        return task

    def tasks_since(self, count: int) -> Iterator[Task]:
        """Yield the tasks after so many, also those that are spawned meanwhile."""
        while count < len(self.spawned):
            yield self.spawned[count]
            count += 1

    def begin(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Make this the running task; the caller resumes it."""
        self._current = Task(coroutine, "the request to explain")

    def interrupt(self, task: Task, exception: BaseException) -> None:
        raise AssertionError("nobody else is there to be interrupted")


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
        self.head = b""
        self.passing: Passing | None = None
        self.group: Group | None = None
        # The response that is sent, the one before the filters, and the one that stands for the upstream's.
        self.response: Response | None = None
        self.unfiltered: Response | None = None
        self.unfiltered_fields: tuple[tuple[bytes, bytes], ...] = ()
        self.proxied: Response | None = None
        hear_complaints(log_request)

    async def exchange(self, passing: Passing, request: Request) -> Response:
        """Replace worker.upstream.exchange.proxy_request: compose the head, keep it, and answer with an empty 200.

        Raises ClientError if the head cannot be composed.
        """
        self.passing, self.group = passing, passing.group
        if request.body is not None and request.body.collected is None:
            request.body.collected = announced(request.trace, request.body.length)
        body = await body_for(passing, request)
        assert body is not None, "nothing is read, so that nothing fails"
        head = passing.head(request, body.length)
        if all(peer.peer.down for peer in passing.group.peers):
            return no_live_upstreams(passing, request, head, 0)
        self.head = passing.protocol.shown(head)
        self.proxied = Response(ResponseFields(200, server=request.route.server_token), bodiless=request.method == b"HEAD")
        return self.proxied

    def watch(self, server: Server) -> None:
        """Make the filters of all locations of a server record their input and output."""
        routes = [location.route for location in server.each_location()]
        if server.entry is not None:
            routes.append(server.entry)
        for route in routes:
            route.filter = self._watched(route.filter)

    def _error_log_of(self, location: Location) -> ErrorLog:
        return _ErrorLog(location.error_log, self.error_log.said) if location.error_log else self.error_log

    def _watched(self, change: Filter | None) -> Filter:
        def watched(request: Request, response: Response) -> Response:
            self.unfiltered = response
            self.unfiltered_fields = response.fields.lines
            if response.source is not None:
                # The rest of a body shows nothing, and there is no socket for a file to go to.
                response.source.close()
                response.source = None
            self.response = response if change is None else change(request, response)
            return self.response

        return watched


def announced(trace: Trace | None, length: int) -> Outgoing:
    """Return the body that a request announces, as if it had been read: `wproxy explain` has none. length: -1 where unknown."""
    if length >= 0:
        return Outgoing(length, b"", None)
    if trace is not None:
        trace.add("body", "a chunked body: one that fits client_body_buffer_size is sent with its Content-Length instead")
    return Outgoing(UNKNOWN_LENGTH, b"", None)


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
        self.recv, self.send = self._recv, self._send
        self.unread = wire
        self.sent = b""

    def _recv(self, most: int) -> bytes:
        """Return the unread bytes; raise BlockingIOError when there are none."""
        if not self.unread:
            raise BlockingIOError
        data, self.unread = self.unread[:most], self.unread[most:]
        return data

    def _send(self, data: bytes | memoryview) -> int:
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
        Endpoint(Address(host, listener.address.port)),
    )
    client.scheme = b"https" if question.url.scheme in ("https", "wss") else b"http"
    plan = ListenerPlan(default, worker.services.clients)
    if question.http2:
        is_waiting = serve_in_http2(worker.loop, stream, client, plan)
        sent = http2_answer(stream.sent)
    else:
        is_waiting = serve_in_http1(worker.loop, stream, client, plan)
        sent = stream.sent
    request: Request | None = trace.request
    if request is None or trace.is_refused or not hasattr(request, "location"):
        status = sent.split(b" ")[1].decode() if sent else "no answer"
        why = worker.error_log.said[-1][1].partition(" while reading ")[0].partition(", client: ")[0]
        raise CannotExplain(f"the request is refused with {status}: {why}")
    if is_waiting and worker.response is None:
        raise CannotExplain("the answer waits for something that only a running worker has, as a name to be resolved")
    found.steps = trace.steps
    found.log = worker.error_log.lines
    return request, sent


def serve_in_http1(loop: _Loop, stream: Script, client: Client, plan: ListenerPlan) -> bool:
    """Serve a client until it has its answer; return whether it waits for more than that."""
    coroutine = serve_connection(stream, client, plan)
    loop.begin(coroutine)
    try:
        coroutine.send(None)  # to where it waits for the head
        while stream.unread:
            coroutine.send(None)  # to where it waits for the next head, or for a body: this request is over
    except StopIteration:
        return False
    finally:
        coroutine.close()
    return True


def serve_in_http2(loop: _Loop, stream: Script, client: Client, plan: ListenerPlan) -> bool:
    """Do the same for a client of HTTP/2, whose request has a task of its own."""
    coroutine = serve_http2(stream, client, plan, stream.unread)
    loop.begin(coroutine)
    known = len(loop.spawned)
    waiting = False
    try:
        coroutine.send(None)  # to where it waits for more frames
        for task in loop.tasks_since(known):
            loop.begin(task.coroutine)
            try:
                task.coroutine.send(None)
                waiting = True
            except StopIteration:
                pass
    except StopIteration:
        pass  # the connection has ended
    finally:
        coroutine.close()
    return waiting
