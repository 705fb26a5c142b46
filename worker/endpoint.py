"""Our end of a client's connection, as the system sees it."""

from __future__ import annotations

import _socket
import socket
import struct

from wproxy.address import Address
from wproxy.http import Endpoint

# The kernel's `struct tcp_info` (linux/tcp.h): eight bytes, then words of four; the needed ones are picked by number.
_TCP_INFO = struct.Struct("=8x24I")
_RTT, _RTTVAR, _SND_CWND, _RCV_SPACE = 15, 16, 18, 22


class SocketEndpoint(Endpoint):
    """The endpoint of an accepted socket; the system is asked on demand."""

    __slots__ = ("_sock",)

    def __init__(self, sock: _socket.socket) -> None:
        self._sock = sock

    def address(self) -> Address:
        """Return the address from `getsockname`."""
        name = self._sock.getsockname()
        return Address(name, -1) if isinstance(name, str) else Address(name[0], name[1])

    def tcp_info(self) -> tuple[int, int, int, int] | None:
        """Return values of TCP_INFO (nginx: ngx_http_variable_tcpinfo)."""
        try:
            data = self._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
            words = _TCP_INFO.unpack(data)
        except (OSError, struct.error):  # a unix socket, or closed; a kernel with a shorter struct
            return None
        return words[_RTT], words[_RTTVAR], words[_SND_CWND], words[_RCV_SPACE]
