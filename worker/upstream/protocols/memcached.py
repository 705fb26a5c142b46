"""Values from memcached (subrequests.md §7.7).

get KEY                     the request
VALUE KEY FLAGS LENGTH      the answer: this line, so many bytes, a line end and the line END; or only END, which is a 404
"""

from __future__ import annotations

from worker.http1.fields import shown
from worker.http1.response import ResponseHead
from worker.logs import log_request
from worker.loop import Waitable
from worker.pipes import Pipe
from worker.stream import HEAD_CHUNK, Stream
from worker.upstream.body import wait_for_answer
from worker.upstream.failing import CLOSED_EARLY, READING, READING_HEAD, TOO_BIG_HEADER, failure_of
from worker.upstream.passing import AnswerBody, LiveAttempt, UpstreamProtocol
from worker.upstream.protocols.writing import WritingConnection
from wproxy.config.model import Location
from wproxy.directives.pass_to import memcached_target
from wproxy.failures import ClientError, UpstreamFailure
from wproxy.http import Request

TRAILER = b"\r\nEND\r\n"
_GET = b"get "


class MemcachedConnection(WritingConnection):
    """A connection that serves one request after another. begun: the received bytes that were not looked at yet."""

    __slots__ = ("begun",)

    def __init__(self, stream: Stream) -> None:
        super().__init__(stream)
        self.begun = b""

    def receive_head(self, attempt: LiveAttempt) -> ResponseHead | None:
        """Read once, and return the head of the answer; None while it is incomplete. Raises UpstreamFailure, OSError."""
        try:
            data = self.stream.recv(HEAD_CHUNK)
        except BlockingIOError:
            return None
        if not data:
            raise failure_of("error", CLOSED_EARLY, READING_HEAD)
        attempt.bytes_received += len(data)
        self.begun += data
        line, newline, rest = self.begun.partition(b"\n")
        if len(line) >= attempt.passing.buffer_size:
            raise failure_of("invalid_header", TOO_BIG_HEADER, READING_HEAD, "up_head_too_big")
        if not newline:
            return None
        request = attempt.request
        key = attempt.request_head[len(_GET) : -2]
        try:
            found = read_line(line, key)
        except ValueError as error:
            raise failure_of("invalid_header", str(error), READING_HEAD) from None
        self.begun = rest
        if found is None:
            log_request(request, "info", f'key: "{shown(key)}" was not found by memcached while {READING_HEAD}')
            return ResponseHead(line + newline, 404, b"", 11, (), {}, 0, False)
        flags, length = found
        fields = [(b"Content-Type", request.location.files.type_of(request.path))]
        if flags & request.location.memcached_gzip_flag:
            fields.append((b"Content-Encoding", b"gzip"))
        lines = tuple((name.lower(), name, value) for name, value in fields if value)
        values = {lower: value for lower, _, value in lines}
        return ResponseHead(line + newline, 200, b"OK", 11, lines, values, length, False)

    def body(self, attempt: LiveAttempt) -> bytes | AnswerBody:
        """Return the whole body if it came with the head; otherwise the reader of the rest. Raises UpstreamFailure."""
        head = attempt.head
        assert head is not None
        data, self.begun = self.begun, b""
        if head.status == 404:
            if data:
                self.room = 0
            return b""
        if attempt.request.method == b"HEAD":
            attempt.is_bodiless = True
            self.room = 0
            return b""
        body = MemcachedBody(self.stream, attempt, head.content_length, data)
        if not body.finished:
            return body
        if body.spoiled:
            self.room = 0
        attempt.response_length = body.wire_bytes
        return body.at_hand


def read_line(line: bytes, key: bytes) -> tuple[int, int] | None:
    """Return flags and length of the value in the first line of an answer; None if there is none. Raises ValueError.

    line: without its LF.
    """
    ended, line = line.endswith(b"\r"), line.removesuffix(b"\r")
    invalid = f'memcached sent invalid response: "{shown(line)}"'
    if not ended:
        raise ValueError(invalid)
    if line == b"END":
        return None
    if not line.startswith(b"VALUE "):
        raise ValueError(invalid)
    about = f'in response "{shown(line)}" for key "{shown(key)}"'
    if not line.startswith(key, 6):
        raise ValueError(f"memcached sent invalid key {about}")
    space, flags, length = line[6 + len(key) : 7 + len(key)], *(line[7 + len(key) :].partition(b" ")[::2])
    if space != b" " or not length:
        raise ValueError(invalid)
    if not length.isdigit() or len(length) > 18:
        raise ValueError(f"memcached sent invalid length {about}")
    if not flags.isdigit() or len(flags) > 18:
        raise ValueError(f"memcached sent invalid flags {about}")
    return int(flags), int(length)


