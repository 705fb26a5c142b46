"""Files that lines are appended to, by several processes at once, without ever leaving a torn line.

On a regular file a `write` at the end is whole, however many write (the system holds the file for it), but for one case: on a
full disk it stops short, in the middle of a line. What it left of that line is taken back at once: as long as the disk is full
nobody else can have written behind it. On a pipe only PIPE_BUF bytes are whole, so lines go in pieces of that size.
"""

from __future__ import annotations

import errno
import os
import stat

from wproxy.safe_open import OWN_DESCRIPTORS, Distrusted, reach

PIPE_BUF = 4096  # of Linux; `select` has the number, and is not for words to import
STANDARD = {"stdout": 1, "stderr": 2}
"""What may be named instead of a path, and its descriptor."""


_NOT_BY_NAME = frozenset((errno.EACCES, errno.ENXIO))


def open_for_appending(path: str, distrusted: Distrusted | None = None) -> int:
    """Open a log file, making it when it is missing; returns its descriptor. Raises OSError.

    distrusted: a user who may have pointed the name elsewhere (`wproxy.safe_open`).
    A FIFO that nobody reads is ENXIO: nginx waits for the reader, and a reload of it stands still until there is one.
    """
    with reach(path, distrusted) as place:
        try:
            fileno = place.open(os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK)
        except OSError as error:
            own = OWN_DESCRIPTORS.get(place.path)
            if own is None or error.errno not in _NOT_BY_NAME:
                raise
            return os.dup(own)
    os.set_blocking(fileno, True)
    return fileno


def may_take_back(fileno: int) -> bool:
    """Whether what was appended through this descriptor can be taken back: whether it is a regular file."""
    return fileno not in STANDARD.values() and stat.S_ISREG(os.fstat(fileno).st_mode)


def append_lines(fileno: int, data: bytes, is_file: bool) -> int:
    """Append whole lines; returns how many bytes stand there now, fewer than there were when the disk is full.

    is_file: as `may_take_back` told. Raises OSError when nothing was written.
    """
    if not is_file:
        return _write_in_pieces(fileno, data)
    written = os.write(fileno, data)
    if written == len(data):
        return written
    kept = data.rfind(b"\n", 0, written) + 1
    take_back(fileno, written - kept)
    return kept


def append_whole(fileno: int, data: bytes, is_file: bool) -> bool:
    """Append all of it or, on a full disk, nothing and return False. Raises OSError when nothing was written."""
    written = os.write(fileno, data)
    while written < len(data):
        if is_file:
            take_back(fileno, written)
            return False
        written += os.write(fileno, data[written:])
    return True


def take_back(fileno: int, count: int) -> None:
    """Cut the last bytes that this descriptor has written off its file, unless somebody wrote behind them."""
    end = os.lseek(fileno, 0, os.SEEK_CUR)
    if count and os.fstat(fileno).st_size == end:
        os.ftruncate(fileno, end - count)


def _write_in_pieces(fileno: int, data: bytes) -> int:
    """Write to a pipe or a device, lines that fit together in PIPE_BUF at a time."""
    start = 0
    while start < len(data):
        end = data.rfind(b"\n", start, start + PIPE_BUF) + 1
        if end <= start:  # a line longer than that
            end = data.find(b"\n", start) + 1 or len(data)
        while start < end:
            try:
                start += os.write(fileno, data[start:end])
            except OSError:
                if not start:
                    raise
                return data.rfind(b"\n", 0, start) + 1
    return start
