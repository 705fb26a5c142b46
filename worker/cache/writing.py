"""A response that is being stored: a file without a name, which gets one when it is complete."""

from __future__ import annotations

import os
from collections.abc import Callable

from worker.pipes import Pipe
from worker.temporary_files import LATER, DiskTrouble, TemporaryFile
from wproxy.cache.header import Header, header_bytes, place, with_checksum
from wproxy.cache.key import CacheKey
from wproxy.directives.temporary_path import TemporaryPath

_MODE = 0o600
# Publishes a complete file, and returns whether it could: gets what gives it its name (which raises DiskTrouble), its descriptor,
# and where the body begins.
Publish = Callable[[Callable[[], None], int, int], bool]


def _nameless(directory: str) -> TemporaryFile:
    """Return a new file; if an operator has emptied the disk by removing the whole directory, that is made again."""
    try:
        return TemporaryFile(TemporaryPath(directory), LATER)
    except DiskTrouble as trouble:
        if not isinstance(trouble.reason, FileNotFoundError):
            raise
    try:
        os.makedirs(directory, 0o700, exist_ok=True)
    except OSError as error:
        raise DiskTrouble(error) from None
    return TemporaryFile(TemporaryPath(directory), LATER)


class Writing:
    """A store under way. body_start: where the body begins in the file."""

    __slots__ = ("_beginning", "_file", "_path", "_publish", "body_start", "is_ended")

    def __init__(self, directory: str, path: str, key: CacheKey, header: Header, head: bytes, publish: Publish) -> None:
        """directory: that of the zone. path: that of the file when it is complete. Raises DiskTrouble and BadFile."""
        place(header, key, len(head))
        self.body_start = header.body_start
        header.checksum = 0
        self._beginning = header_bytes(header, key) + head
        self._path = path
        self._publish = publish
        self.is_ended = False
        self._file = _nameless(directory)
        try:
            self._file.write(self._beginning)
        except BaseException:
            self.abandon()
            raise

    @property
    def fileno(self) -> int:
        """The descriptor of the file, for reading too; -1 when it is closed."""
        return self._file.fileno

    @property
    def size(self) -> int:
        """The bytes written."""
        return self._file.size

    @property
    def body_size(self) -> int:
        """The bytes of the body that are written."""
        return self._file.size - self.body_start

    def write(self, data: bytes | memoryview) -> None:
        """Append to the body. Raises DiskTrouble."""
        self._file.write(data)

    def take_out(self, pipe: Pipe) -> None:
        """Append the contents of a pipe to the body. Raises DiskTrouble; unwritten bytes stay in the pipe."""
        self._file.take_out(pipe)

    def finish(self) -> bool:
        """Publish the response, replacing any other of its key, all at once; return whether that was possible."""
        if self.is_ended:
            return False
        file = self._file
        try:
            at, mark = with_checksum(self._beginning, self.body_start, file.size)
            os.pwrite(file.fileno, mark, at)
            return self._publish(self._give_name, file.fileno, self.body_start)
        except OSError:
            return False
        finally:
            self.abandon()

    def _give_name(self) -> None:
        """Give the file its name. Raises DiskTrouble."""
        try:
            self._file.place(self._path, _MODE, None)
        except DiskTrouble as trouble:
            if not isinstance(trouble.reason, FileNotFoundError):
                raise
            try:
                os.makedirs(os.path.dirname(self._path), 0o700, exist_ok=True)
            except OSError as error:
                raise DiskTrouble(error) from None
            self._file.place(self._path, _MODE, None)

    def abandon(self) -> None:
        """Forget the response, unless it has been published; this may be called at any time."""
        self.is_ended = True
        self._file.close()

    def __repr__(self) -> str:
        return f"<storing {self._path} {self.size}{' ended' if self.is_ended else ''}>"
