"""The values that a request consists of, whatever its protocol: clock, client, request, response, attempt."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

from wproxy.address import Address
from wproxy.bodies import BodySource, Outlet, Tunnel
from wproxy.identity import Identity
from wproxy.layouts import settle_layout
from wproxy.native import NONE, mypyc_attr
from wproxy.proxy_protocol import ProxyHeader
from wproxy.request_body import RequestBody

if TYPE_CHECKING:
    from wproxy.caching import CacheNotes
    from wproxy.config.model import Listener, Location, Server
    from wproxy.explain import Trace
    from wproxy.failures import ClientError
    from wproxy.route import Route
    from wproxy.slices import Slices
    from wproxy.ssi.state import SsiState
    from wproxy.tracing import TraceContext

    FindServer = Callable[["bytes | None", "Request"], tuple[Server, "ClientError | None"]]

REASONS = {
    100: "Continue",
    101: "Switching Protocols",
    103: "Early Hints",
    200: "OK",
    201: "Created",
    202: "Accepted",
    204: "No Content",
    206: "Partial Content",
    301: "Moved Permanently",
    302: "Moved Temporarily",
    303: "See Other",
    304: "Not Modified",
    307: "Temporary Redirect",
    308: "Permanent Redirect",
    400: "Bad Request",
    401: "Unauthorized",
    402: "Payment Required",
    403: "Forbidden",
    404: "Not Found",
    405: "Not Allowed",
    406: "Not Acceptable",
    408: "Request Time-out",
    409: "Conflict",
    410: "Gone",
    411: "Length Required",
    412: "Precondition Failed",
    413: "Request Entity Too Large",
    414: "Request-URI Too Large",
    415: "Unsupported Media Type",
    416: "Requested Range Not Satisfiable",
    421: "Misdirected Request",
    429: "Too Many Requests",
    500: "Internal Server Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Temporarily Unavailable",
    504: "Gateway Time-out",
    505: "HTTP Version Not Supported",
    507: "Insufficient Storage",
}
"""nginx's reason phrases (ngx_http_header_filter_module.c), which differ from the RFC's here and there."""


def has_no_body(status: int) -> bool:
    """Whether a response of this status has no body, whatever the method and the fields (RFC 9110, 6.4.1)."""
    return is_interim(status) or status in (204, 304)


def is_interim(status: int) -> bool:
    """Whether a final answer is to follow this status. `return` takes any number, and one below 100 is final, as in nginx."""
    return 100 <= status < 200


class Clock:
    """The time of the current turn of the loop. The owner of the loop sets it; this package only reads it.

    now: seconds that only grow, for timers and durations. offset: the difference to unix time. date_line: `Date: ...` of this
    second, with its line end.
    """

    __slots__ = ("date_line", "now", "offset")

    def __init__(self, now: float = 0.0, offset: float = 0.0) -> None:
        self.now = now
        self.set_wall(now + offset)

    @property
    def wall(self) -> float:
        """Unix time in seconds."""
        return self.now + self.offset

    def set_wall(self, wall: float) -> None:
        """Set the unix time of `now`; to be called at the latest when a second has passed."""
        self.offset = wall - self.now
        self.date_line = f"Date: {http_date(int(wall))}\r\n".encode("ascii")


MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def http_date(second: int) -> str:
    """Return `Sun, 06 Nov 1994 08:49:37 GMT`, whatever the locale."""
    at = time.gmtime(second)
    return (
        f"{DAYS[at.tm_wday]}, {at.tm_mday:02} {MONTHS[at.tm_mon - 1]} {at.tm_year} "
        f"{at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02} GMT"
    )


@mypyc_attr(allow_interpreted_subclasses=True, serializable=True)
class RequestLineLike:
    """The first line of a request, as every client protocol provides it.

    (Not a Protocol: a compiled attribute is read in 2 instructions then, and otherwise in 200.)
    """

    __slots__ = (
        "args",
        "authority",
        "authority_port",
        "has_escapes",
        "line",
        "method",
        "origin",
        "path",
        "raw_ok",
        "target",
        "version",
    )

    line: bytes
    method: bytes
    target: bytes
    origin: bytes
    path: bytes
    args: bytes | None
    version: int
    authority: bytes | None
    authority_port: int | None
    has_escapes: bool
    raw_ok: bool


@mypyc_attr(allow_interpreted_subclasses=True, serializable=True)
class FieldsForm:
    """The header fields that successive requests of a connection have in common: all but the values of some lines.

    indexes: those lines, none of which is a repeated one. names: their lower-case names. cache: results that are the same for all
    requests of this form, by whatever has worked them out.
    """

    __slots__ = ("cache", "indexes", "names")

    def __init__(self, indexes: list[int], names: list[bytes]) -> None:
        self.indexes = indexes
        self.names = names
        self.cache: dict[Any, Any] = {}


class SharedCache(dict[Any, Any]):
    """A `cache` that many fields have: it stays as it is."""

    __slots__ = ()

    def __setitem__(self, key: Any, value: Any) -> None:
        raise TypeError("other fields have the same one: see FieldsLike.remember")


# That of fields from which nothing has been derived.
NOTHING_DERIVED: Final[dict[Any, Any]] = SharedCache()

# The lines that differ from those of another block, and what was derived of that: `composed` and `cache`.
Difference = tuple[list[int], Any, dict[Any, Any]]


def upstream_head_before(difference: Difference, key: object) -> Any:
    """Return a head for an upstream that was made of the other block, as `FieldsLike.upstream_head` does of one."""
    composed = difference[1]
    return composed if composed is not None and composed[2] is key else difference[2].get(key)


@mypyc_attr(allow_interpreted_subclasses=True, serializable=True)
class FieldsLike:
    """The header fields of a request, as every client protocol provides them.

    form: what they have in common with those of earlier requests, with their own values for the other lines in `varied`; None
    where that is not known. cache: what has been derived from them, see `remember`; composed: the first head for an upstream
    among that, with the key that it is known by. (Most have that alone, and a dictionary takes 220 bytes.)
    """

    __slots__ = (
        "cache",
        "chunked",
        "composed",
        "connection_options",
        "content_length",
        "difference",
        "form",
        "host",
        "host_port",
        "upgrade",
        "varied",
    )

    form: FieldsForm | None
    varied: list[bytes]
    host: bytes | None
    host_port: int | None
    content_length: int
    chunked: bool
    upgrade: bytes | None
    connection_options: frozenset[bytes]
    cache: dict[Any, Any]
    composed: tuple[Any, ...] | None
    difference: Difference | None

    def remember(self, key: object, value: object) -> None:
        """Keep a value that was derived from them, and from nothing else that changes on their connection."""
        if self.cache.__class__ is SharedCache:
            self.cache = {**self.cache, key: value}
        else:
            self.cache[key] = value

    def upstream_head(self, key: object) -> Any:
        """Return the head for an upstream that has been kept by this key; None where there is none."""
        composed = self.composed
        return composed if composed is not None and composed[2] is key else self.cache.get(key)

    def remember_head(self, head: tuple[Any, ...]) -> None:
        """Keep a head for an upstream by its third value, as `remember` would."""
        if self.composed is None or self.composed[2] is head[2]:
            self.composed = head
        else:
            self.remember(head[2], head)

    def forget(self) -> None:
        """Forget all that has been derived from them."""
        self.cache = NOTHING_DERIVED
        self.composed = None

    @property
    def lines(self) -> tuple[tuple[bytes, bytes, bytes], ...]:
        """Return (lower-case name, name as spelled, value) of each line."""
        raise NotImplementedError

    def get(self, name: bytes) -> bytes | None:
        """Return the value of a field by its lower-case name; repeated lines are joined."""
        raise NotImplementedError

    def apart(self) -> FieldsLike:
        """Return the same fields with a memory of their own, for another client than that of the connection."""
        raise NotImplementedError

    def with_lines(self, lines: tuple[tuple[bytes, bytes, bytes], ...]) -> FieldsLike:
        """Return the same fields with other lines, which mean nothing to us: framing, Host and Connection are as they were."""
        raise NotImplementedError


class AnswerHead:
    """The head of an upstream's answer, as every upstream protocol provides it.

    version: 10, 11 or 20. lines: (lower-case name, name as spelled, value). values: lower-case name -> value, repeated lines
    joined.
    """

    __slots__ = ("chunked", "content_length", "lines", "status", "values", "version")

    status: int
    version: int
    lines: tuple[tuple[bytes, bytes, bytes], ...]
    values: dict[bytes, bytes]
    content_length: int
    chunked: bool


class Endpoint(Protocol):
    """Our end of a client's connection: the stream that the worker has of it."""

    def address(self) -> Address:
        """Return the address that the client connected to."""

    def tcp_info(self) -> tuple[int, int, int, int] | None:
        """Return (rtt, rttvar, snd_cwnd, rcv_space), times in microseconds; None without a TCP connection."""


