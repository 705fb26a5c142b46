"""Files that are open, and how a location opens them and tells what is there; the plain way is here, two system calls.

Whoever opens a file gives it back with `close`, and nobody else looks at descriptors. Which way is a location's: opening.py.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable

from wproxy.http import Request

# Not to hang on a FIFO; nothing that a worker opens is left to a program it starts.
FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC

_KIND = 0o170000  # the bits of a mode that tell files, directories and others apart
_FILE = stat.S_IFREG
_DIRECTORY = stat.S_IFDIR

NOT_FOUND = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG))
FORBIDDEN = frozenset((errno.EACCES, errno.ELOOP))


class OpenFile:
    """A file that is open for reading. modified: unix seconds."""

    __slots__ = ("fd", "is_directory", "is_file", "modified", "path", "size")

    def __init__(self, path: bytes, fd: int = -1) -> None:
        """Open, unless it is open already; raises OSError."""
        if fd < 0:
            try:
                fd = os.open(path, FLAGS)
            except ValueError:  # a zero byte in the path: no file has such a name
                raise no_such_file() from None
        self.fd = fd
        self.path = path
        self.learn(os.fstat(fd))

    def learn(self, facts: os.stat_result) -> None:
        """Take down what is known of it."""
        kind = facts.st_mode & _KIND
        self.is_file = kind == _FILE
        self.is_directory = kind == _DIRECTORY
        self.size = facts.st_size
        self.modified = int(facts[8])  # stat.ST_MTIME: whole seconds

    def close(self) -> None:
        """Give it back; doing so twice is allowed."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __repr__(self) -> str:
        return f"<open file {self.path!r} {self.size}>"


Open = Callable[[Request, bytes], OpenFile]
Look = Callable[[Request, bytes], bool]


class Access:
    """How a location opens files.

    open: the file of a path, to be closed. look: whether what is there is a directory. Both raise OSError. call, looking: the
    system calls that errors of the two are blamed on.
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
    """Whether a directory is there, False for anything else that is. Raises OSError when there is nothing to be seen."""
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except ValueError:
        raise no_such_file() from None


def no_such_file() -> OSError:
    """What the system would say."""
    return OSError(errno.ENOENT, os.strerror(errno.ENOENT))


def failed(call: str, path: str, error: OSError) -> str:
    """`open() "/a" failed (2: No such file or directory)`."""
    return f'{call}() "{path}" failed ({error.errno}: {error.strerror})'
