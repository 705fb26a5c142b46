"""Opening a connection to a peer without blocking the loop."""

from __future__ import annotations

import _socket
import errno
import os
import socket
from collections.abc import Callable
from typing import ClassVar, Final

from worker.loop import READ, WRITE, Loop, park
from worker.stream import Stream
from worker.upstream.failing import CONNECTING
from worker.upstream.live_peer import LivePeer
from worker.upstream.manner import Manner, socket_settings
from wproxy.failures import TimedOut, UpstreamFailure
from wproxy.native import mypyc_attr

# As plain numbers: members of an Enum cost eight times as much.
_UNIX: Final = int(socket.AF_UNIX)
_NON_BLOCKING: Final = int(socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
_IN_PROGRESS: Final = int(errno.EINPROGRESS)
_TCP, _TCP_INFO = int(socket.IPPROTO_TCP), int(socket.TCP_INFO)
# The beginning of TCP_INFO: the state of a connection.
_ESTABLISHED: Final = b"\1"


@mypyc_attr(allow_interpreted_subclasses=True)
class CannotConnect(Exception):
    """A connection could not even be attempted, and no peer is to blame.

    level: that of the log line. code: the word of `wproxy.end_causes`.
    """

    level: ClassVar[str] = "alert"
    code: ClassVar[str] = "no_room"


class CannotBind(CannotConnect):
    """The local address for the connection is not available."""

    level: ClassVar[str] = "crit"
    code: ClassVar[str] = "conf_value"


async def connect(
    loop: Loop, peer: LivePeer, seconds: float, manner: Manner, make_stream: Callable[[Loop, _socket.socket], Stream]
) -> Stream:
    """Return a new connection to the peer; raises UpstreamFailure("error" or "timeout") and CannotConnect.

    For the parameters see `begin_to_connect`.
    """
    stream, is_there = begin_to_connect(loop, peer, socket_settings(manner), make_stream)
    if not is_there:
        await established(stream, seconds)
    return stream


def begin_to_connect(
    loop: Loop, peer: LivePeer, settings: Manner | None, make_stream: Callable[[Loop, _socket.socket], Stream]
) -> tuple[Stream, bool]:
    """Return a new stream, and whether it is connected already, as to a unix socket. Raises UpstreamFailure, CannotConnect.

    settings: those of its manner for the socket; None where there are none (`socket_settings`). make_stream: makes the stream of
    the socket.
    """
    stream_count = loop.stream_count  # read first: see `Stream.close`
    if stream_count() > loop.roomy and (refusal := loop.lacks_room()):
        raise CannotConnect(f"{refusal} while {CONNECTING}")
    try:
        # The class beneath socket.socket: to make and close one of that takes 1.5 us more.
        sock = _socket.socket(peer.family, _NON_BLOCKING)
    except OSError as error:
        raise CannotConnect(f"socket() failed ({error.errno}: {error.strerror}) while {CONNECTING}") from None
    try:
        stream = make_stream(loop, sock)
    except BaseException:
        sock.close()
        raise
    try:
        if settings is not None:
            set_up(sock, peer, settings)
        code = sock.connect_ex(peer.sockaddr)
        if code:
            if code != _IN_PROGRESS:
                raise _refused(f"connect() to {peer.name} failed", code)
            # Loopback has delivered during the call, whose answer only came too early. That saves a turn of the loop.
            if not peer.is_near or sock.getsockopt(_TCP, _TCP_INFO, 1) != _ESTABLISHED:
                loop.add(stream, READ | WRITE)
                return stream, False
        loop.add(stream)
        return stream, True
    except BaseException:
        stream.close()
        raise


async def established(stream: Stream, seconds: float) -> None:
    """Wait until a stream is connected; close it if that fails. Raises UpstreamFailure("error" or "timeout")."""
    try:
        await park(stream, WRITE, seconds)
        code = stream.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise _refused("connect() failed", code)
    except TimedOut:
        stream.close()
        raise UpstreamFailure("timeout", "upstream timed out (110: Connection timed out)", CONNECTING) from None
    except BaseException:
        stream.close()
        raise


def set_up(sock: _socket.socket, peer: LivePeer, settings: Manner) -> None:
    """Set what is to be set on a socket before it is connected. Raises CannotConnect."""
    if settings.receive_buffer or settings.send_buffer:
        resize_buffers(sock, settings)
    if peer.family != _UNIX:
        if settings.keepalive:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if settings.local is not None:
            if settings.transparent:
                allow_any_address(sock)
            bind(sock, settings.local)


def resize_buffers(sock: _socket.socket, manner: Manner) -> None:
    """Give the buffers of a socket the sizes that are asked for. Raises CannotConnect."""
    for option, name, size in (
        (socket.SO_RCVBUF, "SO_RCVBUF", manner.receive_buffer),
        (socket.SO_SNDBUF, "SO_SNDBUF", manner.send_buffer),
    ):
        if size:
            try:
                sock.setsockopt(socket.SOL_SOCKET, option, size)
            except OSError as error:
                raise CannotConnect(f"setsockopt({name}) failed ({error.errno}: {error.strerror}) while {CONNECTING}") from None


def bind(sock: _socket.socket, local: tuple[str, int]) -> None:
    """Bind the socket to this local address. Raises CannotBind."""
    try:
        if local[1]:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            # The port is chosen at connect, when the other end is known: that allows far more connections than ports.
            sock.setsockopt(socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
        sock.bind(local)
    except OSError as error:
        text = f"[{local[0]}]:{local[1]}" if ":" in local[0] else f"{local[0]}:{local[1]}"
        raise CannotBind(f"bind({text}) failed ({error.errno}: {error.strerror}) while connecting to upstream") from None


def allow_any_address(sock: _socket.socket) -> None:
    """Let the socket be bound to addresses that are not the machine's own, which takes CAP_NET_RAW. Raises CannotConnect."""
    is_ipv6 = sock.family == socket.AF_INET6
    try:
        if is_ipv6:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_TRANSPARENT, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_TRANSPARENT, 1)
    except OSError as error:
        name = "IPV6_TRANSPARENT" if is_ipv6 else "IP_TRANSPARENT"
        raise CannotConnect(f"setsockopt({name}) failed ({error.errno}: {error.strerror}) while {CONNECTING}") from None


# linux/in.h and linux/in6.h; not every Python names them.
_IP_TRANSPARENT: Final = 19
_IPV6_TRANSPARENT: Final = 75
_BIND_ADDRESS_NO_PORT: Final = 24


# What may happen to any peer; the rest, as a socket file that is missing or may not be used, needs someone to mend it (nginx:
# ngx_event_connect_peer).
_USUAL: Final = frozenset(
    (
        errno.ECONNREFUSED,
        errno.EAGAIN,
        errno.ECONNRESET,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
    )
)


def _refused(what: str, code: int) -> UpstreamFailure:
    end_code = "up_refused" if code == errno.ECONNREFUSED else "up_unreachable"
    failure = UpstreamFailure("error", f"{what} ({code}: {os.strerror(code)})", CONNECTING, end_code)
    if code not in _USUAL:
        failure.level = "crit"
    return failure
