"""The state of one HTTP/1 client connection, kept from one request to the next."""

from __future__ import annotations

from worker.client.ending import departure
from worker.client.plan import ListenerPlan
from worker.http1.request import HeadMemo, RequestFields, RequestLine
from worker.loop import AT_HOME
from worker.stream import HEAD_CHUNK, Stream
from wproxy.bodies import Outlet
from wproxy.browsers import stays_connected
from wproxy.config.model import Server
from wproxy.failures import ClientGone
from wproxy.http import REASONS, Client, FieldsForm, Request
from wproxy.route import Learn, Repetition, Route

Head = tuple[RequestLine, RequestFields, int]


class Connection(HeadMemo):
    """The state of a client connection, with its memory of heads; also the Exchange of each request, as it serves one at a time.

    buffer: bytes received and not yet used. idle: whether it waits for the first byte of a request, so that it may be closed;
    patience: for so many seconds; wait: what waits so long. chunk: the size of a read, small after a small first request, until
    one fills it. routed_*: the line and the fields of the last head, and the route of its location. last_request, expires: the
    request, or the time, from which the connection is not kept, for that head and location. routed_form: the form of that head,
    where they and `patience` hold for all GET requests of it in 1.1 that have the same route. is_over: whether the last request
    is, and only its body or the end of the connection is awaited; is_refused: whether its head was refused. learn: what may
    repeat the last request, if it was the same as the one before it; repetition: what repeats it; repeating: the same while it
    does. request: the request under way, unless it is one that is repeated (see `current`).
    """

    __slots__ = (
        "buffer",
        "chunk",
        "client",
        "clients",
        "expires",
        "idle",
        "is_over",
        "is_refused",
        "last_request",
        "learn",
        "patience",
        "plan",
        "repeating",
        "repetition",
        "request",
        "routed_by",
        "routed_fields",
        "routed_form",
        "routed_host",
        "routed_line",
        "routed_server",
        "stream",
        "task",
        "wait",
    )

    # Set with the first request, all but the last three of them.
    routed_fields: RequestFields | None
    routed_form: FieldsForm | None
    routed_host: bytes | None
    last_request: int
    expires: float
    learn: Learn | None
    repetition: Repetition | None
    repeating: Repetition | None

    def __init__(self, stream: Stream, client: Client, plan: ListenerPlan) -> None:
        # Like HeadMemo.__init__, without the call.
        self.head = self.block = b""
        self.lines = self.shape = self.known = self.taken = self.begun_head = None
        self.bare_lf = 0
        self.clients = plan.clients
        self.stream = stream
        self.client = client
        self.plan = plan
        self.buffer = b""
        self.chunk = HEAD_CHUNK
        self.idle = True
        self.is_over = self.is_refused = False
        self.learn = self.repetition = self.repeating = None
        self.patience = plan.header_timeout
        self.wait = plan.first_wait
        self.request: Request | None = None
        self.routed_line: RequestLine | None = None
        self.routed_by: Route = plan.fallback.route
        self.routed_server: Server | None = None
        self.task = task = stream.loop.current()
        task.home = stream

    @property
    def idle_since(self) -> float:
        """Return the time at which it began to wait for a request, if it does; in seconds of the loop's clock."""
        return self.task.deadline - self.patience

    @property
    def waits(self) -> bool:
        """See `ClientConnection.waits`."""
        return self.idle or self.is_over

    @property
    def is_reading(self) -> bool:
        """See `ClientConnection.is_reading`."""
        return self.is_refused if self.is_over else not self.idle and self.request is None and self.repeating is None

    @property
    def begun(self) -> int:
        """See `ClientConnection.begun`."""
        return int(not self.idle and not self.is_over)

    @property
    def under_way(self) -> tuple[Request, ...]:
        """Return the request that it has now."""
        request = self.current()
        return () if request is None else (request,)

    def current(self) -> Request | None:
        """Return the request that it has now; one that is only repeated is made for that."""
        return self.request if self.repeating is None else self.repeating.hand_over(self)

    def may_leave(self, now: float) -> bool:
        """Whether it may be closed: it waits for a request, has for keepalive_min_timeout, and none has arrived."""
        if not self.idle or not self.task.parked:
            return False
        return not self.client.requests or now >= self.idle_since + self.routed_by.location.keepalive_min_timeout

    def drain(self, now: float) -> None:
        """Close after the active request, or at once if none has arrived."""
        self.last_request = 0  # repetitions need not look whether the worker drains
        # A request that has arrived already is served; the client has to repeat any other.
        if self.idle and self.client.requests and not self.stream.has_unread():
            loop = self.stream.loop
            if self.may_leave(now):
                loop.interrupt(self.task, ClientGone())
            else:
                loop.hasten(self.task, self.idle_since + self.routed_by.location.keepalive_min_timeout)
        elif (request := self.current()) is not None:
            request.keepalive = False

    def cut(self, reason: ClientGone) -> None:
        """End its request now."""
        self.stream.loop.interrupt(self.task, reason)

    @property
    def outlet(self) -> Outlet:
        """Return the outlet for the bytes of a response: the stream."""
        return self.stream

    def interim(self, status: int, lines: tuple[tuple[bytes, bytes], ...]) -> int:
        """Send a head before the real one; return its size. Raises BlockingIOError if there is no room for it, ClientGone."""
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

    def reserve(self, wanted: int) -> int:
        """Return how many bytes of a response may be kept in memory: as many as its location allows."""
        return wanted

    def moved(self, request: Request) -> None:
        """Record whether and for how long the connection is kept, according to the location in which the request continues.

        A location that does not keep connections prevails, whatever comes after it (nginx: ngx_http_update_location_config).
        """
        route, client = request.route, self.client
        patience = route.keepalive_timeout[0]
        if patience != self.patience:
            self.patience = patience
            self.wait = AT_HOME[patience]
            self.routed_form = None
            if self.routed_by is not self.routed_by.server.entry:
                self.routed_line = None  # the same head need not lead here again
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

    def __call__(self, stream: Stream) -> bool:
        """Handle bytes or an end from a client out of turn: a departure ends the request (499).

        Bytes are left where they are until the next request is read. (It is the stream's `unexpected`: a method that is bound to
        each connection would be another 64 bytes of each.)
        """
        request = self.current()
        if request is not None and not request.route.ignores_abort and stream.has_ended():
            stream.loop.interrupt(self.task, departure(request, "client prematurely closed connection"))
        return False
