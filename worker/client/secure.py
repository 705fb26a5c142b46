"""Clients of a TLS listener: the first byte, the first message, the handshake, and then the protocol that was agreed on.

    first byte          TLS, or clear text, which gets its answer in clear: 497 (nginx: ngx_http_ssl_handshake)
    first message       chooses the server by its name, and with it the context; a server may refuse (alert 112)
    ALPN                an offer without anything that the server speaks is refused (alert 120)
    handshake           by OpenSSL, within client_header_timeout from the beginning of the connection
    ssl_ocsp            within the same time a responder is asked about the client's certificate
    the protocol        its coroutine serves the connection from then on

No `sni_callback`: a context that is put in later changes the certificate and little else, and a session of one server could be
resumed on another that asks for certificates.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from worker.client.plan import ListenerPlan
from worker.http1.hosts import read_host
from worker.http1.request import RequestFields, RequestLine
from worker.loop import READ, park
from worker.resolver.resolver import Resolver
from worker.stream import HEAD_CHUNK, Stream
from worker.tls.certificates import CertificateStore
from worker.tls.choice import Choice, ClearOnTls
from worker.tls.client_hello import ClientHello, KnownHellos, NotClientHello, is_tls
from worker.tls.failures import HANDSHAKING, TlsFailure
from worker.tls.session import Offer, TlsSession
from worker.tls.stream import TlsStream
from wproxy.config.model import Listener, Server
from wproxy.directives.resolver import NameServers
from wproxy.failures import ClientError, ClientGone, TimedOut
from wproxy.http import Client, Request
from wproxy.native import mypyc_attr
from wproxy.tls.contexts import NotLoaded, ServerContext, TlsContexts
from wproxy.tls.openssl import find_openssl

if TYPE_CHECKING:
    from worker.tls.client_status import ClientStatus

# The last argument: the first bytes of the client, if they have been read.
Resume = Callable[[Stream, Client, ListenerPlan, bytes], Coroutine[Any, Any, None]]

# Records with a fatal alert, as OpenSSL sends them before it knows more of a client.
_UNRECOGNIZED_NAME: Final = b"\x15\x03\x03\x00\x02\x02\x70"
_NO_APPLICATION_PROTOCOL: Final = b"\x15\x03\x03\x00\x02\x02\x78"
_INTERNAL_ERROR: Final = b"\x15\x03\x03\x00\x02\x02\x50"
# The number of names of servers whose choice is remembered.
_MOST_NAMES: Final = 1024


@mypyc_attr(native_class=False)
class Refused(TlsFailure):
    """We refuse a handshake. alert: the record that says so."""

    def __init__(self, text: str, alert: bytes, level: str = "info", reason: str = "") -> None:
        super().__init__(text, reason, level=level)
        self.alert = alert


class Arrival:
    """A connection until its handshake has ended (a ClientConnection).

    As in nginx it waits for its first request until then. has_begun: whether a part of the handshake has arrived. server: the one
    that is asked for, as far as it is known.
    """

    __slots__ = ("_seconds", "has_begun", "server", "task")

    idle = True
    waits = True
    is_reading = False
    begun = 0

    def __init__(self, stream: Stream, seconds: float, server: Server) -> None:
        self.server = server
        self.task = stream.loop.current()
        self.has_begun = False
        self._seconds = seconds

    @property
    def idle_since(self) -> float:
        """Return the time of its beginning, in seconds of the loop's clock."""
        return self.task.deadline - self._seconds

    @property
    def under_way(self) -> tuple[Request, ...]:
        """Return nothing: no request has begun."""
        return ()

    def may_leave(self, now: float) -> bool:
        """Whether it may be closed: nothing has arrived."""
        return not self.has_begun and self.task.parked

    def drain(self, now: float) -> None:
        """Do nothing: who has just come is served, or leaves when its time is over."""

    def cut(self, reason: ClientGone) -> None:
        """Do nothing: there is no request yet."""


class Door(NamedTuple):
    """A server, as a handshake needs it.

    protocols: those of ALPN that it speaks. status: asks about the certificates of clients; None where nobody does.
    """

    server: Server
    context: ServerContext
    protocols: frozenset[bytes]
    status: ClientStatus | None = None


