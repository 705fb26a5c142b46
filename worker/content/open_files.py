"""Opening files, and telling what is there (nginx: src/core/ngx_open_file_cache.c, without the cache).

The seam of `open_file_cache`: whoever opens a file gives it back with `close`, and nobody else looks at descriptors.
"""

from __future__ import annotations

import errno
import os
import stat

# Not to hang on a FIFO; nothing that a worker opens is left to a program it starts.
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC

_KIND = 0o170000  # the bits of a mode that tell files, directories and others apart

NOT_FOUND = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG))
FORBIDDEN = frozenset((errno.EACCES, errno.ELOOP))


class OpenFile:
    """A file that is open for reading. modified: unix seconds."""

    __slots__ = ("fd", "is_directory", "is_file", "modified", "path", "size")

    def __init__(self, path: bytes) -> None:
        """Open; raises OSError."""
        try:
            self.fd = os.open(path, _FLAGS)
        except ValueError:  # a zero byte in the path: no file has such a name
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT)) from None
        facts = os.fstat(self.fd)
        kind = facts.st_mode & _KIND
        self.path = path
        self.is_file = kind == stat.S_IFREG
        self.is_directory = kind == stat.S_IFDIR
        self.size = facts.st_size
        self.modified = int(facts[stat.ST_MTIME])

    def close(self) -> None:
        """Give it back; doing so twice is allowed."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __repr__(self) -> str:
        return f"<open file {self.path!r} {self.size}>"


def is_directory(path: bytes) -> bool:
    """Whether a directory is there, False for anything else that is. Raises OSError when there is nothing to be seen."""
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except ValueError:
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT)) from None


def failed(call: str, path: str, error: OSError) -> str:
    """`open() "/a" failed (2: No such file or directory)`."""
    return f'{call}() "{path}" failed ({error.errno}: {error.strerror})'
