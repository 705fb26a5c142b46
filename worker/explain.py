"""`wproxy explain`: what would be done with a request, and why, without sending anything.

It is the code that serves requests that runs here: the head is read by `take_request_head`, the server and the location are
found by the tables of the listener, the phases are gone through by `worker.phases`, the head for the upstream is composed by the
protocol. Two things differ. The request carries a `Trace`, which those who decide tell what they decide; and where a worker would
exchange the head with a peer, it is kept instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from worker.connection import ListenerPlan
from worker.content.pages import error_response
from worker.content.returns import CloseConnection
from worker.http1.request import HeadMemo, take_request_head
from worker.http1.write import KEEPALIVE, make_head
from worker.loop import Loop
from worker.phases import attach_server, go, server_phases
from worker.upstream.peers import Group
from worker.upstream.protocols import NO_BODY
from wproxy.address import Address
from wproxy.config.model import Configuration, Listener, Location, Server
from wproxy.config.tree import Node
from wproxy.explain import CannotExplain, Explanation, Trace, shown_location
from wproxy.failures import ClientError
from wproxy.http import Client, Request, Response, ResponseFields
from wproxy.identity import WPROXY
from wproxy.regex import RegexTimedOut
from wproxy.shared import TOTAL_BYTES, SharedWords


class _Logs:
    """Access logs that write nothing."""

    def writer(self, location: Location) -> None:
        return None


class _ErrorLog:
    """Keeps what would be logged."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def logs(self, level: str) -> bool:
        return level != "debug"

    def write(self, level: str, text: str, connection: int = 0) -> None:
        self.lines.append(f"[{level}] {text}")


class _Assignment:
    """Who we are."""

    identity = WPROXY


class ExplainingWorker:
    """What locations and requests need of a worker, with an exchange that keeps the head instead of sending it."""

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        self.assignment = _Assignment()
        self.loop = Loop()
        self.error_log = _ErrorLog()
        self.access_logs = _Logs()
        self.draining = False
        self.connections: set[Any] = set()
        self.accepted = self.open = self.requests = 0
        shared = SharedWords(memoryview(bytearray(TOTAL_BYTES)).cast("Q"))
        self.groups = {
            upstream.name: Group(upstream, shared, self.loop.clock, self.error_log.write) for upstream in configuration.upstreams
        }
        self.head: bytes | None = None
        self.group: Group | None = None

    async def exchange(self, request: Request) -> Response:
        """In the place of worker.content.proxy.proxy_request: compose the head, keep it, and answer as an empty 200 would."""
        location = request.location
        self.group = location.group
        length = request.fields.content_length
        self.head = location.protocol.request_head(request, length if length >= 0 else NO_BODY)
        return Response(ResponseFields(200, server=location.server_token), bodiless=True)


def explain(configuration: Configuration, method: str, url: str, fields: list[tuple[str, str]], client: str) -> Explanation:
    """What this configuration does with a request. client: the address it comes from. Raises CannotExplain."""
    found = Explanation()
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if not parts.hostname:
        raise CannotExplain(f'no host in "{url}"')
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        raise CannotExplain(f'invalid port in "{url}"') from None
    listener, found.listener_why = choose_listener(configuration, parts.hostname, port, parts.port is not None)
    found.listener = str(listener.address)
    worker = ExplainingWorker(configuration)
    try:
        for server in configuration.servers:
            if any(server is one for one in _servers_of(listener)):
                attach_server(server, worker)  # type: ignore[arg-type]
        request = read_request(worker, listener, method, url_target(url), parts.netloc.rpartition("@")[2], fields, client)
        request.trace = trace = Trace()
        host = request.line.authority or request.fields.host
        server = listener.servers.find(host, request)
        request.server = server
        found.server, found.server_at = server.name or "(no name)", str(server.position)
        found.server_why = _SERVER_WHY[listener.servers.explain(host, request)].format(host=(host or b"").decode("latin-1"))
        request.location = server.locations.fallback
        response = run(request)
        found.steps = trace.steps
        describe_end(found, worker, request, response)
    finally:
        worker.loop.close()
    return found


_SERVER_WHY = {
    "exact": 'its server_name is "{host}"',
    "wildcard": 'the longest wildcard that fits "{host}"',
    "regex": 'the first regex that matches "{host}"',
    "default": 'no server_name fits "{host}": the default server',
}


def _servers_of(listener: Listener) -> Iterator[Server]:
    names = listener.servers
    if names.default is not None:
        yield names.default
    for table in (names.exact, names.suffixes, names.prefixes):
        yield from table.values()
    for _, server in names.regexes:
        yield server


