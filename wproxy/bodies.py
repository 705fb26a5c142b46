"""The way of a body from its source to its destination: the words that all protocols share.

A source returns its bytes in pieces (`read`), or sends them itself (`send`), which lets the kernel move them if nothing has to be
changed on the way. It knows nothing of the protocol of the other side: an outlet takes bytes, and a frame turns a piece of a body
into its form there. Filters wrap sources; everything that they do not do themselves they pass on to the source that they read.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from wproxy.http import Request

# A function that returns the wire form of a piece, such as a chunk; None when pieces stay as they are.
Frame = Callable[[bytes], bytes] | None


class Outlet(Protocol):
    """The destination of a body's bytes: a socket, an encrypted stream, or one of the streams of a connection.

    kernel_fd: a descriptor to which the kernel may move the body's bytes unchanged; -1 without.
    """

    kernel_fd: int

    def send(self, data: bytes | memoryview, /) -> int:
        """Send the beginning of this; return the number of bytes. Raises BlockingIOError while nothing more is taken, OSError."""

    def room(self, seconds: float) -> Awaitable[None]:
        """Wait until more is taken. Raises TimedOut."""


class Tunnel(Protocol):
    """The upstream's side of a connection that has switched protocols: bytes both ways from now on."""

    @property
    def end(self) -> Callable[[], None]:
        """Return the function that closes it; calling that twice is allowed."""


class BodySource(Protocol):
    """The source of the rest of a body."""

    async def read(self) -> bytes:
        """Return the next piece; b"" at the end. Raises UpstreamFailure when there will be no end."""

    async def send(self, outlet: Outlet, frame: Frame, seconds: float, most: int) -> int:
        """Send the next bytes, at most so many; return how many, 0 at the end.

        seconds: the longest wait for room. Raises TimedOut and OSError for failures of the other side, UpstreamFailure.
        """

    def pass_on(self, outlet: Outlet, request: Request) -> bool:
        """Send all of it, as it is, if that can be done without waiting; return whether that was done, and nothing is held.

        Otherwise `send` goes on from there. Raises OSError for failures of the other side, UpstreamFailure.
        """

    async def has_more(self, frame: Frame) -> bool:
        """Whether there is more to send, as far as that can be determined or fetched. Raises UpstreamFailure."""

    async def wait_for_room(self, outlet: Outlet, frame: Frame, seconds: float) -> None:
        """Wait until the outlet takes more, and use that time for reading ahead. Raises TimedOut."""

    def read_ahead(self) -> None:
        """Read as fast as data arrives from now on, if that is allowed: the sender is going to pause."""

    def close(self) -> None:
        """Release everything that is held, whether or not the end was reached."""
