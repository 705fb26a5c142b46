"""The far end of a connection on which a worker speaks HTTP/2 to an upstream: frames as a test says, with `hpack` and `struct`.

Nothing here uses `worker.http2`.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import hpack
from conversation import End

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
KINDS = (
    "DATA",
    "HEADERS",
    "PRIORITY",
    "RST_STREAM",
    "SETTINGS",
    "PUSH_PROMISE",
    "PING",
    "GOAWAY",
    "WINDOW_UPDATE",
    "CONTINUATION",
)
END_STREAM, ACK, END_HEADERS, PADDED = 1, 1, 4, 8


class Sent(NamedTuple):
    """A frame that the worker has sent. payload: of HEADERS the fields, of SETTINGS a dictionary, of WINDOW_UPDATE a number."""

    kind: str
    stream: int
    flags: int
    payload: object

    @property
    def ends(self) -> bool:
        return bool(self.flags & END_STREAM)


def frame(kind: str, stream: int = 0, payload: bytes = b"", flags: int = 0) -> bytes:
    number = KINDS.index(kind) if kind in KINDS else int(kind)
    return len(payload).to_bytes(3, "big") + bytes((number, flags)) + stream.to_bytes(4, "big") + payload


def settings(**values: int) -> bytes:
    names = {"table": 1, "push": 2, "streams": 3, "window": 4, "frame": 5}
    return frame("SETTINGS", 0, b"".join(struct.pack(">HI", names[name], value) for name, value in values.items()))


class Http2Peer:
    """A peer that has accepted a connection; `take` returns what has come, frame by frame."""

    def __init__(self, end: End, **own: int) -> None:
        self.end = end
        self.encoder, self.decoder = hpack.Encoder(), hpack.Decoder()
        self.encoder.header_table_size = 0
        self._wire = b""
        self._has_begun = False
        self.send(settings(**own))

    def send(self, *frames: bytes) -> Http2Peer:
        self.end.send(b"".join(frames))
        return self

    def take(self) -> list[Sent]:
        """All frames that have come by now, without the settings and windows that begin a connection."""
        self._wire += bytes(self.end.pull_all())
        self.end.received.clear()
        found = []
        if not self._has_begun and self._wire:
            assert self._wire.startswith(PREFACE)
            self._wire = self._wire[len(PREFACE) :]
        while len(self._wire) >= 9:
            size = int.from_bytes(self._wire[:3], "big")
            if len(self._wire) < 9 + size:
                break
            kind, flags, stream = KINDS[self._wire[3]], self._wire[4], int.from_bytes(self._wire[5:9], "big")
            payload, self._wire = self._wire[9 : 9 + size], self._wire[9 + size :]
            found.append(Sent(kind, stream, flags, self._read(kind, payload)))
        if found and not self._has_begun:
            self._has_begun = True
            assert [(sent.kind, sent.payload) for sent in found[:2]] == [
                ("SETTINGS", {1: 0, 2: 0, 4: 262144}),
                ("WINDOW_UPDATE", 2**31 - 1 - 65535),
            ]
            found = found[2:]
        return [sent for sent in found if not (sent.kind == "SETTINGS" and sent.flags & ACK)]

    def _read(self, kind: str, payload: bytes) -> object:
        if kind == "HEADERS":
            return self.decoder.decode(payload, raw=True)
        if kind == "SETTINGS":
            return {pair[0]: pair[1] for pair in struct.iter_unpack(">HI", payload)}
        if kind in ("WINDOW_UPDATE", "RST_STREAM"):
            return int.from_bytes(payload, "big")
        return payload

    def request(self) -> tuple[int, list[tuple[bytes, bytes]]]:
        """The next request, which has no body: its number and its fields."""
        self.end.stage.until(lambda: self._has_frames(), "no request has come")
        (sent,) = self.take()
        assert sent.kind == "HEADERS" and sent.ends, sent
        assert isinstance(sent.payload, list)
        return sent.stream, [tuple(field) for field in sent.payload]

    def _has_frames(self) -> bool:
        return bool(self._wire or self.end.pull_all())

    # Answers.

    def head(self, stream: int, *fields: tuple[str, str], status: int = 200, end: bool = False) -> bytes:
        block = self.encoder.encode([(":status", str(status)), *fields], huffman=False)
        return frame("HEADERS", stream, block, END_HEADERS | end)

    def trailers(self, stream: int, *fields: tuple[str, str], end: bool = True) -> bytes:
        return frame("HEADERS", stream, self.encoder.encode(fields), END_HEADERS | end)

    def data(self, stream: int, data: bytes = b"", end: bool = False) -> bytes:
        return frame("DATA", stream, data, int(end))

    def answer(self, stream: int, body: bytes = b"ok", *fields: tuple[str, str]) -> Http2Peer:
        return self.send(self.head(stream, *fields), self.data(stream, body, end=True))
