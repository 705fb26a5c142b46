"""One file of an access log: lines gather in memory and are written together, so that a request does not pay for a system call.

Lines of several workers never mix, and a full disk tears none: see wproxy.log_files. What could not be written is counted.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from wproxy.directives.log import AccessLog
from wproxy.log_files import STANDARD, append_lines, append_whole, may_take_back, open_for_appending
from wproxy.safe_open import Distrusted

# Without buffer=: how many bytes are written at once at the latest.
FLUSH_BYTES = 65536

Compress = Callable[[bytes], bytes]


class LogFile:
    """One file that access lines go to.

    lines: what is not written yet, so many bytes (buffered) of at most limit; with a `memory` it is there instead, and its
    length in `word`, where the master finds it if we are killed. gathers: whether they wait until the limit is
    reached (buffer=) or for patience seconds (flush=; 0: no such limit) since the first of them was seen (waiting_since, 0 for
    not yet). lost: lines that could not be written; failure: why the last of them could not.
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
        """What failed, for a line of the error log."""
        return f'write() to "{self.path}"'

    def use(self, word: memoryview, memory: memoryview) -> None:
        """Keep lines in this memory, and how many bytes of it are taken in this word."""
        self.word, self.memory, self.limit = word, memory, len(memory)

    def gather(self, log: AccessLog) -> None:
        """Gather lines as a `buffer=` of an access_log says; all logs to one file that have one agree."""
        self.gathers = True
        self.memory = self.word = None
        self.limit = log.buffer
        self.patience = log.flush
        if log.gzip:
            self._compress = gzip_member(log.gzip)

    def open(self) -> None:
        """Open, or open again by name after a rotation. Raises OSError."""
        if self.path in STANDARD:
            self.fileno = STANDARD[self.path]
            return
        fileno = open_for_appending(self.path, self._distrusted)
        old, self.fileno = self.fileno, fileno
        self._is_file = may_take_back(fileno)
        if old >= 0:
            os.close(old)

    def is_due(self, now: float) -> bool:
        """Whether lines that gather have waited for long enough."""
        if not self.gathers:
            return True
        if not self.patience:
            return False
        if not self.waiting_since:
            self.waiting_since = now
        return now - self.waiting_since >= self.patience

    def flush(self) -> None:
        """Write what is buffered, in whole lines. What a full disk refuses is counted and dropped."""
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
        """Keep a line that the memory has no room for, or that has no memory."""
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


# What a write that stops short means: another one would say so.
_FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def gzip_member(level: int) -> Compress:
    """A function that makes one gzip member of some data; members one after the other are a gzip file."""
    import zlib  # only where it is asked for

    def compress(data: bytes) -> bytes:
        stream = zlib.compressobj(level, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
        return stream.compress(data) + stream.flush()

    return compress
