"""A backend inside the test process: a thread per connection, which records what it received and answers as it is told."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

from harness import PATIENCE, until


class Received:
    """One request as it came over the wire."""

    def __init__(self, head: bytes, body: bytes, connection: int) -> None:
        self.head = head
        self.body = body
        self.connection = connection
        lines = head.decode("latin-1").split("\r\n")
        self.line = lines[0]
        self.method, self.target, self.version = lines[0].split(" ", 2)
        self.fields = [(name, value[1:]) for name, _, value in (line.partition(":") for line in lines[1:])]

    def all(self, name: str) -> list[str]:
        return [value for given, value in self.fields if given.lower() == name.lower()]

    def __repr__(self) -> str:
        return f"<{self.head!r} {self.body[:100]!r} on connection {self.connection}>"


PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/plain\r\n\r\nok"
Reply = Callable[["Conversation", Received], None]


def send_ok(conversation: Conversation, received: Received) -> None:
    """The reply unless a test wants another."""
    conversation.send(PLAIN)


class Conversation:
    """One connection of the recorder's: what a reply is made with."""

    def __init__(self, recorder: Recorder, sock: socket.socket, number: int) -> None:
        self.recorder = recorder
        self.sock = sock
        self.number = number
        self.buffer = b""
        self.is_over = False

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def close(self) -> None:
        """End the connection after this reply."""
        self.is_over = True

    def wait_for_end(self) -> None:
        """Until the other side closes; what it still sends is dropped."""
        try:
            while self.sock.recv(65536):
                pass
        except OSError:
            pass
        self.is_over = True

    def take(self) -> Received | None:
        """The next request with its body; None when there is none any more."""
        while b"\r\n\r\n" not in self.buffer:
            if not self._more():
                return None
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        self.recorder.heads.append(head)
        received = Received(head, b"", self.number)
        if received.all("transfer-encoding"):
            received.body = self._chunks()
        elif lengths := received.all("content-length"):
            received.body = self._exactly(int(lengths[0]))
        return received

    def _more(self) -> bool:
        try:
            data = self.sock.recv(1 << 18)
        except OSError:
            return False
        self.buffer += data
        return bool(data)

    def _exactly(self, size: int) -> bytes:
        while len(self.buffer) < size and self._more():
            pass
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def _line(self) -> bytes:
        while b"\r\n" not in self.buffer and self._more():
            pass
        line, _, self.buffer = self.buffer.partition(b"\r\n")
        return line

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self._line() or b"0", 16):
            body += self._exactly(size)
            self._exactly(2)
        self._line()
        return body


class Recorder:
    """Listens on a free port.

    heads: all that came; requests: those that came whole. reply: how each is answered. connections: how many were made;
    ended: how many of them are over.
    """

    def __init__(self, path: str | None = None) -> None:
        if path is None:
            self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
            self.port = self.listener.getsockname()[1]
        else:
            self.listener = socket.socket(socket.AF_UNIX)
            self.listener.bind(path)
            self.listener.listen(512)
        self.heads: list[bytes] = []
        self.requests: list[Received] = []
        self.connections = 0
        self.ended = 0
        self.reply: Reply = send_ok
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answer_with(self, data: bytes) -> None:
        """Answer every request with these bytes."""
        self.reply = lambda conversation, received: conversation.send(data)

    def one(self) -> Received:
        """The only request so far, when it has come; it is forgotten."""
        until(lambda: self.requests, "a request at the recorder")
        assert len(self.requests) == 1, self.requests
        return self.requests.pop()

    def __enter__(self) -> Recorder:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        with self._lock:
            for sock in self._open:
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), "a thread of the recorder hangs"

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            with self._lock:
                self.connections += 1
                self._open.add(sock)
                thread = threading.Thread(target=self._serve, args=(sock, self.connections), daemon=True)
                self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket, number: int) -> None:
        conversation = Conversation(self, sock, number)
        try:
            while not conversation.is_over:
                received = conversation.take()
                if received is None:
                    break
                with self._lock:
                    self.requests.append(received)
                self.reply(conversation, received)
        except OSError:
            pass
        finally:
            with self._lock:
                self.ended += 1
                self._open.discard(sock)
            sock.close()