class MemcachedBody:
    """A value and the lines after it: see AnswerBody. _left: bytes of the value to come; _trailer: of the lines after it."""

    __slots__ = (
        "_left",
        "_request",
        "_timeout",
        "_trailer",
        "at_hand",
        "channel",
        "finished",
        "received",
        "spoiled",
        "stream",
        "wire_bytes",
    )
    trailers: tuple[tuple[bytes, bytes, bytes], ...] = ()
    surplus = ""

    def __init__(self, stream: Stream, attempt: LiveAttempt, length: int, data: bytes) -> None:
        self.stream = stream
        self.channel: Waitable = stream
        self._request = attempt.request
        self._timeout = attempt.passing.read_timeout
        self._left = length
        self._trailer = TRAILER
        self.received = self.wire_bytes = 0
        self.finished = self.spoiled = False
        self.at_hand = self._take(data, READING_HEAD)

    @property
    def unframed(self) -> int:
        """Return how many coming bytes are of the value, so that the kernel may move them; 0 if it may not."""
        return self._left if self.stream.kernel_fd >= 0 else 0

    def receive(self, most: int) -> bytes:
        """Read once; return the bytes of the value in it. Raises BlockingIOError, UpstreamFailure."""
        try:
            data = self.stream.recv(most)
        except BlockingIOError:
            raise
        except OSError as error:
            raise UpstreamFailure("error", f"recv() failed ({error.errno}: {error.strerror})") from None
        if not data:
            raise UpstreamFailure("error", CLOSED_EARLY)
        return self._take(data)

    def fill(self, pipe: Pipe, most: int) -> int:
        """Move at most so many bytes of the value into an empty pipe. Raises BlockingIOError, UpstreamFailure."""
        try:
            moved = pipe.fill(self.stream.kernel_fd, min(most, self._left))
        except BlockingIOError:
            raise
        except OSError as error:
            raise UpstreamFailure("error", f"recv() failed ({error.errno}: {error.strerror})") from None
        if not moved:
            raise UpstreamFailure("error", CLOSED_EARLY)
        self.wire_bytes += moved
        self.received += moved
        self._left -= moved
        return moved

    async def wait(self, seconds: float | None = None) -> None:
        """Wait until there is something to read, so many seconds or the usual time. Raises UpstreamFailure."""
        await wait_for_answer(self.channel, self._timeout if seconds is None else seconds)

    def _take(self, data: bytes, doing: str = READING) -> bytes:
        """Return the bytes of the value; notice the end. As in nginx, wrong bytes after it only end the connection."""
        self.wire_bytes += len(data)
        value, after = data[: self._left], data[self._left :]
        self._left -= len(value)
        self.received += len(value)
        if after or not self._left:
            if not self._trailer.startswith(after):
                log_request(self._request, "error", f"memcached sent invalid trailer while {doing}")
                self.spoiled = self.finished = True
            self._trailer = self._trailer[len(after) :]
            self.finished = self.finished or not self._trailer
        return value

    def __repr__(self) -> str:
        return f"<memcached value, {self._left} bytes and {len(self._trailer)} after it to come>"


class MemcachedHeadPlan:
    """The key that a location asks for. See HeadPlan."""

    is_stable = sends_unknown_length = False
    keeps_connections = True

    def __init__(self, location: Location) -> None:
        target = location.memcached_target
        assert target is not None and target.key is not None
        self._key = target.key

    def head(self, request: Request, length: int) -> bytes:
        """Return the command. Raises ClientError when there is no key."""
        key = self._key.evaluate(request)
        if not key:
            raise ClientError(500, 'the "$memcached_key" variable is not set')
        return b"".join((_GET, key if key.isalnum() else escaped(key), b"\r\n"))

    def asks_to_upgrade(self, request: Request) -> bool:
        """Return False: there is nothing to upgrade to."""
        return False


_ESCAPED = {byte: f"%{byte:02X}".encode() for byte in (*range(0x21), 0x25)}


def escaped(key: bytes) -> bytes:
    """Return a key with controls, blanks and percent signs as %XX (nginx: NGX_ESCAPE_MEMCACHED)."""
    return b"".join([_ESCAPED.get(byte) or bytes((byte,)) for byte in key])


MEMCACHED = UpstreamProtocol(
    "memcached",
    "memcached://",
    MemcachedConnection,
    MemcachedHeadPlan,
    read_target=memcached_target,
    methods=frozenset((b"GET", b"HEAD")),
    has_pages=False,
)
