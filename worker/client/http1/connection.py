"""The state of one HTTP/1 client connection, kept from one request to the next, and what it needs of its listener."""

from __future__ import annotations

from worker.client.clients import Clients
from worker.http1.request import HeadLimits, HeadMemo, RequestFields, RequestLine
from worker.stream import Stream
from wproxy.bodies import Outlet
from wproxy.browsers import stays_connected
from wproxy.config.model import Location, Server
from wproxy.failures import ClientGone
from wproxy.http import REASONS, Client, Request
from wproxy.route import Route

Head = tuple[RequestLine, RequestFields, int]


class Connection:
    """What a client connection keeps from one request to the next; the Exchange of each, for it serves one at a time.

    buffer: bytes received and not yet used. idle: waiting for the first byte of a request, so that it may be closed; patience:
    for so many seconds.
    routed_*: the last head, the location it led to, and the route there; last_request, expires: from this request on, or this
    moment, the connection is not kept, as that head and location have it.
    """

    __slots__ = (
        "buffer",
        "client",
        "clients",
        "expires",
        "idle",
        "last_request",
        "memo",
        "patience",
        "plan",
        "request",
        "routed_by",
        "routed_head",
        "routed_to",
        "stream",
        "task",
    )

    def __init__(self, stream: Stream, client: Client, plan: ListenerPlan) -> None:
        self.clients = plan.clients
        self.stream = stream
        self.client = client
        self.plan = plan
        self.memo = HeadMemo()
        self.buffer = b""
        self.idle = True
        self.patience = plan.header_timeout
        self.request: Request | None = None
        self.routed_head: Head | None = None
        self.routed_to: Location = plan.default.locations.fallback
        self.routed_by: Route = self.routed_to.route
        self.last_request = 0
        self.expires = 0.0
        self.task = stream.loop.current()

    @property
    def idle_since(self) -> float:
        """When it began to wait for a request, if it does; in seconds of the loop's clock."""
        return self.task.deadline - self.patience

    @property
    def is_reading(self) -> bool:
        """Whether a part of a request has come, and not yet all of its head."""
        return not self.idle and self.request is None

    def may_leave(self, now: float) -> bool:
        """Whether nobody misses it: it waits for a request, has for keepalive_min_timeout, and none has come."""
        if not self.idle or not self.task.parked:
            return False
        return not self.client.requests or now >= self.idle_since + self.routed_to.keepalive_min_timeout

    def drain(self, now: float) -> None:
        """Leave after the request that is under way, or at once where none has come."""
        # A request that has arrived already is served; one that has not is for the client to repeat.
        if self.idle and self.client.requests and not self.stream.has_unread():
            loop = self.stream.loop
            if self.may_leave(now):
                loop.interrupt(self.task, ClientGone())
            else:
                loop.hasten(self.task, self.idle_since + self.routed_to.keepalive_min_timeout)
        elif self.request is not None:
            self.request.keepalive = False

    @property
    def outlet(self) -> Outlet:
        """What takes the bytes of a response: the stream."""
        return self.stream

    def interim(self, status: int, lines: tuple[tuple[bytes, bytes], ...]) -> int:
        """Send a head before the real one; return its size. Raises BlockingIOError where there is no room for it, ClientGone."""
        head = b"HTTP/1.1 %d %b\r\n" % (status, REASONS[status].encode())
        data = head + b"".join([name + b": " + value + b"\r\n" for name, value in lines]) + b"\r\n"
        try:
            sent = self.stream.send(data)
        except BlockingIOError:
            raise
        except OSError:
            raise ClientGone from None
        if sent != len(data):
            raise ClientGone("client did not take an early hint")  # half a head is out, and nothing can follow it
        return sent

    def moved(self, request: Request) -> None:
        """Note whether and for how long the connection is kept, as the location has it that a request goes on in.

        One that does not keep connections has its way, whatever comes after it (nginx: ngx_http_update_location_config).
        """
        route, client = request.route, self.client
        patience = route.keepalive_timeout[0]
        if patience != self.patience:
            self.patience = patience
            if self.routed_by is not self.routed_to.server.entry:
                self.routed_head = None  # the same head need not lead here again
        if (
            not patience
            or client.requests >= route.keepalive_requests
            or client.clock.now >= client.started + route.keepalive_time
            or (
                route.keepalive_disable
                and not stays_connected(request.line.method, request.fields.get(b"user-agent") or b"", route.keepalive_disable)
            )
        ):
            request.keepalive = False

    def client_moved(self, stream: Stream) -> bool:
        """The client sent something, or left, while it is not its turn: a departure ends the request (499).

        Bytes are left where they are until the next request is read.
        """
        request = self.request
        if request is not None and not request.route.ignores_abort and stream.has_ended():
            attempts = request.attempts
            ends_upstream = bool(attempts) and attempts[-1].response_time is None
            more = f", so upstream connection is closed too while {attempts[-1].doing}" if ends_upstream else ""
            stream.loop.interrupt(self.task, ClientGone(f"client prematurely closed connection{more}"))
        return False


class ListenerPlan:
    """What every connection of a listener needs before its first request names a server: that of the default server.

    log: where lines go about a connection that has no request.
    """

    __slots__ = ("clients", "default", "header_timeout", "limits", "log")

    def __init__(self, default: Server, clients: Clients) -> None:
        number, each = default.large_client_header_buffers
        self.clients = clients
        self.log = default.locations.fallback.route.log
        self.default = default
        self.header_timeout = default.client_header_timeout
        self.limits = HeadLimits(
            line=each,
            field=each,
            total=number * each,
            count=default.max_headers,
            ignore_invalid_headers=default.ignore_invalid_headers,
            underscores_in_headers=default.underscores_in_headers,
            merge_slashes=default.merge_slashes,
        )
