"""Pipes, through which the kernel moves bytes from one descriptor to another without a copy (splice(2)).

A pipe is lent for one step (fill it from one socket, drain it into the other) and given back at once; a transfer keeps its
pipe only while the target has no room. So a worker needs one pipe for each transfer that is stuck, not for each transfer.

Bounded. A pipe costs two descriptors and the bytes in it; and the kernel counts the pages of a user's pipes
(/proc/sys/fs/pipe-user-pages-soft, 64 MB): beyond that a pipe cannot be enlarged, later it starts with a page or two, and copying
is faster. When there is no good pipe `take` returns None, and the caller copies; the system is asked again when a pipe has been
closed, or after some seconds.

Never dirty. A pipe with bytes in it belongs to one transfer; it is closed if it is given back in that state.

The length given to splice is the number of bytes in the pipe, never more: otherwise the kernel would hold a last small segment
back and wait for the rest.
"""

from __future__ import annotations

import fcntl
import os

# The wanted capacity of a pipe: 1 MB is allowed for an unprivileged user (/proc/sys/fs/pipe-max-size).
CAPACITIES = (1 << 20, 1 << 18)
# The default size of the kernel. With less than that copying is faster.
LEAST = 1 << 16
# The limit of pipes, and of idle ones that are kept.
MOST = 256
MOST_IDLE = 32

_FLAGS = os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE


class Pipe:
    """Two ends, the capacity of the pipe, and the number of bytes in it."""

    __slots__ = ("capacity", "held", "read_end", "write_end")

    def __init__(self, read_end: int, write_end: int, capacity: int) -> None:
        self.read_end = read_end
        self.write_end = write_end
        self.capacity = capacity
        self.held = 0

    def fill(self, source: int, most: int) -> int:
        """Move at most so many bytes from a descriptor into the pipe; 0 at its end. Raises BlockingIOError, OSError."""
        moved = os.splice(source, self.write_end, most, flags=_FLAGS)
        self.held += moved
        return moved

    def drain(self, target: int, most: int) -> int:
        """Move at most so many bytes of those held to a socket. Raises BlockingIOError, OSError."""
        held = self.held
        moved = os.splice(self.read_end, target, held if held < most else most, flags=_FLAGS)
        self.held = held - moved
        return moved

    def drain_to_file(self, file: int, offset: int) -> int:
        """Move all bytes into a file, from an offset on; return how many. Raises OSError; then some may have been moved."""
        total = self.held
        while self.held:
            moved = os.splice(self.read_end, file, self.held, offset_dst=offset, flags=os.SPLICE_F_MOVE)
            offset += moved
            self.held -= moved
        return total

    def read(self) -> bytes:
        """Take out all bytes."""
        pieces = []
        while self.held:
            piece = os.read(self.read_end, self.held)
            self.held -= len(piece)
            pieces.append(piece)
        return b"".join(pieces)

    def shorten(self, size: int) -> None:
        """Drop all bytes but the first so many, which fit in the pipe. Raises OSError."""
        kept = self.read()[:size]
        self.put_back(kept)

    def put_back(self, data: bytes | memoryview) -> None:
        """Put bytes that were read from the pipe back. Raises OSError."""
        while data:
            put = os.write(self.write_end, data)
            self.held += put
            data = data[put:]

    def close(self) -> None:
        """Close both ends; bytes in the pipe are lost."""
        os.close(self.read_end)
        os.close(self.write_end)

    def __repr__(self) -> str:
        return f"<pipe {self.read_end}-{self.write_end} holds {self.held} of {self.capacity}>"


class PipePool:
    """The pipes of a worker.

    made: all pipes, lent or idle. spare: the number that have been idle since `close_spare`. is_refused: whether the system gave
    none when it was asked last.
    """

    def __init__(self, most: int = MOST, most_idle: int = MOST_IDLE) -> None:
        self.most = most
        self.most_idle = most_idle
        self.made = 0
        self.spare = 0
        self.is_refused = False
        self.idle: list[Pipe] = []

    @property
    def is_exhausted(self) -> bool:
        """Whether all pipes that may be had are lent: that many transfers are stuck."""
        return not self.idle and (self.is_refused or self.made >= self.most)

    def take(self) -> Pipe | None:
        """Return an empty pipe; None when there are enough, or when the system gives none that is worth it."""
        if self.idle:
            pipe = self.idle.pop()
            if self.spare > len(self.idle):
                self.spare = len(self.idle)
            return pipe
        if self.is_refused or self.made >= self.most:
            return None
        made = make_pipe()
        if made is not None:
            self.made += 1
        else:
            self.is_refused = True
        return made

    def give_back(self, pipe: Pipe) -> None:
        """Return a pipe from a transfer. A pipe that is not empty is closed."""
        if pipe.held or len(self.idle) >= self.most_idle:
            self.made -= 1
            self.is_refused = False
            pipe.close()
        else:
            self.idle.append(pipe)

    def close_idle(self) -> None:
        """Close the idle pipes."""
        self.spare = len(self.idle)
        self.close_spare()

    def close_spare(self) -> None:
        """Close the pipes that have been idle since the last call: a crowd that has left leaves no descriptors behind.

        Afterwards the system is asked for pipes again if it gave none: others may have closed theirs.
        """
        self.is_refused = False
        for pipe in self.idle[: self.spare]:
            self.made -= 1
            pipe.close()
        del self.idle[: self.spare]
        self.spare = len(self.idle)

    def __repr__(self) -> str:
        return f"<pipes: {self.made} of {self.most}, {len(self.idle)} idle>"


def make_pipe() -> Pipe | None:
    """Return a new pipe, as large as the system allows; None when it is too small to be worth it, or descriptors have run out."""
    try:
        read_end, write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    for wanted in CAPACITIES:
        try:
            return Pipe(read_end, write_end, fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, wanted))
        except OSError:
            continue  # EPERM: more than this user may have
    pipe = Pipe(read_end, write_end, fcntl.fcntl(write_end, fcntl.F_GETPIPE_SZ))
    if pipe.capacity >= LEAST:
        return pipe
    pipe.close()
    return None


# The pool of this process: workers are forked before they make any pipes.
pool = PipePool()
