"""Files that several processes append lines to at once, without ever leaving a torn line.

On a regular file a `write` at the end is whole, however many processes write (the system locks the file for it), with one
exception: on a full disk it stops in the middle of a line. The part that was written is taken back at once: while the disk is
full no other process can have written after it. On a pipe only PIPE_BUF bytes are whole, so lines go in pieces of that size.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import NamedTuple

from wproxy.safe_open import OWN_DESCRIPTORS, Distrusted, reach
from wproxy.syslog import Syslog

PIPE_BUF = 4096  # Linux's; `select` has the number, but this package must not import it
STANDARD = {"stdout": 1, "stderr": 2}
"""Names that may stand instead of a path, with their descriptors."""


class AsJson(NamedTuple):
    """The place of an error log whose lines are JSON: a path, "stderr" or a Syslog."""

    place: str | Syslog


# The places of error logs.
Place = str | Syslog | AsJson


def plain_place(place: Place) -> str | Syslog:
    """Return the place itself, whatever is written there."""
    return place.place if isinstance(place, AsJson) else place


_NOT_BY_NAME = frozenset((errno.EACCES, errno.ENXIO))


def open_for_appending(path: str, distrusted: Distrusted | None = None) -> int:
    """Open a log file, creating it when it is missing; return its descriptor. Raises OSError.

    distrusted: a user who may have pointed the name elsewhere (`wproxy.safe_open`). A FIFO without a reader is ENXIO: nginx waits
    for the reader, and its reload hangs until there is one.
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
    """Whether data appended through this descriptor can be taken back: whether it is a regular file."""
    return fileno not in STANDARD.values() and stat.S_ISREG(os.fstat(fileno).st_mode)


def append_lines(fileno: int, data: bytes, is_file: bool) -> int:
    """Append whole lines; return how many bytes were written, fewer than all when the disk is full.

    is_file: the result of `may_take_back`. Raises OSError when nothing was written.
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
    """Append everything or, on a full disk, nothing, and return False. Raises OSError when nothing was written."""
    written = os.write(fileno, data)
    while written < len(data):
        if is_file:
            take_back(fileno, written)
            return False
        written += os.write(fileno, data[written:])
    return True


def take_back(fileno: int, count: int) -> None:
    """Cut the last bytes that this descriptor has written off its file, unless another process wrote after them."""
    end = os.lseek(fileno, 0, os.SEEK_CUR)
    if count and os.fstat(fileno).st_size == end:
        os.ftruncate(fileno, end - count)


def _write_in_pieces(fileno: int, data: bytes) -> int:
    """Write to a pipe or a device, as many lines at a time as fit in PIPE_BUF."""
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
