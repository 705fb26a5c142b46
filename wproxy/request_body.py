"""The body of a request on its way: from a client of any protocol, and to an upstream of any protocol.

`RequestBody` is the base of what a client protocol brings: bytes that arrive piece by piece, at the pace of the reader.
`Outgoing` is what becomes of them for the upstream: bytes in memory, a file, or the rest that is still to come.
"""

from __future__ import annotations

from typing import Final, Protocol

from wproxy.native import mypyc_attr

# Lengths of a body that is missing, or whose length is not known yet.
NO_BODY: Final = -1
UNKNOWN_LENGTH: Final = -2


class BodyFile(Protocol):
    """The file that a body has been read into."""

    name: str
    fileno: int
    size: int

    def read(self, offset: int, count: int) -> bytes:
        """Return bytes from an offset on. Raises OSError."""

    def close(self) -> None:
        """Give it up; closing twice is allowed."""


class KernelPipe(Protocol):
    """A pipe of the kernel's that takes bytes from a socket, so that they do not pass through Python."""

    capacity: int

    def fill(self, source: int, most: int) -> int:
        """Move bytes from a descriptor into it; return how many, 0 at the end. Raises BlockingIOError, OSError."""


@mypyc_attr(allow_interpreted_subclasses=True)
class RequestBody:
    """The body of a request, as every client protocol provides it.

    length: the announced length, or -1 when it is not known. timeout: client_body_timeout. is_passed_on: whether it is being sent
    to an upstream as it arrives. owes_continue: whether the client waits to be told that it may send it.
    collected: the body for the upstream, when it has been read to be passed on. data: all of it, when it is in memory; file: the
    path of its temporary file, if that has a name. was_missed: whether $request_body was asked for after it had been read, and
    it was not all in memory. after: the bytes that were read beyond its end, where all of it was read with the head and taken.
    """

    __slots__ = ("after", "collected", "data", "file", "is_passed_on", "kept", "length", "owes_continue", "timeout", "was_missed")

    def __init__(self, length: int, owes_continue: bool) -> None:
        self.after: bytes | None = None
        self.collected: Outgoing | None = None
        self.data: bytes | None = None
        self.file: bytes | None = None
        self.kept: BodyFile | None = None
        self.length = length
        self.timeout = 60.0
        self.is_passed_on = self.was_missed = False
        self.owes_continue = owes_continue

    @property
    def received(self) -> int:
        """Return the number of bytes of payload that have been read."""
        raise NotImplementedError

    @property
    def wire_bytes(self) -> int:
        """Return the number of bytes read, as they count in $request_length."""
        raise NotImplementedError

    @property
    def finished(self) -> bool:
        """Whether it has been read to its end."""
        raise NotImplementedError

    @property
    def leftover(self) -> bytes:
        """Return bytes of the connection that were read beyond its end."""
        return b""

    @property
    def limit(self) -> int:
        """Return client_max_body_size; 0 for none."""
        raise NotImplementedError

    @limit.setter
    def limit(self, limit: int) -> None:
        """Apply this limit to the rest."""
        raise NotImplementedError

    def take_whole(self) -> bytes | None:
        """Return the body, when its length is known and all of it is here already; otherwise None."""
        raise NotImplementedError

    def take_at_hand(self) -> bytes:
        """Return the payload that is here already; this may finish the body. Raises ClientError (400, 413)."""
        raise NotImplementedError

    async def read(self) -> bytes:
        """Return the next piece, b"" at the end. Raises ClientError (400, 408, 413), ClientGone."""
        raise NotImplementedError

    def moves_by_itself(self) -> bool:
        """Whether the kernel can move all of the rest: there is some, and nothing has to be decoded."""
        return False

    def fill(self, pipe: KernelPipe) -> int:
        """Move bytes that have arrived into an empty pipe, if the body `moves_by_itself`; return how many.

        Raises BlockingIOError when there are none, ClientError(400), ClientGone.
        """
        raise NotImplementedError

    async def wait(self) -> None:
        """Wait until there is something to read. Raises ClientError(408)."""
        raise NotImplementedError

    def keep_in(self, file: BodyFile) -> None:
        """Remember the file that the body is read into, to close it with the request."""
        self.kept = file
        self.file = file.name.encode("utf-8", "surrogateescape")

    def close(self) -> None:
        """Give up the temporary file, if there is one, and the collected body: it can no longer be sent.

        One whose rest is still to come refers to this: with the cycle each streamed upload would wait for the collector.
        """
        self.collected = None
        if self.kept is not None:
            self.kept.close()

    def __repr__(self) -> str:
        return f"<request body {self.received} of {self.length}{' finished' if self.finished else ''}>"


class Outgoing:
    """The bytes after the head of a request to an upstream, and their state.

    length: that of the body, for the protocol's head. at_hand: the part that is in memory. file: the file with all of it when it
    is not in memory. rest: the source of the rest, None when all of it is here. consumed: whether bytes were taken from the
    client that are no longer here. has_more: whether there is something to send after the head and the part in memory.
    ends_connection: whether the answer may not end where it seems to, so that the connection cannot be used again.
    """

    __slots__ = ("at_hand", "consumed", "ends_connection", "file", "has_more", "length", "rest")

    def __init__(self, length: int, at_hand: bytes, rest: RequestBody | None, file: BodyFile | None = None) -> None:
        self.length = length
        self.at_hand = at_hand
        self.rest = rest
        self.file = file
        self.consumed = False
        self.ends_connection = False
        self.has_more = rest is not None or file is not None

    def __repr__(self) -> str:
        where = "in a file" if self.file else f"{len(self.at_hand)} at hand"
        return f"<outgoing body of {self.length}, {where}{', the rest to come' if self.rest else ''}>"


# Shared by requests without a body, and those with an empty one: nothing in these ever changes.
BODILESS: Final = Outgoing(NO_BODY, b"", None)
EMPTY: Final = Outgoing(0, b"", None)
