"""A stream: one socket in the loop, with the system calls that coroutines make on it.

The seam for TLS: an encrypted stream has its own `recv` and `send`; it has no `kernel_fd`, and so neither splice nor sendfile
pass it by. It `holds` bytes that it has read and not returned yet, and its `flush` sends those that it could not send yet; the
end of its own side, and the state of the other one, are methods that it overrides.
"""

from __future__ import annotations

import _socket
import fcntl
import os
import select
import socket
import struct
import termios
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from worker.loop import WRITE, Loop, Waitable, park
from wproxy.address import Address
from wproxy.native import mypyc_attr

# The size of one recv. Heads are small, and a buffer of 64 KB that is cut down afterwards costs 0.35 us more.
HEAD_CHUNK: Final = 16384
# One for small things: the buffer comes from Python's own pools (512 bytes with the header of the object), which takes 700 of the
# 3,500 instructions of a recv and a send less.
SMALL_CHUNK: Final = 479
CHUNK: Final = 65536
BIG_CHUNK: Final = 262144

# The kernel's `struct tcp_info` (linux/tcp.h): eight bytes, then words of four; the needed ones are picked by number.
_TCP_INFO: Final = struct.Struct("=8x24I")
_RTT, _RTTVAR, _SND_CWND, _RCV_SPACE = 15, 16, 18, 22

# struct linger: on, with zero time.
_NO_LINGER: Final = struct.pack("ii", 1, 0)
# A plain number: that of the module is an object of an enumeration.
_MSG_MORE: Final = int(socket.MSG_MORE)
_read: Final[Callable[[int, int], bytes]] = os.read
_write: Final[Callable[[int, bytes | memoryview], int]] = os.write
_NONE: Final = bytes(4)  # the int that FIONREAD returns when nothing can be read


@mypyc_attr(allow_interpreted_subclasses=True)
class Stream(Waitable):
    """A non-blocking socket.

    kernel_fd: the descriptor, if its bytes are those of recv and send, so that the kernel may move them; -1 if not.
    """

    __slots__ = (
        "_events",
        "kernel_fd",
        "loop",
        "sock",
    )

    def __init__(self, loop: Loop, sock: _socket.socket) -> None:
        self.loop = loop
        self.sock = sock
        self.fd = self.kernel_fd = sock.fileno()
        self.reader = self.writer = None
        self.armed = 0
        self.unexpected = None
        self.watches_departure = self.holds = False
        self.flush = None
        self._events: Callable[[int], list[tuple[int, int]]] | None = None  # asks for events without waiting; made when needed

    # Reading and writing a descriptor takes 600 instructions less than the methods of a socket, which take their arguments apart
    # as functions in Python do. The descriptor is -1 after `close`.

    def recv(self, most: int) -> bytes:
        """Read at most so many bytes; b"" at the end. Raises BlockingIOError when there are none now, OSError."""
        return _read(self.fd, most)

    def send(self, data: bytes | memoryview, /) -> int:
        """Send what there is room for; return how many bytes that were. Raises BlockingIOError when there is none, OSError."""
        return _write(self.fd, data)

    def send_ahead(self, data: bytes) -> int:
        """Send as `send` does, with what follows: the kernel keeps it back until then, so that both go out together.

        If nothing follows at once, `push` has to. One packet less, with its way to the other side, is 4 us of 56.
        """
        return self.sock.send(data, _MSG_MORE)

    def push(self) -> None:
        """Have the kernel send what it keeps back. A failure is met again by who sends next."""
        if self.sock.family != socket.AF_UNIX:
            with suppress(OSError):
                self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)

    def room(self, seconds: float) -> Awaitable[None]:
        """Wait until the socket takes more. Raises TimedOut."""
        return park(self, WRITE, seconds)

    async def drained(self, seconds: float) -> None:
        """Wait until nothing is put aside for the socket; `seconds` limits each pause in progress. Raises TimedOut."""
        while self.flush is not None:
            await park(self, WRITE, seconds)

    async def finished(self, seconds: float) -> None:
        """Wait until all has been sent that has to be before `close`; `seconds` as for `drained`. Raises TimedOut."""
        await self.drained(seconds)

    def has_finished(self) -> bool:
        """Whether nothing has to be sent any more before `close`."""
        return self.flush is None

    def send_last(self, data: bytes | memoryview) -> int:
        """Send as `send` does, the last bytes of all. Raises BlockingIOError, OSError."""
        return self.send(data)

    def end_sending(self) -> None:
        """Tell the other side that nothing more follows the bytes already sent. Raises OSError."""
        self.sock.shutdown(socket.SHUT_WR)

    def send_without_delay(self) -> None:
        """Have small pieces sent at once, though the other side has not acknowledged those before (TCP_NODELAY).

        For whatever sends more than one piece before it waits for an answer; for others it would be a system call for nothing.
        """
        if self.sock.family != socket.AF_UNIX:
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def reset_on_close(self) -> None:
        """Make the following close a reset: then no unsent bytes stay in memory."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)

    def has_departed(self) -> bool:
        """Whether the other side has closed or reset: a look at the socket that takes no byte."""
        try:
            return not self.sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def is_quiet(self) -> bool:
        """Whether the connection is open and nothing unrequested has arrived: no bytes, end or error.

        0.5 us; a recv that is refused costs 1.1.
        """
        if self.fd < 0:
            return False
        look = self._events
        if look is None:
            # Kept: a connection is asked for each request that cannot be sent twice. 1,300 instructions instead of 3,000.
            events = select.poll()
            events.register(self.fd, select.POLLIN)
            look = self._events = events.poll
        return not look(0)

    def has_unread(self) -> bool:
        """Whether bytes (not an end) wait to be read. 0.6 us; a recv that is refused costs 1.1."""
        if self.fd < 0:
            return False
        return fcntl.ioctl(self.fd, termios.FIONREAD, _NONE) != _NONE

    def has_ended(self) -> bool:
        """Whether the other side has closed, even if bytes are unread: asks the kernel for the state of the connection."""
        if Stream.has_departed(self):
            return True
        try:
            # TCP_CLOSE_WAIT (8): the other side has sent its end, whether or not everything before it has been read.
            state = self.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
        except OSError:
            return False  # a unix socket has no such state
        return state in (7, 8)

    def address(self) -> Address:
        """Return the address of our end, from `getsockname`."""
        name = self.sock.getsockname()
        return Address(name, -1) if isinstance(name, str) else Address(name[0], name[1])

    def tcp_info(self) -> tuple[int, int, int, int] | None:
        """Return (rtt, rttvar, snd_cwnd, rcv_space), as nginx has them (ngx_http_variable_tcpinfo); None without TCP."""
        try:
            data = self.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
            words = _TCP_INFO.unpack(data)
        except (OSError, struct.error):  # a unix socket, or closed; a kernel with a shorter struct
            return None
        return words[_RTT], words[_RTTVAR], words[_SND_CWND], words[_RCV_SPACE]

    def close(self) -> None:
        """Leave the loop and close; closing twice is allowed."""
        fd = self.fd
        if fd >= 0:
            leave = self.loop.leave  # read first: called like a method, what an instance has is searched from the class on
            leave(fd, None)
            self.fd = self.kernel_fd = -1
            self.holds = False
            self._events = None
            # It belongs to the holder of this stream: without the cycle no connection waits for the collector, which took a tenth
            # of the time of short ones.
            self.unexpected = None
            self.sock.close()

    def __repr__(self) -> str:
        waits = "".join(word for word, task in (("r", self.reader), ("w", self.writer)) if task)
        return f"<stream {self.fd}{' waits ' + waits if waits else ''}>"
