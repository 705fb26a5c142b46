"""HTTP/1 to upstreams: a connection, and the writing of request heads (proxy.md §1.3).

A head is composed, never copied: Host first, the fields of proxy_set_header in their order, the framing, then the client's own
fields without those that were set, that are hop by hop, or that the client named in Connection.

Most requests of a connection repeat its header block, so the fields composed for a block in a location are kept with the block
(`RequestFields.cache`), and the whole head too as long as the request line is the same. If only values differ from the block
before (`RequestFields.difference`), its other lines are reused: 1.6 us instead of 3.5 for a browser's head.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Final

from worker.http1.chunked import LAST_CHUNK, encode_chunk
from worker.http1.response import LENGTH, NONE, ResponseHead, body_of, take_response_head
from worker.loop import READ, park_here
from worker.stream import HEAD_CHUNK, SMALL_CHUNK, Stream
from worker.upstream.body import MORE_THAN_LENGTH, ResponseBody
from worker.upstream.failing import READING, READING_HEAD, failure_of, warn_of_surplus
from worker.upstream.hints import note_interim
from worker.upstream.module_settings import ModuleSettings
from worker.upstream.passing import AnswerBody, LiveAttempt, PeerConnection, UpstreamProtocol
from worker.upstream.proxied_body import WORTH_A_PIPE
from worker.upstream.sending import push, push_body, push_file, sending_failed
from wproxy.config.model import Location
from wproxy.directives.proxy import ProxyTarget
from wproxy.failures import ClientError, UpstreamFailure
from wproxy.http import FieldsForm, Request, RequestLineLike, upstream_head_before
from wproxy.native import mypyc_attr
from wproxy.request_body import UNKNOWN_LENGTH
from wproxy.template import Template, checked, literal
from wproxy.uri import upstream_target
from wproxy.variables import LOCATION


class HTTP1Connection(PeerConnection):
    """A connection that serves one request after another.

    last_head: the last head it answered with, so that the next may be read by comparison. chunk: the size of the first read of an
    answer: after a first one that was small or large it is small, until one of another kind comes. begun: the received part of an
    incomplete head. unsent: the part of a request that the socket has not taken yet. at_hand: the part of the body that came with
    the head. unread: received bytes of an answer at which nobody has looked yet.
    """

    __slots__ = ("at_hand", "begun", "chunk", "last_head", "patience", "unread", "unsent", "waiting")

    def __init__(self, stream: Stream) -> None:
        super().__init__(stream)
        self.last_head: ResponseHead | None = None
        self.chunk = HEAD_CHUNK
        self.begun = self.at_hand = self.unread = b""
        self.waiting: Awaitable[None] | None = None  # for an answer, `patience` seconds
        self.patience = -1.0
        self.unsent: memoryview | None = None

    def start(self, attempt: LiveAttempt) -> bool:
        """Send the head, and the body if it is at hand; return whether that was all. Raises UpstreamFailure."""
        self.requests += 1
        outgoing = attempt.outgoing
        start = attempt.request_head
        if outgoing.at_hand and outgoing.rest is None:
            start += outgoing.at_hand
        try:
            sent = self.stream.send(start)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise sending_failed(error) from None
        attempt.bytes_sent = sent
        if sent < len(start):
            self.unsent = memoryview(start)[sent:]
        elif not outgoing.has_more:
            return True
        if outgoing.ends_connection:
            self.room = 0
        return self.unsent is None and outgoing.file is None and outgoing.rest is None

    async def finish(self, attempt: LiveAttempt) -> None:
        """Send what `start` could not, and the rest of the body as the client delivers it."""
        outgoing = attempt.outgoing
        unsent, self.unsent = self.unsent, None
        if unsent is not None:
            await push(attempt, self.stream, unsent)
        if outgoing.file is not None:
            await push_file(attempt, self.stream, outgoing.file)
        if outgoing.rest is not None:
            is_unknown = outgoing.length == UNKNOWN_LENGTH
            await push_body(attempt, self.stream, outgoing.rest, encode_chunk if is_unknown else None)
            if is_unknown:
                await push(attempt, self.stream, LAST_CHUNK)

    def answer(self, seconds: float) -> Awaitable[None]:
        """Return what to await for an answer, at most so many seconds. Raises TimedOut."""
        waiting = self.waiting
        if waiting is None or self.patience != seconds:
            self.patience = seconds
            waiting = self.waiting = park_here(self.stream, READ, seconds)
        return waiting

    def receive_head(self, attempt: LiveAttempt) -> ResponseHead | None:
        """Read once, and return the head of the answer; None while it is incomplete. Raises UpstreamFailure, OSError."""
        if self.unread:
            data, self.unread = self.unread, b""
        else:
            try:
                data = self.stream.recv(self.chunk)
            except BlockingIOError:
                return None
        if not data:
            raise failure_of("error", "upstream prematurely closed connection", READING_HEAD)
        attempt.bytes_received += len(data)
        last = self.last_head
        if self.begun:
            data, self.begun = self.begun + data, b""
        elif last is not None and data[: (size := len(last.block))] == last.block:
            # take_response_head would return the same 0.1 us later.
            self.at_hand = data[size:]
            return last
        passing = attempt.passing
        taken = take_response_head(data, passing.buffer_size, last, passing.group.known_heads)
        if self.chunk < HEAD_CHUNK and len(data) >= self.chunk and (taken is None or taken[0].plain_length < LARGE):
            # Another kind of answer, of which there is more: the connection is read as any other from now on.
            self.chunk = HEAD_CHUNK
            piece, failure = self._next_piece(attempt, HEAD_CHUNK)
            if failure is not None:
                raise failure
            data += piece
            taken = take_response_head(data, passing.buffer_size, last, passing.group.known_heads)
        if taken is None:
            self.begun = data
            return None
        head, consumed = taken
        if head.status < 200 and head.status != 101:
            data, taken = self._skip_interim(attempt, data)
            if taken is None:
                self.begun = data
                return None
            head, consumed = taken
        if self.requests == 1 and passing.group.keepalive and self.stream.kernel_fd >= 0:
            if head.plain_length >= LARGE:
                self.chunk = LARGE_CHUNK
            elif 0 <= head.plain_length < SMALL_CHUNK - 2 * len(head.block):
                self.chunk = SMALL_CHUNK
        # Any location of the group may be the next to see it.
        self.last_head = head if len(head.block) <= passing.group.least_buffer else None
        self.at_hand = data[consumed:]
        return head

    def _skip_interim(self, attempt: LiveAttempt, data: bytes) -> tuple[bytes, tuple[ResponseHead, int] | None]:
        """Return the bytes after the interim heads, and the head if it is there. Raises UpstreamFailure."""
        passing = attempt.passing
        while True:
            taken = take_response_head(data, passing.buffer_size, self.last_head)
            if taken is None or taken[0].status >= 200 or taken[0].status == 101:
                return data, taken
            note_interim(attempt, *taken)
            data = data[taken[1] :]

    def body(self, attempt: LiveAttempt) -> bytes | AnswerBody:
        """Return the whole body if it came with the head; otherwise the reader of the rest. Raises UpstreamFailure."""
        head, at_hand = attempt.head, self.at_hand
        assert head is not None
        request = attempt.request
        if not head.keeps_alive:
            self.room = 0
        length = len(at_hand)
        if head.plain_length == length and request.method != b"HEAD":
            # All of it came with the head, as most bodies do.
            attempt.response_length = length
            return at_hand
        self.at_hand = b""
        missing = head.plain_length - length
        if missing > 0 and request.method != b"HEAD" and not attempt.outgoing.ends_connection:
            # `body_of` and what follows it, for a known length of which some is missing.
            failure: OSError | None = None
            if missing <= attempt.passing.buffering.at_once and length + len(head.block) >= self.chunk:
                piece, failure = self._next_piece(attempt, missing + 1)  # one more would be surplus
                at_hand += piece
                length = len(at_hand)
            if length < head.plain_length:
                missing = head.plain_length - length
                rest = ResponseBody(self.stream, at_hand, LENGTH, missing, attempt.passing.read_timeout, length)
                rest.failure = failure
                return rest
            if length == head.plain_length:
                attempt.response_length = length
                return at_hand
        if head.status == 101:
            self.room = 0
            return at_hand
        # If another method was sent than a client's HEAD, or HEAD for another one, the connection ends with this answer: there is
        # no body then, or it is not wanted.
        ends_here = attempt.outgoing.ends_connection
        is_head = request.method == b"HEAD" or (ends_here and request.sent_method == b"HEAD")
        kind, length = body_of(head, b"HEAD" if is_head else request.method)
        if kind == NONE:
            if at_hand:
                warn_of_surplus(request, MORE_THAN_LENGTH)
                self.room = 0
            attempt.is_bodiless = True
            return b""
        body = ResponseBody(self.stream, at_hand, kind, length, attempt.passing.read_timeout)
        try:
            body.take_at_hand()
        except UpstreamFailure as failure:
            failure.doing, failure.sent = READING, True
            raise
        if not body.finished:
            return body
        request.upstream_trailers = body.trailers
        attempt.response_length = body.wire_bytes
        if body.surplus:
            warn_of_surplus(request, body.surplus)
        if body.spoiled:
            self.room = 0
        return body.at_hand

    def _next_piece(self, attempt: LiveAttempt, most: int) -> tuple[bytes, OSError | None]:
        """Read once more, if there is something: the head filled the first read, and so few bytes are missing after it.

        A failure is returned, too: the head and what came with it are passed on before it counts.
        Such a body goes out with the head, and nothing has to be made to wait for it.
        """
        try:
            piece = self.stream.recv(most)
        except BlockingIOError:
            return b"", None
        except OSError as error:
            return b"", error
        attempt.bytes_received += len(piece)
        return piece, None


# An answer with so long a body is moved by the kernel, but for what comes with its head: less of that saves three copies of it.
LARGE: Final = WORTH_A_PIPE + HEAD_CHUNK
LARGE_CHUNK: Final = 2048


# Fields that are never passed on as the client sent them; proxy_set_header may set them (proxy.md §1.3).
DROPPED: Final = frozenset(
    (
        b"host",
        b"connection",
        b"proxy-connection",
        b"keep-alive",
        b"te",
        b"transfer-encoding",
        b"content-length",
        b"expect",
        b"upgrade",
        b"http2-settings",
        b"proxy",
    )
)


class Composed:
    """The parts of a head, which are never changed.

    values: those of the templates. remote_addr, scheme: those of the client that they were read for. lines: the lines after the
    request line. begin: the index of the client's own lines among those. places: for each line of the client its place there, 0
    for none: a list that is empty until it is needed.
    """

    __slots__ = ("begin", "lines", "places", "remote_addr", "scheme", "values")

    def __init__(
        self, values: list[bytes | None], remote_addr: bytes, scheme: bytes, lines: list[bytes], begin: int, places: list[int]
    ) -> None:
        self.values = values
        self.remote_addr = remote_addr
        self.scheme = scheme
        self.lines = lines
        self.begin = begin
        self.places = places


class ComposedForm:
    """The heads of a location for requests whose fields have one form (FieldsLike.form), in pieces. It is never changed.

    length: that of the body. pieces: method, space, target, then the rest around the values that vary; empty where heads cannot
    be made so, because a template reads such a value. spots: (index of a piece, index of the varied value that it is).
    """

    __slots__ = ("length", "pieces", "spots")

    def __init__(self, length: int, pieces: list[bytes], spots: list[tuple[int, int]]) -> None:
        self.length = length
        self.pieces = pieces
        self.spots = spots


# A connection remembers the heads of so many locations in pieces.
MOST_COMPOSED: Final = 8


# Everything after the request line, and its parts.
Tail = tuple[bytes, Composed]


# A head: its request line, the length of the body, its plan, what comes after the line, all of it.
Remembered = tuple[object, int, object, Tail, bytes]


@mypyc_attr(allow_interpreted_subclasses=True)
class HTTP1HeadPlan:
    """The additions of a location to every request head, computed at load.

    fields: proxy_set_header without Host, in order, and without those that are always empty. readers: functions for the value of
    Host, empty for `$proxy_host`, and of each of these; None is empty, too.
    dropped: lower-case names of the client's fields that are not passed on. reads: those of the fields that the values depend on;
    None: any, or other things. by_address: whether a client that repeats the block on another connection gets the same values.
    sends_origin: whether the target is the client's own. is_stable, sends_unknown_length: see
    HeadPlan.
    """

    keeps_connections = True

    __slots__ = (
        "by_address",
        "dropped",
        "fields",
        "is_stable",
        "location",
        "passes_fields",
        "proxy_host",
        "readers",
        "reads",
        "sends_origin",
        "sends_unknown_length",
        "sets_length",
        "target",
        "upgrade",
        "version_line",
    )

    def __init__(self, settings: ModuleSettings) -> None:
        self.location = location = settings.location
        self.target: ProxyTarget = settings.get("target")
        self.proxy_host = self.target.host_header
        self.sends_origin = not self.target.uri_part
        set_header: tuple[tuple[bytes, Template], ...] = settings.get("set_header")
        version = settings.get("http_version")
        host = literal("")
        self.fields: list[tuple[bytes, Template]] = []
        for name, template in set_header:
            if name.lower() == b"host":
                host = template
            else:
                self.fields.append((name, template))
        self.upgrade = next((template for name, template in self.fields if name.lower() == b"upgrade"), None)
        set_names = {name.lower() for name, _ in set_header}
        if location.sends_close and b"connection" not in set_names:
            self.fields.append((b"Connection", literal("close")))  # as nginx did until 1.29.7: compat 1.28
        self.fields = [(name, template) for name, template in self.fields if template.constant != b""]
        self.readers = [host.read, *(template.read for _, template in self.fields)]
        self.dropped = DROPPED | set_names
        self.sets_length = bool(set_names & {b"content-length", b"transfer-encoding"})
        self.passes_fields = settings.get("pass_request_headers", True)
        self.sends_unknown_length = version != 10
        self.version_line = b" HTTP/1.1\r\n" if version == 11 else b" HTTP/1.0\r\n"
        self.is_stable = all(template.varies <= LOCATION for _, template in set_header)
        self.by_address = all(template.by_address for _, template in set_header)
        reads = [template.reads for _, template in set_header]
        self.reads = None if None in reads or not self.is_stable else frozenset(name for names in reads for name in names or ())

    def head(self, request: Request, length: int) -> bytes:
        """Return the request head for the upstream, including the blank line.

        length: that of the body, NO_BODY or UNKNOWN_LENGTH. Raises ClientError(500) when a variable would break the head.
        """
        line = request.line
        fields = request.fields
        tail: Tail | None = None
        as_received = request.path is line.path and request.args is line.args and request.method is line.method
        if as_received:
            # `upstream_head`, inlined.
            remembered: Remembered | None = fields.composed
            if remembered is None or remembered[2] is not self:
                remembered = fields.cache.get(self) if fields.cache else None
            if remembered is not None:
                known_line, known_length, _, tail, head = remembered
                if known_length != length or line.authority is not None:
                    tail = None
                elif known_line is line:
                    return head
            elif fields.form is not None and line.authority is None:
                form = fields.form
                common: ComposedForm | None = form.cache.get(self)
                if common is None or common.length != length:
                    if len(form.cache) >= MOST_COMPOSED:
                        form.cache.clear()
                    common = form.cache[self] = _compose_form(request, self, length, form)
                if common.pieces:
                    pieces = common.pieces.copy()
                    pieces[0] = line.method
                    if self.sends_origin and request.origin_stands and line.raw_ok and not request.upstream_uri:
                        pieces[2] = line.origin
                    else:
                        pieces[2] = request_target(request, self.location, self.target)
                    varied = fields.varied
                    for spot, index in common.spots:
                        pieces[spot] = varied[index]
                    return b"".join(pieces)
        if tail is None:
            difference = request.fields.difference
            other: Any = None  # (as a Remembered it would be made anew, compiled, to be kept here, too)
            if difference is not None and not difference[0] and as_received:
                # Another connection has begun with the same head; if the templates have the same values, this one's is the same.
                other = difference[1]  # `upstream_head_before`, inlined
                if other is None or other[2] is not self:
                    other = difference[2].get(self)
                if other is not None and not (other[0] is line and other[1] == length):
                    other = None
            if other is not None:
                client = request.client
                composed: Composed = other[3][1]
                if self.by_address and composed.remote_addr == client.remote_addr and composed.scheme == client.scheme:
                    fields.difference = None  # as below
                    if fields.composed is None:
                        fields.composed = other
                    else:
                        fields.remember_head(other)
                    known_head: bytes = other[4]
                    return known_head
            tail = _compose_fields(request, self, length)
            if other is not None and other[3][0] is tail[0]:
                fields.remember_head(other)
                same_head: bytes = other[4]
                return same_head
        if self.sends_origin and request.origin_stands and line.raw_ok and not request.upstream_uri:
            target = line.origin  # as `request_target` has it, without the call
        else:
            target = request_target(request, self.location, self.target)
        head = request.method + b" " + target + self.version_line + tail[0]
        if as_received and self.is_stable and line.authority is None:
            last = fields.composed
            if last is None or last[2] is self:
                fields.composed = (line, length, self, tail, head)  # as `remember_head` does, without the call
            else:
                fields.remember_head((line, length, self, tail, head))
        return head

    def head_of_form(self, common: ComposedForm, line: RequestLineLike, varied: list[bytes]) -> bytes:
        """Return the head of a request with this line and these values, whose URI nothing has changed, as `head` does."""
        pieces = common.pieces.copy()
        pieces[0] = line.method
        if self.sends_origin and line.raw_ok:
            pieces[2] = line.origin
        else:
            pieces[2] = _composed_target(
                line, line.raw_ok, line.path, line.args or None, line.has_escapes, self.target, self.location.prefix
            )
        for spot, index in common.spots:
            pieces[spot] = varied[index]
        return b"".join(pieces)

    def asks_to_upgrade(self, request: Request) -> bool:
        """Whether Upgrade goes upstream with this request: only then may the answer be 101."""
        return self.upgrade is not None and bool(self.upgrade.evaluate(request))


def request_target(request: Request, location: Location, target: ProxyTarget) -> bytes:
    """Return the target for the request line: proxy.md §1.1."""
    line = request.line
    origin_stands = line.raw_ok and request.origin_stands
    if request.upstream_uri:
        return _checked_target(request.upstream_uri)
    if not target.uri_part and origin_stands:
        return line.origin
    prefix = location.prefix if request.valid_location else None
    return _composed_target(line, origin_stands, request.path, request.args, line.has_escapes or request.internal, target, prefix)


def _composed_target(
    line: RequestLineLike,
    origin_stands: bool,
    path: bytes,
    args: bytes | None,
    escape: bool,
    target: ProxyTarget,
    location_prefix: bytes | None,
) -> bytes:
    """Return the target of which the location has a part (see `upstream_target`). Raises ClientError(500)."""
    try:
        composed = upstream_target(
            origin=line.origin,
            origin_stands=origin_stands,
            path=path,
            args=args,
            escape=escape,
            uri_part=target.uri_part,
            location_prefix=location_prefix,
        )
    except ValueError as error:
        raise ClientError(500, str(error)) from None
    return _checked_target(composed)


def _checked_target(target: bytes) -> bytes:
    """Return a target made of variables if it is safe in a request line; raises ClientError(500) otherwise."""
    if target.translate(None, _NOT_IN_TARGET) != target:
        raise ClientError(500, "a control character or space in the URI for the upstream")
    return target


_NOT_IN_TARGET: Final = bytes(range(0x21)) + b"\x7f"


def _compose_fields(request: Request, plan: HTTP1HeadPlan, length: int) -> Tail:
    """Return everything after the request line, and its parts."""
    fields = request.fields
    difference, fields.difference = fields.difference, None  # a connection that waits for its next request need not keep it
    remembered = upstream_head_before(difference, plan) if difference is not None else None
    if difference is None or remembered is None or remembered[1] != length:
        composed = _compose(request, plan, length, [read(request) for read in plan.readers])
        return b"\r\n".join(composed.lines), composed
    differing = difference[0]
    tail: Tail = remembered[3]
    before = tail[1]
    values = before.values if _keeps_values(request, plan, differing) else [read(request) for read in plan.readers]
    if before.values is not values and before.values != values:
        composed = _compose(request, plan, length, values)
    elif differing:
        composed = _vary(request, plan, before, differing)
    else:
        return tail  # another connection has begun with the same head
    return b"\r\n".join(composed.lines), composed


def _keeps_values(request: Request, plan: HTTP1HeadPlan, differing: list[int]) -> bool:
    """Whether the templates have the values of the block before on the connection: no field that they read is among these."""
    reads = plan.reads
    if reads is None or not differing or request.line.authority is not None:
        return False
    fields = request.fields.lines
    return reads.isdisjoint([fields[index][0] for index in differing])


def _vary(request: Request, plan: HTTP1HeadPlan, before: Composed, differing: list[int]) -> Composed:
    """Return the lines of the block before with the client's values that differ."""
    lines = before.lines.copy()
    places = before.places
    fields = request.fields.lines
    if not places:
        places += _places(request, plan, before.begin)
    for index in differing:
        place = places[index]
        if place:
            _, name, value = fields[index]
            lines[place] = name + b": " + value
    return Composed(before.values, before.remote_addr, before.scheme, lines, before.begin, places)


