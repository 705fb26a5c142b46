"""A client that speaks HTTP/2 frame by frame, so that it can also say what no library would.

What comes back is told in short words, one for each frame: `1: 200` for a head, `1: 200.` if that ends the stream, `1: +5` for five
bytes of a body, `1: +5.` for the last ones, `1: RST CANCEL`, `GOAWAY 1 NO_ERROR`, `PING 0000000000000000`, `1: WINDOW 100`, `end`
for the end of the connection.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any

import hpack
from conversation import End, Stage

from worker.client.preface import serve_clear
from worker.http2.errors import name_of

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
ES, EH, PADDED, PRIO = 1, 4, 8, 0x20
ACK = 1
# The window of a stream that is answered before the end of its request, as far as it goes.
OPENED = "WINDOW 2147418111"
BEGINNING = ["SETTINGS", "0: WINDOW 2147418112", "SETTINGS ACK"]

Fields = Iterable[tuple[bytes, bytes]]


def frame(kind: int, flags: int, stream: int, payload: bytes = b"", length: int = -1) -> bytes:
    """One frame; length: what its head says, if that is not true."""
    size = len(payload) if length < 0 else length
    return struct.pack(">I", size)[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def settings(*pairs: tuple[int, int]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *pair) for pair in pairs))


def number(value: int) -> bytes:
    return struct.pack(">I", value)


def fields_of(
    path: bytes = b"/",
    *more: tuple[bytes, bytes],
    method: bytes = b"GET",
    authority: bytes | None = b"front",
    scheme: bytes = b"http",
) -> list[tuple[bytes, bytes]]:
    """The fields of a request."""
    found = [(b":method", method), (b":scheme", scheme), (b":path", path)]
    if authority is not None:
        found.append((b":authority", authority))
    return [*found, *more]


def block(fields: Fields) -> bytes:
    """A field block of literals that touch no table: (RFC 7541, 6.2.2)."""

    def string(value: bytes) -> bytes:
        if len(value) < 127:
            return bytes((len(value),)) + value
        size, octets = len(value) - 127, [127]
        while size >= 128:
            octets.append(128 | size & 127)
            size >>= 7
        return bytes((*octets, size)) + value

    return b"".join(b"\0" + string(name) + string(value) for name, value in fields)


class H2:
    """One client connection. heads, bodies: what has come, by stream; said: all frames, in words."""

    def __init__(self, stage: Stage, *pairs: tuple[int, int], begins: bool = True, serve: Any = serve_clear, **more: Any) -> None:
        self.stage = stage
        self.end: End = stage.client(serve=serve, **more)
        self.decoder = hpack.Decoder()
        self.heads: dict[int, list[dict[str, str]]] = {}
        self.lines: dict[int, list[tuple[bytes, bytes]]] = {}
        self.bodies: dict[int, bytes] = {}
        self.said: list[str] = []
        self.pings = 0
        if begins:
            self.send(PREFACE + settings(*pairs))
            assert self.hear() == BEGINNING, self.said
            self.said.clear()
            self.send(frame(SETTINGS, ACK, 0))

    # Saying.

    def send(self, *wire: bytes) -> H2:
        self.end.send(b"".join(wire))
        return self

    def ask(self, stream: int = 1, path: bytes = b"/", *more: tuple[bytes, bytes], end: bool = True, **how: Any) -> H2:
        """Send a request."""
        return self.send(frame(HEADERS, EH | (ES if end else 0), stream, block(fields_of(path, *more, **how))))

    def data(self, stream: int, data: bytes, end: bool = False) -> H2:
        """Send a body, in frames that are small enough."""
        pieces = [data[at : at + 16384] for at in range(0, len(data), 16384)] or [b""]
        last = len(pieces) - 1
        return self.send(*(frame(DATA, ES if end and n == last else 0, stream, piece) for n, piece in enumerate(pieces)))

    def open_windows(self, *streams: int, by: int = 1 << 30) -> H2:
        return self.send(*(frame(WINDOW, 0, stream, number(by)) for stream in (0, *streams)))

    # Hearing.

    def hear(self) -> list[str]:
        """What has been said so far."""
        received = self.end.pull_all()
        while len(received) >= 9:
            size = int.from_bytes(received[:3], "big")
            if len(received) < 9 + size:
                break
            kind, flags, stream = received[3], received[4], int.from_bytes(received[5:9], "big")
            payload = bytes(received[9 : 9 + size])
            del received[: 9 + size]
            self.said.append(self._told(kind, flags, stream, payload))
        if self.end.saw_end and "end" not in self.said:
            self.said.append("end")
        return self.said

    def _told(self, kind: int, flags: int, stream: int, payload: bytes) -> str:
        dot = "." if flags & ES else ""
        if kind == HEADERS:
            assert flags & EH
            lines = self.decoder.decode(payload, raw=True)
            self.lines[stream] = lines
            head = {name.decode(): value.decode("latin-1") for name, value in lines}
            self.heads.setdefault(stream, []).append(head)
            return f"{stream}: {head.get(':status', 'trailers')}{dot}"
        if kind == DATA:
            self.bodies[stream] = self.bodies.get(stream, b"") + payload
            return f"{stream}: +{len(payload)}{dot}"
        if kind == RST:
            return f"{stream}: RST {name_of(int.from_bytes(payload, 'big'))}"
        if kind == GOAWAY:
            last, code = struct.unpack(">II", payload[:8])
            return f"GOAWAY {last} {name_of(code)}"
        if kind == PING:
            return f"PING{' ACK' if flags & ACK else ''} {payload.hex()}"
        if kind == WINDOW:
            return f"{stream}: WINDOW {int.from_bytes(payload, 'big')}"
        assert kind == SETTINGS, (kind, flags, stream, payload)
        return f"SETTINGS{' ACK' if flags & ACK else ''}"

    def hear_anything(self) -> None:
        """Take in what has been said, whatever it is."""
        self.end.pull_all().clear()

    def news(self) -> list[str]:
        """What has been said since the last question."""
        said, self.said = list(self.hear()), []
        return said

    def answer(self, stream: int = 1) -> tuple[int, bytes]:
        """The status and the body of an answer that has come in full."""

        def is_there() -> bool:
            return any(word.startswith(f"{stream}: ") and word.endswith(".") for word in self.hear())

        self.stage.until(is_there, f"no whole answer on stream {stream}: {self.said}")
        return int(
            self.heads[stream][-1][":status"] if ":status" in self.heads[stream][-1] else self.heads[stream][-2][":status"]
        ), (self.bodies.get(stream, b""))

    def is_alive(self) -> bool:
        """Whether the connection still answers."""
        self.pings += 1
        opaque = struct.pack(">Q", self.pings)
        self.send(frame(PING, 0, 0, opaque))
        word = f"PING ACK {opaque.hex()}"
        self.stage.until(lambda: word in self.hear(), f"no answer to a PING: {self.said}")
        self.said.remove(word)
        return True

    def is_closed(self) -> bool:
        """The worker has ended the connection, and the client, too."""
        self.stage.until(lambda: "end" in self.hear(), f"the connection is open: {self.said}")
        self.end.close()
        return True


def http2(stage: Any, server: str = "", **more: Any) -> Stage:
    """A stage whose server speaks HTTP/2."""
    made: Stage = stage(server=f"http2 = true\n{server}", **more)
    return made


GET = block(fields_of())
READY = "return = [200, 'ready']\n"


def get(stream: int = 1, flags: int = EH | ES, payload: bytes = GET) -> bytes:
    """The HEADERS of a request."""
    return frame(HEADERS, flags, stream, payload)


def said_to(stage: Any, *wire: bytes) -> tuple[H2, list[str]]:
    """A client of a location that is READY, and what the worker says to these bytes after the beginning of the connection."""
    h2 = H2(http2(stage, location=READY))
    h2.send(*wire)
    return h2, h2.news()
