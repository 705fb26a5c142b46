"""FastCGI records: bytes in, values out (protocols.md §4).

    record = version 1, type, request id (2 bytes), content length (2 bytes), padding length, 0, content, padding

One connection carries one request at a time, its id is always 1, and our role is always that of the responder's client: of the
types we send BEGIN, PARAMS and STDIN, and understand STDOUT, STDERR and END.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Final

BEGIN: Final = 1
END: Final = 3
PARAMS: Final = 4
STDIN: Final = 5
STDOUT: Final = 6
STDERR: Final = 7

HEADER: Final = 8
# The most content of one record.
MOST: Final = 65535
# The content of a record of a body: a multiple of 8 needs no padding.
_PIECE: Final = 32768

_BEGIN_KEPT: Final = b"\1\1\0\1\0\x08\0\0\0\1\1\0\0\0\0\0"
_BEGIN_ONCE: Final = b"\1\1\0\1\0\x08\0\0\0\1\0\0\0\0\0\0"
# The empty records that end parameters and body.
END_OF_PARAMS: Final = b"\1\4\0\1\0\0\0\0"
END_OF_STDIN: Final = b"\1\5\0\1\0\0\0\0"

_PADDING: Final = tuple(bytes(count) for count in range(8))
# Lengths of names and values up to 127 are one byte.
_SHORT: Final = tuple(bytes((length,)) for length in range(128))


class RecordError(ValueError):
    """Bytes that are no record of an answer to our request; the text is a reason for the error log."""


class TooBig(ValueError):
    """Parameters that do not fit into one record. size: their bytes."""

    def __init__(self, size: int) -> None:
        super().__init__(f"{size} bytes of parameters")
        self.size = size


def length_of(text: bytes) -> bytes:
    """Return the length of a name or value as it is written."""
    length = len(text)
    return _SHORT[length] if length < 128 else (length | 0x80000000).to_bytes(4, "big")


def parameter_writer(name: bytes) -> Callable[[bytes], bytes]:
    """Return a function that returns the name-value pair of a value."""
    start = length_of(name)

    def write(value: bytes) -> bytes:
        length = len(value)
        return b"".join((start, _SHORT[length] if length < 128 else length_of(value), name, value))

    return write


def record(kind: int, content: bytes) -> bytes:
    """Return one record with at most MOST bytes of content."""
    length = len(content)
    padding = -length % 8
    return b"\1%c\0\1%b%c\0%b%b" % (kind, length.to_bytes(2, "big"), padding, content, _PADDING[padding])


def request_head(pairs: bytes, is_kept: bool) -> bytes:
    """Return the records before a body. pairs: all parameters; is_kept: ask for the connection to stay open. Raises TooBig.

    As in nginx, they are one record: not every server puts a pair together again that two records share.
    """
    if len(pairs) > MOST:
        raise TooBig(len(pairs))
    return (_BEGIN_KEPT if is_kept else _BEGIN_ONCE) + record(PARAMS, pairs) + END_OF_PARAMS


def stdin_records(data: bytes) -> bytes:
    """Return a piece of a body in records; none if it is empty, since an empty one would be the end."""
    if len(data) <= _PIECE:
        return record(STDIN, data) if data else b""
    view = memoryview(data)
    return b"".join([record(STDIN, bytes(view[begin : begin + _PIECE])) for begin in range(0, len(data), _PIECE)])


def read_parameters(records: bytes) -> list[tuple[bytes, bytes]]:
    """Return the names and values in the records of a request; those after them are ignored. Raises RecordError."""
    pairs, position = b"", 0
    while position + HEADER <= len(records):
        kind, length, padding = (
            records[position + 1],
            int.from_bytes(records[position + 4 : position + 6], "big"),
            records[position + 6],
        )
        position += HEADER
        if kind == PARAMS:
            if not length:
                break
            pairs += records[position : position + length]
        position += length + padding
    found, position = [], 0
    while position < len(pairs):
        sizes = []
        for _ in range(2):
            wide = 4 if pairs[position : position + 1] >= b"\x80" else 1
            sizes.append(int.from_bytes(pairs[position : position + wide], "big") & 0x7FFFFFFF)
            position += wide
        name, value = position + sizes[0], position + sizes[0] + sizes[1]
        if value > len(pairs):
            raise RecordError("a parameter is cut off")
        found.append((pairs[position:name], pairs[name:value]))
        position = value
    return found


# The first bytes of an answer that is one STDOUT record and END, and of that END, which has 16 bytes.
_STDOUT, _END = b"\1\6\0\1", b"\1\3\0\1\0\x08\0"
_LEAST: Final = HEADER + 16
_read_header: Final = struct.Struct(">4sHB").unpack_from


def end_of_output(data: bytes, size: int) -> int:
    """Return the place after the output of an answer that is one STDOUT record and END, as most are; 0 for anything else.

    size: that of the data. (One call of `unpack` takes fewer instructions than to put the numbers together here.)
    """
    if size >= _LEAST:
        start, length, padding = _read_header(data)
        if start == _STDOUT and size == length + padding + _LEAST and data.startswith(_END, size - 16):
            end: int = length + HEADER
            return end
    return 0


class AnswerReader:
    """Reads the records of one answer, in pieces of any size.

    errors: the messages of STDERR that are complete and were not taken yet. is_closed: whether an empty STDOUT has come, the end
    of the output; has_ended: whether the END record has come. leftover: whether any bytes came after it. taken: all bytes so far.
    starts: for each STDOUT record, the output before it, and the bytes before that output; None when nobody needs it any more.
    """

    def __init__(self) -> None:
        self._buffer = b""  # the beginning of a record's header
        self._kind = self._left = self._padding = 0  # of the record that has begun
        self._error = b""  # the beginning of a message
        self._output = self.taken = 0
        self.errors: Sequence[bytes] = ()
        self.is_closed = self.has_ended = self.leftover = False
        self.starts: list[tuple[int, int]] | None = []

    def feed(self, data: bytes) -> bytes:
        """Take bytes in; return the output in them. Raises RecordError."""
        before = self.taken - len(self._buffer)  # bytes before this data
        self.taken += len(data)
        if self._buffer:
            data, self._buffer = self._buffer + data, b""
        position, end = 0, len(data)
        kind, left, padding = self._kind, self._left, self._padding
        pieces: list[bytes] = []
        while position < end:
            if left:
                piece = data[position : position + left]
                position += len(piece)
                left -= len(piece)
                if kind == STDOUT:
                    pieces.append(piece)
                    self._output += len(piece)
                elif kind == STDERR:
                    self._error += piece
                    if not left:
                        self.errors = (*self.errors, self._error)
                        self._error = b""
            elif padding:
                skipped = min(padding, end - position)
                position += skipped
                padding -= skipped
            elif self.has_ended:
                self.leftover = True
                break
            elif end - position < HEADER:
                self._buffer = data[position:]
                break
            else:
                kind = data[position + 1]
                left = data[position + 4] << 8 | data[position + 5]
                padding = data[position + 6]
                if data[position] != 1 or data[position + 2] or data[position + 3] != 1 or kind not in _ANSWERS:
                    raise RecordError(_fault(data[position : position + HEADER]))
                position += HEADER
                if kind == STDOUT:
                    if not left:
                        self.is_closed = True
                    elif self.starts is not None:
                        self.starts.append((self._output, before + position))
            if kind == END and not left and not padding:
                self.has_ended = True
        self._kind, self._left, self._padding = kind, left, padding
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    @property
    def is_cut(self) -> bool:
        """Whether the bytes so far end within a record, which announces more."""
        return bool(self._left or self._buffer)

    def position_of(self, output: int) -> int:
        """Return how many bytes came up to the end of this much output, records included."""
        first, place = next((start for start in reversed(self.starts or ()) if start[0] < output), (0, 0))
        return place + output - first

    def __repr__(self) -> str:
        state = "ended" if self.has_ended else "closed" if self.is_closed else "open"
        return f"<answer {state}, {self._left} bytes of a record of type {self._kind} to come>"


_ANSWERS: Final = frozenset((STDOUT, STDERR, END))


def _fault(header: bytes) -> str:
    """Return nginx's words for a header that we cannot use."""
    if header[0] != 1:
        return f"upstream sent unsupported FastCGI protocol version: {header[0]}"
    if header[1] not in _ANSWERS:
        return f"upstream sent invalid FastCGI record type: {header[1]}"
    if header[2]:
        return f"upstream sent unexpected FastCGI request id high byte: {header[2]}"
    return f"upstream sent unexpected FastCGI request id low byte: {header[3]}"
