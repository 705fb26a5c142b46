"""Formats of access logs: from a finished request to its line (routing.md §4, log_format).

Most of a line is the same for each request of a client that repeats its head: its address, the request line, the Referer, the
User-Agent. From the second request with a head on that part is kept with the header block, as a template in which only the other
values are filled in. The line itself is kept, too: it is the same for an answer of the same status and size in the same second,
unless it shows a time of finer grain. In the combined format it takes 320 of Python's instructions, 120 with its template, and 65
if it is the last one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from wproxy.directives.log import LogFormat
from wproxy.http import Client, Request, RequestLineLike
from wproxy.variables import BLOCK, VARIABLES, Variable

# The bytes that `escape=default` leaves as they are.
_PLAIN = bytes(byte for byte in range(0x20, 0x7F) if byte not in b'"\\')
_ESCAPED: Final = [bytes([byte]) if byte in _PLAIN else b"\\x%02X" % byte for byte in range(256)]
_JSON = {ord('"'): b'\\"', ord("\\"): b"\\\\", 10: b"\\n", 13: b"\\r", 9: b"\\t", 8: b"\\b", 12: b"\\f"}
_JSON_ESCAPED: Final = [_JSON.get(byte) or (b"\\u%04X" % byte if byte < 0x20 else bytes([byte])) for byte in range(256)]
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


# Variables that always have a value, of which no byte needs to be escaped.
_NUMBERS = ("status", "body_bytes_sent", "bytes_sent", "request_length", "request_time", "msec", "time_local", "time_iso8601")

_PLAIN_READERS: Final = frozenset(VARIABLES[name].read for name in _NUMBERS)
# Those whose value may be another for each request, though status, sizes and second are the same.
_TIMES: Final = frozenset(VARIABLES[name].read for name in ("request_time", "msec"))
_REQUEST_LINE: Final = VARIABLES["request"].read


class KnownLine:
    """The last line of a head: its template, and the line itself with the values in it.

    told: the second, status and sizes that the line is about.
    """

    __slots__ = ("client", "request_line", "template", "text", "told")

    def __init__(self, request_line: RequestLineLike, client: Client, template: bytes) -> None:
        self.request_line = request_line
        self.client = client
        self.template = template
        self.told: tuple[bytes, int, int, int, int, int] | None = None
        self.text = b""


def compile_format(log_format: LogFormat) -> Callable[[Request], bytes]:
    """Return a function from a finished request to its line, with the line end."""
    compose = _composing(log_format)
    pieces = (*log_format.pieces, b"\n")
    changing = [piece.read for piece in pieces if isinstance(piece, Variable) and not _lasts(piece)]
    if len(changing) == sum(isinstance(piece, Variable) for piece in pieces) or not _PLAIN_READERS.issuperset(changing):
        return compose
    escape, _, missing = _ESCAPES[log_format.escape]
    is_kept = _TIMES.isdisjoint(changing)

    def make_template(request: Request) -> bytes:
        """Return the line of a request with a gap for each value that changes."""
        filled = []
        for piece in pieces:
            if isinstance(piece, bytes):
                filled.append(piece.replace(b"%", b"%%"))
            elif piece.read in _PLAIN_READERS:
                filled.append(b"%b")
            else:
                value = piece.read(request)
                filled.append(missing if value is None else escape(value).replace(b"%", b"%%"))
        return b"".join(filled)

    def line(request: Request) -> bytes:
        request_line, client = request.line, request.client
        cache = request.fields.cache
        # The request line alone, when it is met first; then a KnownLine.
        found: Any = cache.get(line)
        if found is request_line and request_line.authority is None:
            found = KnownLine(request_line, client, make_template(request))
            request.fields.remember(line, found)
        if found.__class__ is KnownLine:
            known: KnownLine = found
            if known.request_line is request_line and known.client is client:
                if not is_kept:
                    return known.template % tuple([read(request) for read in changing])
                status, sent, body_sent = request.status, request.bytes_sent, request.body_bytes_sent
                told = (client.clock.date_line, status, request.forced_status, sent, body_sent, request.request_length)
                if told != known.told:
                    known.told = told
                    known.text = known.template % tuple([read(request) for read in changing])
                return known.text
        request.fields.remember(line, request_line)
        return compose(request)

    return line


def _lasts(variable: Variable) -> bool:
    """Whether its value is the same as long as the client, the request line and the header block are."""
    return variable.read not in _PLAIN_READERS and (variable.varies == BLOCK or variable.read is _REQUEST_LINE)


def _composing(log_format: LogFormat) -> Callable[[Request], bytes]:
    """Return a function that composes a line anew."""
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
