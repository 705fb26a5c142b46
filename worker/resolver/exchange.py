"""One question to one name server: UDP first, and TCP when the answer says that it does not fit (RFC 1035, RFC 7766).

Every question has its own socket, connected to the server: the kernel gives it a random port, drops datagrams from elsewhere and
reports at once when the port is closed. With the random identifier a forger has to guess 32 bits. A repeated question stays the
same to the last bit, so that an answer to either is valid and guessing gets no easier.
"""

from __future__ import annotations

import errno
import os
import socket

from worker.loop import READ, WRITE, Loop, park
from worker.outlet import send_all
from worker.stream import Stream
from wproxy.address import Address
from wproxy.dns import Answer, BadMessage, NotOurs, make_query, read_answer

LONGEST_DATAGRAM = 65535
# The number of unrelated datagrams after which a server is given up for now.
MOST_STRAY = 64


class Question:
    """A question that has been or is going to be sent."""

    __slots__ = ("_query", "_stream", "kind", "loop", "name", "server")

    def __init__(self, loop: Loop, server: Address, name: str, kind: int) -> None:
        self.loop = loop
        self.server = server
        self.name = name
        self.kind = kind
        self._query = b""
        self._stream: Stream | None = None  # while a datagram is awaited

    async def answer(self, deadline: float) -> Answer:
        """Send the question; return the server's answer. Raises TimedOut, OSError, BadMessage; ValueError for an impossible name.

        deadline: a time of the loop's clock.
        """
        identifier = int.from_bytes(os.urandom(2), "big")
        self._query = query = make_query(identifier, self.name, self.kind)
        stream = self._stream = _open(self.loop, self.server, socket.SOCK_DGRAM)
        try:
            code = stream.sock.connect_ex((self.server.host, self.server.port))
            if code:
                raise OSError(code, os.strerror(code))
            stream.send(query)
            answer = await _receive_datagram(stream, identifier, self.name, self.kind, deadline)
        finally:
            self._stream = None
            stream.close()
        if answer.is_truncated:
            answer = await _ask_over_tcp(self.loop, self.server, query, self.name, self.kind, deadline)
        return answer

    def repeat(self) -> None:
        """Send it once more: a datagram may have been lost."""
        if self._stream is not None:
            try:
                self._stream.send(self._query)
            except OSError:
                pass  # the task that waits for the answer gets the error


def _open(loop: Loop, server: Address, kind: int) -> Stream:
    """Open a socket in the loop. Raises OSError."""
    family = socket.AF_INET6 if server.is_ipv6 else socket.AF_INET
    stream = Stream(loop, socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC))
    loop.add(stream, READ)
    return stream


async def _receive_datagram(stream: Stream, identifier: int, name: str, kind: int, deadline: float) -> Answer:
    """Wait for the datagram that answers us."""
    clock = stream.loop.clock
    for _ in range(MOST_STRAY):
        await park(stream, READ, deadline - clock.now)
        try:
            return read_answer(stream.recv(LONGEST_DATAGRAM), identifier, name, kind)
        except (BlockingIOError, NotOurs):
            continue
    raise BadMessage("too many answers to something else")


async def _ask_over_tcp(loop: Loop, server: Address, query: bytes, name: str, kind: int, deadline: float) -> Answer:
    """Ask the same question on a connection: messages are preceded by their length."""
    clock = loop.clock
    stream = _open(loop, server, socket.SOCK_STREAM)
    try:
        code = stream.sock.connect_ex((server.host, server.port))
        if code == errno.EINPROGRESS:
            await park(stream, WRITE, deadline - clock.now)
            code = stream.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))
        await send_all(stream, len(query).to_bytes(2, "big") + query, deadline - clock.now)
        received = b""
        while len(received) < 2 or len(received) < 2 + int.from_bytes(received[:2], "big"):
            await park(stream, READ, deadline - clock.now)
            try:
                data = stream.recv(LONGEST_DATAGRAM)
            except BlockingIOError:
                continue
            if not data:
                raise BadMessage("the connection ended within an answer")
            received += data
    finally:
        stream.close()
    try:
        answer = read_answer(received[2 : 2 + int.from_bytes(received[:2], "big")], int.from_bytes(query[:2], "big"), name, kind)
    except NotOurs as error:
        raise BadMessage(str(error)) from None
    if answer.is_truncated:
        raise BadMessage("cut short over TCP too")
    return answer
