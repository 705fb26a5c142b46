"""Opening a connection to a server that is no upstream, without blocking the loop."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable

from worker.loop import READ, WRITE, Loop, park
from worker.stream import Stream
from wproxy.failures import TimedOut

# The address of a unix socket is its path.
SocketAddress = str | tuple[str, int]


async def open_stream(
    loop: Loop,
    family: int,
    address: SocketAddress,
    seconds: float,
    make_stream: Callable[[Loop, socket.socket], Stream] = Stream,
) -> Stream:
    """Return a new connection, within so many seconds. Raises OSError."""
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        if family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        stream = make_stream(loop, sock)
    except BaseException:
        sock.close()
        raise
    try:
        code = sock.connect_ex(address)
        loop.add(stream, READ | WRITE if code == errno.EINPROGRESS else READ)
        if code == errno.EINPROGRESS:
            await park(stream, WRITE, seconds)
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))
    except BaseException as error:
        stream.close()
        if isinstance(error, TimedOut):
            raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)) from None
        raise
    return stream
