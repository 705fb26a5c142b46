"""What has been read ahead of a client that is slower than its upstream: a little in memory, then a temporary file.

Bytes go in at one end and come out at the other, in order: those in memory are older than those in the file, and while there is
something in the file nothing is put into memory. When the file has been sent to its end it is emptied, and may be used anew.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable

from worker.pipes import Pipe
from worker.stream import CHUNK, Stream
from worker.temporary_files import open_temporary

# How much is written to a file at once, unless proxy_temp_file_write_size says so.
WRITE_SIZE = 1 << 20


class Backlog:
    """Bytes that wait for a client.

    memory_limit, file_limit: of bytes in memory and in the file (0: no file). write_size: how much is written at once.
    directory: of the file, None for the system's. complain: told a level and a text when the file is made, and when it fails.
    """

    __slots__ = (
        "_begin", "_complain", "_directory", "_end", "_file", "_in_memory", "_pieces", "_tail", "file_limit", "memory_limit",
        "write_size",
    )  # fmt: skip

    def __init__(
        self, memory_limit: int, file_limit: int, write_size: int, directory: str | None, complain: Callable[[str, str], None]
    ) -> None:
        self.memory_limit = memory_limit
        self.file_limit = file_limit
        self.write_size = write_size
        self._directory = directory
        self._complain = complain
        self._pieces: deque[memoryview] = deque()
        self._in_memory = 0
        self._file = -1
        self._begin = self._end = 0  # of what is in the file and not sent
        self._tail = memoryview(b"")  # what a file that failed did not take any more; it comes last

    def __len__(self) -> int:
        return self._in_memory + self._end - self._begin + len(self._tail)

    def room(self, coming: int) -> int:
        """How many bytes may be added now, of so many that are still to come; 0: it is full."""
        if self._tail:
            return 0
        if self.goes_to_file(coming):
            return min(self.file_limit - self._end, self.write_size)
        return self.memory_limit - self._in_memory

    def goes_to_file(self, coming: int) -> bool:
        """Whether the next bytes go to the file: all those to come do not fit the memory, or older ones are there."""
        if not self.file_limit:
            return False
        return self._end > self._begin or self._in_memory + coming > self.memory_limit

    def add(self, data: bytes | memoryview, coming: int) -> None:
        """Keep these bytes, whatever the limits; so many more are to come after them."""
        if not self.goes_to_file(len(data) + coming) or not self._has_file():
            if self._end > self._begin:
                self._tail = memoryview(bytes(self._tail) + data)
            else:
                self._pieces.append(memoryview(data))
                self._in_memory += len(data)
            return
        view = memoryview(data)
        try:
            while view:
                written = os.pwrite(self._file, view, self._end)
                self._end += written
                view = view[written:]
        except OSError as error:
            self._give_up(error)
            self._tail = view

    def add_from(self, pipe: Pipe) -> None:
        """Keep what the pipe holds, in the file if there is one; the pipe is empty afterwards."""
        if self._has_file():
            held = pipe.held
            try:
                pipe.drain_to_file(self._file, self._end)
            except OSError as error:
                self._give_up(error)
            self._end += held - pipe.held
        if pipe.held:
            self.file_limit = 0
            self.add(pipe.read(), 0)

    def send(self, stream: Stream, most: int, is_plain: bool) -> int:
        """Send the oldest bytes, at most so many; how many. is_plain: the kernel may send from the file.

        Raises BlockingIOError, OSError for what the client did; EOFError when the file has lost its bytes.
        """
        if self._pieces:
            piece = self._pieces[0]
            sent = stream.send(piece[:most])
            self._in_memory -= sent
            if sent == len(piece):
                self._pieces.popleft()
            else:
                self._pieces[0] = piece[sent:]
            return sent
        if self._begin == self._end:
            sent = stream.send(self._tail[:most])
            self._tail = self._tail[sent:]
            return sent
        count = min(self._end - self._begin, most)
        if is_plain:
            sent = os.sendfile(stream.fd, self._file, self._begin, count)
        else:
            data = os.pread(self._file, min(count, CHUNK), self._begin)
            sent = stream.send(data) if data else 0
        if not sent:
            raise EOFError("a temporary file was truncated")
        self._begin += sent
        if self._begin == self._end:
            self._begin = self._end = 0
            os.ftruncate(self._file, 0)
        return sent

    def close(self) -> None:
        """Forget everything."""
        self._pieces.clear()
        self._in_memory = self._begin = self._end = 0
        self._tail = memoryview(b"")
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _has_file(self) -> bool:
        """Whether there is a file to write to; it is made when it is needed first."""
        if not self.file_limit:
            return False
        if self._file < 0:
            try:
                self._file = open_temporary(self._directory)
            except OSError as error:
                self._give_up(error)
                return False
            self._complain("warn", "an upstream response is buffered to a temporary file")
        return True

    def _give_up(self, error: OSError) -> None:
        self.file_limit = 0
        self._complain("crit", f"temporary file failed ({error.errno}: {error.strerror})")

    def __repr__(self) -> str:
        return f"<backlog: {self._in_memory} in memory, {self._end - self._begin} in a file>"
