"""FastCGI to upstreams: a connection, the answers on it, and the writing of request heads (protocols.md §4).

An answer is a CGI response in STDOUT records, which may be split anywhere. STDERR records between them are messages for our error
log. The END record says that the upstream is done; without fastcgi_keep_conn the end of its output, or of the connection, says so
too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from worker.cgi.head import take_cgi_head
from worker.cgi.parameters import ParametersPlan
from worker.fastcgi.records import (
    END,
    END_OF_STDIN,
    HEADER,
    AnswerReader,
    RecordError,
    TooBig,
    end_of_output,
    parameter_writer,
    read_parameters,
    request_head,
    stdin_records,
)
from worker.http1.response import ResponseHead
from worker.logs import log_request
from worker.loop import Waitable
from worker.pipes import Pipe
from worker.stream import HEAD_CHUNK, SMALL_CHUNK, Stream
from worker.upstream.body import MORE_THAN_LENGTH, wait_for_answer
from worker.upstream.failing import CLOSED_EARLY, READING, READING_HEAD, failure_of, warn_of_surplus
from worker.upstream.module_settings import ModuleSettings
from worker.upstream.passing import AnswerBody, LiveAttempt, Passing, UpstreamProtocol
from worker.upstream.peers import Group
from worker.upstream.protocols.writing import BodyFraming, WritingConnection, has_its_end
from wproxy.config.model import Location
from wproxy.directives.pass_to import target
from wproxy.failures import ClientError, UpstreamFailure
from wproxy.http import Request

# The bytes of a head, the place of the body after it in an answer that is one record, the announced length, and the head.
KnownHead = tuple[bytes, int, int, ResponseHead]

# The statuses of answers without a body.
_BODILESS: Final = frozenset((204, 304))


class FastcgiConnection(WritingConnection):
    """A connection that serves one request after another, if the upstream keeps it open.

    reader: that of the current answer; None before there is one, and for an answer that came whole in the simplest form. begun:
    the beginning of its head, then the output after the head. overhead: the bytes of records before the body. unread: received
    bytes at which nobody has looked yet.
    """

    __slots__ = ("begun", "overhead", "reader", "unread")
    framing = BodyFraming(stdin_records, END_OF_STDIN)

    def __init__(self, stream: Stream) -> None:
        # Like the three above it, without the calls and what is set before it is read: mostly each request has a new connection.
        self.stream = self.channel = stream
        self.opened = stream.loop.clock.now
        self.requests = 0
        self.room = 1
        self.reader: AnswerReader | None = None
        self.unread = b""

    def receive_head(self, attempt: LiveAttempt) -> ResponseHead | None:
        """Read once, and return the head of the answer; None while it is incomplete. Raises UpstreamFailure, OSError."""
        passing, reader = attempt.passing, self.reader
        group = passing.group
        if self.unread:
            data, self.unread = self.unread, b""
        else:
            try:
                data = self.stream.recv(group.cgi_chunk)
            except BlockingIOError:
                return None
        size = len(data)
        if size == SMALL_CHUNK:
            data += self._receive_more(group)
            size = len(data)
        if not size:
            raise failure_of("error", CLOSED_EARLY, READING_HEAD)
        attempt.bytes_received += size
        if reader is None:
            end = end_of_output(data, size)
            if end:
                known = group.last_cgi_head
                if known is None or not data.startswith(known[0], HEADER):
                    known = read_head(data[HEADER:end], passing)
                if known is not None:
                    _, place, length, head = known
                    left = end - place
                    if left >= 0 and (length < 0 or left == length):
                        # Nothing is left to be found out about this answer.
                        self.begun = data[place:end]
                        self.overhead = place
                        return head
            self.reader = reader = AnswerReader()
            self.begun = b""
        try:
            output = reader.feed(data)
        except RecordError as error:
            raise failure_of("invalid_header", str(error), READING_HEAD) from None
        if reader.errors:
            catching = passing.settings.get("catch_stderr", ())
            messages = log_errors(attempt.request, reader, READING_HEAD)
            if any(text.encode("utf-8", "surrogateescape") in message for text in catching for message in messages):
                raise failure_of("invalid_header", "upstream reported an error that fastcgi_catch_stderr names", READING_HEAD)
        self.begun += output
        taken = take_cgi_head(self.begun, passing.buffer_size)
        if taken is None:
            if reader.is_closed:
                raise failure_of("invalid_header", "upstream prematurely closed FastCGI stdout", READING_HEAD)
            if reader.has_ended:
                raise failure_of("invalid_header", f"upstream sent unexpected FastCGI record: {END}", READING_HEAD)
            return None
        head, consumed = taken
        self.overhead = reader.position_of(consumed)
        self.begun = self.begun[consumed:]
        return head

    def _receive_more(self, group: Group) -> bytes:
        """Return what has come beyond a small read, and let there be no further small reads. Raises OSError."""
        group.cgi_chunk = HEAD_CHUNK
        try:
            return self.stream.recv(HEAD_CHUNK)
        except BlockingIOError:
            return b""

    def body(self, attempt: LiveAttempt) -> bytes | AnswerBody:
        """Return the whole body if it came with the head; otherwise the reader of the rest. Raises UpstreamFailure."""
        request, reader, is_kept = attempt.request, self.reader, attempt.passing.is_pooled
        if not is_kept:
            self.room = 0
        if reader is None and request.method != b"HEAD":
            attempt.response_length = attempt.bytes_received - self.overhead
            return self.begun
        output, self.begun = self.begun, b""
        head, self.reader = attempt.head, None
        assert head is not None
        if reader is not None and reader.leftover:
            self.room = 0
        if request.method == b"HEAD":
            attempt.is_bodiless = True
            if reader is not None and not reader.has_ended:
                self.room = 0
            return b""
        assert reader is not None
        has_none = head.status in _BODILESS
        expected = 0 if has_none else head.content_length
        if reader.has_ended and (expected < 0 or expected == len(output)):
            # All of it is here, as most answers are.
            attempt.response_length = reader.taken - self.overhead
            attempt.is_bodiless = has_none
            return output
        reader.starts = None
        body = FastcgiBody(reader, self.stream, attempt, expected, is_kept, reader.taken - self.overhead)
        try:
            body.at_hand = body.take(output)
        except UpstreamFailure as failure:
            failure.doing, failure.sent = READING, True
            raise
        if not body.finished:
            return body
        attempt.response_length = body.wire_bytes
        attempt.is_bodiless = has_none
        if body.surplus:
            warn_of_surplus(request, body.surplus)
        if body.spoiled:
            self.room = 0
        return body.at_hand


class FastcgiBody:
    """The rest of an answer's body: see AnswerBody. expected: the bytes that the head announces, -1 if it does not."""

    __slots__ = (
        "_expected", "_is_kept", "_reader", "_request", "_timeout",
        "at_hand", "channel", "finished", "received", "spoiled", "stream", "surplus", "wire_bytes",
    )  # fmt: skip
    trailers: tuple[tuple[bytes, bytes, bytes], ...] = ()
    unframed = 0

    def __init__(
        self, reader: AnswerReader, stream: Stream, attempt: LiveAttempt, expected: int, is_kept: bool, wire_bytes: int
    ) -> None:
        self._reader = reader
        self._request = attempt.request
        self._timeout = attempt.passing.read_timeout
        self._expected = expected
        self._is_kept = is_kept
        self.stream = stream
        self.channel: Waitable = stream
        self.wire_bytes = wire_bytes
        self.at_hand = b""
        self.received = 0
        self.finished = False
        self.spoiled = not is_kept
        self.surplus = ""

    def receive(self, most: int) -> bytes:
        """Read once; return the output in it, b"" if there was none. Raises BlockingIOError, UpstreamFailure."""
        try:
            data = self.stream.recv(most)
        except BlockingIOError:
            raise
        except OSError as error:
            raise UpstreamFailure("error", f"recv() failed ({error.errno}: {error.strerror})") from None
        reader = self._reader
        if not data:
            if self._is_kept or self._is_short() or reader.is_cut:
                raise UpstreamFailure("error", CLOSED_EARLY)
            self.finished = True
            return b""
        self.wire_bytes += len(data)
        try:
            output = reader.feed(data)
        except RecordError as fault:
            raise UpstreamFailure("error", str(fault), code="up_bad_body") from None
        if reader.errors:
            log_errors(self._request, reader, READING)
        return self.take(output)

    def take(self, output: bytes) -> bytes:
        """Return as much of the output as belongs to the body; notice its end. Raises UpstreamFailure."""
        reader = self._reader
        self.received += len(output)
        excess = self.received - self._expected
        if self._expected >= 0 and excess > 0:
            output = output[: len(output) - excess]
            self.received = self._expected
            self.surplus = MORE_THAN_LENGTH
        if reader.has_ended or (reader.is_closed and not self._is_kept):
            if self._is_short():
                what = "stdout" if reader.is_closed else "request"
                raise UpstreamFailure("error", f"upstream prematurely closed FastCGI {what}")
            self.finished = True
            self.spoiled = self.spoiled or reader.leftover
        return output

    def _is_short(self) -> bool:
        return self.received < self._expected

    def fill(self, pipe: Pipe, most: int) -> int:
        """Never called: output has frames."""
        raise BlockingIOError

    async def wait(self, seconds: float | None = None) -> None:
        """Wait until there is something to read, so many seconds or the usual time. Raises UpstreamFailure."""
        await wait_for_answer(self.channel, self._timeout if seconds is None else seconds)

    def __repr__(self) -> str:
        return f"<FastCGI body of {self.received} bytes so far: {self._reader}>"


