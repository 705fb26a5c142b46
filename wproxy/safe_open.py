"""Opening of files by name as root, where a user that root does not trust may write to a directory on the way.

A worker may have been broken into. In a directory that its user may write to it can make any name a link: access.log then points
to /etc/shadow, and root would append to it, give it away or make a directory inside another one. So root walks the path step by
step, on descriptors, and checks for each directory whether that user may write there (the idea is Postfix's safe_open):

  1. Where only others may write, names can be trusted: links are followed as usual.
  2. Where the user may write, a symbolic link is followed only if it belongs to root or to the directory's owner, has one name,
     and that owner is not the user: then no one else can have made it. (In container images root makes access.log a link to
     /dev/stdout.)
  3. A file opened there must be a regular file with one name that belongs to root, to the user or to the directory's owner.
     Root's own may be anything else, a FIFO for example: the user could not have made it.

Every check is made on the opened file, not on its name, so nothing can be exchanged in between.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import NamedTuple

# Names of descriptors that we were started with. The pipe or socket of a container or a service manager often belongs to another
# user, or cannot be opened by name at all, and is ours to write to all the same.
OWN_DESCRIPTORS = {f"{place}{number}": number for place in ("/dev/fd/", "/proc/self/fd/") for number in (1, 2)}
OWN_DESCRIPTORS |= {"/dev/stdout": 1, "/dev/stderr": 2}

_MOST_STEPS = 1000  # for one path, links included: a user who exchanges names while we walk must not keep us
_MOST_LINKS = 40  # the kernel's limit
_NAME = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_ROOT = 0


class Distrusted(NamedTuple):
    """A user, with all groups that it is in."""

    uid: int
    groups: frozenset[int]

    def may_write(self, directory: os.stat_result, has_acl: bool) -> bool:
        """Whether the user may make and rename names in a directory. has_acl: the group bits may stand for other users, too."""
        mode = directory.st_mode
        by_group = mode & stat.S_IWGRP and (has_acl or directory.st_gid in self.groups)
        return bool(directory.st_uid == self.uid or mode & stat.S_IWOTH or by_group)

    def may_have_made(self, link: os.stat_result, directory: os.stat_result) -> bool:
        """Whether the user may have made this link, or given it this name, in a directory that it may write to."""
        is_of_another = link.st_uid == _ROOT or (link.st_uid == directory.st_uid and link.st_uid != self.uid)
        return not is_of_another or link.st_nlink != 1

    def may_be_opened(self, file: os.stat_result, directory: os.stat_result) -> bool:
        """Whether root may use a file that it has found in a directory that the user may write to."""
        if file.st_uid == _ROOT:
            return file.st_nlink == 1
        return stat.S_ISREG(file.st_mode) and file.st_nlink == 1 and file.st_uid in (self.uid, directory.st_uid)


class Anybody(Distrusted):
    """Every user but root: for a process that does not know yet which user its workers run as."""

    def may_write(self, directory: os.stat_result, has_acl: bool) -> bool:
        """See `Distrusted`."""
        return directory.st_uid != _ROOT or bool(directory.st_mode & (stat.S_IWGRP | stat.S_IWOTH))

    def may_have_made(self, link: os.stat_result, directory: os.stat_result) -> bool:
        """See `Distrusted`."""
        return link.st_uid != _ROOT or link.st_nlink != 1

    def may_be_opened(self, file: os.stat_result, directory: os.stat_result) -> bool:
        """See `Distrusted`. The owner of a regular file does not matter here."""
        return file.st_nlink == 1 and (file.st_uid == _ROOT or stat.S_ISREG(file.st_mode))


ANYBODY = Anybody(-1, frozenset())


class NameInDirectory:
    """A name in a directory that was reached; to be closed, or used in a `with`.

    directory: its descriptor; None: the name is a path, to be taken as it is.
    """

    __slots__ = ("_distrusted", "_follow", "directory", "name", "path")

    def __init__(
        self, path: str, name: str, directory: int | None = None, distrusted: Distrusted | None = None, follows: bool = False
    ) -> None:
        """distrusted: the user, if it may write to the directory. follows: the name is a link made by the kernel."""
        self.path = path
        self.name = name
        self.directory = directory
        self._distrusted = distrusted
        self._follow = 0 if follows or directory is None else os.O_NOFOLLOW

    @property
    def is_exposed(self) -> bool:
        """Whether the user may write to the directory."""
        return self._distrusted is not None

    def open(self, flags: int, mode: int = 0o644) -> int:
        """Open the file of that name, check it and return its descriptor. Raises OSError. Never pass O_TRUNC: the check comes
        after.
        """
        if self.is_exposed:
            flags |= os.O_NONBLOCK  # opening a FIFO would wait for its other end before it can be checked
        try:
            fileno = os.open(self.name, flags | self._follow | os.O_CLOEXEC, mode, dir_fd=self.directory)
        except OSError as error:
            error.filename = self.path
            raise
        if self._distrusted is None or self.directory is None:
            return fileno
        if not self._distrusted.may_be_opened(os.fstat(fileno), os.fstat(self.directory)):
            os.close(fileno)
            raise _refusal(self.path, "not a regular file with one name and the right owner")
        return fileno

    def close(self) -> None:
        """Close the directory; closing twice is allowed."""
        if self.directory is not None:
            os.close(self.directory)
            self.directory = None

    def __enter__(self) -> NameInDirectory:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<place {self.path}{' exposed' if self.is_exposed else ''}>"


def reach(path: str, distrusted: Distrusted | None, makes: bool = False) -> NameInDirectory:
    """Walk to the directory of a path. Raises OSError with the path as its filename.

    distrusted: None where there is no such user, as for a process that is not root. makes: whether to make missing directories.
    """
    if distrusted is None or os.geteuid() != _ROOT or path in OWN_DESCRIPTORS:
        if makes:
            os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        return NameInDirectory(path, path)
    walk = _Walk(path, distrusted, makes)
    try:
        for _ in range(_MOST_STEPS):
            place = walk.step()
            if place is not None:
                return place
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    except OSError as error:
        error.filename = path
        raise
    finally:
        walk.close()


def make_directory(path: str, distrusted: Distrusted | None, owner: tuple[int, int] | None) -> None:
    """Make a directory and its missing parents, and give it to this user and group; an existing one stays as it is.

    Raises OSError.
    """
    with reach(path.rstrip("/"), distrusted, makes=True) as place:
        try:
            os.mkdir(place.name, 0o700, dir_fd=place.directory)
        except FileExistsError:
            if os.path.isdir(path):
                return
            raise
        if owner is None:
            return
        made = os.open(place.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=place.directory)
        try:
            # Where the user may write, it may have put another directory there since: an empty one of root's is as good as ours.
            if os.fstat(made).st_uid == os.geteuid() and not os.listdir(made):
                os.fchown(made, *owner)
        finally:
            os.close(made)


class _Walk:
    """A position on the way (the descriptor of a directory), and the names still to walk, the next one last."""

    def __init__(self, path: str, distrusted: Distrusted, makes: bool) -> None:
        self._path = path
        self._at = os.open("/" if path.startswith("/") else ".", _DIRECTORY)
        self._names = _names_of(path)
        self._links = 0
        self._distrusted = distrusted
        self._makes = makes

    def step(self) -> NameInDirectory | None:
        """Take one name; return the place when only the file's own name is left. Raises OSError."""
        if not self._names:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        name = self._names.pop()
        directory = os.fstat(self._at)
        user = self._distrusted if self._distrusted.may_write(directory, _has_acl(self._at)) else None
        try:
            found = os.open(name, _NAME, dir_fd=self._at)
        except FileNotFoundError:
            if not self._names:
                return self._arrive(name, user)
            self._make(name)
            return None
        state = os.fstat(found)
        if not stat.S_ISLNK(state.st_mode):
            if self._names:
                self._enter(found)
                return None
            os.close(found)
            return self._arrive(name, user)
        try:
            if user is not None and user.may_have_made(state, directory):
                raise _refusal(name, "a symbolic link that users other than root may have made")
            return self._follow(name, os.readlink("", dir_fd=found), _is_of_kernel(state))
        finally:
            os.close(found)

    def _follow(self, name: str, target: str, is_of_kernel: bool) -> NameInDirectory | None:
        self._links += 1
        if self._links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        if not self._names and target in OWN_DESCRIPTORS:
            return NameInDirectory(target, target)
        if is_of_kernel and not self._names:  # its target may not be a path at all: pipe:[4711]
            return self._arrive(name, None, follows=True)
        if is_of_kernel:
            self._enter(os.open(name, _DIRECTORY, dir_fd=self._at))
            return None
        self._names += _names_of(target)
        if target.startswith("/"):
            self._enter(os.open("/", _DIRECTORY))
        return None

    def _make(self, name: str) -> None:
        if not self._makes:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        try:
            os.mkdir(name, dir_fd=self._at)
        except FileExistsError:
            pass  # another process has just made it: it is checked like any other
        self._names.append(name)

    def _enter(self, directory: int) -> None:
        self.close()
        self._at = directory

    def _arrive(self, name: str, user: Distrusted | None, follows: bool = False) -> NameInDirectory:
        place = NameInDirectory(self._path, name, self._at, user, follows)
        self._at = -1
        return place

    def close(self) -> None:
        """Close the directory; closing twice is allowed."""
        if self._at >= 0:
            os.close(self._at)
            self._at = -1


def _refusal(name: str, reason: str) -> OSError:
    text = f'"{name}" is {reason}, and they may write to its directory: give that to root alone'
    return OSError(errno.ELOOP, text, name)


def _names_of(path: str) -> list[str]:
    """Return the names of a path, the first one last; `..` stays a name: only the directory knows what it means."""
    return [name for name in reversed(path.split("/")) if name not in ("", ".")]


def _is_of_kernel(link: os.stat_result) -> bool:
    """Whether a link lies in /proc, where users cannot make one."""
    try:
        return link.st_dev == os.stat("/proc/self").st_dev
    except OSError:
        return False


def _has_acl(directory: int) -> bool:
    """Whether users other than its owner and its group may have rights in a directory."""
    try:
        os.getxattr(f"/proc/self/fd/{directory}", "system.posix_acl_access")
    except OSError:
        return False
    return True
