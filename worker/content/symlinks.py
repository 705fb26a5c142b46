"""`disable_symlinks`: opening a path without following unwanted links (nginx: ngx_open_file_wrapper).

A path is walked one name at a time, each opened in the directory of the one before it, so that a link cannot be put in a place
that has been checked already. `openat2` could do it in one call, but Python cannot make that call.

With `if_not_owner` a link may be followed when its target belongs to the link's owner. nginx opens the target first and looks at
the link afterwards: if the link is swapped in between, the wrong one is judged. Here the link itself is opened, its owner and its
text are read from that descriptor, and the text is followed.
"""

from __future__ import annotations

import errno
import os
import stat

_ASIDE = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
_SEARCH = _ASIDE | os.O_PATH | os.O_DIRECTORY
_NAME = _ASIDE | os.O_PATH | os.O_NOFOLLOW


def begin_of(path: bytes, trusted: bytes) -> int | None:
    """Return the length of the part that `from=` trusts; None if that is the whole path."""
    if not trusted or not path.startswith(trusted):
        return 0
    if len(trusted) == len(path):
        return None
    if path[len(trusted)] == 0x2F:
        return len(trusted)
    return len(trusted) - 1 if trusted.endswith(b"/") else 0


def open_walking(path: bytes, trusted: bytes, by_owner: bool, flags: int) -> int:
    """Open an absolute path with these flags; return a descriptor.

    trusted: the beginning that is not checked. by_owner: whether links are followed if their target has the same owner. Raises
    OSError; ELOOP for a link.
    """
    begin = begin_of(path, trusted)
    if begin is None:
        return os.open(path, flags)
    at = os.open(path[:begin] or b"/", _SEARCH)
    try:
        *names, last = path[begin:].split(b"/")
        for name in names:
            if name:
                inner = _open_name(at, name, by_owner, _SEARCH)
                os.close(at)
                at = inner
        return _open_name(at, last, by_owner, flags) if last else os.open(b".", flags, dir_fd=at)
    finally:
        os.close(at)


def _open_name(at: int, name: bytes, by_owner: bool, flags: int) -> int:
    """Open one name in a directory; return a descriptor."""
    itself = os.open(name, _NAME, dir_fd=at)
    try:
        facts = os.fstat(itself)
        if not stat.S_ISLNK(facts.st_mode):
            # Something else may be there by now, but it is opened only if it is not a link.
            found = os.open(name, flags | os.O_NOFOLLOW, dir_fd=at)
            return _unless_link(found) if flags & os.O_PATH else found
        if not by_owner:
            # The system reports a link in place of a directory like this, and nginx makes a 404 of it.
            raise _refusal(errno.ENOTDIR if flags & os.O_DIRECTORY else errno.ELOOP)
        found = os.open(os.readlink(b"", dir_fd=itself), flags, dir_fd=at)
        if os.fstat(found).st_uid != facts.st_uid:
            os.close(found)
            raise _refusal(errno.ELOOP)
        return found
    finally:
        os.close(itself)


def _unless_link(fd: int) -> int:
    """Return the descriptor, unless it is that of a link itself, as O_PATH makes it."""
    if stat.S_ISLNK(os.fstat(fd).st_mode):
        os.close(fd)
        raise _refusal(errno.ELOOP)
    return fd


def _refusal(number: int) -> OSError:
    return OSError(number, os.strerror(number))
