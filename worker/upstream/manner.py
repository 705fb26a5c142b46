"""The manner in which a connection to a peer is opened: the key for sharing idle connections.

A request takes an idle connection only if it would have opened one in the same manner. Its manner follows from its location,
mostly without variables: then it is computed at load. A group whose locations all open connections in one manner, as nearly every
group, need not check it (`IdleConnections.manners`).
"""

from __future__ import annotations

from typing import NamedTuple

from worker.logs import log_request
from worker.upstream.module_settings import ModuleSettings
from worker.upstream.tls.connector import Secured
from wproxy.config.model import Location
from wproxy.directives.proxy_headers import LocalAddress, parse_local_address
from wproxy.http import Request


class Manner(NamedTuple):
    """One way to open a connection. Connections with equal manners are interchangeable.

    module: that of the protocol. local: the local IP address and port (proxy_bind), None for any. keepalive:
    proxy_socket_keepalive. home: with `keepalive N local` the location that opened it. transparent: whether the local address may
    be that of another machine. secured: how it is encrypted, None if it is not. max_streams: how many
    requests may share it, 0 if it has no streams. receive_buffer, send_buffer: the sizes of the system's buffers, 0 for its own.
    """

    module: str = "proxy"
    local: tuple[str, int] | None = None
    keepalive: bool = False
    home: Location | None = None
    transparent: bool = False
    secured: Secured | None = None
    max_streams: int = 0
    receive_buffer: int = 0
    send_buffer: int = 0


def socket_settings(manner: Manner | None) -> Manner | None:
    """Return the manner if it sets anything on a socket before it is connected; None for most, which set nothing."""
    if manner is None or not (manner.local or manner.keepalive or manner.receive_buffer or manner.send_buffer):
        return None
    return manner


def constant_manner(settings: ModuleSettings, is_local: bool) -> Manner | None:
    """Return how a location opens all of its connections; None when this depends on the request.

    is_local: whether the group has `keepalive N local`.
    """
    bind: LocalAddress | None = settings.get("bind")
    local = None
    if bind is not None and bind.text is not None:
        if bind.text.constant is None:
            return None
        local = parse_local_address(bind.text.constant.decode("latin-1"))
    secured = settings.secure_plan.constant() if settings.secure_plan is not None else None
    if settings.secure_plan is not None and secured is None:
        return None
    return _manner(settings, local, secured, is_local)


def manner_of(settings: ModuleSettings, request: Request, is_local: bool, is_told: bool = False) -> Manner:
    """Return how a request would open a connection, if each has its own manner. is_told: whether to log a bad address."""
    bind: LocalAddress | None = settings.get("bind")
    local = None
    if bind is not None and bind.text is not None:
        text = bind.text.evaluate(request).decode("latin-1")
        local = parse_local_address(text) if text else None
        if text and local is None and is_told:
            log_request(request, "error", f'invalid local address "{text}"')
    secured = settings.secure_plan.of(request) if settings.secure_plan is not None else None
    return _manner(settings, local, secured, is_local)


def _manner(settings: ModuleSettings, local: tuple[str, int] | None, secured: Secured | None, is_local: bool) -> Manner:
    """Return the manner of a location whose connections come from this address."""
    home = settings.location if is_local else None
    transparent = local is not None and settings.get("bind").transparent
    keepalive = settings.get("socket_keepalive", False)
    buffers = settings.get("socket_rcvbuf", 0), settings.get("socket_sndbuf", 0)
    return Manner(settings.module, local, keepalive, home, transparent, secured, settings.max_streams, *buffers)
