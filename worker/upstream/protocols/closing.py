"""uwsgi and SCGI to upstreams: one request on a connection, and a CGI response that ends with it (protocols.md §5).

Only the form of the parameters tells the two apart.
"""

from __future__ import annotations

from collections.abc import Callable

from worker.cgi.head import take_cgi_head
from worker.cgi.parameters import ParametersPlan
from worker.http1.response import LENGTH, UNTIL_CLOSE, ResponseHead
from worker.stream import HEAD_CHUNK, Stream
from worker.upstream.body import MORE_THAN_LENGTH, ResponseBody
from worker.upstream.failing import CLOSED_EARLY, READING_HEAD, failure_of, warn_of_surplus
from worker.upstream.module_settings import ModuleSettings
from worker.upstream.passing import AnswerBody, LiveAttempt, UpstreamProtocol
from worker.upstream.protocols.writing import WritingConnection
from wproxy.config.model import Location
from wproxy.directives.pass_to import target
from wproxy.failures import ClientError
from wproxy.http import Request
from wproxy.request_body import NO_BODY

# uwsgi has two bytes for the size of all variables, and for each name and value.
MOST = 65535


class ClosingConnection(WritingConnection):
    """A connection for one request. begun: the received part of an incomplete head, then the part of the body after it."""

    __slots__ = ("begun",)

    def __init__(self, stream: Stream) -> None:
        super().__init__(stream)
        self.begun = b""
        self.room = 0

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
        taken = take_cgi_head(self.begun, attempt.passing.buffer_size, may_be_http=True)
        if taken is None:
            return None
        head, consumed = taken
        self.begun = self.begun[consumed:]
        return head

    def body(self, attempt: LiveAttempt) -> bytes | AnswerBody:
        """Return the whole body if it came with the head; otherwise the reader of the rest. Raises UpstreamFailure."""
        head, request = attempt.head, attempt.request
        assert head is not None
        at_hand, self.begun = self.begun, b""
        if head.status == 101:
            return at_hand
        has_none = head.status in (204, 304)
        if request.method == b"HEAD" or has_none or not head.content_length:
            if at_hand and request.method != b"HEAD":
                warn_of_surplus(request, MORE_THAN_LENGTH)
            attempt.is_bodiless = request.method == b"HEAD" or has_none
            return b""
        length = head.content_length
        body = ResponseBody(self.stream, at_hand, UNTIL_CLOSE if length < 0 else LENGTH, length, attempt.passing.read_timeout)
        body.take_at_hand()
        if not body.finished:
            return body
        attempt.response_length = body.wire_bytes
        if body.surplus:
            warn_of_surplus(request, body.surplus)
        return body.at_hand


def uwsgi_variable(name: bytes) -> Callable[[bytes], bytes]:
    """Return what writes a variable: lengths of two bytes, the lower one first. Raises ClientError for one that is too long."""
    if len(name) > MOST:
        raise too_big(len(name))
    start = len(name).to_bytes(2, "little") + name

    def write(value: bytes) -> bytes:
        if len(value) > MOST:
            raise too_big(len(value))
        return start + len(value).to_bytes(2, "little") + value

    return write


def too_big(size: int) -> ClientError:
    """Return the refusal of a request whose variables do not fit."""
    return ClientError(500, f"uwsgi request is too big: {size}")


def scgi_header(name: bytes) -> Callable[[bytes], bytes]:
    """Return what writes a header, with a zero byte after name and value. Raises ClientError for a value with a zero byte."""

    def write(value: bytes) -> bytes:
        if b"\0" in value:
            raise ClientError(500, "a zero byte in a value made from variables")
        return b"%b\0%b\0" % (name, value)

    return write


class UwsgiHeadPlan(ParametersPlan):
    """A packet: modifier, size of the variables, modifier, variables, and the text of uwsgi_string."""

    def __init__(self, location: Location) -> None:
        settings = ModuleSettings(location, "uwsgi")
        super().__init__(settings, uwsgi_variable)
        self._first, self._last = settings.get("modifier1"), settings.get("modifier2")
        self._text = (settings.get("string") or "").encode("utf-8", "surrogateescape")

    def written(self, parameters: bytes, length: int) -> bytes:
        """Return the packet before the body. Raises ClientError."""
        variables = parameters + self._text
        if len(variables) > MOST:
            raise too_big(len(variables))
        return b"%c%b%c%b" % (self._first, len(variables).to_bytes(2, "little"), self._last, variables)

    def asks_to_upgrade(self, request: Request) -> bool:
        """Return True: the client's Upgrade goes on with its other fields."""
        return True


class ScgiHeadPlan(ParametersPlan):
    """A netstring of headers, CONTENT_LENGTH first."""

    def __init__(self, location: Location) -> None:
        super().__init__(ModuleSettings(location, "scgi"), scgi_header)

    def written(self, parameters: bytes, length: int) -> bytes:
        """Return the netstring before the body."""
        headers = b"CONTENT_LENGTH\0%d\0%b" % (0 if length == NO_BODY else length, parameters)
        return b"%d:%b," % (len(headers), headers)

    def asks_to_upgrade(self, request: Request) -> bool:
        """Return True: the client's Upgrade goes on with its other fields."""
        return True


def read_variables(packet: bytes) -> list[tuple[bytes, bytes]]:
    """Return the variables of a packet."""
    words: list[bytes] = []
    position, end = 4, 4 + int.from_bytes(packet[1:3], "little")
    while position < end:
        size = int.from_bytes(packet[position : position + 2], "little")
        words.append(packet[position + 2 : position + 2 + size])
        position += 2 + size
    return list(zip(words[::2], words[1::2]))


def read_headers(netstring: bytes) -> list[tuple[bytes, bytes]]:
    """Return the headers of a netstring."""
    words = netstring.partition(b":")[2].removesuffix(b",").split(b"\0")
    return list(zip(words[::2], words[1::2]))


UWSGI = UpstreamProtocol(
    "uwsgi",
    "uwsgi://",
    ClosingConnection,
    UwsgiHeadPlan,
    secure_scheme="suwsgi://",
    read_target=target("uwsgi", "suwsgi", has_variables=False),
    read_parameters=read_variables,
)
SCGI = UpstreamProtocol(
    "scgi",
    "scgi://",
    ClosingConnection,
    ScgiHeadPlan,
    read_target=target(has_variables=False),
    read_parameters=read_headers,
)
