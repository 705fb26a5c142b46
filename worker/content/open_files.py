"""Open files, and the access of a location to files; the plain way is here, two system calls.

The opener of a file gives it back with `close`, and no other code looks at descriptors. The choice for a location is in
opening.py.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from typing import Any, Final

from wproxy.http import Request

# Do not hang on a FIFO; a program that a worker starts inherits no file.
FLAGS: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC

KIND: Final = 0o170000  # the bits of a mode that tell files, directories and others apart
FILE: Final = stat.S_IFREG
_DIRECTORY: Final = stat.S_IFDIR

NOT_FOUND = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG))
FORBIDDEN = frozenset((errno.EACCES, errno.ELOOP))


class OpenFile:
    """A file that is open for reading. modified: unix seconds."""

    __slots__ = ("fd", "is_directory", "is_file", "modified", "path", "size")

    def __init__(self, path: bytes, fd: int = -1, facts: os.stat_result | None = None) -> None:
        """Open the path, unless it is open already; raises OSError. facts: what is known of an open one."""
        if fd < 0:
            fd = open_path(path)
        self.fd = fd
        self.path = path
        self.learn(os.fstat(fd) if facts is None else facts)

    def learn(self, facts: os.stat_result) -> None:
        """Record the facts of the file."""
        kind = facts.st_mode & KIND
        self.is_file = kind == FILE
        self.is_directory = kind == _DIRECTORY
        self.size = facts.st_size
        whole: Any = facts  # typeshed takes all of them for floats
        self.modified: int = whole[stat.ST_MTIME]

    def close(self) -> None:
        """Give the file back; doing so twice is allowed."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __repr__(self) -> str:
        return f"<open file {self.path!r} {self.size}>"


def open_path(path: bytes) -> int:
    """Return a descriptor for reading. Raises OSError."""
    try:
        return os.open(path, FLAGS)
    except ValueError:  # a zero byte in the path: no file has such a name
        raise no_such_file() from None


Open = Callable[[Request, bytes], OpenFile]
Look = Callable[[Request, bytes], bool]


class Access:
    """The access of a location to files.

    open: returns the file of a path, to be closed. look: whether the path is a directory. Both raise OSError. call, looking: the
    system calls that the error messages of the two name.
    """

    __slots__ = ("call", "look", "looking", "open")

    def __init__(self, open_file: Open, look: Look, call: str = "open", looking: str = "stat") -> None:
        self.open = open_file
        self.look = look
        self.call = call
        self.looking = looking


def _open(request: Request, path: bytes) -> OpenFile:
    return OpenFile(path)


def _look(request: Request, path: bytes) -> bool:
    return is_directory(path)


PLAIN = Access(_open, _look)


def is_directory(path: bytes) -> bool:
    """Whether the path is a directory. Raises OSError when nothing can be seen there."""
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except ValueError:
        raise no_such_file() from None


def no_such_file() -> OSError:
    """Return the system's error for a missing file."""
    return OSError(errno.ENOENT, os.strerror(errno.ENOENT))


def failed(call: str, path: str, error: OSError) -> str:
    """Return `open() "/a" failed (2: No such file or directory)`."""
    return f'{call}() "{path}" failed ({error.errno}: {error.strerror})'
