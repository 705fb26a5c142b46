"""Accepting clients: a task for each listening socket takes connections and starts a task for each (nginx: ngx_event_accept).

The function that serves a connection is chosen at load, by its listener: a listener with plain HTTP/1 pays nothing for other
protocols.
"""

from __future__ import annotations

import _socket
import errno
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from worker.client.clients import Clients
from worker.client.http1.serve import serve_connection
from worker.client.plan import ListenerPlan
from worker.client.proxy_header import Serve, after_proxy_header
from worker.logs import announcer
from worker.loop import READ, Loop, Task, park, sleep
from worker.room import Room
from worker.stream import Stream
from wproxy.assignment import ListeningSocket
from wproxy.config.model import Configuration, Listener
from wproxy.error_log import ErrorLog
from wproxy.http import Client, Process

if TYPE_CHECKING:
    from worker.client.secure import Resume
    from worker.resolver.resolver import Resolver
    from wproxy.directives.resolver import NameServers
    from wproxy.tls.contexts import TlsContexts

# The number of connections that are taken from a listening socket in one go.
ACCEPT_BURST: Final = 64
# Descriptors or memory have run out: accepting again at once would only spin.
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class ClientProtocol(NamedTuple):
    """The protocol of the clients on a listener.

    stream: makes the stream of an accepted socket. serve: serves one connection to its end.
    """

    stream: Callable[[Loop, _socket.socket], Stream]
    serve: Serve


# Tests put an encrypted one in its place.
HTTP1 = ClientProtocol(Stream, serve_connection)


def protocol_of(listener: Listener) -> ClientProtocol:
    """Return what the clients of a listener speak."""
    default = listener.servers.default
    if default is None or not listener.speaks_http2(default):
        return HTTP1
    from worker.client.preface import serve_clear  # HTTP/2 takes 25 ms, needed only where clients use it

    return ClientProtocol(Stream, serve_clear)


class Acceptors:
    """All accepting tasks of one worker. serials: gives each connection its number, from the count of those accepted."""

    def __init__(
        self,
        loop: Loop,
        configuration: Configuration,
        process: Process,
        clients: Clients,
        room: Room,
        log: ErrorLog,
        serials: Callable[[int], int],
        tls: TlsContexts | None,
        resolver_of: Callable[[NameServers], Resolver],
    ) -> None:
        """tls: the contexts of the servers, where clients use TLS. resolver_of: finds that for OCSP responders."""
        self._loop = loop
        self._configuration = configuration
        self._process = process
        self._clients = clients
        self._room = room
        self._log = log
        self._serials = serials
        self._tls = tls
        self._resolver_of = resolver_of
        self._tasks: list[Task] = []
        self._streams: list[Stream] = []

    def listen(self, listening: ListeningSocket) -> None:
        """Accept on a listening socket from now on."""
        sock = socket.socket(fileno=listening.fileno)
        sock.setblocking(False)
        if not listening.listener.address.is_unix:
            # Accepted sockets inherit it, which saves one system call per connection.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream = Stream(self._loop, sock)
        self._loop.add(stream)
        self._streams.append(stream)
        self._room.uncounted += listening.listener is self._configuration.control
        task = self._loop.spawn(self._accept(stream, sock, listening.listener), f"listener {listening.listener.address}")
        self._tasks.append(task)

    def close(self) -> None:
        """Stop taking connections."""
        for task in self._tasks:
            self._loop.cancel(task)
        for stream in self._streams:
            stream.close()

    async def _accept(self, stream: Stream, listening: socket.socket, listener: Listener) -> None:
        """Take new connections and start a task for each."""
        default = listener.servers.default
        assert default is not None
        loop, clients, serials = self._loop, self._clients, self._serials
        stream_count = loop.stream_count
        plan = ListenerPlan(default, clients)
        make_stream, serve = protocol_of(listener)
        if "ssl" in listener.protocols:
            assert self._tls is not None, "the master makes contexts for every server that needs them"
            from worker.client.secure import Secured  # with ssl it takes 20 ms, needed only where clients use TLS
            from worker.tls.stream import TlsStream

            serves: dict[str, Resume] = {"": serve_connection}
            if any(listener.speaks_http2(server) for server in listener.servers.targets):
                from worker.client.http2.serve import serve_http2

                serves["h2"] = serve_http2
            make_stream, serve = TlsStream, Secured(listener, self._tls, serves, self._resolver_of).serve
        if "proxy_protocol" in listener.protocols:
            serve = after_proxy_header(serve)  # it comes before TLS, too
        announce = announcer(self._configuration.debug_connection, plan.log)
        # Control connections are let in however full the worker is.
        may_always = listener is self._configuration.control
        # The method below `socket.accept`, which looks for the names of the constants: that costs 4 us.
        accept: Callable[[], tuple[int, Any]] = listening._accept  # type: ignore[attr-defined]
        is_unix, process, clock = listener.address.is_unix, self._process, loop.clock
        family, kind, number = int(listening.family), int(listening.type), listening.proto
        tally = [0, 0] if clients.tallies is None else clients.tallies.setdefault(str(listener.address), [0, 0])
        connection: Stream | None
        client: Client | None
        pause = 0.0
        while True:
            connection = client = None  # the last one would be kept until another one comes, with OpenSSL's part of it
            if pause:
                await sleep(pause)
                pause = 0.0
            await park(stream, READ, float("inf"))
            for _ in range(ACCEPT_BURST):
                try:
                    fileno, peer = accept()
                except OSError as error:
                    pause = self._pause_after(error)
                    break
                # The class beneath socket.socket: to make and close one of that takes 1.5 us more.
                sock = _socket.socket(family, kind, number, fileno)
                if stream_count() > loop.roomy and not may_always and (refusal := loop.lacks_room()):
                    self._log.write("alert", refusal)
                    clients.refused += 1
                    tally[1] += 1
                    sock.close()
                    continue
                sock.setblocking(False)
                if is_unix:
                    address, port = b"unix:", 0
                else:
                    address, port = peer[0].encode("ascii"), peer[1]
                clients.accepted += 1
                tally[0] += 1
                clients.open += 1
                serial = serials(clients.accepted)
                if announce is not None:
                    announce(address, port, sock.fileno(), serial)
                connection = make_stream(loop, sock)
                client = Client(process, listener, clock, address, port, serial, connection)
                loop.add(connection)
                loop.spawn(serve(connection, client, plan), "client", serial)

    def _pause_after(self, error: OSError) -> float:
        """Return for how many seconds none is accepted after a failure; 0 where another try may succeed, or none has come."""
        if error.errno not in _EXHAUSTED:
            return 0.0
        self._log.write("crit", f"accept4() failed ({error.errno}: {error.strerror})")
        self._room.close_idle(str(error.strerror))
        return self._configuration.accept_mutex_delay

    def __repr__(self) -> str:
        return f"<acceptors on {len(self._streams)} sockets>"
