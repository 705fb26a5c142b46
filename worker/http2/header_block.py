"""Field blocks: HPACK (RFC 7541) to lists of fields, and back.

The static table and the Huffman code are those of the `hpack` package. The loop around them is ours, because its rules are (every
error, http2-rules.md, "HPACK"): what hpack lets pass is refused (a third size update, integers beyond 2**21, Huffman padding of
eight bits), a list that expands is given up, and a block that comes again costs one comparison, one with another :path three.

A `HeaderDecoder` belongs to a connection and must see every block of it, whatever becomes of the stream (policy 3): the table
of both sides stays the same only so. Any error is a ConnectionFault.

Encoding has no state: literals that are never added to a table, without Huffman. The bytes of a (name, value) are then the same
on every connection, and remembered. Such a block is a third longer than a good one, and costs a tenth.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Final

from hpack.exceptions import HPACKDecodingError
from hpack.huffman_table import HUFFMAN_COMPLETE, HUFFMAN_EMIT_SYMBOL, HUFFMAN_FAIL, HUFFMAN_TABLE
from hpack.table import HeaderTable

from worker.http2.errors import COMPRESSION_ERROR, ENHANCE_YOUR_CALM, ConnectionFault

HeaderList = list[tuple[bytes, bytes]]

TABLE_SIZE: Final = 4096
"""The size of the dynamic table that clients may use: the default, which we never change."""

MAX_LIST_BYTES: Final = 128 * 1024
"""Decoded bytes of names and values beyond which a block is given up, and its connection."""

MAX_LIST_FIELDS: Final = 4096

NEVER_INDEXED: Final = "never indexed"
"""The place in `RequestFields.cache` of the names that the client forbids to index on any hop (RFC 7541, 6.2.3)."""

_STATIC: tuple[tuple[bytes, bytes], ...] = ((b"", b""), *HeaderTable.STATIC_TABLE)
_STATIC_LAST: Final = len(_STATIC) - 1
_LAST_STATIC_BYTE: Final = 0x80 | _STATIC_LAST
NOT_GUARDED: frozenset[bytes] = frozenset()
_MAX_INTEGER_OCTETS: Final = 3  # after the prefix: 2**21 and a little
_MAX_SIZE_UPDATES: Final = 2
_ENTRY_OVERHEAD: Final = 32

# Huffman strings already decoded: clients repeat themselves, and a string costs 0.1 us for each byte.
_HUFFMAN: dict[bytes, bytes] = {}
_HUFFMAN_ENTRIES: Final = 4096
_HUFFMAN_BYTES: Final = 256
_HUFFMAN_STEPS_LIMIT: Final = 128  # of each of 256 states: 5 MB at worst


# A list that is never changed.
_NO_FIELDS: Final[HeaderList] = []

# Blocks that were decoded with an empty table, and left it empty though it had room: the same bytes, the list, its size, names
# that may not be indexed, and where :path is.
KnownBlock = tuple[bytes, HeaderList, int, frozenset[bytes], tuple[int, int, int]]
_KNOWN_BLOCKS: Final[dict[bytes, KnownBlock]] = {}
_MOST_KNOWN_BLOCKS: Final = 128
_KNOWN_BLOCK_BYTES: Final = 1024


class HeaderDecoder:
    """The decoding half of HPACK for one connection.

    peer: "client" or "upstream", for the sentences of faults. size: bytes of names and values in the last list.
    never_indexed: lower-case names in the last list that were sent as never to be indexed, which must stay so on the next hop.
    """

    __slots__ = (
        "_allowed",
        "_block",
        "_block_list",
        "_capacity",
        "_entries",
        "_path_at",
        "_path_end",
        "_path_place",
        "_table_size",
        "never_indexed",
        "peer",
        "size",
    )

    def __init__(self, peer: str = "client", table_size: int = TABLE_SIZE) -> None:
        self.peer = peer
        self.size = 0
        self.never_indexed = NOT_GUARDED
        self._allowed = table_size
        self._capacity = min(table_size, TABLE_SIZE)
        self._entries: HeaderList = []  # the newest is the last
        self._table_size = 0
        # The last block that left the table alone, and its list: the same bytes mean the same until the table changes.
        self._block: bytes | None = None
        self._block_list = _NO_FIELDS
        # Where the string of its :path begins and ends, if that touches no table, and the field's place in the list. 0: nowhere.
        self._path_at = self._path_end = self._path_place = 0

    def decode(self, block: bytes) -> HeaderList:
        """Return the fields of a whole block; raises ConnectionFault.

        The list must not be changed: a repeated block gets the same object again.
        """
        if block == self._block:
            return self._block_list
        try:
            if self._path_at and (varied := self._with_other_path(block, self._path_at)) is not None:
                return varied
            if self._block is None and not self._entries and (known := _KNOWN_BLOCKS.get(block)) is not None:
                self._take_known(known)
                return self._block_list
            self._block = None
            self._path_at = 0
            return self._decode(block)
        except (IndexError, HPACKDecodingError):
            raise ConnectionFault(COMPRESSION_ERROR, f"{self.peer} sent a field block that cannot be decoded") from None

    def _take_known(self, known: KnownBlock) -> None:
        """Be as if this block, which has come first, had been decoded here."""
        self._block, self._block_list, self.size, self.never_indexed, path = known
        self._path_at, self._path_end, self._path_place = path

    def _with_other_path(self, block: bytes, at: int) -> HeaderList | None:
        """Return the fields of a block that is the last one but for its :path, whose string is there; None if it is not.

        Browsers and load generators send it as a literal between bytes that stay the same. Raises as `_decode`.
        """
        known = self._block
        if known is None or block[:at] != known[:at]:
            return None
        path, end = _read_string(block, at)
        if block[end:] != known[self._path_end :]:
            return None
        place = self._path_place
        fields = self._block_list.copy()
        name, before = fields[place]
        size = self.size + len(path) - len(before)
        if size > MAX_LIST_BYTES:
            return None
        fields[place] = (name, path)
        self.size = size
        self._block, self._block_list, self._path_end = block, fields, end
        return fields

    def _decode(self, block: bytes) -> HeaderList:
        """Decode a block that is not the last one.

        Raises ConnectionFault, and for a block that cannot be decoded HPACKDecodingError or IndexError.
        """
        fields: HeaderList = []
        entries = self._entries
        never: set[bytes] = set()
        at = updates = 0
        path_at = path_end = path_place = 0
        keeps_table = True
        end = len(block)
        while at < end:
            byte = block[at]
            at += 1
            if byte > _LAST_STATIC_BYTE:  # an entry of the dynamic table
                index = byte & 0x7F
                if index == 0x7F:
                    index, at = _read_integer(block, at, index)
                fields.append(entries[_STATIC_LAST - index])
                continue
            if byte > 0x80:
                fields.append(_STATIC[byte & 0x7F])
                continue
            if byte == 0x80:
                raise IndexError
            if byte & 0x40:
                full = 0x3F
            elif byte & 0x20:
                updates += 1
                if fields or updates > _MAX_SIZE_UPDATES:
                    raise IndexError
                at = self._update_size(block, at, byte & 0x1F)
                keeps_table = False
                continue
            else:
                full = 0x0F
            index = byte & full
            if index == full:
                index, at = _read_integer(block, at, full)
            if index:
                name = (_STATIC[index] if index <= _STATIC_LAST else entries[_STATIC_LAST - index])[0]
            else:
                name, at = _read_string(block, at)
            begin = at
            value, at = _read_string(block, at)
            field = (name, value)
            fields.append(field)
            if byte & 0x40:
                if self._capacity:
                    self._add(field)
                    keeps_table = False  # a table without room stays as it is: empty
            else:
                if byte & 0x10:
                    never.add(name)
                if name == b":path":
                    path_at, path_end, path_place = begin, at, len(fields) - 1
        if not fields and updates:
            raise IndexError  # a size update stands before a field
        # Nothing was copied for a field that came from a table: a block that expands a thousandfold has cost no memory yet.
        self.size = size = sum(map(len, chain.from_iterable(fields)))
        if size > MAX_LIST_BYTES or len(fields) > MAX_LIST_FIELDS:
            raise ConnectionFault(ENHANCE_YOUR_CALM, f"{self.peer} sent too large field list")
        self.never_indexed = frozenset(never) if never else NOT_GUARDED
        if keeps_table:
            if not entries and self._capacity and end <= _KNOWN_BLOCK_BYTES:
                # With an empty table it means the same on any connection, and is kept once for those that are idle.
                if len(_KNOWN_BLOCKS) >= _MOST_KNOWN_BLOCKS:
                    _KNOWN_BLOCKS.clear()
                _KNOWN_BLOCKS[block] = block, fields, size, self.never_indexed, (path_at, path_end, path_place)
            self._block = block
            self._block_list = fields
            self._path_at, self._path_end, self._path_place = path_at, path_end, path_place
        return fields

    def _update_size(self, block: bytes, at: int, prefix: int) -> int:
        """Read the rest of a size update and obey; return the position after it."""
        size = prefix
        if prefix == 0x1F:
            size, at = _read_integer(block, at, prefix)
        if size > self._allowed:
            raise IndexError
        self._capacity = size
        self._evict(0)
        return at

    def _add(self, field: tuple[bytes, bytes]) -> None:
        """Enter a field into the table; one that is larger than the table empties it."""
        size = len(field[0]) + len(field[1]) + _ENTRY_OVERHEAD
        if self._table_size + size > self._capacity:
            self._evict(size)
            if size > self._capacity:
                return
        self._entries.append(field)
        self._table_size += size

    def _evict(self, needed: int) -> None:
        """Remove the oldest entries until there is room for so many bytes."""
        entries = self._entries
        gone = 0
        while gone < len(entries) and self._table_size + needed > self._capacity:
            name, value = entries[gone]
            self._table_size -= len(name) + len(value) + _ENTRY_OVERHEAD
            gone += 1
        del entries[:gone]

    def __repr__(self) -> str:
        return f"<header decoder of the {self.peer}: {len(self._entries)} entries, {self._table_size} bytes>"


def _read_integer(block: bytes, at: int, value: int) -> tuple[int, int]:
    """Read an integer whose prefix is full; return it and the position after it. Raises IndexError."""
    shift = 0
    for _ in range(_MAX_INTEGER_OCTETS):
        byte = block[at]
        at += 1
        value += (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise IndexError


def _read_string(block: bytes, at: int) -> tuple[bytes, int]:
    """Read a string; return it and the position after it. Raises IndexError, HPACKDecodingError."""
    length = block[at]
    at += 1
    is_huffman = length & 0x80
    length &= 0x7F
    if length == 0x7F:
        length, at = _read_integer(block, at, length)
    end = at + length
    raw = block[at:end]
    if len(raw) != length:
        raise IndexError
    if is_huffman:
        return _HUFFMAN.get(raw) or _decode_huffman(raw), end
    return raw, end


def _decode_huffman(raw: bytes) -> bytes:
    """Decode a Huffman string that is not in the table, and enter it there. Raises HPACKDecodingError."""
    state = _HUFFMAN_STATES[0]
    pieces: list[bytes] = []
    add = pieces.append
    for byte in raw:
        state, piece = state[byte]
        add(piece)
    if not state.may_end:
        raise HPACKDecodingError
    decoded = b"".join(pieces)
    if len(raw) <= _HUFFMAN_BYTES:
        if len(_HUFFMAN) >= _HUFFMAN_ENTRIES:
            _HUFFMAN.clear()
        _HUFFMAN[raw] = decoded
    return decoded


class _HuffmanState(dict[int, "tuple[_HuffmanState, bytes]"]):
    """A state of the decoder: the next byte -> the next state, and the decoded bytes.

    hpack's table goes by half bytes; going by whole ones is six times as fast. A step is worked out when it is first needed:
    there are 65536 of them, and text needs few. may_end: whether a string may end here: after a symbol, or after up to seven
    bits of padding.
    """

    __slots__ = ("_number", "may_end")

    def __init__(self, number: int) -> None:
        super().__init__()
        self._number = number
        self.may_end = number in _HUFFMAN_ENDS

    def __missing__(self, byte: int) -> tuple[_HuffmanState, bytes]:
        """Work out a step, and remember it. Raises HPACKDecodingError."""
        if len(self) >= _HUFFMAN_STEPS_LIMIT:
            self.clear()
        number = self._number
        decoded = bytearray()
        for nibble in (byte >> 4, byte & 15):
            number, flags, symbol = HUFFMAN_TABLE[number << 4 | nibble]
            if flags & HUFFMAN_FAIL:
                raise HPACKDecodingError
            if flags & HUFFMAN_EMIT_SYMBOL:
                decoded.append(symbol)
        self[byte] = step = (_HUFFMAN_STATES[number], bytes(decoded))
        return step


_HUFFMAN_ENDS: Final = frozenset([0, *(number for number, flags, _ in HUFFMAN_TABLE if flags & HUFFMAN_COMPLETE)])
_HUFFMAN_STATES: Final = [_HuffmanState(number) for number in range(256)]


# Fields already encoded; a full table starts over: 2 MB at worst.
_ENCODED: dict[tuple[bytes, bytes], bytes] = {}
_ENCODED_ENTRIES: Final = 4096
_ENCODED_BYTES: Final = 256

_NAME_INDEX: dict[bytes, int] = {}
_FIELD_INDEX: dict[tuple[bytes, bytes], int] = {}
for _index, _field in enumerate(_STATIC[1:], 1):
    _NAME_INDEX.setdefault(_field[0], _index)
    _FIELD_INDEX[_field] = _index

SIZE_UPDATE_TO_ZERO: Final = b"\x20"
"""The beginning of the next block after the peer made its table smaller; our encoder has no use for the table."""


def encode_fields(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the block of these (name, value); names may have any case, and are sent in lower case."""
    known = _ENCODED
    try:
        return b"".join([known[field] for field in fields])
    except KeyError:
        return b"".join([known.get(field) or encode_field(field) for field in fields])