class FixedEndpoint:
    """The end of a connection that there is not: of requests that we make ourselves."""

    __slots__ = ("_address",)

    def __init__(self, address: Address) -> None:
        self._address = address

    def address(self) -> Address:
        """Return the address that it was made with."""
        return self._address

    def tcp_info(self) -> tuple[int, int, int, int] | None:
        """Return None: there is no TCP connection."""
        return None


class Process:
    """The process that serves, as variables see it."""

    __slots__ = ("count_connections", "identity")

    def __init__(self, identity: Identity, count_connections: Callable[[], tuple[int, int, int, int]]) -> None:
        """count_connections: returns the numbers of all workers' clients: (active, reading, writing, waiting)."""
        self.identity = identity
        self.count_connections = count_connections


# The number of a verdict that does not come from OpenSSL: a responder has spoken against the certificate, or has not answered.
BY_STATUS = -1


class ClientTls(Protocol):
    """A client's TLS connection, as variables see it. Text is bytes, b"" where there is none.

    server_name: as the client sent it (SNI). ciphers, groups: those of the client, in OpenSSL's names where it has any.
    certificate: the client's, in DER. verify_result: OpenSSL's number of what is wrong with it, or BY_STATUS, and words for that.
    """

    @property
    def version(self) -> bytes: ...
    @property
    def cipher(self) -> bytes: ...
    @property
    def ciphers(self) -> bytes: ...
    @property
    def group(self) -> bytes: ...
    @property
    def groups(self) -> bytes: ...
    @property
    def signature_algorithms(self) -> bytes: ...
    @property
    def signature_algorithm(self) -> bytes: ...
    @property
    def client_signature_algorithm(self) -> bytes: ...
    @property
    def server_name(self) -> bytes: ...
    @property
    def protocol(self) -> bytes: ...
    @property
    def session_id(self) -> bytes: ...
    @property
    def is_resumed(self) -> bool: ...
    @property
    def certificate(self) -> bytes: ...
    @property
    def verify_result(self) -> tuple[int, str]: ...


