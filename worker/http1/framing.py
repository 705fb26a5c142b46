"""The end of a body among the bytes of a connection: by its length, by its last chunk, or with the connection (RFC 9112, 6.3).

Bytes in, values out: the owner of a socket feeds the bytes it received, and gets the payload in them. Both sides of a proxy read
bodies alike; they differ in whom they blame for a fault, so that is left to them.
"""

from __future__ import annotations

from typing import Final

from worker.http1.chunked import ChunkedDecoder
from worker.http1.response import CHUNKED, UNTIL_CLOSE

# Larger than any body.
ENDLESS: Final = 1 << 62


class Framing:
    """One body that is being read.

    finished: whether its end was seen. leftover: the bytes after it. received: bytes of payload so far. limit: that of the
    payload in chunks, 0 for none. unframed: the number of coming bytes that are payload and nothing else; 0 in chunks.
    """

    __slots__ = ("_decoder", "_ends_with_connection", "finished", "leftover", "limit", "received", "unframed")

    def __init__(self, kind: int, length: int = 0) -> None:
        """kind, length: as `worker.http1.response.body_of` returns them."""
        self.finished = False
        self.leftover = b""
        self.received = 0
        self.limit = 0
        self._ends_with_connection = False
        self._decoder: ChunkedDecoder | None = None
        self.unframed = length
        if kind == CHUNKED:
            self._decoder = ChunkedDecoder()
            self.unframed = 0
        elif kind == UNTIL_CLOSE:
            self._ends_with_connection = True
            self.unframed = ENDLESS

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes; return the payload in them. Raises ChunkError, BodyTooLarge."""
        decoder = self._decoder
        if decoder is None:
            left = self.unframed
            if len(data) >= left:
                self.finished = True
                self.leftover = data[left:]
                data = data[:left]
            self.unframed = left - len(data)
            self.received += len(data)
            return data
        decoder.limit = self.limit
        piece = decoder.feed(data)
        self.received += len(piece)
        if decoder.finished:
            self.finished = True
            self.leftover = decoder.leftover
        return piece

    def moved(self, count: int) -> None:
        """Note that so many bytes, all of them `unframed`, went another way."""
        self.received += count
        self.unframed -= count
        self.finished = not self.unframed

    def end(self) -> bool:
        """Note that the connection has ended; return whether a body may end so."""
        self.finished = self._ends_with_connection
        return self.finished

    @property
    def trailers(self) -> tuple[tuple[bytes, bytes], ...]:
        """Return the (name, value) of the fields after a chunked body that was read to its end."""
        return () if self._decoder is None else self._decoder.trailers

    def __repr__(self) -> str:
        return f"<framing: {self.received} received{', finished' if self.finished else ''}>"