def read_head(output: bytes, passing: Passing) -> KnownHead | None:
    """Return the head of an answer that is whole, if it has one after which a body may come. Raises UpstreamFailure.

    The next answer may repeat it.
    """
    taken = take_cgi_head(output, passing.buffer_size)
    if taken is None or taken[0].status in _BODILESS:
        return None
    head, size = taken
    known = (head.block, HEADER + size, head.content_length, head)
    group = passing.group
    if 2 * len(output) < SMALL_CHUNK and group.last_cgi_head is None:
        group.cgi_chunk = SMALL_CHUNK
    if size <= group.least_buffer:  # any location of the group may be the next to see it
        group.last_cgi_head = known
    return known


def log_errors(request: Request, reader: AnswerReader, doing: str) -> Sequence[bytes]:
    """Log the messages of an upstream, and return them. As in nginx, blanks, dots and line ends after a message are cut."""
    messages, reader.errors = reader.errors, ()
    for message in messages:
        text = message[:1] + message[1:].rstrip(b"\r\n. ")
        log_request(request, "error", f'FastCGI sent in stderr: "{text.decode("utf-8", "backslashreplace")}" while {doing}')
    return messages


class FastcgiHeadPlan(ParametersPlan):
    """The records before a body: FastCGI asks the upstream to keep its connection open, or not."""

    def __init__(self, location: Location) -> None:
        settings = ModuleSettings(location, "fastcgi")
        super().__init__(settings, parameter_writer)
        self.keeps_connections: bool = settings.get("keep_conn", False)

    def written(self, parameters: bytes, length: int) -> bytes:
        """Return the records with these parameters, and the end of a body that is empty. Raises ClientError."""
        try:
            head = request_head(parameters, self.keeps_connections)
            return head + END_OF_STDIN if has_its_end(length) else head
        except TooBig as error:
            raise ClientError(500, f"fastcgi request record is too big: {error.size}") from None

    def asks_to_upgrade(self, request: Request) -> bool:
        """Return False: FastCGI has no tunnels."""
        return False


FASTCGI = UpstreamProtocol(
    "fastcgi",
    "fastcgi://",
    FastcgiConnection,
    FastcgiHeadPlan,
    read_target=target(has_variables=False),
    read_parameters=read_parameters,
)