class Client:
    """One client connection as variables and logs see it. Text is bytes; addresses have no brackets.

    tls: None for a client that speaks in clear. find_server: finds the server for a host; where that server must not answer, also
    the reason why. None: any server of the listener may answer (`worker.client.requests`).
    """

    __slots__ = (
        "_server_address",
        "_viewed",
        "clock",
        "endpoint",
        "find_server",
        "listener",
        "packed_addr",
        "process",
        "proxy_protocol",
        "remote_addr",
        "remote_port",
        "requests",
        "scheme",
        "serial",
        "started",
        "tls",
    )

    def __init__(
        self,
        process: Process,
        listener: Listener,
        clock: Clock,
        remote_addr: bytes,
        remote_port: int,
        serial: int,
        endpoint: Endpoint,
    ) -> None:
        self.process = process
        self.listener = listener
        self.clock = clock
        self.remote_addr = remote_addr
        self.remote_port = remote_port
        self.serial = serial
        self.scheme = b"http"
        self.tls: ClientTls | None = None
        self.find_server: FindServer | None = None
        self.requests = 0
        self.started = clock.now
        self.endpoint = endpoint
        self.proxy_protocol: ProxyHeader | None = None  # what the connection began with, on a listener with proxy_protocol
        self._viewed: Client | None = None  # the connection itself, where this is a view of it
        self.packed_addr: bytes | None = None  # the address as $binary_remote_addr has it, once it was asked for
        self._server_address: Address | None = None

    @property
    def server_address(self) -> Address:
        """The address that the client connected to; looked up once, on first use."""
        if self._server_address is None:
            listening = self.listener.address
            wildcard = listening.host in ("0.0.0.0", "::")
            self._server_address = self.endpoint.address() if wildcard else listening
        return self._server_address

    @property
    def peer(self) -> Client:
        """Return the connection itself, where this is a view of it with the address that a proxy named.

        (With a reference to itself, every client would wait for the collector: 13,000 instructions for each connection.)
        """
        return self._viewed or self

    def seen_at(self, address: bytes, port: int) -> Client:
        """Return a view of the connection from another address: that of the client behind a proxy. port: 0 when it is unknown."""
        view = Client(self.process, self.listener, self.clock, address, port, self.serial, self.endpoint)
        view._viewed = self.peer
        view.scheme = self.scheme
        view.tls = self.tls
        view.find_server = self.find_server
        view.proxy_protocol = self.proxy_protocol
        view.requests = self.requests
        view.started = self.started
        view._server_address = self._server_address
        return view

    def __repr__(self) -> str:
        return f"<client *{self.serial} {self.remote_addr.decode('latin-1')}:{self.remote_port}>"


