"""Temporary files for data too large for memory (nginx: src/core/ngx_file.c, ngx_create_temp_file).

A file has no name (O_TMPFILE) unless it has to be found: however a worker ends, nothing is left behind on the disk. If the
configuration names a place the file is there; otherwise in a directory that is on a disk, because /tmp is often in memory, which
is what has to be saved. On a file system that requires names it has one for as long as it takes to remove it.

Bytes go from a socket to a file through a pipe, so that Python does not touch them (splice(2)).
"""

from __future__ import annotations

import errno
import os
import random
from copy import copy

from worker.pipes import Pipe
from wproxy.directives.request_body import CLEAN, IN_MEMORY, KEPT
from wproxy.directives.temporary_path import TemporaryPath

# Directories for files without a configured place; the first usable one is taken.
PLACES = ("/var/tmp", "/tmp", ".")

# The errors of a file system without O_TMPFILE.
_UNKNOWN_TO_IT = frozenset((errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL))

# A mode besides those of client_body_in_file_only: the file may get a name when it is complete (`place`).
LATER = "later"

_numbers = random.SystemRandom().randrange(10**9)


class TemporaryFile:
    """An open file, written from its beginning to its end and read as often as necessary.

    name: the path that it has, or would have. size: bytes written. fileno: -1 when closed. is_named: whether the name exists.
    """

    __slots__ = ("_within", "fileno", "is_named", "name", "removes_name", "size")

    def __init__(self, place: TemporaryPath | None, mode: str = IN_MEMORY) -> None:
        """mode: that of client_body_in_file_only, or LATER: whether it has a name, and for how long. Raises DiskTrouble."""
        self.size = 0
        self._within = place
        self.is_named = mode in (KEPT, CLEAN)
        self.removes_name = mode != KEPT
        try:
            if self.is_named:
                self.fileno, self.name = _open_numbered(place or TemporaryPath(_first_place()))
            elif mode == LATER:
                assert place is not None
                self.fileno, self.name, self.is_named = _open_placeable(place)
            elif place is not None:
                self.fileno, self.name = _open_nameless(place)
            else:
                self.fileno, self.name = _open_anywhere()
        except OSError as error:
            raise DiskTrouble(error) from None

    @property
    def title(self) -> str:
        """Return its name for logs: its path, or its directory when it has none."""
        return self.name if self.is_named else f"without a name in {os.path.dirname(self.name)}"

    def shared(self) -> TemporaryFile:
        """Return another one for the same bytes, to be closed by itself. Raises OSError."""
        other = copy(self)
        other.fileno = os.dup(self.fileno)
        other.removes_name = False
        return other

    def write(self, data: bytes | memoryview) -> None:
        """Append all of this. Raises DiskTrouble, as when the disk is full; `size` counts the bytes written all the same."""
        view = memoryview(data)
        while view:
            try:
                written = os.pwrite(self.fileno, view, self.size)
            except OSError as error:
                raise DiskTrouble(error) from None
            self.size += written
            view = view[written:]

    def take_out(self, pipe: Pipe) -> None:
        """Append the contents of a pipe. Raises DiskTrouble; unwritten bytes stay in the pipe."""
        held = pipe.held
        try:
            pipe.drain_to_file(self.fileno, self.size)
            self.size += held
        except OSError as error:
            self.size += held - pipe.held
            if error.errno != errno.EINVAL:  # a file system without splice
                raise DiskTrouble(error) from None
            data = memoryview(pipe.read())
            before = self.size
            try:
                self.write(data)
            except DiskTrouble:
                pipe.put_back(data[self.size - before :])
                raise

    def read(self, offset: int, count: int) -> bytes:
        """Return written bytes. Raises OSError."""
        return os.pread(self.fileno, count, offset)

    def empty(self) -> None:
        """Drop the written bytes, and free their room."""
        os.ftruncate(self.fileno, 0)
        self.size = 0

    def place(self, path: str, mode: int, modified: int | None) -> None:
        """Give the file this path, replacing anything there, and these rights and time, all at once.

        modified: unix seconds, None for now. Only for a file that was made to get a name LATER, and in the same file system.
        Raises DiskTrouble; it has no name then.
        """
        try:
            os.fchmod(self.fileno, mode)
            if modified is not None:
                os.utime(self.fileno, (modified, modified))
            if not self.is_named and self._link(path):
                return  # nothing was there
            while not self.is_named:
                self.is_named = self._link(self.name)
                if not self.is_named:
                    # All workers count from the same number on, and one may have been killed before it renamed its file.
                    assert self._within is not None
                    self.name = _further_name(self._within)
            os.rename(self.name, path)
            self.is_named = False
        except OSError as error:
            raise DiskTrouble(error) from None

    def _link(self, path: str) -> bool:
        """Give a file without a name this one; False if there is a file of that name, which linkat(2) cannot replace."""
        try:
            # Python calls linkat, and not link(2), only with a directory descriptor.
            os.link(f"/proc/self/fd/{self.fileno}", path, src_dir_fd=self.fileno)
        except FileExistsError:
            return False
        return True

    def close(self) -> None:
        """Close the file, and remove its name if that was temporary; closing twice is allowed."""
        if self.fileno >= 0:
            os.close(self.fileno)
            self.fileno = -1
            if self.is_named and self.removes_name:
                try:
                    os.unlink(self.name)
                except FileNotFoundError:
                    self.is_named = False  # the reader it was named for has taken it

    def __repr__(self) -> str:
        return f"<temporary file {self.name} {self.size}{'' if self.fileno >= 0 else ' closed'}>"


