"""What a client says to a front over one connection, and what it hears: requests one after the other, each answer read whole."""

from __future__ import annotations

import socket
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from differential.backend import Reply

if TYPE_CHECKING:
    from differential.fronts import Site

PATIENCE = 3.0  # seconds for an answer; who waits longer, waits for ever


@dataclass(frozen=True)
class Step:
    """One request, in pieces that are sent one by one, and how the backend answers what comes of it."""

    pieces: tuple[bytes, ...]
    replies: tuple[Reply, ...] = (Reply(),)

    @property
    def data(self) -> bytes:
        return b"".join(self.pieces)

    @property
    def is_head(self) -> bool:
        return self.data.startswith(b"HEAD ")


@dataclass(frozen=True)
class Conversation:
    """The steps of one connection to the server with this number.

    is_raw: what is sent are no proper requests, so the connection is half closed behind them, and what comes is not taken apart.
    """

    server: int
    steps: tuple[Step, ...]
    is_raw: bool = False


@dataclass
class Response:
    """An answer taken apart. interim: the 1xx before it. framing: what says where the body ends. cut: it came not whole."""

    status: str = ""
    fields: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    trailers: list[tuple[str, str]] = field(default_factory=list)
    framing: str = ""
    interim: list[str] = field(default_factory=list)
    cut: str = ""

    def get(self, name: str) -> str | None:
        return next((value for given, value in self.fields if given.lower() == name), None)


@dataclass
class Exchange:
    """A step: the answer, and what the backend received for it."""

    response: Response
    received: list[bytes]


@dataclass
class Answered:
    """A conversation as it went. kept: whether the connection was still open after each answer. rest: bytes after the last."""

    exchanges: list[Exchange] = field(default_factory=list)
    rest: bytes = b""
    end: str = ""


class Ended(Exception):
    """The connection has ended, or nothing comes; says how."""


class Reading:
    """The receiving half of a connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.buffer = bytearray()

    def more(self) -> None:
        """Receive something; raises Ended."""
        try:
            data = self.sock.recv(1 << 18)
        except TimeoutError:
            raise Ended("open") from None
        except OSError:
            raise Ended("reset") from None
        if not data:
            raise Ended("closed")
        self.buffer += data

    def until(self, mark: bytes) -> bytes:
        """What comes before the mark, which is dropped."""
        while (index := self.buffer.find(mark)) < 0:
            self.more()
        found = bytes(self.buffer[:index])
        del self.buffer[: index + len(mark)]
        return found

    def exactly(self, count: int) -> bytes:
        while len(self.buffer) < count:
            self.more()
        found = bytes(self.buffer[:count])
        del self.buffer[:count]
        return found

    def rest(self) -> tuple[bytes, str]:
        """Everything up to the end, and what end it is."""
        try:
            while True:
                self.more()
        except Ended as end:
            found = bytes(self.buffer)
            self.buffer.clear()
            return found, str(end)


def fields_of(lines: list[bytes]) -> list[tuple[str, str]]:
    pairs = (line.decode("latin-1").partition(":") for line in lines)
    return [(name, value[1:] if value.startswith(" ") else value) for name, _, value in pairs]


def read_response(reading: Reading, is_head: bool) -> Response:
    """The next answer, as much of it as comes."""
    response = Response()
    try:
        while True:
            line, *lines = reading.until(b"\r\n\r\n").split(b"\r\n")
            if line[9:10] != b"1" or line[9:12] == b"101":
                break
            response.interim.append(line.decode("latin-1"))
        response.status, response.fields = line.decode("latin-1"), fields_of(lines)
        if is_head or line[9:12] in (b"204", b"304"):
            response.framing = "none"
        elif "chunked" in (response.get("transfer-encoding") or ""):
            response.framing = "chunked"
            read_chunks(reading, response)
        elif (length := response.get("content-length")) is not None and length.isdigit():
            response.framing = "length"
            response.body = b""
            read_exactly(reading, response, int(length))
        else:
            response.framing = "close"
            response.body, end = reading.rest()
            response.cut = "" if end == "closed" else end
    except Ended as end:
        response.cut = str(end)
        if not response.status:
            response.body = bytes(reading.buffer)
            reading.buffer.clear()
    return response


def read_exactly(reading: Reading, response: Response, length: int) -> None:
    try:
        response.body = reading.exactly(length)
    except Ended:
        response.body = bytes(reading.buffer)
        reading.buffer.clear()
        raise


def read_chunks(reading: Reading, response: Response) -> None:
    while True:
        size = int(reading.until(b"\r\n").partition(b";")[0], 16)
        if not size:
            break
        try:
            response.body += reading.exactly(size)
        except Ended:
            response.body += bytes(reading.buffer)
            reading.buffer.clear()
            raise
        reading.until(b"\r\n")
    while line := reading.until(b"\r\n"):
        response.trailers += fields_of([line])


def converse(site: Site, conversation: Conversation) -> Answered:
    """Have a conversation with the front that is running."""
    answered = Answered()
    try:
        converse_over(site, conversation, answered)
    except OSError as error:
        answered.end = f"{error}"
    return answered


def converse_over(site: Site, conversation: Conversation, answered: Answered) -> None:
    with socket.create_connection(("127.0.0.1", site.ports[conversation.server]), timeout=PATIENCE) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reading = Reading(sock)
        if conversation.is_raw:
            converse_raw(site, conversation, sock, answered)
            return
        for step in conversation.steps:
            site.backend.replies = [Reply(site.fill_bytes(reply.data), reply.closes) for reply in step.replies]
            try:
                for piece in step.pieces:
                    sock.sendall(site.fill_bytes(piece))
            except OSError:
                answered.end = "cannot send"
                return
            response = read_response(reading, step.is_head)
            answered.exchanges.append(Exchange(response, site.backend.take_received()))
            if response.status[9:12] == "412":  # nginx says that the connection is kept, and closes it
                break
            if (response.get("connection") or "").lower() == "close" and not response.cut:
                break
            if response.framing == "close" or response.cut:
                answered.end = response.cut or "closed"
                return
        try:
            sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        answered.rest, answered.end = reading.rest()


def converse_raw(site: Site, conversation: Conversation, sock: socket.socket, answered: Answered) -> None:
    """Send everything, end our side, and take whatever comes."""
    site.backend.replies = [Reply()]
    with suppress(OSError):  # it need not take all of it
        for piece in conversation.steps[0].pieces:
            sock.sendall(site.fill_bytes(piece))
        sock.shutdown(socket.SHUT_WR)
    heard, end = Reading(sock).rest()
    # Whoever does not read to the end resets the connection: what had been sent before may or may not arrive.
    answered.end = "closed" if end == "reset" else end
    answered.exchanges.append(Exchange(Response(body=heard), site.backend.take_received()))