class Attempt:
    """One try at one peer, for $upstream_* and the logs. Times are seconds since the try began; None is unknown.

    Attributes that many attempts never set live on the class. (See Request.) request_head: the head as sent. connect_time: 0 on a
    connection that was open already.
    """

    request_head = b""
    connect_time: float | None = 0.0
    interim_heads = 0
    interim_bytes = 0
    begins_group = False  # the first after a jump to another location
    is_handshaking = False  # connected, and not yet encrypted
    end_code = ""  # a word of `wproxy.end_causes`, if it failed
    is_first = False  # its connection was opened for it
    is_retry = False  # another peer has failed, and retries are counted
    at_end: Callable[[], None] | None = None  # called when an answer in several parts is complete, or is given up

    def __init__(self, peer: str, started: float, scheme: str = "http://") -> None:
        self._scheme = scheme
        self.peer = peer
        self.started = started
        self.status = 0
        self.header_time: float | None = None
        self.response_time: float | None = None
        self.response_length = 0
        self.bytes_sent = 0
        self.bytes_received = 0

    @property
    def scheme(self) -> str:
        """The beginning of its URL in the error log."""
        return self._scheme

    @property
    def record(self) -> int:
        """The peer's record in the shared memory; 0 for none."""
        return 0

    @property
    def head_text(self) -> bytes:
        """The head as text."""
        return self.request_head

    @property
    def doing(self) -> str:
        """The activity, in nginx's words; waiting for a head has the words of sending."""
        if self.connect_time is None:
            return "SSL handshaking to upstream" if self.is_handshaking else "connecting to upstream"
        return "sending request to upstream" if self.header_time is None else "reading upstream"

    @property
    def url(self) -> bytes:
        """The URL of the request as logs show it: `http://127.0.0.1:8080/path`; without a path for protocols other than HTTP."""
        colon = ":" if self.peer.startswith("unix:") else ""
        has_path = self.scheme in ("http://", "https://")
        _, _, target = self.head_text.partition(b" ") if has_path else (b"", b"", b"")
        return f"{self.scheme}{self.peer}{colon}".encode() + target.partition(b" ")[0]

    def __repr__(self) -> str:
        return f"<attempt {self.peer} {self.status or '-'}>"