class Secured:
    """One TLS listener."""

    def __init__(
        self,
        listener: Listener,
        contexts: TlsContexts,
        protocols: Mapping[str, Resume],
        resolver_of: Callable[[NameServers], Resolver],
    ) -> None:
        """protocols: what serves a connection, by the protocol of ALPN; "" for all others and for clear text.

        resolver_of: finds the resolver for the names of OCSP responders.
        """
        assert listener.servers.default is not None
        self._listener = listener
        self._default = listener.servers.default
        self._clear = ClearOnTls(listener)
        # Otherwise requests find their server as in clear.
        self._verifies = any(server.ssl_verify_client != "off" for server in listener.servers.targets)
        self._protocols = protocols
        self._only = protocols[""] if len(protocols) == 1 else None  # what serves all connections, if something does
        self._store = CertificateStore()
        self._hellos = KnownHellos()
        self._openssl = find_openssl()
        has_http2 = "http2" in listener.protocols
        found = {server: contexts.find(server, has_http2) for server in listener.servers.targets}
        # A server without a certificate of its own shows the one of the default server.
        contexts_of = {server: context or found[self._default] for server, context in found.items()}
        self._doors = {
            server: open_door(server, context, resolver_of) for server, context in contexts_of.items() if context is not None
        }
        self._chosen: dict[bytes, tuple[Server, bytes | None]] = {}
        offered = {protocol for door in self._doors.values() for protocol in door.protocols}
        assert b"h2" not in offered or "h2" in protocols, "nothing is offered that nobody serves"
        self._count: Callable[[Server, float, TlsSession], None] | None = None
        self._count_failure: Callable[[Server, BaseException], None] | None = None
        if any(server.locations.fallback.route.counts is not None for server in listener.servers.targets):
            from worker.counters.handshakes import count_failed_handshake, count_handshake  # only where counters are shown

            self._count, self._count_failure = count_handshake, count_failed_handshake

    async def serve(self, stream: Stream, client: Client, plan: ListenerPlan) -> None:
        """Find out what a client speaks, and serve it until one side is done; closes the stream."""
        assert isinstance(stream, TlsStream), "see `worker.client.accept`"
        arrival = Arrival(stream, plan.header_timeout, self._default)
        clients = plan.clients
        clients.connections.add(arrival)
        serve: Resume | None = None
        agreed: Stream = stream
        received = b""
        try:
            clear = await self._agree(arrival, stream, client, plan)
            if clear:
                client.endpoint = agreed = in_clear(stream)
                received, serve = clear, self._protocols[""]
            else:
                received = stream.take_at_hand()
                serve = self._only or self._protocols.get(stream.alpn or "", self._protocols[""])
        except (TimedOut, ClientGone, OSError) as error:
            self._fail(arrival, stream, client, plan, error)
        finally:
            clients.connections.discard(arrival)
            if serve is None:
                clients.before_close()
                stream.close()
                clients.ended(arrival)
        if serve is not None:
            serving = serve(agreed, client, plan, received)
            received = clear = b""  # they need not be kept as long as the connection is
            await serving

    def _fail(self, arrival: Arrival, stream: Stream, client: Client, plan: ListenerPlan, error: Exception) -> None:
        """Log a handshake that has failed, count it if it has begun, and tell the client if it is refused."""
        if self._count_failure is not None and arrival.has_begun:
            self._count_failure(arrival.server, error)
        if isinstance(error, TimedOut):
            self._log(client, plan, "info", "client timed out (110: Connection timed out)")
        elif isinstance(error, TlsFailure):
            self._log(client, plan, error.level, error.text)
            if isinstance(error, Refused):
                refuse(stream, error.alert)
        elif isinstance(error, OSError):
            self._log(client, plan, "info", f"recv() failed ({error.errno}: {error.strerror})")
        else:
            self._log(client, plan, "info", "client closed connection")

    async def _agree(self, arrival: Arrival, stream: TlsStream, client: Client, plan: ListenerPlan) -> bytes:
        """Shake hands with a client; return the first bytes of one that speaks in clear instead, b"" otherwise.

        Raises TimedOut, ClientGone, TlsFailure, OSError.
        """
        clock = client.clock
        deadline = client.started + plan.header_timeout
        begun = clock.now
        data = b""
        hello = None
        while True:
            piece = receive(stream)
            if piece is None:
                await park(stream, READ, deadline - clock.now)
                continue
            if not piece:
                if not data:
                    raise ClientGone
                raise TlsFailure("peer closed connection in SSL handshake")
            if not arrival.has_begun:
                arrival.has_begun, begun = True, clock.now
            if not data and not is_tls(piece[0]):
                client.find_server = self._clear.find_server
                return piece
            data += piece
            try:
                hello = self._hellos.read(data)
            except NotClientHello:
                break  # OpenSSL knows the alert for it
            if hello is not None:
                break
        server, name = self._choose(hello, client)
        arrival.server = server
        door = self._doors[server]
        check_offer(door, hello)
        context = door.context
        secure = self._certified(context, hello, client)
        stream.begin(secure, server_side=True, received=data)
        if self._openssl is not None:
            self._openssl.keep_session_context(stream.tls, secure)
        client.tls = tls = TlsSession(stream.tls, hello)
        await stream.handshake(deadline - clock.now)
        if door.status is not None and (refusal := await door.status.find_refusal(stream.tls, client, deadline)):
            tls.refuse_certificate(refusal)
        if self._count is not None:
            self._count(server, clock.now - begun, tls)
        client.scheme = b"https"
        if self._verifies:
            client.find_server = Choice(self._listener, server, name, tls).find_server
        return b""

    def _certified(self, context: ServerContext, hello: ClientHello | None, client: Client) -> ssl.SSLContext:
        """Return the context of OpenSSL's for a handshake. Raises Refused."""
        if not context.templates:
            assert context.context is not None, "a server without a certificate refuses"
            return context.context
        if hello is not None and b"/" in hello.server_name:
            raise Refused("a server name with a slash cannot be part of a file's", _UNRECOGNIZED_NAME)
        try:
            return self._store.context_of(context, request_of(client, hello, context.server), client.clock.now)
        except NotLoaded as error:
            raise Refused(str(error), _INTERNAL_ERROR, "error") from None

    def _choose(self, hello: ClientHello | None, client: Client) -> tuple[Server, bytes | None]:
        """Return the server that a client asks for, and the name of it; the default one and None, if no server has the name."""
        if hello is None or not hello.server_name:
            return self._default, None
        chosen = self._chosen.get(hello.server_name)
        if chosen is not None:
            return chosen
        try:
            name, _ = read_host(hello.server_name)
        except ClientError:
            return self._default, None
        servers = self._listener.servers
        server = servers.match(name, request_of(client, hello, self._default))
        chosen = (self._default, None) if server is None else (server, name)
        if not servers.regexes:  # they leave captures, and may take time
            if len(self._chosen) >= _MOST_NAMES:
                self._chosen.clear()
            self._chosen[hello.server_name] = chosen
        return chosen

    def _log(self, client: Client, plan: ListenerPlan, level: str, text: str) -> None:
        address = client.remote_addr.decode("latin-1")
        plan.log.write(level, f"{text} while SSL handshaking, client: {address}, server: {self._listener.address}", client.serial)


