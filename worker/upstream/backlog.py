"""The bytes that have been read ahead of a client that is slower than its upstream: a little in memory, then a temporary file.

Bytes go in at one end and come out at the other, in order: those in memory are older than those in the file, and while there is
something in the file nothing is put into memory. When the file has been sent to its end it is emptied, and may be reused.
"""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable
from time import monotonic

from worker.pipes import Pipe
from worker.stream import CHUNK
from worker.temporary_files import DiskTrouble, TemporaryFile
from wproxy.bodies import Outlet
from wproxy.directives.temporary_path import TemporaryPath

# The number of bytes that are written to a file at once, unless proxy_temp_file_write_size sets it.
WRITE_SIZE = 1 << 20
TELL_EVERY = 1.0  # seconds between two log lines about a disk that fails


class Backlog:
    """Bytes that wait for a client.

    memory_limit, file_limit: the limits in bytes in memory and in the file (0: no file). write_size: the number of bytes written
    at once.
    place: that of the file, None for the system's. complain: gets a level and a text when the file is made, and when it fails;
    has_failed: whether it did.
    """

    told_at = -math.inf  # monotonic seconds of the last such line, for the whole worker

    __slots__ = (
        "_begin", "_complain", "_file", "_in_memory", "_pieces", "_place", "_tail", "file_limit", "has_failed", "memory_limit",
        "write_size",
    )  # fmt: skip

    def __init__(
        self,
        memory_limit: int,
        file_limit: int,
        write_size: int,
        place: TemporaryPath | None,
        complain: Callable[[str, str], None],
    ) -> None:
        self.memory_limit = memory_limit
        self.file_limit = file_limit
        self.write_size = write_size
        self.has_failed = False
        self._place = place
        self._complain = complain
        self._pieces: deque[memoryview] = deque()
        self._in_memory = 0
        self._file: TemporaryFile | None = None
        self._begin = 0  # the start of the unsent bytes in the file
        self._tail = memoryview(b"")  # bytes that a failed file did not take; they come last

    def __len__(self) -> int:
        return self._in_memory + self._in_file + len(self._tail)

    @property
    def _in_file(self) -> int:
        return self._file.size - self._begin if self._file is not None else 0

    def room(self, coming: int) -> int:
        """Return how many bytes may be added now, of so many that are still to come; 0 if it is full."""
        if self._tail:
            return 0
        if self.goes_to_file(coming):
            written = self._file.size if self._file is not None else 0
            return min(self.file_limit - written, self.write_size)
        return self.memory_limit - self._in_memory

    def goes_to_file(self, coming: int) -> bool:
        """Whether the next bytes go to the file: all those to come do not fit the memory, or older ones are there."""
        if not self.file_limit:
            return False
        return self._in_file > 0 or self._in_memory + coming > self.memory_limit

    def add(self, data: bytes | memoryview, coming: int) -> None:
        """Keep these bytes, whatever the limits; `coming` more follow them."""
        file = self._file_to_write() if self.goes_to_file(len(data) + coming) else None
        if file is not None:
            before = file.size
            try:
                file.write(data)
            except DiskTrouble as trouble:
                self._give_up(trouble)
                self._tail = memoryview(data)[file.size - before :]
        elif self._in_file:
            self._tail = memoryview(bytes(self._tail) + data)
        else:
            self._pieces.append(memoryview(data))
            self._in_memory += len(data)

    def add_from(self, pipe: Pipe) -> None:
        """Keep the bytes of a pipe, in the file if there is one; the pipe is empty afterwards."""
        file = self._file_to_write()
        if file is not None:
            try:
                file.take_out(pipe)
            except DiskTrouble as trouble:
                self._give_up(trouble)
        if pipe.held:
            self.file_limit = 0
            self.add(pipe.read(), 0)

    def send(self, outlet: Outlet, most: int) -> int:
        """Send the oldest bytes, at most so many; return how many.

        Raises BlockingIOError, OSError for errors of the client; EOFError when the file has lost its bytes.
        """
        if self._pieces:
            piece = self._pieces[0]
            sent = outlet.send(piece[:most])
            self._in_memory -= sent
            if sent == len(piece):
                self._pieces.popleft()
            else:
                self._pieces[0] = piece[sent:]
            return sent
        file = self._file
        if file is None or not self._in_file:
            sent = outlet.send(self._tail[:most])
            self._tail = self._tail[sent:]
            return sent
        count = min(self._in_file, most)
        if outlet.kernel_fd >= 0:
            sent = os.sendfile(outlet.kernel_fd, file.fileno, self._begin, count)
        else:
            data = file.read(self._begin, min(count, CHUNK))
            sent = outlet.send(data) if data else 0
        self._advance(file, sent)
        return sent

    def take(self, most: int) -> bytes:
        """Return the oldest bytes, at most so many. Raises EOFError when the file has lost its bytes."""
        if self._pieces:
            piece = self._pieces[0]
            taken = bytes(piece[:most])
            self._in_memory -= len(taken)
            if len(taken) == len(piece):
                self._pieces.popleft()
            else:
                self._pieces[0] = piece[most:]
            return taken
        file = self._file
        if file is None or not self._in_file:
            taken = bytes(self._tail[:most])
            self._tail = self._tail[most:]
            return taken
        taken = file.read(self._begin, min(self._in_file, most))
        self._advance(file, len(taken))
        return taken

    def _advance(self, file: TemporaryFile, count: int) -> None:
        """Count bytes of the file as sent. Raises EOFError when there were none."""
        if not count:
            raise EOFError("a temporary file was truncated")
        self._begin += count
        if self._begin == file.size:
            self._begin = 0
            file.empty()

    def close(self) -> None:
        """Forget everything."""
        self._pieces.clear()
        self._in_memory = self._begin = 0
        self._tail = memoryview(b"")
        if self._file is not None:
            self._file.close()
            self._file = None

    def _file_to_write(self) -> TemporaryFile | None:
        """Return the file, made on first use; None if there is to be none."""
        if not self.file_limit:
            return None
        if self._file is None:
            try:
                self._file = TemporaryFile(self._place)
            except DiskTrouble as trouble:
                self._give_up(trouble)
                return None
            self._complain("warn", f"an upstream response is buffered to a temporary file {self._file.title}")
        return self._file

    def _give_up(self, trouble: DiskTrouble) -> None:
        self.file_limit = 0
        self.has_failed = True
        now = monotonic()
        if now - Backlog.told_at < TELL_EVERY:  # a lack of descriptors or disk space affects every response
            return
        Backlog.told_at = now
        name = self._file.title if self._file is not None else f"in {self._place.path}" if self._place else ""
        self._complain("crit", f"temporary file {name} failed ({trouble})" if name else f"temporary file failed ({trouble})")

    def __repr__(self) -> str:
        return f"<backlog: {self._in_memory} in memory, {self._in_file} in a file>"
