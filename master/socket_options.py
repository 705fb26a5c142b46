"""Socket options of a `listen` line (nginx: ngx_configure_listening_sockets in src/core/ngx_connection.c)."""

from __future__ import annotations

import socket

from wproxy.address import Address
from wproxy.directives.listen import SocketOptions

DEFER_SECONDS = 1  # nginx's: the kernel hands over a silent connection after that long


def new_socket(address: Address, options: SocketOptions) -> socket.socket:
    """Return an unbound TCP socket with the options that must be set before binding; raises OSError."""
    family = socket.AF_INET6 if address.is_ipv6 else socket.AF_INET
    one = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_MPTCP if options.multipath else 0)
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if address.is_ipv6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(options.ipv6only))
    except BaseException:
        one.close()
        raise
    return one


def apply(one: socket.socket, options: SocketOptions) -> None:
    """Set the options that a socket may get at any time, before `listen` and again when a reload has changed them.

    Options that the kernel does not support are left alone: nginx logs that and serves all the same.
    """
    tcp = socket.IPPROTO_TCP
    wanted: list[tuple[int, int, int | None]] = [
        (socket.SOL_SOCKET, socket.SO_RCVBUF, options.receive_buffer),
        (socket.SOL_SOCKET, socket.SO_SNDBUF, options.send_buffer),
        (tcp, socket.TCP_FASTOPEN, options.fastopen),
        (tcp, socket.TCP_DEFER_ACCEPT, DEFER_SECONDS if options.deferred else None),
    ]
    if options.keepalive is not None:
        wanted += [
            (socket.SOL_SOCKET, socket.SO_KEEPALIVE, int(options.keepalive.on)),
            (tcp, socket.TCP_KEEPIDLE, options.keepalive.idle),
            (tcp, socket.TCP_KEEPINTVL, options.keepalive.interval),
            (tcp, socket.TCP_KEEPCNT, options.keepalive.count),
        ]
    for level, name, value in wanted:
        if value is not None:
            try:
                one.setsockopt(level, name, value)
            except OSError:
                pass
