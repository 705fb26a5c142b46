"""Formats of access logs: from a finished request to its line (routing.md §4, log_format)."""

from __future__ import annotations

from collections.abc import Callable

from wproxy.directives.log import LogFormat
from wproxy.http import Request
from wproxy.variables import Variable

# The bytes that `escape=default` leaves as they are.
_PLAIN = bytes(byte for byte in range(0x20, 0x7F) if byte not in b'"\\')
_ESCAPED = [bytes([byte]) if byte in _PLAIN else b"\\x%02X" % byte for byte in range(256)]
_JSON = {ord('"'): b'\\"', ord("\\"): b"\\\\", 10: b"\\n", 13: b"\\r", 9: b"\\t", 8: b"\\b", 12: b"\\f"}
_JSON_ESCAPED = [_JSON.get(byte) or (b"\\u%04X" % byte if byte < 0x20 else bytes([byte])) for byte in range(256)]
_JSON_PLAIN = bytes(byte for byte in range(0x20, 0x100) if byte not in b'"\\')


def _table(plain: bytes) -> bytes:
    """Return a table for `translate` that leaves only these bytes as they are, so that only text of these stays the same.

    (With bytes to delete, `translate` makes a table each time, which takes three times as long.)
    """
    return bytes(byte if byte in plain else byte ^ 0xFF for byte in range(256))


_DEFAULT_TABLE, _JSON_TABLE = _table(_PLAIN), _table(_JSON_PLAIN)


def escape_default(value: bytes | None) -> bytes:
    """Return `-` for a missing value; escape quotes, backslashes, controls and 8-bit bytes as \\xHH."""
    if value is None:
        return b"-"
    return value if value.translate(_DEFAULT_TABLE) == value else b"".join([_ESCAPED[byte] for byte in value])


def escape_json(value: bytes | None) -> bytes:
    """Escape a value for a JSON string; empty if it is missing."""
    if not value:
        return b""
    return value if value.translate(_JSON_TABLE) == value else b"".join([_JSON_ESCAPED[byte] for byte in value])


def escape_none(value: bytes | None) -> bytes:
    """Return a value as it is; empty if it is missing."""
    return value or b""


# For each `escape=`: the function, the table of what it leaves as it is (None: everything), and its text for a missing value.
_ESCAPES: dict[str, tuple[Callable[[bytes | None], bytes], bytes | None, bytes]] = {
    "default": (escape_default, _DEFAULT_TABLE, b"-"),
    "json": (escape_json, _JSON_TABLE, b""),
    "none": (escape_none, None, b""),
}


def compile_format(log_format: LogFormat) -> Callable[[Request], bytes]:
    """Return a function from a finished request to its line, with the line end."""
    escape, table, missing = _ESCAPES[log_format.escape]
    # Literals and values take turns: the literals are set once, the values fill the gaps.
    parts: list[bytes] = [b""]
    readers: list[Callable[[Request], bytes | None]] = []
    for piece in (*log_format.pieces, b"\n"):
        if isinstance(piece, Variable):
            readers.append(piece.read)
            parts += b"", b""
        else:
            parts[-1] += piece

    def line(request: Request) -> bytes:
        values = []
        for read in readers:
            value = read(request)
            values.append(missing if value is None else value)
        if table is not None:
            # Nearly always no value has anything to escape: one look at all of them instead of one at each.
            together = b"".join(values)
            if together.translate(table) != together:
                values = [escape(value) for value in values]
        filled = parts.copy()
        filled[1::2] = values
        return b"".join(filled)

    return line


def shown(value: bytes) -> str:
    """Return bytes of a peer in a form fit for a log: quotes, backslashes, controls and 8-bit bytes as \\xHH."""
    return escape_default(value).decode("ascii")