class DiskTrouble(Exception):
    """A temporary file could not be made, written or read. reason: the OSError."""

    def __init__(self, reason: OSError) -> None:
        super().__init__(f"{reason.errno}: {reason.strerror}")
        self.reason = reason


def _open_anywhere() -> tuple[int, str]:
    """Return descriptor and path of a nameless file, in the first existing place that we may write to. Raises OSError."""
    trouble: OSError | None = None
    for place in PLACES:
        try:
            return _open_nameless(TemporaryPath(place))
        except OSError as error:
            trouble = trouble or error
    raise trouble or OSError(errno.ENOENT, os.strerror(errno.ENOENT))


def _first_place() -> str:
    return next((place for place in PLACES if os.path.isdir(place) and os.access(place, os.W_OK)), ".")


def _open_nameless(place: TemporaryPath) -> tuple[int, str]:
    """Return a file that, if it needed a name, has lost it before it can be seen. Raises OSError."""
    name = _next_name(place)
    directory = os.path.dirname(name)
    for _ in range(2):
        try:
            return os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600), name
        except FileNotFoundError:
            _make_directories(place, name)
        except OSError as error:
            if error.errno not in _UNKNOWN_TO_IT:
                raise
            break
    fileno, name = _open_numbered(place)
    os.unlink(name)
    return fileno, name


def _open_placeable(place: TemporaryPath) -> tuple[int, str, bool]:
    """Return a file that can get a name later: descriptor, a free name, and whether it has it already. Raises OSError."""
    name = _next_name(place)
    try:
        return os.open(place.path, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600), name, False
    except OSError as error:
        if error.errno not in _UNKNOWN_TO_IT:
            raise
    return *_open_numbered(place), True


def _open_numbered(place: TemporaryPath) -> tuple[int, str]:
    """Return a file with a new number for a name. Raises OSError."""
    global _numbers
    while True:
        name = _next_name(place)
        try:
            return os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600), name
        except FileExistsError:
            _numbers += random.randrange(1, 10**6)
        except FileNotFoundError:
            if os.path.isdir(os.path.dirname(name)):
                raise
            _make_directories(place, name)


def _further_name(place: TemporaryPath) -> str:
    """Return a name that is probably free, after one that was not."""
    global _numbers
    _numbers += random.randrange(1, 10**6)
    return _next_name(place)


def _next_name(place: TemporaryPath) -> str:
    global _numbers
    _numbers += 1
    return hashed_name(place, f"{_numbers % 10**10:010}")


def hashed_name(place: TemporaryPath, number: str) -> str:
    """Return the path of a numbered file: with levels 1 2, number 0000000123 is in 3/12/ (nginx: ngx_create_hashed_filename)."""
    end, names = len(number), [place.path]
    for level in place.levels:
        names.append(number[end - level : end])
        end -= level
    return "/".join([*names, number])


def _make_directories(place: TemporaryPath, name: str) -> None:
    """Make the missing directories of a file's path. Raises OSError."""
    os.makedirs(place.path, 0o700, exist_ok=True)
    os.makedirs(os.path.dirname(name), 0o700, exist_ok=True)