class ResponseFields:
    """Status and fields of a response, ready for any client protocol; shared by all responses that are alike.

    lines: (name, value) after the fields with a place of their own: content_type and content_length (-1: unknown).
    last_modified: unix seconds of a Last-Modified of ours, -1 without; like content_type it has a place of its own.
    last_lines: (name, value) of fields after everything that filters add: Accept-Ranges, Content-Range.
    owns_location: whether we made the location absolute, so that it has that place; any other is the first of the lines.
    wants_date: whether we add a Date, since there is none among the lines.
    wire: the last serialised head of each client protocol, by variant, with its Date line; filled on first use.
    """

    __slots__ = (
        "content_length",
        "content_type",
        "last_lines",
        "last_modified",
        "lines",
        "location",
        "owns_location",
        "reason",
        "server",
        "status",
        "wants_date",
        "wire",
    )

    def __init__(
        self,
        status: int,
        lines: tuple[tuple[bytes, bytes], ...] = (),
        *,
        content_type: bytes | None = None,
        content_length: int = -1,
        server: bytes = b"wproxy",
        reason: bytes | None = None,
        location: bytes | None = None,
        last_modified: int = -1,
        last_lines: tuple[tuple[bytes, bytes], ...] = (),
        owns_location: bool = True,
    ) -> None:
        self.owns_location = owns_location
        self.status = status
        self.reason = reason
        self.last_modified = last_modified
        self.last_lines = last_lines
        self.lines = lines
        self.content_type = content_type
        self.content_length = content_length
        self.location = location
        self.server = server
        self.wants_date = not any(name.lower() == b"date" for name, _ in lines)
        self.wire: dict[int, Any] = {}

    def with_status(self, status: int, location: bytes | None = None) -> ResponseFields:
        """Return the same with another status and, unless None, another Location."""
        return ResponseFields(
            status,
            self.lines,
            content_type=self.content_type,
            content_length=self.content_length,
            server=self.server,
            location=self.location if location is None else location,
            last_modified=self.last_modified,
            last_lines=self.last_lines,
            owns_location=self.owns_location,
        )

    def __repr__(self) -> str:
        return f"<response fields {self.status} {self.content_length}>"


@mypyc_attr(allow_interpreted_subclasses=True)
class Response:
    """A response: its fields, the part of the body at hand, and the source of the rest.

    bodiless: whether no body follows, whatever the fields say: HEAD, 204 and 304. tunnel: the upstream's stream after 101
    Switching Protocols; `body` then has its first bytes.
    """

    __slots__ = ("bodiless", "body", "fields", "source", "tunnel")

    error = 0  # the raised status if this is a built-in page: error_page may replace it
    # Returns (name, value) of the fields after the body; to be called when the body has been sent.
    trailers: Callable[[Request], tuple[tuple[bytes, bytes], ...]] | None = None

    def __init__(
        self,
        fields: ResponseFields,
        body: bytes = b"",
        source: BodySource | None = None,
        bodiless: bool = False,
        tunnel: Tunnel | None = None,
    ) -> None:
        self.fields = fields
        self.body = body
        self.source = source
        self.bodiless = bodiless
        self.tunnel = tunnel

    def close(self) -> None:
        """Release an upstream or a file that it holds; closing twice is allowed."""
        if self.source is not None:
            self.source.close()
        elif self.tunnel is not None:
            self.tunnel.end()

    def forget_body(self) -> None:
        """Let go of the body at hand, once whoever sends the response has it."""
        self.body = b""

    def __repr__(self) -> str:
        return f"<response {self.fields.status}{' and more to come' if self.source else ''}>"


class ReadyResponse(Response):
    """A response without a source that is sent again and again, and therefore never changed."""

    __slots__ = ()

    def forget_body(self) -> None:
        """Keep the body, which the next request gets too."""


class ErrorResponse(Response):
    """The built-in page for a status that was raised (404, 502, 494 ...), not chosen by `return 404 "text"`."""

    __slots__ = ("error",)

    def __init__(self, fields: ResponseFields, body: bytes, bodiless: bool, error: int) -> None:
        super().__init__(fields, body, bodiless=bodiless)
        self.error = error


