"""Temporary files: they have no name, so that whatever ends a worker nothing stays behind on the disk."""

from __future__ import annotations

import errno
import os
import tempfile

# Where they are when no directive says. Not /tmp: it may lie in memory, which these files are there to spare.
_USUAL = "/var/tmp"

# What a file system says that has no O_TMPFILE.
_UNKNOWN_TO_IT = frozenset((errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL))


def open_temporary(directory: str | None) -> int:
    """The descriptor of a new empty file in the directory, which is made when it is not there. Raises OSError."""
    if directory is None:
        directory = _USUAL if os.access(_USUAL, os.W_OK) else tempfile.gettempdir()
    try:
        return _open(directory)
    except FileNotFoundError:
        os.makedirs(directory, 0o700, exist_ok=True)
        return _open(directory)


def _open(directory: str) -> int:
    try:
        return os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno not in _UNKNOWN_TO_IT:
            raise
    fileno, path = tempfile.mkstemp(dir=directory)
    os.unlink(path)
    return fileno