def choose_listener(configuration: Configuration, host: str, port: int, is_written: bool) -> tuple[Listener, str]:
    """The listener that a request for this URL arrives at, and why."""
    tcp = [listener for listener in configuration.listeners if not listener.address.is_unix]
    same_port = [listener for listener in tcp if listener.address.port == port]
    if not same_port:
        if is_written or not tcp:
            known = ", ".join(str(listener.address) for listener in configuration.listeners)
            raise CannotExplain(f"nothing listens on port {port}; there is {known}")
        return tcp[0], f"nothing listens on port {port} and the URL names none: the first listener"
    numeric = "127.0.0.1" if host == "localhost" else host
    for listener in same_port:
        if listener.address.host == numeric:
            return listener, "it listens on that address"
    for listener in same_port:
        if listener.address.host in ("0.0.0.0", "::"):
            return listener, f"it listens on port {port} of all addresses"
    return same_port[0], f"it listens on port {port}"


def url_target(url: str) -> str:
    """The target of the request line: everything from the path on, as a client sends it."""
    rest = url.partition("://")[2] or url
    index = min((place for place in (rest.find("/"), rest.find("?")) if place >= 0), default=-1)
    target = rest[index:] if index >= 0 else "/"
    target = target.partition("#")[0] or "/"
    return target if target.startswith("/") else f"/{target}"


def read_request(
    worker: ExplainingWorker,
    listener: Listener,
    method: str,
    target: str,
    host: str,
    fields: list[tuple[str, str]],
    client_address: str,
) -> Request:
    """The request, read from the bytes that a client would send. Raises CannotExplain when it would be refused at once."""
    default = listener.servers.default
    assert default is not None
    lines = [f"{method} {target} HTTP/1.1"]
    if not any(name.lower() == "host" for name, _ in fields):
        lines.append(f"Host: {host}")
    lines += [f"{name}: {value}" for name, value in fields]
    wire = "\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n"
    try:
        taken = take_request_head(wire, ListenerPlan(default).limits, HeadMemo())
    except ClientError as error:
        raise CannotExplain(f"the request is refused with {error.status}: {error.reason}") from None
    if taken is None or taken[2] != len(wire):
        raise CannotExplain("this is no request head: is there a line break in it?")
    line, read, consumed = taken
    address = listener.address
    client = Client(worker, listener, worker.loop.clock, client_address.encode(), 0, 1, lambda: Address(host, address.port))
    request = Request(client, line, read, worker.loop.clock.now)
    request.request_length = consumed
    return request


def run(request: Request) -> Response | None:
    """Go through the phases; None when the connection would be closed without an answer.

    Nothing waits on the way: what waits in a worker is the exchange, and bodies.
    """
    coroutine = go(request, server_phases)
    try:
        coroutine.send(None)
    except StopIteration as end:
        response: Response = end.value
        return response
    except CloseConnection:
        return None
    except ClientError as error:
        return error_response(request, error.status, request.location.server_token)
    except RegexTimedOut:
        return error_response(request, 500, request.location.server_token)
    coroutine.close()
    raise AssertionError("an explanation waits for nothing")


def describe_end(found: Explanation, worker: ExplainingWorker, request: Request, response: Response | None) -> None:
    """Fill in what became of the request."""
    location = request.location
    found.location, found.location_at = shown_location(location), str(location.position)
    found.log = worker.error_log.lines
    found.settings = list(settings_of(location))
    if response is None:
        found.action = "close the connection without an answer (444)"
        found.status = 444
        return
    if worker.head is not None and worker.group is not None:
        found.action = f"proxy_pass to {location.proxy_target.text if location.proxy_target else ''}"
        found.upstream = worker.group.name
        found.peers = [peer.name for peer in worker.group.peers]
        found.upstream_head = worker.head.decode("latin-1")
    else:
        found.status = response.fields.status
        found.action = f"answer with {response.fields.status}"
        found.file = request.trace.file
        if found.file:
            found.action += f", the file {found.file}"
    if location.filter is not None:
        before = {name.lower() for name, _ in response.fields.lines}
        response = location.filter(request, response)
        found.added_fields = [
            f"{name.decode('latin-1')}: {value.decode('latin-1')}"
            for name, value in response.fields.lines
            if name.lower() not in before
        ]
    if worker.head is None:
        head = make_head(response.fields, KEEPALIVE, location.keepalive_timeout[1], worker.loop.clock.date_line)
        found.response_head = head.decode("latin-1")
    if response.source is not None:
        response.source.close()


# Rows that are no setting of a request.
_NO_SETTINGS = frozenset(("steps", "listen", "server_name", "location", "server"))


def settings_of(location: Location) -> Iterator[dict[str, str]]:
    """Every setting that holds in a location: the directive as written and where, or its default."""
    from wproxy.config.registry import LOCATION, REGISTRY

    for name, rows in sorted(REGISTRY.items()):
        for row in rows:
            if (
                not row.contexts & LOCATION
                or row.block
                or row.attribute in _NO_SETTINGS
                or not hasattr(type(location), row.attribute)
            ):
                continue
            nodes = location.written.get(row.attribute, ())
            if nodes:
                for node in nodes:
                    yield {"name": name, "value": _words(node), "from": str(node.position)}
            elif row.default is not None:
                shown = row.default if isinstance(row.default, str) else " ".join(row.default)
                yield {"name": name, "value": shown, "from": "default"}


def _words(node: Node) -> str:
    return " ".join(f'"{word}"' if not word or " " in word else word for word in node.arguments)