class Jump:
    """The result of a handler that goes on elsewhere, in place of a response (nginx: ngx_http_internal_redirect,
    _named_location).

    path: the new $uri, decoded and normalised; args: the new $args, or None. named: a location `@name` instead, which keeps URI,
    args and method; path and args are then ignored.
    """

    __slots__ = ("args", "named", "path")

    def __init__(self, path: bytes = b"", args: bytes | None = None, named: Location | None = None) -> None:
        self.path = path
        self.args = args
        self.named = named

    def __repr__(self) -> str:
        return f"<jump to {self.named or self.path!r}>"


class Exchange(Protocol):
    """The way back of one request to its client, in any protocol: the connection itself if it serves one request at a time."""

    @property
    def outlet(self) -> Outlet:
        """The outlet that takes the bytes of the response's body."""

    def moved(self, request: Request) -> None:
        """Note that the request goes on in another location."""

    def interim(self, status: int, lines: tuple[tuple[bytes, bytes], ...]) -> int:
        """Send a head before the real one; return how many bytes that took.

        Raises BlockingIOError where there is no room for it, and ClientGone.
        """

    def reserve(self, wanted: int) -> int:
        """Return how many bytes may be kept in memory while the client takes none, at most so many; the end gives them back."""


# A constant: compiled, what a default says is made anew for each object.
NO_NAMES: Final[frozenset[bytes]] = frozenset()


