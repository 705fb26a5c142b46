"""Names as this machine knows them: /etc/hosts, then the name servers and search domains of /etc/resolv.conf.

This is for names that the master has looked up with getaddrinfo at load, which uses the same files and servers. Both files are
reread when they have changed: containers and VPNs rewrite them under running programs.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import TypeVar

from worker.loop import Loop
from worker.resolver.resolver import CannotResolve, Resolved, Resolver
from wproxy.address import Address
from wproxy.directives.resolver import NameServers
from wproxy.dns import HOST_NOT_FOUND, Service, candidates, canonical_name, read_hosts, read_resolv_conf

HOSTS = "/etc/hosts"
RESOLV_CONF = "/etc/resolv.conf"
# The interval, in seconds, at which the files are checked, and so the lifetime of entries of /etc/hosts.
LOOK_EVERY = 5.0
_PORT = 53
_LOCALHOST = ("127.0.0.1", "::1")  # RFC 6761, section 6.3: never ask a name server

Found = TypeVar("Found")


class SystemResolver(Resolver):
    """A resolver whose servers are the system's, besides those of its settings."""

    def __init__(
        self,
        loop: Loop,
        settings: NameServers,
        log: Callable[[str, str], None],
        hosts: str = HOSTS,
        resolv_conf: str = RESOLV_CONF,
    ) -> None:
        """hosts, resolv_conf: paths."""
        super().__init__(loop, settings, log)
        self._files = (hosts, resolv_conf)
        self._stamps: list[tuple[int, int, int]] = []
        self._next_look = float("-inf")
        self.read_files()

    def read_files(self) -> None:
        """Reread the files if they have changed; a missing one counts as empty."""
        now = self.loop.clock.now
        if now < self._next_look:
            return
        self._next_look = now + LOOK_EVERY
        stamps = [_stamp(path) for path in self._files]
        if stamps == self._stamps:
            return
        self._stamps = stamps
        hosts, resolv_conf = map(_content, self._files)
        self.hosts = read_hosts(hosts)
        self.names = read_resolv_conf(resolv_conf)
        self.servers = (*self.settings.servers, *(Address(server, _PORT) for server in self.names.servers))

    def stands_in_file(self, name: str) -> bool:
        """Whether the name needs no name server."""
        self.read_files()
        host = canonical_name(name)
        return host in self.hosts or host == "localhost" or host.endswith(".localhost")

    async def resolve(self, name: str, seconds: float) -> Resolved:
        """See `Resolver.resolve`."""
        if self.stands_in_file(name):
            addresses = [address for address in self.hosts.get(canonical_name(name), _LOCALHOST) if self._is_wanted(address)]
            if not addresses:
                raise CannotResolve(name, HOST_NOT_FOUND, self._next_look)
            return Resolved(tuple(addresses), self._next_look)
        return await self._search(name, seconds, super().resolve)

    async def resolve_service(self, name: str, seconds: float) -> tuple[tuple[Service, ...], float]:
        """See `Resolver.resolve_service`."""
        self.read_files()
        return await self._search(name, seconds, super().resolve_service)

    def _is_wanted(self, address: str) -> bool:
        return self.settings.ipv6 if ":" in address else self.settings.ipv4

    async def _search(self, name: str, seconds: float, ask: Callable[[str, float], Awaitable[Found]]) -> Found:
        """Try the names that this one may stand for. A failing name server ends the search: it may know the name."""
        clock = self.loop.clock
        deadline = clock.now + seconds
        expires = float("inf")
        for candidate in candidates(name, self.names):
            try:
                return await ask(candidate, deadline - clock.now)
            except CannotResolve as error:
                expires = min(expires, error.expires)
                if not error.is_gone:
                    raise CannotResolve(name, error.code) from None
        raise CannotResolve(name, HOST_NOT_FOUND, expires)


def _stamp(path: str) -> tuple[int, int, int]:
    """Return values that differ when a file has been written or replaced."""
    try:
        found = os.stat(path)
    except OSError:
        return (0, 0, 0)
    return (found.st_ino, found.st_mtime_ns, found.st_size)


def _content(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
