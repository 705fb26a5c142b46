"""The chunked coding (RFC 9112, 7.1): bytes of a body in, its payload out.

    chunked-body = *chunk last-chunk trailer-section CRLF
    chunk        = chunk-size [ chunk-ext ] CRLF chunk-data CRLF

Strict, because each leniency below has been used for request smuggling: a size is 1 to 16 hexadecimal digits and nothing
before them, below 2**63; only SP and HTAB may follow, then `;` and an extension without controls; every line ends with
CRLF, never with LF alone; the two bytes after the data are CRLF (h11 CVE-2025-43859); the trailer section is read
line by line like a head and ends with an empty line, not with anything that follows CRLF (Puma). Extensions are not
passed on.

Bounded, because extensions, leading zeros and trailers carry no payload that a body limit would count.

Fast: a piece that lies within one chunk is returned as it came, without a copy; in a piece with many chunks each
payload is sliced once and all are joined. At most an incomplete line is kept between two calls, so that input byte by
byte costs no more than a line's length each.
"""

from __future__ import annotations

import re
from typing import Final

from worker.http1.fields import TRAILER_FIELDS, InvalidField

LAST_CHUNK: Final = b"0\r\n\r\n"
# The lines before chunks that are not large: formatting one takes 0.2 us.
_MANY: Final = 1024
_SIZE_LINES: Final = tuple(b"%x\r\n" % size for size in range(_MANY))

# The limit of a chunk line or a trailer line, without CRLF.
LINE_BYTES: Final = 4096
# The limit of everything after the size in all chunk lines of a body.
EXTENSION_BYTES: Final = 65536
# The limit of the trailer section.
TRAILER_BYTES: Final = 16384
TRAILER_LINES: Final = 256

_CHUNK_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,16}+)[ \t]*+(?:;[\t -~\x80-\xff]*+)?+").fullmatch
# The beginning of one: what no rest can make a chunk line is refused without waiting for the rest.
_BEGUN_LINE: Final = re.compile(rb"[0-9A-Fa-f]{1,16}+[ \t]*+(?:;[\t -~\x80-\xff]*+)?+\r?").fullmatch
# A line that this leaves as it is has nothing but these. (With bytes to delete, `translate` makes a table each time.)
_HEX_TABLE: Final = bytes(byte if byte in b"0123456789abcdefABCDEF" else byte ^ 0xFF for byte in range(256))
_MAX_SIZE: Final = 2**63 - 1

# Fields that are not allowed after the body: framing, routing, authentication and content (RFC 9110, 6.5.1).
_NEVER_TRAILERS: Final = frozenset(
    (
        b"age", b"authorization", b"cache-control", b"connection", b"cookie", b"date", b"expect", b"expires",
        b"forwarded", b"host", b"http2-settings", b"keep-alive", b"location", b"max-forwards", b"pragma", b"proxy",
        b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"range", b"retry-after", b"set-cookie",
        b"te", b"trailer", b"transfer-encoding", b"upgrade", b"vary", b"via", b"warning", b"www-authenticate",
        b"x-real-ip",
    )
)  # fmt: skip
_NEVER_TRAILERS_PREFIXES = (b"content-", b"if-", b"x-forwarded-", b"x-accel-")

# The element that the decoder expects next.
_SIZE: Final = 0  # a chunk line
_DATA: Final = 1  # `_remaining` bytes of data
_DATA_END: Final = 2  # the CRLF after the data
_TRAILERS: Final = 3  # a trailer line, or the empty line that ends it all


class ChunkError(ValueError):
    """The bytes are not a chunked body; the message says why."""


class BodyTooLarge(Exception):
    """A chunk that leads beyond the limit was announced. before: bytes of all chunks before it. size: its own."""

    def __init__(self, before: int, size: int) -> None:
        super().__init__(f"{before}+{size} bytes")
        self.before = before
        self.size = size


def may_be_trailer(lower: bytes) -> bool:
    """Whether a field of this lower-case name may be passed on after a body; others are dropped there, in any protocol."""
    return lower not in _NEVER_TRAILERS and not lower.startswith(_NEVER_TRAILERS_PREFIXES)


