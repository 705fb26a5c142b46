"""The passing of a request to an upstream: the words that an exchange and all upstream protocols share.

A `Passing` holds the location's settings for it, computed at load (nginx: ngx_http_upstream_conf_t, `u->conf`). A `LiveAttempt`
is one try at one peer, and is handed from step to step of an exchange. A `PeerConnection` is the exchange's view of a protocol:
retries, timeouts, buffering, keepalive and filters know no more of it. The three refer to each other, so they are in one file.
"""

from __future__ import annotations

import _socket
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from worker.http1.response import ResponseHead
from worker.loop import Loop, Task, Waitable
from worker.pipes import Pipe
from worker.stream import Stream
from worker.upstream.answers import AnswerPlan
from worker.upstream.buffering import Buffering
from worker.upstream.live_peer import LivePeer
from worker.upstream.manner import Manner
from worker.upstream.module_settings import ModuleSettings
from worker.upstream.outgoing import Reshape, Streaming
from worker.upstream.peers import Group
from worker.upstream.pooled import Pooled
from wproxy.config.model import Location
from wproxy.directives.proxy import ProxyTarget, parse_target
from wproxy.directives.retries import RetryBudget
from wproxy.directives.temporary_path import TemporaryPath
from wproxy.failures import UpstreamFailure
from wproxy.http import Attempt, Request, Response
from wproxy.layouts import settle_layout
from wproxy.native import NONE, mypyc_attr
from wproxy.request_body import Outgoing

# Writes the head of a request, given the length of its body, NO_BODY or UNKNOWN_LENGTH. Raises ClientError.
WriteHead = Callable[[Request, int], bytes]


class HeadPlan(Protocol):
    """The part of one location's request heads that a protocol computes at load.

    is_stable: whether the location's additions to a head are the same as long as the client's header block is.
    sends_unknown_length: whether the end of a body can be told after it. keeps_connections: whether one may serve another
    request.
    """

    is_stable: bool
    sends_unknown_length: bool
    keeps_connections: bool

    def head(self, request: Request, length: int) -> bytes:
        """Return the head of a request (see WriteHead)."""

    def asks_to_upgrade(self, request: Request) -> bool:
        """Whether the answer may be 101 Switching Protocols."""


@dataclass(frozen=True, slots=True)
class UpstreamProtocol:
    """A protocol that upstreams speak: see worker.upstream.protocols.PROTOCOLS.

    module: the word that begins the names of its directives. scheme: what begins its URLs in the error log, secure_scheme: that
    over TLS. connection: makes a PeerConnection of a stream that is connected, or a SharedConnection, which makes one for each
    request. plan: works out the heads of a location. stream: makes the stream of a socket. is_shared: whether several requests
    may use a connection at once. shown: makes text of a head, for logs and explanations.
    read_target: reads what a `*_pass` with variables evaluates to; raises ValueError. methods: those it can express; None for all
    of them. has_pages: whether an answer that is an error has a page of its own. read_parameters: reads the names and values in a
    head, for explanations; None if a head is text.
    """

    module: str
    scheme: str
    connection: Callable[[Stream], Pooled]
    plan: Callable[[Location], HeadPlan]
    stream: Callable[[Loop, _socket.socket], Stream] = Stream
    is_shared: bool = False
    secure_scheme: str = ""
    read_target: Callable[[str], ProxyTarget] = parse_target
    methods: frozenset[bytes] | None = None
    has_pages: bool = True
    read_parameters: Callable[[bytes], list[tuple[bytes, bytes]]] | None = None
    shown: Callable[[bytes], bytes] = bytes


class Retries(NamedTuple):
    """The conditions for trying another peer after a failure.

    words: those of proxy_next_upstream. tries, timeout: the most tries, and the seconds they may take; 0 for no limit.
    """

    words: frozenset[str]
    tries: int
    timeout: float
    budget: RetryBudget | None


class AnswerCache(Protocol):
    """The cache of a location, as an exchange asks it when an answer cannot be passed on (worker.cache.keeping)."""

    def instead(self, attempt: LiveAttempt, head: ResponseHead) -> Response | None:
        """Return what is stored in place of the answer with this head; None to go on with the answer."""

    def after_failure(self, passing: Passing, request: Request, failure: UpstreamFailure) -> Response | None:
        """Return what is stored in place of an error page; None if there is nothing."""

    def intercepted(self, request: Request, head: ResponseHead) -> None:
        """Note that an error page replaces the answer with this head."""

    def sent_elsewhere(self, request: Request) -> None:
        """Note that another location answers."""


@dataclass(slots=True)
class Passing:
    """The upstream's side of one location.

    settings: the source of the values below, for messages. scheme: that of URLs in the error log.
    manner: how connections are opened; None: each request has its own. is_pooled: whether they may serve further requests.
    socket_settings: the manner, if it sets anything on sockets.
    opens_plainly: whether all are opened in one manner, none is encrypted, and each serves one request at a time.
    head: writes the heads of requests; head_plan: the additions to each. answer_plan: the rules for the fields of answers.
    reshape: makes the body for the upstream; None where it is the client's own. streaming: whether that goes as it comes.
    noticed_statuses: those of answers that proxy_next_upstream asks to retry, or that an error page replaces (intercepts).
    tunnel_timeout: None where it is that for reading. temp_path: of proxy_temp_path, absolute. cache: None where answers
    are not stored. for_cache: the same for requests whose answers may be stored, once there was one.
    """

    location: Location
    settings: ModuleSettings
    group: Group
    manner: Manner | None
    protocol: UpstreamProtocol
    is_pooled: bool
    socket_settings: Manner | None
    opens_plainly: bool
    scheme: str
    head: WriteHead
    head_plan: HeadPlan
    answer_plan: AnswerPlan
    reshape: Reshape | None
    streaming: Streaming
    retries: Retries
    intercepts: bool
    noticed_statuses: frozenset[int]
    connect_timeout: float
    send_timeout: float
    read_timeout: float
    tunnel_timeout: float | None
    buffer_size: int
    buffering: Buffering
    temp_path: TemporaryPath | None
    cache: AnswerCache | None = NONE
    for_cache: Passing | None = None

    def __repr__(self) -> str:
        return f"<passing to {self.group.name}>"


