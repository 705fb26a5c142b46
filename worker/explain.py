"""`wproxy explain`: what would be done with a request, and why, without sending anything.

It is the code that serves requests that runs here: `serve_connection` reads the head of the request from a stream, finds the
server and the location, goes through the phases and writes the answer to the stream. Three things differ. The stream is a
`Script`: what a client would send, and what it gets. The tables of the listener are asked through a `ToldListener`, which gives
the request a `Trace`, and those who decide tell it what they decide. And where a worker would exchange the head with a peer, it
is kept instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from worker.attach import attach_server
from worker.client.clients import Clients
from worker.client.http1.connection import ListenerPlan
from worker.client.http1.serve import serve_connection
from worker.logs import log_request
from worker.loop import Loop
from worker.services import Logs, make_services
from worker.upstream.exchange import no_live_upstreams
from worker.upstream.outgoing import NO_BODY, UNKNOWN_LENGTH
from worker.upstream.passing import Passing
from worker.upstream.peers import Group
from wproxy.address import Address, is_ip, parse_listen_address
from wproxy.assignment import Assignment
from wproxy.config.model import Configuration, Listener, Location, Peer, Server, Settings
from wproxy.config.registry import ENTRIES, LOCATION, REGISTRY, SERVER, UPSTREAM
from wproxy.config.tree import Node
from wproxy.directives.listen import ServerName
from wproxy.error_log import RANKS, ErrorLog
from wproxy.explain import DEFAULT, CannotExplain, Explanation, Places, Question, Trace, Url, shown_location
from wproxy.http import Client, Endpoint, Process, Request, Response, ResponseFields
from wproxy.identity import WPROXY
from wproxy.matching import ServerNames
from wproxy.shared import PRIVATE_BYTES, SharedWords
from wproxy.variables import hear_complaints


def explain(configuration: Configuration, places: Places, question: Question) -> Explanation:
    """What this configuration does with a request; places: those of its tree. Raises CannotExplain."""
    found = Explanation()
    listener, found.listener_why = choose_listener(configuration, question.url, question.listen)
    found.listener, found.listener_at = str(listener.address), str(listener.position)
    found.refusals = [str(problem) for problem in configuration.refusals]
    worker = ExplainingWorker(configuration)
    try:
        for server in servers_of(listener):
            attach_server(server, worker.services)
            worker.watch(server)
        run(worker, listener, question, places, found)
    finally:
        worker.loop.close()
    return found


# Where the request arrives.


def servers_of(listener: Listener) -> list[Server]:
    """Its servers, each once."""
    names = listener.servers
    tables = [*names.exact.values(), *names.suffixes.values(), *names.prefixes.values(), *(server for _, server in names.regexes)]
    return list({id(server): server for server in [names.default, *tables] if server is not None}.values())


def choose_listener(configuration: Configuration, url: Url, wanted: str) -> tuple[Listener, str]:
    """The listener that a request for this URL arrives at, or the one that is wanted, and why. Raises CannotExplain."""
    listeners = configuration.listeners
    known = ", ".join(str(listener.address) for listener in listeners) or "nothing"
    if wanted:
        try:
            address = parse_listen_address(wanted)
        except ValueError as error:
            raise CannotExplain(f"{error}: there is {known}") from None
        for listener in listeners:
            if listener.address == address:
                return listener, "it was asked for"
        raise CannotExplain(f'nothing listens on "{address}": there is {known}')
    port = url.port or url.default_port
    same_port = [listener for listener in listeners if listener.address.port == port]
    if not same_port:
        tcp = [listener for listener in listeners if not listener.address.is_unix]
        if url.port or not tcp:
            raise CannotExplain(f"nothing listens on port {port}: there is {known}; --listen ADDRESS chooses one")
        return tcp[0], f"nothing listens on port {port} and the URL names none: the first listener"
    hosts = {"localhost": ("127.0.0.1", "::1")}.get(url.host.lower(), (url.host,))
    for listener in same_port:
        if listener.address.host in hosts:
            return listener, "it listens on that address"
    wildcards = ("::",) if ":" in url.host else ("0.0.0.0",) if is_ip(url.host) else ("0.0.0.0", "::")
    for listener in same_port:
        if listener.address.host in wildcards:
            return listener, f"it listens on port {port} of all addresses"
    if is_ip(url.host):
        raise CannotExplain(f"nothing listens on {url.host} port {port}: there is {known}; --listen ADDRESS chooses one")
    return same_port[0], f"it listens on port {port}"


class ToldListener:
    """The listener as the connection sees it: whatever is asked of its tables, the trace is told."""

    def __init__(self, listener: Listener, trace: Trace, found: Explanation) -> None:
        self.address = listener.address
        self.servers = self
        self.default = listener.servers.default
        self._listener = listener
        self._trace = trace
        self._found = found

    def find(self, host: bytes | None, request: Request) -> ToldServer:
        """The server, from the tables of the listener."""
        trace, found = self._trace, self._found
        request.trace = trace
        trace.request = request
        server = self._listener.servers.find(host, request)
        request.server = server
        found.server, found.server_at = server.name or "(no name)", str(server.position)
        found.server_kind = kind = self._listener.servers.explain(host, request)
        shown = (host or b"").decode("latin-1")
        if kind == "default":
            found.server_why = f'no server_name fits "{shown}": {self._why_default(server)}'
            return ToldServer(server, trace)
        found.server_name, found.server_name_at = name_of(server, host or b"", request)
        found.server_why = f'its {_NAME_KINDS[kind]} "{found.server_name}" ({found.server_name_at}) fits "{shown}"'
        return ToldServer(server, trace)

    def _why_default(self, server: Server) -> str:
        lines = zip(server.written.get("listen", ()), server.listen, strict=True)
        for node, line in lines:
            if line.default_server and self.address in line.addresses:
                return f"the default server ({node.position})"
        return "the default server, since it is the first"


_NAME_KINDS = {"exact": "server_name", "wildcard": "wildcard", "regex": "regex"}


class ToldServer:
    """A server as the connection sees it."""

    def __init__(self, server: Server, trace: Trace) -> None:
        self.entry = server.entry
        self.locations = self
        self._server = server
        self._trace = trace

    def find(self, path: bytes, request: Request) -> Location:
        """The location, from the tables of the server."""
        location = self._server.locations.explain(path, request)
        self._trace.located(location)
        return location

    @property
    def fallback(self) -> Location:
        """Where a request goes whose head cannot be read: then there is none to tell of."""
        self._trace.is_refused = True
        return self._server.locations.fallback


def name_of(server: Server, host: bytes, request: Request) -> tuple[str, str]:
    """Which of its names a host fits, and where that stands: they are asked as those of a listener are."""
    names: ServerNames[tuple[ServerName, Node]] = ServerNames()
    for node, line in zip(server.written.get("server_name", ()), server.server_name, strict=True):
        for name in line:
            if name.regex is not None:
                names.add_regex(name.regex, (name, node))
            else:
                names.add(name.text, (name, node))
    if names.explain(host, request) == "default":  # the name of a server without any is ""
        return "", str(server.position)
    name, node = names.find(host, request)
    return name.text, str(node.position)


# A worker that sends nothing.


class _ErrorLog(ErrorLog):
    """Keeps what the error logs of one level of the configuration would get.

    said: of all levels, (level, text, whether it is grave enough to be written).
    """

    def __init__(self, targets: Iterable[tuple[Any, str]], said: list[tuple[str, str, bool]]) -> None:
        super().__init__((), lambda: 0.0)
        self.said = said
        self._threshold = max((RANKS[level] for _, level in targets), default=-1)

    def logs(self, level: str) -> bool:
        return True  # a reason is wanted, even where the log would not have it

    def write(self, level: str, text: str, serial: int = 0, everywhere: bool = False) -> None:
        self.said.append((level, text, RANKS[level] <= self._threshold))

    @property
    def lines(self) -> list[str]:
        """What would be written."""
        return [f"[{level}] {text}" for level, text, is_written in self.said if is_written]


class _Loop(Loop):
    """A loop that is never turned: whoever parks has nothing more to tell."""

    def current(self) -> Any:
        return None

    def interrupt(self, task: Any, exception: BaseException) -> None:
        raise AssertionError("nobody else is there to be interrupted")


class ExplainingWorker:
    """What connections, locations and requests need of a worker, with an exchange that keeps the head instead of sending it."""

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        self.loop = _Loop()
        self.error_log = _ErrorLog(configuration.error_log, [])
        shared = SharedWords(memoryview(bytearray(PRIVATE_BYTES)).cast("Q"))
        assignment = Assignment(configuration, 0, 0, 1, (), shared, -1, -1)
        process = Process(WPROXY, lambda: (1, 0, 1, 0))
        logs = Logs(self.error_log, self._error_log_of, lambda location: None)
        self.services = make_services(assignment, self.loop, process, logs, Clients(), self.exchange)
        self.head = b""
        self.group: Group | None = None
        # The response that is sent, what it was before the filters, and the one that stands for the upstream's.
        self.response: Response | None = None
        self.unfiltered: Response | None = None
        self.unfiltered_fields: tuple[tuple[bytes, bytes], ...] = ()
        self.proxied: Response | None = None
        hear_complaints(log_request)

    async def exchange(self, passing: Passing, request: Request) -> Response:
        """In the place of worker.upstream.exchange.proxy_request: compose the head, keep it, and answer as an empty 200 would.

        Raises ClientError where the head cannot be composed.
        """
        self.group = passing.group
        head = passing.head(request, length_of_body(request))
        if all(peer.peer.down for peer in passing.group.peers):
            return no_live_upstreams(passing, request, head)
        self.head = head
        self.proxied = Response(ResponseFields(200, server=request.route.server_token), bodiless=request.method == b"HEAD")
        return self.proxied

    def watch(self, server: Server) -> None:
        """Have the filters of all locations of a server show what they get and give."""
        routes = [location.route for location in server.each_location()]
        if server.entry is not None:
            routes.append(server.entry)
        for route in routes:
            route.filter = self._watched(route.filter)

    def _error_log_of(self, location: Location) -> ErrorLog:
        return _ErrorLog(location.error_log, self.error_log.said) if location.error_log else self.error_log

    def _watched(self, change: Callable[..., Any] | None) -> Callable[..., Any]:
        def watched(request: Request, response: Response) -> Response:
            self.unfiltered = response
            self.unfiltered_fields = response.fields.lines
            if response.source is not None:
                # The rest of a body tells nothing, and there is no socket for a file to go to.
                response.source.close()
                response.source = None
            self.response = response if change is None else change(request, response)
            return self.response

        return watched


def length_of_body(request: Request) -> int:
    """The length that worker.upstream.exchange.proxy_request would give the head, where the body is not there to be read."""
    if request.body is None:
        return NO_BODY if request.fields.content_length < 0 else 0
    if request.method is not request.line.method:
        return NO_BODY
    length: int = request.body.length
    if length < 0:
        request.trace.add("body", "a chunked body: one that fits client_body_buffer_size is sent with its Content-Length instead")
        return UNKNOWN_LENGTH
    return length


class Script:
    """The stream of a client that sends one request head and takes the answer."""

    unexpected: Any = None
    watches_departure = False

    def __init__(self, wire: bytes) -> None:
        self.unread = wire
        self.sent = b""
        self.sock = self

    def recv(self, most: int) -> bytes:
        """What was not read yet; BlockingIOError when all has been."""
        if not self.unread:
            raise BlockingIOError
        data, self.unread = self.unread[:most], self.unread[most:]
        return data

    def send(self, data: bytes) -> int:
        """Everything fits."""
        self.sent += bytes(data)
        return len(data)

    def has_unread(self) -> bool:
        """Whether the client sent more than it was asked for."""
        return False

    def shutdown(self, how: int) -> None:
        """The client sees the end of the answer."""

    def close(self) -> None:
        """The client sees the end of the connection."""


# The way of one request.


def wire_of(question: Question) -> bytes:
    """The bytes that a client would send."""
    lines = [f"{question.method} {question.url.target} HTTP/1.1"]
    if not any(name.lower() == "host" for name, _ in question.fields):
        lines.append(f"Host: {question.url.authority}")
    lines += [f"{name}: {value}" for name, value in question.fields]
    return "\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n"


def run(worker: ExplainingWorker, listener: Listener, question: Question, places: Places, found: Explanation) -> None:
    """Serve the request and fill in the explanation. Raises CannotExplain when the request would be refused unread."""
    default = listener.servers.default
    assert default is not None
    trace = Trace(places)
    told: Any = ToldListener(listener, trace, found)
    wire = wire_of(question)
    found.request_head = wire.decode("latin-1")
    stream: Any = Script(wire)
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
    stream.loop = worker.loop
    coroutine = serve_connection(stream, client, ListenerPlan(default, worker.services.clients))
    is_waiting = True
    try:
        coroutine.send(None)  # to where it waits for the head
        while stream.unread:
            coroutine.send(None)  # at last to where it waits for the next one, or for a body: this one is over
    except StopIteration:
        is_waiting = False
    finally:
        coroutine.close()
    request: Request | None = trace.request
    if request is None or trace.is_refused or not hasattr(request, "location"):
        status = stream.sent.split(b" ")[1].decode() if stream.sent else "no answer"
        why = worker.error_log.said[-1][1].partition(" while reading ")[0]
        raise CannotExplain(f"the request is refused with {status}: {why}")
    if is_waiting and worker.response is None:
        raise CannotExplain("the answer waits for something that only a running worker has, as a name to be resolved")
    found.steps = trace.steps
    found.log = worker.error_log.lines
    describe(found, worker, request, stream.sent)


def describe(found: Explanation, worker: ExplainingWorker, request: Request, sent: bytes) -> None:
    """Fill in what became of the request. sent: the bytes that the client gets."""
    location = request.location
    trace: Trace = request.trace
    found.location, found.location_at = shown_location(location), str(location.position)
    found.location_why = trace.location_why
    found.settings = list(settings_of(location, worker))
    if not sent:
        found.action_kind, found.action = "close", "close the connection without an answer (444)"
        found.action_at = place_of_answer(trace)
        found.status = 444
        return
    response = worker.response
    assert response is not None, "every answer goes through the filters"
    fields = response.fields
    found.added_fields = [shown_field(line) for line in fields.lines if line not in worker.unfiltered_fields]
    found.added_trailers = [shown_field(line) for line in request.response_trailers]
    if worker.group is not None:
        describe_upstream(found, worker.group, worker.configuration)
    if worker.unfiltered is worker.proxied:
        target = location.written["proxy_pass"][-1]
        found.action_kind, found.action = "proxy", f"proxy_pass to {target.arguments[0]}"
        found.action_at = str(target.position)
        found.upstream_head = worker.head.decode("latin-1")
        found.status = request.forced_status or None  # error_page may have chosen it
        return
    found.status = fields.status
    found.response_head = sent.partition(b"\r\n\r\n")[0].decode("latin-1") + "\r\n\r\n"
    found.file = trace.file
    if fields.location is not None:
        found.redirect = fields.location.decode("latin-1")
        found.action_kind, found.action = "redirect", f"redirect with {fields.status} to {found.redirect}"
        found.action_at = place_of_answer(trace)
    elif found.file and not response.error:
        found.action_kind, found.action = "file", f"answer with {fields.status}, the file {found.file}"
        found.action_at = location.origin("alias" if location.alias is not None else "root")
    elif response.error >= 300:
        found.action_kind, found.action = (
            "error",
            f"answer with {response.error}, the built-in page{why_error(request, response)}",
        )
        found.action_at = place_of_answer(trace)
    else:
        found.action_kind, found.action = "return", f"answer with {fields.status}"
        found.action_at = place_of_answer(trace)


def shown_field(line: tuple[bytes, bytes]) -> str:
    """A field as one line of text."""
    return f"{line[0].decode('latin-1')}: {line[1].decode('latin-1')}"


def place_of_answer(trace: Trace) -> str:
    """Where the step stands that answered, when the last that happened was one."""
    last = trace.steps[-1] if trace.steps else {"kind": "", "at": ""}
    return str(last["at"]) if last["kind"] in ("return", "rewrite", "try_files", "error_page") else ""


def why_error(request: Request, response: Response) -> str:
    """What no step tells about an error."""
    if request.end_cause:
        return f": {request.end_cause}"
    if response.error == 404 and request.location.internal and not request.internal:
        return ": the location is internal"
    return ""


def describe_upstream(found: Explanation, group: Group, configuration: Configuration) -> None:
    """The group that is asked, and its peers as they are configured."""
    found.upstream = group.name
    upstream = next((one for one in configuration.upstreams if one.name == group.name), None)
    found.upstream_at = str(upstream.position) if upstream is not None and not upstream.implicit else ""
    found.peers = [shown_peer(peer.peer) for peer in group.peers]


def shown_peer(peer: Peer) -> str:
    """An address with those of its parameters that are not the default."""
    words = [peer.name]
    words += [f"weight={peer.weight}"] if peer.weight != 1 else []
    words += [f"max_fails={peer.max_fails}"] if peer.max_fails != 1 else []
    words += [f"fail_timeout={peer.fail_timeout:g}s"] if peer.fail_timeout != 10 else []
    words += [f"max_conns={peer.max_conns}"] if peer.max_conns else []
    words += ["backup"] if peer.backup else []
    words += ["down"] if peer.down else []
    return " ".join(words)


# The settings.

# Rows that are no settings of a request: what opens blocks, and what is told as steps and names.
_NO_SETTINGS = frozenset(("listen", "server_name", "location", "server", "upstream"))


def settings_of(location: Location, worker: ExplainingWorker) -> Iterator[dict[str, str]]:
    """Every setting that holds in a location, in its server and in its upstream: as written and where, or its default."""
    yield from settings_in(location, LOCATION, "location")
    yield from settings_in(location.server, SERVER, "server", beside=LOCATION)
    group = worker.group
    upstream = next((one for one in worker.configuration.upstreams if group is not None and one.name == group.name), None)
    if upstream is not None and not upstream.implicit:
        yield from settings_in(upstream, UPSTREAM, "upstream")


def settings_in(block: Settings, context: int, name: str, beside: int = 0) -> Iterator[dict[str, str]]:
    """The settings of one block of that context, but for those that are found in a block of the context `beside`."""
    values = vars(block)
    for directive, rows in sorted(REGISTRY.items()):
        for row in rows:
            if not row.contexts & context or row.contexts & beside or row.inherit == "step" or row.name in _NO_SETTINGS:
                continue
            if row.block and not row.block & ENTRIES:
                continue
            attribute = row.attribute
            nodes = block.written.get(attribute, ()) if attribute in values else ()
            for node in nodes:
                effect = "yes" if row.effective else "no"
                yield {"block": name, "name": directive, "value": _words(node), "from": str(node.position), "effect": effect}
            if nodes or row.default is None or (row.excludes and row.excludes in values):
                continue
            shown = row.default if isinstance(row.default, str) else " ".join(row.default)
            yield {"block": name, "name": directive, "value": shown, "from": DEFAULT, "effect": "yes"}


def _words(node: Node) -> str:
    shown = " ".join(f'"{word}"' if not word or " " in word else word for word in node.arguments)
    if node.children is None:
        return shown
    return f"{shown} {{ {len(node.children)} entries }}".lstrip()
