"""A stored response, open: its header, the head that the upstream sent, and its body in memory or in the file."""

from __future__ import annotations

import errno
import os

from wproxy.cache.header import BadFile, Header, check, read_header
from wproxy.cache.key import CacheKey

# So many bytes are read at once: most responses are whole then, and can be sent with their head.
FIRST_READ = 16384
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY  # a FIFO that somebody put there must not make us wait


class Stored:
    """A stored response. fileno: its file, -1 when it is closed. length: of the whole file. body: None if it is only there."""

    __slots__ = ("body", "body_start", "fileno", "head", "header", "length", "path", "version")

    def __init__(self, path: str, fileno: int, header: Header, length: int, data: bytes) -> None:
        """data: the beginning of the file, at least as far as the body."""
        self.path = path
        self.fileno = fileno
        self.header = header
        self.length = length
        self.body_start = header.body_start
        self.head = data[header.header_start : header.body_start]
        self.body = data[header.body_start :] if len(data) == length else None
        self.version = 0

    @property
    def body_length(self) -> int:
        """The bytes of the body."""
        return self.length - self.body_start

    def close(self) -> None:
        """Close the file; closing twice is allowed."""
        if self.fileno >= 0:
            os.close(self.fileno)
            self.fileno = -1

    def __repr__(self) -> str:
        return f"<stored response {self.path} {self.length}{' closed' if self.fileno < 0 else ''}>"


def open_stored(path: str, key: CacheKey) -> Stored:
    """Open the file of a key. Raises BadFile if it is not the whole stored response, and OSError."""
    fileno = os.open(path, _FLAGS)
    try:
        data, header, length = read_beginning(fileno)
        check(header, key, data, length)
        return Stored(path, fileno, header, length, data)
    except BaseException:
        os.close(fileno)
        raise


def read_beginning(fileno: int) -> tuple[bytes, Header, int]:
    """Return the beginning of a file, at least as far as the body, its header, and its length. Raises BadFile and OSError."""
    try:
        data = os.pread(fileno, FIRST_READ, 0)
    except OSError as error:
        if error.errno not in (errno.EISDIR, errno.ESPIPE):
            raise
        raise BadFile("is not a file") from None
    header = read_header(data)
    length = len(data)
    if length == FIRST_READ:
        length = os.fstat(fileno).st_size
        if header.body_start > FIRST_READ:
            data = os.pread(fileno, header.body_start, 0)
    return data, header, length