class LiveAttempt(Attempt):
    """A try at a peer in progress: everything that its steps have to know of each other.

    outgoing: the body to be sent, after the head `request_head`. connection: None until there is one. head: that of the answer,
    None until it has arrived. upload: the task that sends the rest of the request, while there is any. sent_at: the time when all
    of it had been sent. is_bodiless: whether the answer has no body, regardless of its fields.
    """

    sent_at: float
    is_bodiless = False

    def __init__(
        self, passing: Passing, request: Request, live_peer: LivePeer, outgoing: Outgoing, request_head: bytes, started: float
    ) -> None:
        # Like Attempt.__init__, without the call.
        self.peer = live_peer.name
        self.started = started
        self.status = self.response_length = self.bytes_sent = self.bytes_received = 0
        self.header_time = self.response_time = None
        self.connection: PeerConnection | None = None
        self.head: ResponseHead | None = None
        self.upload: Task | None = None
        self.passing = passing
        self.request = request
        self.live_peer = live_peer
        self.outgoing = outgoing
        self.request_head = request_head

    @property
    def record(self) -> int:
        """Return the number of the peer's record in the shared memory: looked up here, as most requests never need it."""
        return self.live_peer.place.record

    @property
    def scheme(self) -> str:
        """Return the scheme of its URL in the error log."""
        return self.passing.scheme

    @property
    def head_text(self) -> bytes:
        """Return the head as text."""
        return self.passing.protocol.shown(self.request_head)

    def end_upload(self) -> None:
        """Stop sending the request; if some of it is left, the connection cannot be used again."""
        upload, self.upload = self.upload, None
        if upload is not None and self.connection is not None:
            self.connection.room = 0
            self.connection.stream.loop.cancel(upload)

    def close_connection(self) -> None:
        """Give up both directions."""
        if self.connection is not None:
            self.end_upload()
            self.connection.close()


settle_layout(
    LiveAttempt,
    *("peer", "started", "status", "response_length", "bytes_sent", "bytes_received", "header_time", "response_time"),
    *("connection", "head", "upload", "passing", "request", "live_peer", "outgoing", "request_head"),
    *("sent_at", "connect_time", "is_bodiless", "end_code", "is_first"),
)


class AnswerBody(Protocol):
    """The rest of an answer's body on its way.

    at_hand: the payload that came with the head. received: bytes of payload; wire_bytes: with
    their framing. finished: whether it was read to its end. spoiled: whether the connection cannot be used again, because of how
    the body ended.
    surplus: a message about bytes after the end. trailers: (lower-case name, name, value) of the fields after the body.
    """

    at_hand: bytes
    wire_bytes: int
    spoiled: bool
    surplus: str

    @property
    def channel(self) -> Waitable:
        """Return what to wait for."""

    @property
    def received(self) -> int:
        """Return the number of bytes of payload that have been read."""

    @property
    def finished(self) -> bool:
        """Whether it has been read to its end."""

    @property
    def trailers(self) -> tuple[tuple[bytes, bytes, bytes], ...]:
        """Return the fields after the body, when it has been read to its end."""

    @property
    def unframed(self) -> int:
        """Return the number of coming bytes that are payload and nothing else, as far as it is known: 0 if there is framing."""

    def receive(self, most: int) -> bytes:
        """Read once; return the payload, b"" if there was none. Raises BlockingIOError, UpstreamFailure."""

    def fill(self, pipe: Pipe, most: int) -> int:
        """Move bytes into an empty pipe, if `unframed` allows it. Raises BlockingIOError, UpstreamFailure."""

    async def wait(self, seconds: float | None = None) -> None:
        """Wait until there is something to read, so many seconds or the usual time. Raises UpstreamFailure."""


@mypyc_attr(allow_interpreted_subclasses=True)
class PeerConnection(Pooled, ABC):
    """A connection to a peer as an exchange uses it: one subclass for each protocol.

    channel: what to wait for; the stream itself, unless several requests share the connection (worker.upstream.shared). The
    protocol sets `room`: to 0 as soon as a connection cannot be used for another request.
    """

    __slots__ = ("channel",)

    def __init__(self, stream: Stream) -> None:
        super().__init__(stream)
        self.channel: Waitable = stream

    @abstractmethod
    def start(self, attempt: LiveAttempt) -> bool:
        """Send the head, and the body if it is at hand; return whether that was all. Raises UpstreamFailure."""

    @abstractmethod
    async def finish(self, attempt: LiveAttempt) -> None:
        """Send the rest, framed the protocol's way. Raises UpstreamFailure, TimedOut, OSError, ClientError, ClientGone."""

    @abstractmethod
    def receive_head(self, attempt: LiveAttempt) -> ResponseHead | None:
        """Read once, and return the head of the answer; None while it is incomplete. Raises UpstreamFailure, OSError.

        The protocol handles interim heads itself.
        """

    @abstractmethod
    def body(self, attempt: LiveAttempt) -> bytes | AnswerBody:
        """Return the whole body if it came with the head; otherwise the reader of the rest. Raises UpstreamFailure."""
