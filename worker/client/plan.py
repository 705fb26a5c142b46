"""The settings that a connection needs before its first request names a server, whatever its protocol."""

from __future__ import annotations

from worker.client.clients import Clients
from worker.http1.request import HeadLimits
from worker.loop import AT_HOME
from wproxy.config.model import Server


class ListenerPlan:
    """The settings that a connection needs before its first request names a server: those of the listener's default server.

    fallback: the location where none matches. first_wait: waits for `header_timeout`.
    log: the log for lines about a connection without a request.
    """

    __slots__ = ("clients", "default", "fallback", "first_wait", "header_timeout", "limits", "log")

    def __init__(self, default: Server, clients: Clients) -> None:
        number, each = default.large_client_header_buffers
        self.clients = clients
        self.default = default
        self.fallback = default.locations.fallback
        self.log = self.fallback.route.log
        self.header_timeout = default.client_header_timeout
        self.first_wait = AT_HOME[self.header_timeout]
        self.limits = HeadLimits(
            line=each,
            field=each,
            total=number * each,
            count=default.max_headers,
            ignore_invalid_headers=default.ignore_invalid_headers,
            underscores_in_headers=default.underscores_in_headers,
            merge_slashes=default.merge_slashes,
        )