def _compose_form(request: Request, plan: HTTP1HeadPlan, length: int, form: FieldsForm) -> ComposedForm:
    """Compose what the heads of requests of this form have in common, from one of them."""
    fields = request.fields
    # A body whose length is not that of the fields may have another one in each request.
    if plan.reads is None or not plan.reads.isdisjoint(form.names) or length != fields.content_length:
        return ComposedForm(length, [], [])
    composed = _compose(request, plan, length, [read(request) for read in plan.readers])
    places = _places(request, plan, composed.begin)
    pieces: list[bytes] = [b"", b" ", b""]
    spots: list[tuple[int, int]] = []
    text = plan.version_line
    start = 0
    for number, index in enumerate(form.indexes):
        place = places[index]
        if place:
            _, name, value = fields.lines[index]
            pieces += text + b"".join([line + b"\r\n" for line in composed.lines[start:place]]) + name + b": ", value
            spots.append((len(pieces) - 1, number))
            text = b"\r\n"
            start = place + 1
    pieces.append(text + b"\r\n".join(composed.lines[start:]))
    return ComposedForm(length, pieces, spots)


def _places(request: Request, plan: HTTP1HeadPlan, begin: int) -> list[int]:
    """Return the place of each of the client's lines in a head, 0 where it is not passed on. begin: that of the first one."""
    dropped = _dropped(request, plan)
    places: list[int] = []
    for lower, _, _ in request.fields.lines:
        passes = plan.passes_fields and lower not in dropped
        places.append(begin if passes else 0)
        begin += passes
    return places


