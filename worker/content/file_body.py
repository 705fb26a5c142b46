"""A file as the body of a response: sent by the kernel from file to socket, in turns with everybody else's.

`send` is for clients whose bytes go out as they are; `read` gives the same body in pieces, for those that change or encrypt it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from typing import NoReturn

from worker.content.open_files import OpenFile, failed
from worker.content.ranges import Part
from worker.logs import log_request
from worker.loop import WRITE, park
from worker.stream import CHUNK, Stream, send_all
from wproxy.failures import UpstreamFailure
from wproxy.files import shown_path
from wproxy.http import Request

# What sendfile says when the fault is the file's and not the client's.
_FILE_ERRORS = frozenset((errno.EIO, errno.EINVAL, errno.ENOMEM, errno.EOVERFLOW, errno.ESTALE, errno.EBADF))


class FileBody:
    """What is left of a body made of parts of one open file and texts between them (a BodySource)."""

    __slots__ = ("_end", "_is_full", "_limit", "_offset", "_pieces", "_request", "file")

    def __init__(self, request: Request, file: OpenFile, pieces: Iterable[bytes | Part]) -> None:
        """The file is ours from now on. pieces: in order; a Part is a stretch of the file."""
        self.file = file
        self._request = request
        self._pieces = iter(pieces)
        self._offset = self._end = 0
        self._limit = request.location.sendfile_max_chunk or 1 << 30
        self._is_full = False

    async def send(self, stream: Stream, seconds: float) -> int:
        """Send the next piece, as much as the socket takes at once and at most sendfile_max_chunk; its size, 0 at the end.

        seconds: how long to wait for room. Raises TimedOut, OSError for what the client did, UpstreamFailure for the file.
        """
        text = self._next_text()
        if text is not None:
            await send_all(stream, text, seconds)
            return len(text)
        count = min(self._end - self._offset, self._limit)
        if not count:
            return 0
        if self._is_full:
            await park(stream, WRITE, seconds)
        while True:
            try:
                sent = os.sendfile(stream.fd, self.file.fd, self._offset, count)
                break
            except BlockingIOError:
                await park(stream, WRITE, seconds)
            except OSError as error:
                if error.errno in _FILE_ERRORS:
                    self._fail(failed("sendfile", shown_path(self.file.path), error))
                raise
        if not sent:
            self._fail_truncated("sendfile")
        self._is_full = sent < count  # the socket has no room for more: trying again at once would be refused
        self._offset += sent
        return sent

    async def read(self) -> bytes:
        """The next piece, at most 64 KB; b"" at the end. Raises UpstreamFailure."""
        text = self._next_text()
        if text is not None:
            return text
        count = min(self._end - self._offset, CHUNK)
        if not count:
            return b""
        try:
            data = os.pread(self.file.fd, count, self._offset)
        except OSError as error:
            self._fail(failed("pread", shown_path(self.file.path), error))
        if not data:
            self._fail_truncated("pread")
        self._offset += len(data)
        return data

    def close(self) -> None:
        """Close the file."""
        self.file.close()

    def _next_text(self) -> bytes | None:
        """The text that comes next; None when a stretch of the file does, or nothing."""
        while self._offset == self._end:
            piece = next(self._pieces, None)
            if piece is None:
                return None
            if isinstance(piece, bytes):
                return piece
            self._offset, self._end = piece
        return None

    def _fail_truncated(self, call: str) -> NoReturn:
        self._fail(f'{call}() reported that "{shown_path(self.file.path)}" was truncated at {self._offset}')

    def _fail(self, text: str) -> NoReturn:
        """The head is out and promised more: the connection must end without it."""
        log_request(self._request, "alert", f"{text} while sending response to client")
        raise UpstreamFailure("error", text, "sending response to client")

    def __repr__(self) -> str:
        return f"<file body {self.file.path!r} at {self._offset} of {self._end}>"


class ReadFileBody(FileBody):
    """The same with `sendfile off`: it is read, and then sent like any body."""

    __slots__ = ()

    send = None  # type: ignore[assignment]
