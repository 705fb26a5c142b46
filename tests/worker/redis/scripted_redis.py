"""A server that speaks RESP as a test tells it to, and a loop whose clock the test holds."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import hiredis

from worker.loop import Loop
from worker.redis.link import Link
from wproxy.redis_url import redis_server

OK, PONG = b"+OK\r\n", b"+PONG\r\n"


def integers(*numbers: int) -> bytes:
    return b"*%d\r\n" % len(numbers) + b"".join(b":%d\r\n" % number for number in numbers)


class Connection:
    """One connection of a link, at the server's end. pieces: what has come with each system call, as commands."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.pieces: list[list[list[bytes]]] = []
        self.commands: list[list[bytes]] = []
        self._reader = hiredis.Reader()

    def read(self) -> None:
        while True:
            try:
                data = self.sock.recv(1 << 20)
            except (BlockingIOError, ConnectionResetError):
                return
            if not data:
                return
            self._reader.feed(data)
            piece = []
            while (command := self._reader.gets()) is not False:
                piece.append(command)
            self.pieces.append(piece)
            self.commands += piece

    def send(self, *replies: bytes) -> None:
        self.sock.sendall(b"".join(replies))


class Play:
    """A link, and the server that it connects to."""

    def __init__(self, directory: str, url: str = "unix://{path}") -> None:
        self.now = 1000.0
        self.path = f"{directory}/redis.sock"
        self.bugs: list[BaseException] = []
        self.log: list[str] = []
        self.loop = Loop(lambda task, error: self.bugs.append(error), read_clock=lambda: self.now)
        self.listener: socket.socket | None = None
        self.connections: list[Connection] = []
        self.listen()
        server = redis_server(url.format(path=self.path))
        self.link = Link(server, self.loop, lambda level, text: self.log.append(f"{level} {text}"))

    def listen(self) -> None:
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(10)
        self.listener.setblocking(False)

    def turn(self, times: int = 10) -> None:
        """Let everything happen that is due."""
        for _ in range(times):
            self.loop.turn(0)
            if self.listener is not None:
                try:
                    self.connections.append(Connection(self.listener.accept()[0]))
                except BlockingIOError:
                    pass
            for connection in self.connections:
                connection.read()
        assert not self.bugs, self.bugs

    def advance(self, seconds: float) -> None:
        self.now += seconds
        self.turn()

    @property
    def server(self) -> Connection:
        """The latest connection."""
        return self.connections[-1]

    def greet(self) -> None:
        """Answer all that a link says at first."""
        self.turn()
        commands = self.server.commands
        assert commands[-1] == [b"PING"], commands
        self.server.send(*[b"$40\r\n%b\r\n" % (b"x" * 40) if words[0] == b"SCRIPT" else OK for words in commands[:-1]], PONG)
        self.turn()
        commands.clear()
        self.server.pieces.clear()

    def up(self) -> Play:
        self.link.start()
        self.greet()
        assert self.link.is_up
        return self

    def asking(self, ask: Callable[[], Coroutine[Any, Any, Any]]) -> list[Any]:
        """Start a task that asks; its answer comes into the list."""
        answers: list[Any] = []

        async def run() -> None:
            answers.append(await ask())

        self.loop.spawn(run(), "a request")
        return answers

    def die(self) -> None:
        """End the server with all of its connections."""
        assert self.listener is not None
        self.listener.close()
        self.listener = None
        os.unlink(self.path)
        for connection in self.connections:
            connection.sock.close()
        self.connections.clear()

    def close(self) -> None:
        if self.listener is not None:
            self.die()
        for stream in list(self.loop._streams.values()):
            stream.close()
        self.loop.close()
