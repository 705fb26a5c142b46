"""The sockets to syslog."""

from __future__ import annotations

import socket

from wproxy.address import Address


def connect_to_syslog(server: Address) -> int:
    """Return a non-blocking datagram socket, connected to a numeric or unix address. Raises OSError."""
    family = socket.AF_UNIX if server.is_unix else socket.AF_INET6 if server.is_ipv6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect(server.host if server.is_unix else (server.host, server.port))
        return sock.detach()