def encode_field(field: tuple[bytes, bytes]) -> bytes:
    """Encode one (name, value), and remember it if it is short."""
    encoded = _encode_field(field[0].lower(), field[1], 0x00)
    if len(encoded) <= _ENCODED_BYTES:
        if len(_ENCODED) >= _ENCODED_ENTRIES:
            _ENCODED.clear()
        _ENCODED[field] = encoded
    return encoded


def encode_never_indexed(name: bytes, value: bytes) -> bytes:
    """Encode a field that no one may ever enter into a table; it is not remembered here either (RFC 7541, 7.1.3)."""
    return _encode_field(name.lower(), value, 0x10)


def encode_guarded(fields: Iterable[tuple[bytes, bytes]], never_indexed: frozenset[bytes]) -> bytes:
    """Return the block of these fields, of which those with such a name, in lower case, may never be entered into a table."""
    return b"".join(
        [encode_never_indexed(*field) if field[0].lower() in never_indexed else encode_field(field) for field in fields]
    )


def encode_status(status: int) -> bytes:
    """Encode :status."""
    field = (b":status", b"%03d" % status)
    return _ENCODED.get(field) or encode_field(field)


def _encode_field(name: bytes, value: bytes, pattern: int) -> bytes:
    """Encode a field with a lower-case name; pattern: 0x00 or, for one never to be indexed, 0x10."""
    index = 0 if pattern else _FIELD_INDEX.get((name, value), 0)
    if index:
        return bytes((0x80 | index,))
    index = _NAME_INDEX.get(name, 0)
    if index:
        return _encode_integer(index, 0x0F, pattern) + _encode_integer(len(value), 0x7F, 0) + value
    return b"%c%b%b%b%b" % (pattern, _encode_integer(len(name), 0x7F, 0), name, _encode_integer(len(value), 0x7F, 0), value)


def _encode_integer(value: int, full: int, pattern: int) -> bytes:
    """Encode an integer in the low bits of a byte (`full` is the largest that does not fit), and more bytes if needed."""
    if value < full:
        return bytes((pattern | value,))
    octets = [pattern | full]
    value -= full
    while value >= 0x80:
        octets.append(0x80 | value & 0x7F)
        value >>= 7
    octets.append(value)
    return bytes(octets)
