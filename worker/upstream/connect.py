"""Opening a connection to a peer without blocking the loop."""

from __future__ import annotations

import errno
import os
import socket

from worker.loop import READ, WRITE, Loop, park
from worker.stream import Stream
from worker.upstream.failing import CONNECTING
from worker.upstream.peers import Group, LivePeer
from wproxy.failures import TimedOut, UpstreamFailure


async def connect(loop: Loop, group: Group, peer: LivePeer, seconds: float) -> Stream:
    """A new connection to the peer; raises UpstreamFailure("error" or "timeout")."""
    try:
        sock = socket.socket(peer.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    except OSError as error:
        raise UpstreamFailure("error", f"socket() failed ({error.errno}: {error.strerror})", CONNECTING) from None
    stream = Stream(loop, sock)
    try:
        if peer.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        code = sock.connect_ex(peer.sockaddr)
        if code == errno.EINPROGRESS:
            loop.add(stream, READ | WRITE)
            await park(stream, WRITE, seconds)
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                raise _refused("connect() failed", code)
        elif code:
            raise _refused(f"connect() to {peer.name} failed", code)
        else:
            loop.add(stream)
    except TimedOut:
        stream.close()
        raise UpstreamFailure("timeout", "upstream timed out (110: Connection timed out)", CONNECTING) from None
    except BaseException:
        stream.close()
        raise
    stream.unexpected = lambda stream: group.lost(peer, stream)
    return stream


def _refused(what: str, code: int) -> UpstreamFailure:
    return UpstreamFailure("error", f"{what} ({code}: {os.strerror(code)})", CONNECTING)