def _compose(request: Request, plan: HTTP1HeadPlan, length: int, values: list[bytes | None]) -> Composed:
    """Compose all lines anew."""
    lines = [b"Host: " + checked(values[0] or plan.proxy_host)]
    for (name, _), value in zip(plan.fields, values[1:]):
        if value:
            lines.append(name + b": " + checked(value))
    if not plan.sets_length:
        if length >= 0:
            lines.append(b"Content-Length: %d" % length)
        elif length == UNKNOWN_LENGTH:
            lines.append(b"Transfer-Encoding: chunked")
    begin = len(lines)
    if plan.passes_fields:
        dropped = _dropped(request, plan)
        lines.extend([name + b": " + value for lower, name, value in request.fields.lines if lower not in dropped])
    lines += _HEAD_END
    client = request.client
    return Composed(values, client.remote_addr, client.scheme, lines, begin, [])


def _dropped(request: Request, plan: HTTP1HeadPlan) -> frozenset[bytes]:
    """Return lower-case names of the client's fields that are not passed on."""
    options = request.fields.connection_options
    return plan.dropped | options if options else plan.dropped


# Joined by line ends, this gives a line end and an empty line.
_HEAD_END = (b"", b"")


HTTP1 = UpstreamProtocol(
    "proxy",
    "http://",
    HTTP1Connection,
    lambda location: HTTP1HeadPlan(ModuleSettings(location, "proxy")),
    secure_scheme="https://",
)
