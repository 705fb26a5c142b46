"""How a body gets from where it comes from to where it is sent: the words that all protocols share.

A source gives its bytes in pieces (`read`), or sends them itself (`send`), which lets the kernel move them where nothing has to
be changed on the way. It knows nothing of the protocol of the other side: an outlet takes bytes, and a frame says how a piece of
a body looks there. Filters wrap sources; what they do not do themselves they pass on to the source that they read.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

# What a piece becomes on the wire, as a chunk; None where it stays as it is.
Frame = Callable[[bytes], bytes] | None


class Outlet(Protocol):
    """What takes the bytes of a body: a socket, an encrypted stream, or one of the streams of a connection.

    kernel_fd: a descriptor whose bytes are those of the body, so that the kernel may move them to it; -1 without.
    """

    kernel_fd: int

    def send(self, data: bytes | memoryview, /) -> int:
        """Send the beginning of this; return how much. Raises BlockingIOError while nothing more is taken, OSError."""

    def room(self, seconds: float) -> Awaitable[None]:
        """Wait until more is taken. Raises TimedOut."""


class BodySource(Protocol):
    """Where the rest of a body comes from."""

    async def read(self) -> bytes:
        """Return the next piece; b"" at the end. Raises UpstreamFailure when there will be no end."""

    async def send(self, outlet: Outlet, frame: Frame, seconds: float, most: int) -> int:
        """Send the next bytes, at most so many; return how many, 0 at the end.

        seconds: the longest wait for room. Raises TimedOut and OSError for what the other side did, UpstreamFailure.
        """

    async def has_more(self, frame: Frame) -> bool:
        """Return whether there is more to send, as far as that can be told or fetched. Raises UpstreamFailure."""

    async def wait_for_room(self, outlet: Outlet, frame: Frame, seconds: float) -> None:
        """Wait until the outlet takes more, and make use of that time: for reading ahead. Raises TimedOut."""

    def read_ahead(self) -> None:
        """Read as fast as it comes from now on, where that is allowed: whoever sends it is going to pause."""

    def close(self) -> None:
        """Give up what is held, whether or not the end was reached."""
