"""One file of an access log: lines gather in memory and are written together, so that a request does not pay for a system call.

Lines of several workers never mix, and a full disk cuts none in two: see wproxy.log_files. Lines that could not be written are
counted.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from wproxy.directives.log import AccessLog
from wproxy.log_files import STANDARD, append_lines, append_whole, may_take_back, open_for_appending
from wproxy.safe_open import Distrusted

# Without buffer=: the number of bytes that are written at once at the latest.
FLUSH_BYTES = 65536

Compress = Callable[[bytes], bytes]


class LogFile:
    """One file for access log lines.

    lines: those not written yet, of `buffered` bytes, at most `limit`; with a `memory` they are there instead, and their length
    is in `word`, where the master finds them if we are killed. gathers: whether they wait until the limit is reached (buffer=) or
    for patience seconds (flush=; 0: no such limit) since the first of them was seen (waiting_since, 0 for not yet). lost: the
    number of lines that could not be written; failure: the reason for the last of them.
    """

    __slots__ = (
        "_compress",
        "_distrusted",
        "_is_file",
        "buffered",
        "failure",
        "fileno",
        "gathers",
        "limit",
        "lines",
        "lost",
        "memory",
        "path",
        "patience",
        "waiting_since",
        "word",
    )

    def __init__(self, path: str, distrusted: Distrusted | None = None) -> None:
        self.path = path
        self._distrusted = distrusted
        self.lines: list[bytes] = []
        self.memory: memoryview | None = None
        self.word: memoryview | None = None
        self.buffered = 0
        self.limit = FLUSH_BYTES
        self.gathers = False
        self.patience = 0.0
        self.waiting_since = 0.0
        self.lost = 0
        self.failure: OSError | None = None
        self.fileno = -1
        self._is_file = False
        self._compress: Compress | None = None

    @property
    def title(self) -> str:
        """Return the call that failed, for a line of the error log."""
        return f'write() to "{self.path}"'

    def use(self, word: memoryview, memory: memoryview) -> None:
        """Keep lines in this memory, and the number of its used bytes in this word."""
        self.word, self.memory, self.limit = word, memory, len(memory)

    def gather(self, log: AccessLog) -> None:
        """Gather lines according to the `buffer=` of an access_log; all logs to one file that have one agree."""
        self.gathers = True
        self.memory = self.word = None
        self.limit = log.buffer
        self.patience = log.flush
        if log.gzip:
            self._compress = gzip_member(log.gzip)

    def open(self) -> None:
        """Open the file, or reopen it by name after a rotation. Raises OSError."""
        if self.path in STANDARD:
            self.fileno = STANDARD[self.path]
            return
        fileno = open_for_appending(self.path, self._distrusted)
        old, self.fileno = self.fileno, fileno
        self._is_file = may_take_back(fileno)
        if old >= 0:
            os.close(old)

    def is_due(self, now: float) -> bool:
        """Whether gathering lines have waited long enough."""
        if not self.gathers:
            return True
        if not self.patience:
            return False
        if not self.waiting_since:
            self.waiting_since = now
        return now - self.waiting_since >= self.patience

    def flush(self) -> None:
        """Write the buffered lines, whole lines only. Lines that a full disk refuses are counted and dropped."""
        if not self.buffered:
            return
        data = b"".join(self.lines) if self.memory is None else bytes(self.memory[: self.buffered])
        self._write(data)
        self.lines.clear()
        self.buffered = 0
        self.waiting_since = 0.0
        if self.word is not None:
            self.word[0] = 0

    def append(self, line: bytes) -> None:
        """Keep a line that the memory has no room for, or a line when there is no memory."""
        if self.memory is None or self.word is None:
            self.lines.append(line)
            self.buffered += len(line)
            if self.buffered >= self.limit:
                self.flush()
            return
        self.flush()
        if len(line) > len(self.memory):
            self._write(line)
            return
        self.memory[: len(line)] = line
        self.buffered = self.word[0] = len(line)

    def _write(self, data: bytes) -> None:
        count = data.count(b"\n")
        try:
            if self._compress is None:
                kept = append_lines(self.fileno, data, self._is_file)
                if kept < len(data):
                    self._lose(data.count(b"\n", kept), _FULL)
            elif not append_whole(self.fileno, self._compress(data), self._is_file):
                self._lose(count, _FULL)
        except OSError as error:
            self._lose(count, error)

    def _lose(self, count: int, error: OSError) -> None:
        self.lost += count
        self.failure = error

    def __repr__(self) -> str:
        return f"<log file {self.path} buffered={self.buffered} lost={self.lost}>"


# The meaning of a short write: another write would report it.
_FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def gzip_member(level: int) -> Compress:
    """Return a function that makes one gzip member of some data; several members in a row are a gzip file."""
    import zlib  # only if it is needed

    def compress(data: bytes) -> bytes:
        stream = zlib.compressobj(level, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
        return stream.compress(data) + stream.flush()

    return compress
