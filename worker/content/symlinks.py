"""`disable_symlinks`: opening a path without following links that are not wanted (nginx: ngx_open_file_wrapper).

A path is walked one name at a time, each opened in the directory that the one before it led to, so that nobody can put a link in
a place that has been looked at already. `openat2` could do it in one call, but Python cannot make that call.

With `if_not_owner` a link may be followed when what it leads to belongs to the link's owner. nginx opens the target first and
looks at the link afterwards: whoever swaps the link in between is judged by another one. Here the link itself is opened, its
owner and its text are read from that descriptor, and the text is followed.
"""

from __future__ import annotations

import errno
import os
import stat

_ASIDE = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
_SEARCH = _ASIDE | os.O_PATH | os.O_DIRECTORY
_NAME = _ASIDE | os.O_PATH | os.O_NOFOLLOW


def begin_of(path: bytes, trusted: bytes) -> int | None:
    """How much of the path is not looked at, as `from=` has it; None when that is all of it."""
    if not trusted or not path.startswith(trusted):
        return 0
    if len(trusted) == len(path):
        return None
    if path[len(trusted)] == 0x2F:
        return len(trusted)
    return len(trusted) - 1 if trusted.endswith(b"/") else 0


def open_walking(path: bytes, trusted: bytes, by_owner: bool, flags: int) -> int:
    """A descriptor of the absolute path, opened with these flags.

    trusted: the beginning that is not looked at. by_owner: links to what belongs to their owner are followed, no others. Raises
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
    """A descriptor of one name in a directory."""
    itself = os.open(name, _NAME, dir_fd=at)
    try:
        facts = os.fstat(itself)
        if not stat.S_ISLNK(facts.st_mode):
            # What stands there now may be something else already, but it is opened only if it is no link.
            found = os.open(name, flags | os.O_NOFOLLOW, dir_fd=at)
            return _unless_link(found) if flags & os.O_PATH else found
        if not by_owner:
            # So the system says it of a link where a directory should be, and nginx makes a 404 of it.
            raise _refusal(errno.ENOTDIR if flags & os.O_DIRECTORY else errno.ELOOP)
        found = os.open(os.readlink(b"", dir_fd=itself), flags, dir_fd=at)
        if os.fstat(found).st_uid != facts.st_uid:
            os.close(found)
            raise _refusal(errno.ELOOP)
        return found
    finally:
        os.close(itself)


def _unless_link(fd: int) -> int:
    """The descriptor, unless it is of a link itself, as O_PATH makes it."""
    if stat.S_ISLNK(os.fstat(fd).st_mode):
        os.close(fd)
        raise _refusal(errno.ELOOP)
    return fd


def _refusal(number: int) -> OSError:
    return OSError(number, os.strerror(number))