def encode_chunk(data: bytes) -> bytes:
    """Return one chunk; nothing for no data, as a chunk of size 0 would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def encode_whole(data: bytes) -> bytes:
    """Return a whole body in one chunk, with the end."""
    size = len(data)
    if size >= _MANY:
        return b"%x\r\n%b\r\n0\r\n\r\n" % (size, data)
    return b"".join((_SIZE_LINES[size], data, b"\r\n0\r\n\r\n")) if size else LAST_CHUNK


class ChunkedDecoder:
    """Decodes one chunked body.

    finished: whether the end was seen. leftover: the bytes after it. limit: that of the payload in bytes, 0 for none.
    trailers: (name, value) of the trailer section, without fields that are not allowed there.
    """

    __slots__ = (
        "_announced",
        "_extension_bytes",
        "_held",
        "_remaining",
        "_state",
        "_trailer_bytes",
        "_trailer_lines",
        "finished",
        "leftover",
        "limit",
        "trailers",
    )

    def __init__(self) -> None:
        self.finished = False
        self.leftover = b""
        self.trailers: tuple[tuple[bytes, bytes], ...] = ()
        self._state = _SIZE
        self._remaining = 0
        self.limit = 0
        self._announced = 0  # payload of all chunks so far
        self._held = b""  # an incomplete line, or half of the CRLF after data
        self._extension_bytes = 0
        self._trailer_bytes = 0
        self._trailer_lines = 0

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes; return the payload in them. Raises ChunkError, BodyTooLarge."""
        if self.finished:
            self.leftover += data
            return b""
        if self._state == _DATA and self._remaining > len(data):
            self._remaining -= len(data)
            return data
        if self._held:
            data = self._held + data
            self._held = b""
        return self._decode(data)

    def _decode(self, data: bytes) -> bytes:
        """Decode chunk after chunk until the data or the body ends."""
        state = self._state
        remaining = self._remaining
        position = 0
        size = len(data)
        pieces: list[bytes] = []
        while True:
            if state == _SIZE:
                end = data.find(b"\r\n", position, position + LINE_BYTES + 2)
                if end < 0:
                    self._hold_line(data, position)
                    if position < size and not _BEGUN_LINE(self._held):
                        raise ChunkError("invalid chunk line")
                    break
                line = data[position:end]
                # Two C calls recognise a plain size; the pattern is for extensions, and for finding the error.
                if len(line) > 16 or not line or line.translate(_HEX_TABLE) != line:
                    remaining = self._read_extended(line)
                else:
                    remaining = int(line, 16)
                    if remaining > _MAX_SIZE:
                        raise ChunkError("too large a chunk size")
                position = end + 2
                state = _DATA if remaining else _TRAILERS
                if self.limit and self._announced + remaining > self.limit:
                    raise BodyTooLarge(self._announced, remaining)
                self._announced += remaining
            if state == _DATA:
                end = position + remaining
                if end > size:
                    if position < size:
                        pieces.append(data[position:])
                    remaining = end - size
                    break
                pieces.append(data[position:end])
                position = end
                remaining = 0
                state = _DATA_END
            if state == _DATA_END:
                if data.startswith(b"\r\n", position):
                    position += 2
                    state = _SIZE
                    continue
                self._held = data[position:]
                if not b"\r\n".startswith(self._held):
                    raise ChunkError("no CRLF after the data of a chunk")
                break
            if state == _TRAILERS:
                position = self._read_trailers(data, position)
                if self.finished:
                    self.leftover = data[position:]
                break
        self._state = state
        self._remaining = remaining
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _read_extended(self, line: bytes) -> int:
        """Return the size in a chunk line with more than digits; raises ChunkError."""
        match = _CHUNK_LINE(line)
        if match is None:
            raise ChunkError("invalid chunk line")
        digits = match[1]
        self._extension_bytes += len(line) - len(digits)
        if self._extension_bytes > EXTENSION_BYTES:
            raise ChunkError("too much in chunk extensions")
        size = int(digits, 16)
        if size > _MAX_SIZE:
            raise ChunkError("too large a chunk size")
        return size

    def _hold_line(self, data: bytes, position: int) -> None:
        """Keep an incomplete line for the next call; raises ChunkError when it can no longer be completed."""
        held = data[position:]
        if len(held) > LINE_BYTES + 1:
            raise ChunkError("too long a line")
        if b"\n" in held:
            raise ChunkError("a line end without CR")
        if held.find(b"\r", 0, -1) >= 0:
            raise ChunkError("a CR within a line")
        self._held = held

    def _read_trailers(self, data: bytes, position: int) -> int:
        """Read trailer lines up to the empty line; return the position after them. Raises ChunkError."""
        trailers = []
        while True:
            end = data.find(b"\r\n", position, position + LINE_BYTES + 2)
            if end < 0:
                self._hold_line(data, position)
                if self._trailer_bytes + len(self._held) > TRAILER_BYTES:
                    raise ChunkError("too many trailers")
                break
            if end == position:
                self.finished = True
                position += 2
                break
            self._trailer_bytes += end + 2 - position
            self._trailer_lines += 1
            if self._trailer_bytes > TRAILER_BYTES or self._trailer_lines > TRAILER_LINES:
                raise ChunkError("too many trailers")
            try:
                field = TRAILER_FIELDS[data[position:end]]
            except InvalidField as bad:
                raise ChunkError(f'invalid trailer line: "{bad}"') from None
            if field is not None:
                lower, name, value = field
                if may_be_trailer(lower):
                    trailers.append((name, value))
            position = end + 2
        self.trailers += tuple(trailers)
        return position

    def __repr__(self) -> str:
        if self.finished:
            return f"<chunked body: finished, {len(self.leftover)} bytes left over>"
        return f"<chunked body: {('size', 'data', 'end of data', 'trailers')[self._state]}, {self._remaining} to come>"
