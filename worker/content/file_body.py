"""A file as the body of a response. The kernel sends it from file to socket, in turns with other tasks: a client that takes
everything gets sendfile_max_chunk per turn.

`send` is for clients that get the bytes as they are; `read` returns the same body in pieces, for filters and encryption.

With `aio threads` a read that must not wait (RWF_NOWAIT) first asks the system whether the next piece is in memory. If not, a
thread reads it; then it goes out like any other. So the loop never waits for a disk, and pieces in memory cost no thread. With
`directio` the pages that were read are dropped from the page cache: large files leave it to small ones.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from functools import partial
from typing import Final, NoReturn, Protocol

from worker.content.open_files import OpenFile, failed
from worker.logs import log_request
from worker.loop import FAIR_SHARE, give_way
from worker.outlet import NOTHING, Pieces
from worker.rates import client_rate
from worker.stream import CHUNK
from wproxy.bodies import Frame, Outlet
from wproxy.failures import UpstreamFailure
from wproxy.files import shown_path
from wproxy.http import Request
from wproxy.ranges import Part
from wproxy.route import Threads

# The number of bytes that are brought into memory before they are sent.
WINDOW: Final = 262144
_scratch: Final = memoryview(bytearray(WINDOW))
_PAGE: Final = 4096

# The errors of sendfile that are the file's fault and not the client's.
_FILE_ERRORS: Final = frozenset((errno.EIO, errno.EINVAL, errno.ENOMEM, errno.EOVERFLOW, errno.ESTALE, errno.EBADF))


class SentFile(Protocol):
    """A file that is sent, or a part of one: an OpenFile or the body of a stored response. size: in bytes."""

    fd: int
    path: bytes
    size: int

    def close(self) -> None:
        """Give the file back."""


class FileBody(Pieces):
    """The rest of a body made of parts of one open file and texts between them."""

    __slots__ = (
        "_drops",
        "_end",
        "_is_capped",
        "_is_closed",
        "_is_full",
        "_limit",
        "_offset",
        "_pieces",
        "_pool",
        "_reads",
        "_request",
        "file",
    )

    def __init__(self, request: Request, file: SentFile, pieces: Iterable[bytes | Part]) -> None:
        """Take over the file. pieces: in order; a Part is a stretch of the file."""
        self._unsent = NOTHING
        self.file = file
        self._request = request
        self._pieces = iter(pieces)
        self._offset = self._end = 0  # of the stretch that is being sent
        location = request.location
        self._limit = location.sendfile_max_chunk or 1 << 30
        self._is_capped = self._is_full = self._is_closed = False
        self._pool = request.route.thread_pool
        # With `sendfile off` or `directio` it is read, and then sent like any other body.
        self._reads = not location.sendfile or bool(location.directio and file.size >= location.directio)
        self._drops = bool(location.directio) and file.size >= location.directio

    async def send(self, outlet: Outlet, frame: Frame, seconds: float, most: int) -> int:
        """Send the next bytes, as many as the outlet takes at once and at most sendfile_max_chunk; return how many, 0 at the end.

        seconds: how long to wait for room. Raises TimedOut, OSError for what the client did, UpstreamFailure for the file.
        """
        if self._reads or outlet.kernel_fd < 0 or frame is not None or self._unsent:
            return await super().send(outlet, frame, seconds, most)
        text = self._next_text()
        if text is not None:
            self._unsent = memoryview(text)
            return await super().send(outlet, frame, seconds, most)
        limit = min(self._limit, most)
        count = min(self._end - self._offset, limit)
        if not count:
            return 0
        if self._is_full:
            await outlet.room(seconds)
        elif self._is_capped:
            await give_way()
        if self._pool is not None:
            count = min(count, WINDOW)
            if not is_in_memory(self.file.fd, self._offset, count):
                await self._read_by_thread(self._pool, count)
        while True:
            try:
                sent = os.sendfile(outlet.kernel_fd, self.file.fd, self._offset, count)
                break
            except BlockingIOError:
                pass
            except OSError as error:
                self._blame_file(error)
                raise
            await outlet.room(seconds)
        if not sent:
            self._fail_truncated("sendfile")
        self._is_capped = sent == self._limit < FAIR_SHARE  # beyond that, the connection takes care of turns
        self._is_full = sent < count  # the socket has no room for more: trying again at once would be refused
        self._offset += sent
        return sent

    def pass_on(self, outlet: Outlet, request: Request) -> bool:
        """Have the kernel send all of it in one call, where the client has room; return whether it did, and the file is closed.

        Raises OSError for what the client did, UpstreamFailure for the file.
        """
        # What has to be read or paced is `send`'s.
        if self._reads or outlet.kernel_fd < 0 or self._pool is not None or client_rate(request):
            return False
        text = self._next_text()
        if text is not None:
            self._unsent = memoryview(text)
            return False
        count = self._end - self._offset
        if count > self._limit or count > FAIR_SHARE:
            return False
        try:
            sent = os.sendfile(outlet.kernel_fd, self.file.fd, self._offset, count)
        except BlockingIOError:
            self._is_full = True
            return False
        except OSError as error:
            self._blame_file(error)
            raise
        if not sent:
            self._fail_truncated("sendfile")
        request.body_bytes_sent += sent
        request.bytes_sent += sent
        self._offset += sent
        self._is_full = sent < count
        if self._is_full or self._has_next_text():
            return False
        self.close()
        return True

    async def read(self) -> bytes:
        """Return the next piece, at most 64 KB; b"" at the end. Raises UpstreamFailure."""
        text = self._next_text()
        if text is not None:
            return text
        count = min(self._end - self._offset, CHUNK)
        if not count:
            return b""
        if self._pool is not None and not is_in_memory(self.file.fd, self._offset, count):
            data = await self._read_by_thread(self._pool, count)
        else:
            try:
                data = os.pread(self.file.fd, count, self._offset)
            except OSError as error:
                self._fail(failed("pread", shown_path(self.file.path), error))
        if not data:
            self._fail_truncated("pread")
        if self._drops:
            begin = self._offset // _PAGE * _PAGE
            os.posix_fadvise(self.file.fd, begin, self._offset + len(data) - begin, os.POSIX_FADV_DONTNEED)
        self._offset += len(data)
        return data

    async def _read_by_thread(self, pool: Threads, count: int) -> bytes:
        """Return the next bytes of the file, read without making the loop wait. Raises UpstreamFailure."""
        try:
            # If the client leaves, the descriptor may be another file's by the time of the read: the bytes it reads are
            # discarded.
            return await pool.run(partial(os.pread, self.file.fd, count, self._offset))
        except OSError as error:
            self._fail(failed("pread", shown_path(self.file.path), error))

    def close(self) -> None:
        """Close the file, once: a file in a cache counts its users."""
        if not self._is_closed:
            self._is_closed = True
            self.file.close()

    def _next_text(self) -> bytes | None:
        """Return the text that comes next; None before a stretch of the file, and at the end."""
        while self._offset == self._end:
            piece = next(self._pieces, None)
            if piece is None:
                return None
            if isinstance(piece, bytes):
                return piece
            self._offset, self._end = piece
        return None

    def _has_next_text(self) -> bool:
        """Whether something follows a stretch that has been sent to its end; a text is put aside for `send`."""
        text = self._next_text()
        if text is not None:
            self._unsent = memoryview(text)
        return text is not None or self._offset < self._end

    def _blame_file(self, error: OSError) -> None:
        """Fail if an error of sendfile is the file's. Raises UpstreamFailure."""
        if error.errno in _FILE_ERRORS:
            self._fail(failed("sendfile", shown_path(self.file.path), error))

    def _fail_truncated(self, call: str) -> NoReturn:
        self._fail(f'{call}() reported that "{shown_path(self.file.path)}" was truncated at {self._offset}')

    def _fail(self, text: str) -> NoReturn:
        """Fail a response whose head is out and promised more: the connection must end without the rest."""
        log_request(self._request, "alert", f"{text} while sending response to client", code="file")
        self._request.ends("file", text)
        raise UpstreamFailure("error", text, "sending response to client", "file")

    def __repr__(self) -> str:
        return f"<file body {self.file.path!r} at {self._offset} of {self._end}>"


def may_read_at_once(request: Request, file: OpenFile, pieces: Iterable[bytes | Part]) -> bool:
    """Whether a small body may stay in the page cache, and be read by the loop itself without waiting for a disk."""
    location = request.location
    if location.directio and file.size >= location.directio:
        return False
    parts = (piece for piece in pieces if not isinstance(piece, bytes))
    return request.route.thread_pool is None or all(is_in_memory(file.fd, begin, end - begin) for begin, end in parts)


def is_in_memory(fd: int, offset: int, count: int) -> bool:
    """Whether this stretch of a file, at most WINDOW bytes, can be read without waiting for a disk; False if unknown."""
    try:
        return os.preadv(fd, [_scratch[:count]], offset, os.RWF_NOWAIT) == count
    except OSError:
        return False  # EAGAIN; or EOPNOTSUPP from a file system without RWF_NOWAIT
