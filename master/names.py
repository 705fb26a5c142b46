"""Host names to addresses, by the system's resolver. Only the master asks, at load, where the answer may be slow."""

from __future__ import annotations

import socket

from wproxy.address import Address


def look_up(host: str, port: int) -> list[Address]:
    """Return the numeric addresses of a host, each once, in the resolver's order; raises OSError when there are none."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise OSError(str(error)) from None
    addresses = [Address(str(sockaddr[0]), port) for *_, sockaddr in found]
    return list(dict.fromkeys(addresses))
