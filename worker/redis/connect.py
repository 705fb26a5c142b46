"""Opening a connection to a Redis or Valkey: its name is looked up, hands are shaken where it is encrypted."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import Callable

from worker.connecting import SocketAddress, open_stream
from worker.loop import Loop
from worker.resolver.system import SystemResolver
from worker.stream import Stream
from worker.tls.stream import TlsStream
from wproxy.address import is_ip
from wproxy.directives.resolver import SYSTEM
from wproxy.failures import TimedOut
from wproxy.redis_url import RedisServer


class Connector:
    """Opens connections to one server. It reads the files of certificates when it is made, which may take root."""

    def __init__(self, server: RedisServer, loop: Loop, log: Callable[[str, str], None]) -> None:
        """Raises OSError for a file of authorities that cannot be used any more."""
        self.server = server
        self._loop = loop
        self._log = log
        self._context = ssl.create_default_context(cafile=server.ca or None) if server.is_secure else None
        self._resolver: SystemResolver | None = None

    async def open(self, seconds: float) -> Stream:
        """Return a new connection, within so many seconds. Raises OSError, TimedOut, CannotResolve."""
        deadline = self._loop.clock.now + seconds
        error: OSError | None = None
        for family, address in await self._addresses(seconds):
            try:
                return await self._open_at(family, address, deadline)
            except OSError as failure:
                error = failure
        raise error or OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))

    async def _addresses(self, seconds: float) -> list[tuple[int, SocketAddress]]:
        """Return the families and addresses of the server."""
        host, port = self.server.host, self.server.port
        if port < 0:
            return [(socket.AF_UNIX, host)]
        if is_ip(host):
            hosts: tuple[str, ...] = (host,)
        else:
            if self._resolver is None:
                self._resolver = SystemResolver(self._loop, SYSTEM, self._log)
            hosts = (await self._resolver.resolve(host, seconds)).addresses
        return [(socket.AF_INET6 if ":" in each else socket.AF_INET, (each, port)) for each in hosts]

    async def _open_at(self, family: int, address: SocketAddress, deadline: float) -> Stream:
        clock = self._loop.clock
        stream = await open_stream(self._loop, family, address, deadline - clock.now, self._stream)
        if isinstance(stream, TlsStream):
            try:
                await stream.handshake(deadline - clock.now)
            except BaseException as error:
                stream.close()
                if isinstance(error, TimedOut):
                    raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)) from None
                raise
        return stream

    def _stream(self, loop: Loop, sock: socket.socket) -> Stream:
        if self._context is None:
            return Stream(loop, sock)
        return TlsStream(loop, sock, self._context, self.server.host)