def receive(stream: TlsStream) -> bytes | None:
    """Return what has arrived, b"" at the end; None where there is nothing. Raises ClientGone, OSError."""
    try:
        return stream.recv(HEAD_CHUNK)
    except BlockingIOError:
        return None


def in_clear(stream: TlsStream) -> Stream:
    """Return a clear stream in the place of one that will not be encrypted."""
    clear = Stream(stream.loop, stream.sock)
    stream.loop.replace(stream, clear)
    return clear


def open_door(server: Server, context: ServerContext, resolver_of: Callable[[NameServers], Resolver]) -> Door:
    """Return a server with what belongs to its handshakes."""
    status = None
    if context.asks_about_clients:
        from worker.tls.client_status import ClientStatus  # only where it is configured

        status = ClientStatus(server, context, resolver_of)
    return Door(server, context, frozenset(protocol.encode() for protocol in context.protocols), status)


def check_offer(door: Door, hello: ClientHello | None) -> None:
    """Refuse a client that a server wants to refuse, or that speaks no protocol that it speaks. Raises Refused."""
    if door.context.rejects:
        raise Refused("handshake rejected", _UNRECOGNIZED_NAME)
    if hello is not None and hello.protocols is not None and door.protocols.isdisjoint(hello.protocols):
        text = f"{HANDSHAKING} failed (SSL: error:0A0000EB:SSL routines::no application protocol)"
        raise Refused(text, _NO_APPLICATION_PROTOCOL, reason="NO_APPLICATION_PROTOCOL")


def refuse(stream: Stream, alert: bytes) -> None:
    """Send an alert, as far as there is room for it: a client that has just come has room."""
    try:
        stream.sock.send(alert)  # nothing is encrypted yet
    except OSError:
        pass


def request_of(client: Client, hello: ClientHello | None, server: Server) -> Request:
    """Return a request for what is evaluated during a handshake: the names of certificates, and regexes of server names."""
    if hello is not None:
        client.tls = Offer(hello)
    line = RequestLine(b"", b"", b"", b"", b"", None, 9, False)
    request = Request(client, line, RequestFields((), {}, None, None, -1, False), client.clock.now)
    request.lead_to(server.locations.fallback)
    request.server = server
    return request