@mypyc_attr(allow_interpreted_subclasses=True, serializable=True)
class Request:
    """One request on its way through the phases.

    Attributes that every request reads are set when it is made; those that only some read live on the class. (CPython 3.11 reads
    an attribute of the instance in 5 ns and one of its class, through the instance, in 60.)
    """

    status = 0
    exchange: Exchange | None = NONE  # None for a request of our own making
    ssi: SsiState | None = None  # what the pages of SSI share, from the first one on
    slices: Slices | None = None  # from the first use of $slice_range until the response is over, or is none of slices
    main: Request | None = None  # the client's request, if this is a subrequest of it (worker/subrequest.py)
    inside: set[Request] | None = None  # the subrequests of a client's request that are not over, from the first one on
    bytes_sent = 0
    body_bytes_sent = 0
    request_length = 0
    end_cause = ""
    location: Location
    route: Route  # the worker's route of that location
    server: Server
    replied = False  # a final head has gone to the client
    _id: bytes | None = None
    upstream_head: AnswerHead | None = None
    # The values of variables from `set`, maps and named captures, by lower-case name; made with the first one.
    values: dict[str, bytes | None] | None = None
    captures: re.Match[bytes] | None = None  # for $1 to $9
    response_fields: ResponseFields | None = None  # those of the response being sent, for $sent_http_*
    response_trailers: tuple[tuple[bytes, bytes], ...] = ()
    trace: Trace | None = None  # hears every decision, for `wproxy explain` and for explain_ring
    internal = False  # the URI is one of ours: after error_page, index, try_files, X-Accel-Redirect
    uri_changes = 0
    uri_changed = False  # a rewrite asks for a new search of the location
    has_rewritten = False  # a `rewrite` of these steps has matched: `set` no longer escapes captures
    origin_stands = True  # the URI is still the one that was received, so that its bytes may be sent on
    add_uri_to_alias = False  # try_files has found a file behind the alias of a regex location
    valid_location = True  # the location was found for this URI, so that proxy_pass may replace its prefix
    limit_rate: int | None = None  # bytes per second, from `set $limit_rate`
    accel_charset: bytes | None = None  # X-Accel-Charset
    accel_type: bytes | None = None  # Content-Type of the last answer with X-Accel-Redirect that had one
    upstream_trailers: tuple[tuple[bytes, bytes, bytes], ...] = ()  # lower-case name, name, value
    # Lower-case names in the head of an upstream, or after its body, that may be indexed on no hop (RFC 7541, 7.1.3).
    never_indexed: frozenset[bytes] = NO_NAMES
    pipelined = False  # its head arrived before the previous request was answered
    is_cut = False  # it ended before all of its response was sent
    forced_status = 0  # set by error_page: the status to send, whatever the response has
    upstream_uri = b""  # from a proxy_pass with variables, until another location answers: sent unchanged
    sent_method: bytes | None = None  # set by proxy_method, until another location answers
    cached: CacheNotes | None = None  # its dealings with a cache of responses, from the first look on
    gzipped: tuple[int, int] | None = None  # bytes of the body before and after gzip, when all of it has been compressed
    user_id: Any = None  # wproxy.user_ids.UserId, once it was asked for
    limit_req_status: bytes | None = None  # what a limit decided, for its variable: it decides once
    limit_conn_status: bytes | None = None
    # Whether auth_jwt has believed its token; False: it was let in without, and the token says nothing. None: not decided.
    believes_token: bool | None = None
    trace_context: TraceContext | None = None  # its place in a trace (wproxy.tracing), once it was asked for
    is_error_page = False  # error_page has led here: a further error gets the built-in page

    def __init__(self, client: Client, line: RequestLineLike, fields: FieldsLike, started: float) -> None:
        self.client = client
        self.line = line
        self.fields = fields
        self.method = line.method
        self.path = line.path
        self.args = line.args or None  # a lone `?` brings none
        self.version = line.version
        self.started = started
        self.keepalive = True
        self.attempts: tuple[Attempt, ...] | list[Attempt] = ()
        self.at_end: tuple[Callable[[], None], ...] | None = None  # see `call_at_end`
        self.body: RequestBody | None = None
        self.end_code = ""  # see `ends`

    def lead_to(self, location: Location) -> None:
        """Continue in this location."""
        self.location = location
        self.route = location.route
        if self.exchange is not None:
            self.exchange.moved(self)

    def take_client(self, client: Client, fields: FieldsLike) -> None:
        """Be seen as from this client, with these fields; so are all requests inside of the same one, as in nginx."""
        main = self.main or self
        for request in (main, self, *(main.inside or ())):
            request.client, request.fields = client, fields

    def ends(self, code: str, cause: str) -> None:
        """Note why it does not end well: a word of `wproxy.end_causes`, and a sentence with the setting behind it."""
        self.end_code, self.end_cause = code, cause

    @property
    def is_rehearsed(self) -> bool:
        """Whether only `wproxy explain` asks what would happen."""
        return self.trace is not None and self.trace.is_rehearsal

    def call_at_end(self, release: Callable[[], None]) -> None:
        """Have this called once when the request is over, however it ends, to release what was taken for it."""
        self.at_end = (release,) if self.at_end is None else (*self.at_end, release)

    def end(self) -> None:
        """Call the functions of `call_at_end`; does nothing the second time."""
        self.inside = None
        releases = self.at_end
        if releases is not None:
            self.at_end = None
            for release in releases:
                release()

    def capture(self, match: re.Match[bytes]) -> None:
        """Remember the match of a regex, for $1 to $9 and for the variables of its named groups."""
        self.captures = match
        if match.re.groupindex:
            if self.values is None:
                self.values = {}
            # nginx's variables are caseless; a group that took no part gives an empty value.
            self.values.update({name.lower(): value or b"" for name, value in match.groupdict().items()})

    @property
    def host(self) -> bytes:
        """`$host`: the authority of the request line, else Host, else the server's first name; lower case, no port."""
        return self.line.authority or self.fields.host or self.server.encoded_name

    def __repr__(self) -> str:
        line = self.line.line.decode("latin-1")
        return f"<request {line!r} {self.status or 'in progress'} attempts={list(self.attempts)}>"


settle_layout(
    Request,
    *(
        *("client", "line", "fields", "method", "path", "args", "version", "started", "keepalive", "attempts", "at_end", "body"),
        *("end_code", "exchange", "location", "route", "server", "request_length", "upstream_head", "status", "response_fields"),
        *("replied", "bytes_sent", "body_bytes_sent", "limit_req_status", "limit_conn_status"),
    ),
)
