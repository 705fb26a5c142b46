"""HTTP/1 as a client speaks it on a plain socket: raw requests out, strictly read responses in."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterable

from harness import PATIENCE, connect


class Closed(Exception):
    """The other side ended the connection. `received`: what of a response had come."""

    def __init__(self, received: bytes = b"") -> None:
        super().__init__(f"closed after {received[:200]!r}")
        self.received = received


class Answer:
    """A response."""

    def __init__(self, version: str, status: int, fields: list[tuple[str, str]], body: bytes, is_chunked: bool) -> None:
        self.version = version
        self.status = status
        self.fields = fields
        self.body = body
        self.is_chunked = is_chunked

    def all(self, name: str) -> list[str]:
        """The values of all lines of that name."""
        return [value for given, value in self.fields if given.lower() == name.lower()]

    def __getitem__(self, name: str) -> str | None:
        """The value of the only line of that name; None without one."""
        values = self.all(name)
        assert len(values) < 2, f"{name} came {len(values)} times: {self.fields}"
        return values[0] if values else None

    @property
    def json(self) -> dict:
        return json.loads(self.body)

    @property
    def keeps_alive(self) -> bool:
        option = (self["connection"] or "").lower()
        return option == "keep-alive" if self.version == "HTTP/1.0" else option != "close"

    def __repr__(self) -> str:
        return f"<{self.version} {self.status} {self.fields} {self.body[:300]!r}>"


class Wire:
    """One connection. Everything raises after PATIENCE seconds without progress."""

    def __init__(self, address: int | str | tuple[str, int], timeout: float = PATIENCE) -> None:
        self.sock = connect(address, timeout)
        self.buffer = b""
        self.answers = 0
        self.takes_trailers = False

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def request(
        self,
        method: str,
        path: str,
        fields: Iterable[tuple[str, str]] = (),
        body: bytes | None = None,
        host: str | None = "test.example",
        version: str = "HTTP/1.1",
    ) -> Answer:
        """One request with a body of known length, and its answer."""
        self.send(request_bytes(method, path, fields, body, host, version))
        return self.answer(method)

    def answer(self, method: str = "GET") -> Answer:
        """The next response, after any interim ones. Raises Closed when the connection ends before it does."""
        while True:
            head = self._until(b"\r\n\r\n")
            lines = head.decode("latin-1").split("\r\n")
            version, _, rest = lines[0].partition(" ")
            assert version in ("HTTP/1.0", "HTTP/1.1"), lines
            status = int(rest[:3])
            if status >= 200 or status == 101:
                break
        fields = []
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            assert colon and name.strip() == name and name, f"not a field: {line!r}"
            fields.append((name, value.strip()))
        answer = Answer(version, status, fields, b"", False)
        length = answer["content-length"]
        encoding = answer["transfer-encoding"]
        assert not (length is not None and encoding is not None), answer
        if status == 101 or method == "HEAD" or status in (204, 304):
            pass
        elif encoding is not None:
            assert encoding == "chunked" and version == "HTTP/1.1", answer
            answer.is_chunked = True
            answer.body = self._chunks()
        elif length is not None:
            answer.body = self._exactly(int(length))
        else:
            answer.body = self.rest()
        self.answers += 1
        return answer

    def rest(self) -> bytes:
        """Everything until the other side ends the connection."""
        pieces = [self.buffer]
        self.buffer = b""
        while data := self.sock.recv(1 << 18):
            pieces.append(data)
        return b"".join(pieces)

    def is_closed_by_peer(self) -> bool:
        """Wait for the end of the connection, which must come without another byte."""
        try:
            data = self.buffer or self.sock.recv(65536)
        except ConnectionResetError:
            return True
        assert not data, f"bytes instead of an end: {data[:300]!r}"
        return True

    def has_nothing_to_read(self) -> bool:
        """Whether neither bytes nor an end of the connection have come."""
        self.sock.setblocking(False)
        try:
            self.sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return not self.buffer
        finally:
            self.sock.settimeout(PATIENCE)
        return False

    def _receive(self) -> None:
        try:
            data = self.sock.recv(1 << 18)
        except ConnectionResetError:
            data = b""
        if not data:
            raise Closed(self.buffer)
        self.buffer += data

    def _until(self, end: bytes) -> bytes:
        while end not in self.buffer:
            self._receive()
        found, _, self.buffer = self.buffer.partition(end)
        return found

    def _exactly(self, size: int) -> bytes:
        if len(self.buffer) < size:
            pieces = [self.buffer]
            have = len(self.buffer)
            self.buffer = b""
            while have < size:
                data = self.sock.recv(1 << 18)
                if not data:
                    raise Closed(b"".join(pieces))
                pieces.append(data)
                have += len(data)
            self.buffer = b"".join(pieces)
        body, self.buffer = self.buffer[:size], self.buffer[size:]
        return body

    def _chunks(self) -> bytes:
        pieces = []
        while True:
            size = int(self._until(b"\r\n"), 16)
            if not size:
                while self._until(b"\r\n"):
                    assert self.takes_trailers, "a trailer"
                return b"".join(pieces)
            pieces.append(self._exactly(size))
            assert self._exactly(2) == b"\r\n", "no line end after a chunk"


def request_bytes(
    method: str,
    path: str,
    fields: Iterable[tuple[str, str]] = (),
    body: bytes | None = None,
    host: str | None = "test.example",
    version: str = "HTTP/1.1",
) -> bytes:
    """A request as it goes over the wire."""
    lines = [f"{method} {path} {version}"]
    if host is not None:
        lines.append(f"Host: {host}")
    lines += [f"{name}: {value}" for name, value in fields]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (body or b"")


def chunked(*pieces: bytes) -> bytes:
    """A chunked body."""
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def ask(address: int | str, path: str = "/", method: str = "GET", body: bytes | None = None, **more: object) -> Answer:
    """One request on a connection of its own."""
    with Wire(address) as wire:
        return wire.request(method, path, more.pop("fields", ()), body, **more)


class Load:
    """Clients that ask again and again, each on a connection that is kept, until they are told to stop.

    pause: after an answer; without one they would take both cores for as long as a reload takes, and make it take longer.
    They behave as browsers do: when a connection that has served before ends without a byte of an answer, the request is
    sent once more on a new one. `failures` is what a user would have seen; `answers` counts what was right.
    """

    def __init__(
        self,
        port: int,
        clients: int = 8,
        path: str = "/",
        is_right: Callable[[Answer], bool] | None = None,
        timeout: float = PATIENCE,
        pause: float = 0.003,
    ) -> None:
        self.port = port
        self.path = path
        self.pause = pause
        self.timeout = timeout
        self.is_right = is_right or (lambda answer: answer.status == 200)
        self.answers = 0
        self.again = 0
        self.failures: list[str] = []
        self.bodies: dict[bytes, int] = {}
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,), daemon=True) for number in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join(self.timeout + 5)
            assert not thread.is_alive(), "a client hangs"

    def wait_for(self, count: int, seconds: float = 20.0) -> None:
        """Until so many more answers have come."""
        target = self.answers + count
        deadline = time.monotonic() + seconds
        while self.answers < target:
            assert time.monotonic() < deadline, f"{self.answers} of {target} answers; failures: {self.failures[:5]}"
            time.sleep(0.005)

    def _run(self, number: int) -> None:
        wire: Wire | None = None
        while not self._ending.is_set():
            try:
                try:
                    wire = wire or Wire(self.port, self.timeout)
                    answer = self._ask(wire)
                except (Closed, BrokenPipeError, ConnectionResetError) as error:
                    if wire is None or not wire.answers or getattr(error, "received", b""):
                        raise
                    wire.close()
                    wire = None
                    with self._lock:
                        self.again += 1
                    wire = Wire(self.port, self.timeout)
                    answer = self._ask(wire)
                with self._lock:
                    if self.is_right(answer):
                        self.answers += 1
                        self.bodies[answer.body[:64]] = self.bodies.get(answer.body[:64], 0) + 1
                    else:
                        self.failures.append(repr(answer))
                if not answer.keeps_alive:
                    wire.close()
                    wire = None
                time.sleep(self.pause)
            except Exception as error:
                with self._lock:
                    self.failures.append(f"client {number} after {wire.answers if wire else 'no'} answers: {error!r}")
                if wire is not None:
                    wire.close()
                    wire = None
                self._ending.wait(0.02)
        if wire is not None:
            wire.close()

    def _ask(self, wire: Wire) -> Answer:
        return wire.request("GET", self.path)
