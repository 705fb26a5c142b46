"""Temporary files for bodies that are too large for memory (nginx: src/core/ngx_file.c, ngx_create_temp_file).

A file is made where the configuration says, with a number for a name that nobody else has, and loses the name at once unless
somebody is to find it: what a worker leaves behind when it is killed is nothing. Without a configured place a file never gets a
name (O_TMPFILE), in a directory that is on a disk: /tmp often lies in memory, which is what is to be saved.

Bytes go from a socket to a file through a pipe, so that Python does not touch them (splice(2)).
"""

from __future__ import annotations

import errno
import os
import random

from worker.pipes import Pipe
from wproxy.directives.request_body import CLEAN, IN_MEMORY, TemporaryPath

# Where files without a configured place go, the first that will do.
PLACES = ("/var/tmp", "/tmp", ".")

_numbers = random.SystemRandom().randrange(10**9)


class TemporaryFile:
    """An open file, to be written once from its beginning and read as often as need be.

    name: its path; for a file that never had one, its place. size: bytes written. fileno: -1 when closed. is_named: the name is
    still there.
    """

    __slots__ = ("fileno", "is_named", "name", "removes_name", "size")

    def __init__(self, place: TemporaryPath | None, mode: str = IN_MEMORY) -> None:
        """mode: of client_body_in_file_only: whether the name stays, and for how long. Raises DiskTrouble."""
        self.size = 0
        self.is_named = mode != IN_MEMORY
        self.removes_name = mode == CLEAN
        try:
            if place is None and mode == IN_MEMORY:
                self.fileno, self.name = _open_nameless()
                return
            self.fileno, self.name = _open_numbered(place or TemporaryPath(_first_place()))
            if mode == IN_MEMORY:
                os.unlink(self.name)
        except OSError as error:
            raise DiskTrouble(error) from None

    def write(self, data: bytes | memoryview) -> None:
        """Append all of this. Raises DiskTrouble, as when the disk is full."""
        view = memoryview(data)
        while view:
            try:
                written = os.pwrite(self.fileno, view, self.size)
            except OSError as error:
                raise DiskTrouble(error) from None
            self.size += written
            view = view[written:]

    def take_out(self, pipe: Pipe) -> None:
        """Append what a pipe holds. Raises DiskTrouble."""
        try:
            self.size += pipe.drain_to_file(self.fileno, self.size)
        except OSError as error:
            if error.errno != errno.EINVAL:  # a file system that knows no splice
                raise DiskTrouble(error) from None
            self.write(pipe.read())

    def read(self, offset: int, count: int) -> bytes:
        """Bytes of what was written. Raises OSError."""
        return os.pread(self.fileno, count, offset)

    def close(self) -> None:
        """Close it, and remove its name if that was only lent; closing twice is allowed."""
        if self.fileno >= 0:
            os.close(self.fileno)
            self.fileno = -1
            if self.is_named and self.removes_name:
                try:
                    os.unlink(self.name)
                except FileNotFoundError:
                    self.is_named = False  # whoever was to find it has taken it

    def __repr__(self) -> str:
        return f"<temporary file {self.name} {self.size}{'' if self.fileno >= 0 else ' closed'}>"


class DiskTrouble(Exception):
    """A temporary file could not be made, written or read. reason: the OSError."""

    def __init__(self, reason: OSError) -> None:
        super().__init__(f"{reason.errno}: {reason.strerror}")
        self.reason = reason


def _open_nameless() -> tuple[int, str]:
    """A file without a name: descriptor, and the place that it is in. Raises OSError."""
    trouble: OSError | None = None
    for place in PLACES:
        try:
            return os.open(place, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600), f"{place}/(nameless)"
        except OSError as error:  # it is not there, not ours to write, or of a file system that cannot do it
            trouble = trouble or error
    try:
        fileno, name = _open_numbered(TemporaryPath(_first_place()))
    except OSError:
        raise trouble or OSError from None
    os.unlink(name)
    return fileno, name


def _first_place() -> str:
    return next((place for place in PLACES if os.path.isdir(place) and os.access(place, os.W_OK)), ".")


def _open_numbered(place: TemporaryPath) -> tuple[int, str]:
    """A file with a new number for a name. Raises OSError."""
    global _numbers
    while True:
        _numbers += 1
        number = f"{_numbers % 10**10:010}"
        name = hashed_name(place, number)
        try:
            return os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600), name
        except FileExistsError:
            _numbers += random.randrange(1, 10**6)
        except FileNotFoundError:
            if os.path.isdir(os.path.dirname(name)):
                raise
            _make_directories(place, name)


def hashed_name(place: TemporaryPath, number: str) -> str:
    """The path of a numbered file: with levels 1 2, number 0000000123 is in 3/12/ (nginx: ngx_create_hashed_filename)."""
    end, names = len(number), [place.path]
    for level in place.levels:
        names.append(number[end - level : end])
        end -= level
    return "/".join([*names, number])


def _make_directories(place: TemporaryPath, name: str) -> None:
    """Make what is missing on the way to a file. Raises OSError."""
    os.makedirs(place.path, 0o700, exist_ok=True)
    os.makedirs(os.path.dirname(name), 0o700, exist_ok=True)
