"""Formats of access logs: from a finished request to its line (routing.md §4, log_format)."""

from __future__ import annotations

from collections.abc import Callable

from wproxy.directives.log import LogFormat
from wproxy.http import Request
from wproxy.variables import Variable

# What `escape=default` leaves alone.
_PLAIN = bytes(byte for byte in range(0x20, 0x7F) if byte not in b'"\\')
_ESCAPED = [bytes([byte]) if byte in _PLAIN else b"\\x%02X" % byte for byte in range(256)]
_JSON = {ord('"'): b'\\"', ord("\\"): b"\\\\", 10: b"\\n", 13: b"\\r", 9: b"\\t", 8: b"\\b", 12: b"\\f"}
_JSON_ESCAPED = [_JSON.get(byte) or (b"\\u%04X" % byte if byte < 0x20 else bytes([byte])) for byte in range(256)]
_JSON_PLAIN = bytes(byte for byte in range(0x20, 0x100) if byte not in b'"\\')


def escape_default(value: bytes | None) -> bytes:
    """`-` for what is missing; quotes, backslashes, controls and 8-bit bytes as \\xHH."""
    if value is None:
        return b"-"
    return b"".join([_ESCAPED[byte] for byte in value]) if value.translate(None, _PLAIN) else value


def escape_json(value: bytes | None) -> bytes:
    """Fit for a JSON string; empty for what is missing."""
    if not value:
        return b""
    return b"".join([_JSON_ESCAPED[byte] for byte in value]) if value.translate(None, _JSON_PLAIN) else value


def escape_none(value: bytes | None) -> bytes:
    """As it is; empty for what is missing."""
    return value or b""


_ESCAPES = {"default": escape_default, "json": escape_json, "none": escape_none}


def compile_format(log_format: LogFormat) -> Callable[[Request], bytes]:
    """A function from a finished request to its line, with the line end."""
    escape = _ESCAPES[log_format.escape]
    # A row of literals and readers that alternate: the literals are fitted once, the readers fill the gaps.
    parts: list[bytes] = []
    holes: list[tuple[int, Callable[[Request], bytes | None]]] = []
    for piece in (*log_format.pieces, b"\n"):
        if isinstance(piece, Variable):
            holes.append((len(parts), piece.read))
            parts.append(b"")
        else:
            parts.append(piece)

    def line(request: Request) -> bytes:
        filled = parts.copy()
        for index, read in holes:
            filled[index] = escape(read(request))
        return b"".join(filled)

    return line


def shown(value: bytes) -> str:
    """Bytes of a peer fit for a log: quotes, backslashes, controls and 8-bit bytes as \\xHH."""
    return escape_default(value).decode("ascii")
