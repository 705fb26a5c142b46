"""The upstream behind both fronts: it records what it receives, and answers as the step of a conversation says."""

from __future__ import annotations

import re
import socket
import threading
from dataclasses import dataclass

_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_CHUNKED = re.compile(rb"(?i)\r\ntransfer-encoding: *chunked")
ENOUGH = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"


@dataclass(frozen=True)
class Reply:
    """What the backend says to one request. closes: it ends the connection afterwards, or instead where data is empty."""

    data: bytes = ENOUGH
    closes: bool = False


class Backend:
    """Listens on several ports. replies: for the requests of the current step, in order; the last one goes on."""

    def __init__(self, count: int = 2) -> None:
        self.listening = [socket.create_server(("127.0.0.1", 0), backlog=128) for _ in range(count)]
        self.ports = [sock.getsockname()[1] for sock in self.listening]
        self.replies: list[Reply] = [Reply()]
        self.received: list[bytes] = []
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        for index, sock in enumerate(self.listening):
            threading.Thread(target=self._accept, args=(sock, index), daemon=True).start()

    def take_received(self) -> list[bytes]:
        """What has come since it was asked last: for each request the number of the port, head and body."""
        with self._lock:
            received, self.received = self.received, []
        return received

    def disconnect(self) -> None:
        """End all connections."""
        with self._lock:
            for sock in self._open:
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def close(self) -> None:
        for sock in self.listening:
            sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        self.disconnect()

    def _accept(self, listening: socket.socket, index: int) -> None:
        while True:
            try:
                sock, _ = listening.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(30)
            with self._lock:
                self._open.add(sock)
            threading.Thread(target=self._serve, args=(sock, index), daemon=True).start()

    def _serve(self, sock: socket.socket, index: int) -> None:
        try:
            self._converse(sock, index)
        except (OSError, ValueError):
            pass
        finally:
            with self._lock:
                self._open.discard(sock)
            sock.close()

    def _converse(self, sock: socket.socket, index: int) -> None:
        stream = sock.makefile("rb")
        while True:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                line = stream.readline(1 << 20)
                if not line:
                    return
                head += line
            head = head[:-4]
            body = b""
            if _CHUNKED.search(head):
                while size := int(stream.readline().split(b";")[0], 16):
                    body += stream.read(size)
                    stream.readline()
                while stream.readline().strip():
                    pass
            elif length := _LENGTH.search(head):
                body = stream.read(int(length[1]))
                if len(body) < int(length[1]):
                    return  # it was broken off: no request
            with self._lock:
                self.received.append(b"%d " % index + head + b"\r\n\r\n" + body)
                reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
            data = reply.data
            if head.startswith(b"HEAD "):
                data = data.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if data else data
            if data:
                sock.sendall(data)
            if reply.closes:
                sock.shutdown(socket.SHUT_RDWR)
                return
