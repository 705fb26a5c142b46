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


def escape_default(value: bytes | None) -> bytes:
    """Return `-` for a missing value; escape quotes, backslashes, controls and 8-bit bytes as \\xHH."""
    if value is None:
        return b"-"
    return b"".join([_ESCAPED[byte] for byte in value]) if value.translate(None, _PLAIN) else value


def escape_json(value: bytes | None) -> bytes:
    """Escape a value for a JSON string; empty if it is missing."""
    if not value:
        return b""
    return b"".join([_JSON_ESCAPED[byte] for byte in value]) if value.translate(None, _JSON_PLAIN) else value


def escape_none(value: bytes | None) -> bytes:
    """Return a value as it is; empty if it is missing."""
    return value or b""


_ESCAPES = {"default": escape_default, "json": escape_json, "none": escape_none}


def compile_format(log_format: LogFormat) -> Callable[[Request], bytes]:
    """Return a function from a finished request to its line, with the line end."""
    escape = _ESCAPES[log_format.escape]
    # Literals and readers alternate: the literals are set once, the readers fill the gaps.
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
    """Return bytes of a peer in a form fit for a log: quotes, backslashes, controls and 8-bit bytes as \\xHH."""
    return escape_default(value).decode("ascii")
