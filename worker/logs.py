"""Access logs, buffered, and what the error log says of a request.

An access line is a compiled format applied to a finished request. Lines gather in a buffer per file and are written with one
`write` on a descriptor opened for appending, so that lines of several workers never mix: when a buffer is full, at the end
of a turn of the loop that comes at least FLUSH_PAUSE after the last write, on reopening and at the exit.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from wproxy.config.model import Configuration, Location
from wproxy.directives.log import LogFormat
from wproxy.error_log import ErrorLog, open_for_appending
from wproxy.http import Clock, Request
from wproxy.template import parse_pieces
from wproxy.variables import Variable

FLUSH_BYTES = 65536
FLUSH_PAUSE = 0.1

# What an access_log may name instead of a path.
STANDARD = {"stdout": 1, "stderr": 2}

Write = Callable[[Request], None]

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
    pieces = [*parse_pieces(log_format.text), b"\n"]
    escape = _ESCAPES[log_format.escape]
    # A row of literals and readers that alternate: the literals are fitted once, the readers fill the gaps.
    parts: list[bytes] = []
    holes: list[tuple[int, Callable[[Request], bytes | None]]] = []
    for piece in pieces:
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


class LogFile:
    """One file that access lines go to."""

    __slots__ = ("buffered", "fileno", "lines", "lost", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self.lines: list[bytes] = []
        self.buffered = 0
        self.lost = 0
        self.fileno = -1

    def open(self) -> None:
        """Open, or open again by name after a rotation. Raises OSError."""
        if self.path in STANDARD:
            self.fileno = STANDARD[self.path]
            return
        fileno = open_for_appending(self.path)
        old, self.fileno = self.fileno, fileno
        if old >= 0:
            os.close(old)

    def flush(self) -> None:
        """Write what is buffered, in whole lines. What a full disk refuses is counted and dropped."""
        if not self.lines:
            return
        data = b"".join(self.lines)
        self.lines.clear()
        self.buffered = 0
        try:
            while data:
                data = data[os.write(self.fileno, data) :]
        except OSError:
            self.lost += data.count(b"\n")


class AccessLogs:
    """All access logs of a worker."""

    def __init__(self, configuration: Configuration, clock: Clock) -> None:
        self._configuration = configuration
        self._clock = clock
        self._files: dict[str, LogFile] = {}
        self._formats: dict[str, Callable[[Request], bytes]] = {}
        self._flushed = 0.0

    def writer(self, location: Location) -> Write | None:
        """The function that logs a finished request of this location; None when nothing is to be logged. Raises OSError."""
        if any(log.path == "off" for log in location.access_log):
            return None
        writers = [self._file_writer(log.path, log.format) for log in location.access_log]
        if len(writers) == 1:
            return writers[0]

        def write_all(request: Request) -> None:
            for write in writers:
                write(request)

        return write_all

    def flush_if_due(self) -> bool:
        """Flush when the last time is long enough ago; True while lines wait for that."""
        if self._clock.now - self._flushed >= FLUSH_PAUSE:
            self.flush()
            return False
        return any(file.lines for file in self._files.values())

    def flush(self) -> None:
        """Write everything out."""
        self._flushed = self._clock.now
        for file in self._files.values():
            file.flush()

    def reopen(self) -> None:
        """Write everything out and open every file by its name again. Raises OSError; that file stays as it was."""
        self.flush()
        for file in self._files.values():
            file.open()

    def _file_writer(self, path: str, name: str) -> Write:
        absolute = path if path in STANDARD else self._configuration.path(path)
        file = self._files.get(absolute)
        if file is None:
            file = LogFile(absolute)
            file.open()
            self._files[absolute] = file
        line = self._formats.get(name)
        if line is None:
            line = self._formats[name] = compile_format(self._configuration.log_formats[name])

        def write(request: Request, file: LogFile = file, line: Callable[[Request], bytes] = line) -> None:
            text = line(request)
            file.lines.append(text)
            file.buffered += len(text)
            if file.buffered >= FLUSH_BYTES:
                file.flush()

        return write


def log_request(request: Request, level: str, text: str, upstream: str = "", setting: str = "") -> None:
    """A line about a request, with what nginx says of every request at its end (proxy.md §4.3).

    setting: the timer or limit that was reached, as `Settings.described` tells; it comes last, so that tools that know
    nginx's lines find what they look for.
    """
    client = request.client
    log: ErrorLog = client.worker.error_log
    if not log.logs(level):
        return
    server = request.server.name if hasattr(request, "server") else ""
    parts = [
        text,
        f"client: {client.remote_addr.decode('latin-1')}",
        f"server: {server}",
        f'request: "{shown(request.line.line)}"',
    ]
    if upstream:
        parts.append(f'upstream: "{upstream}"')
    host = request.fields.get(b"host")
    if host:
        parts.append(f'host: "{shown(host)}"')
    referer = request.fields.get(b"referer")
    if referer:
        parts.append(f'referrer: "{shown(referer)}"')
    log.write(level, ", ".join(parts) + setting, client.serial)


def shown(value: bytes) -> str:
    """Bytes of a peer fit for a log: quotes, backslashes, controls and 8-bit bytes as \\xHH."""
    return escape_default(value).decode("ascii")
