"""From the `listen` lines of all servers to listeners: which servers are found at which address (ngx_http_add_listen)."""

from __future__ import annotations

import os
from collections.abc import Callable

from wproxy.address import Address
from wproxy.config.model import Listener, Server
from wproxy.config.scope import ScopeReader
from wproxy.config.tree import Position, Problem
from wproxy.directives.listen import Listen

LookUp = Callable[[str, int], list[Address]]


def default_listen() -> Listen:
    """Where a server without `listen` is found: port 80, or 8000 for those who may not have that."""
    return Listen("*", (Address("0.0.0.0", 80 if os.geteuid() == 0 else 8000),))


def build_listeners(lines: list[tuple[Server, Listen, Position]], reader: ScopeReader, look_up: LookUp) -> tuple[Listener, ...]:
    """Servers by the address they listen on; the default of each is the one marked so, or the first. Problems go to `reader`."""
    builder = _Builder(reader, look_up)
    for server, listen, position in lines:
        for address in builder.addresses(listen, position):
            builder.add(server, listen, address, position)
    return tuple(builder.found.values())


class _Builder:
    def __init__(self, reader: ScopeReader, look_up: LookUp) -> None:
        self.reader = reader
        self.look_up = look_up
        self.found: dict[Address, Listener] = {}
        self.marked: set[Address] = set()
        self.with_options: set[Address] = set()
        self.taken: set[tuple[int, Address]] = set()

    def addresses(self, listen: Listen, position: Position) -> list[Address]:
        """The numeric addresses of a line; a name may have several."""
        numeric: list[Address] = []
        for address in listen.addresses:
            if address.is_numeric:
                numeric.append(address)
                continue
            try:
                numeric += self.look_up(address.host, address.port)
            except OSError:
                self.reader.problem(f'host not found in "{listen.text}" of the "listen" directive', position)
        return numeric

    def add(self, server: Server, listen: Listen, address: Address, position: Position) -> None:
        problem = self.reader.problem
        if (id(server), address) in self.taken:
            problem(f"a duplicate listen {address}", position)
            return
        self.taken.add((id(server), address))
        listener = self.found.setdefault(address, Listener(address, position))
        if listen.has_options:
            if address in self.with_options:
                problem(f"duplicate listen options for {address}", position)
            self.with_options.add(address)
            listener.options = listen.options
        if listener.servers.default is None:
            listener.servers.default = server
        if listen.default_server:
            if address in self.marked:
                problem(f"a duplicate default server for {address}", position)
            self.marked.add(address)
            listener.servers.default = server
        self.add_names(server, listener, position)

    def add_names(self, server: Server, listener: Listener, position: Position) -> None:
        names = listener.servers
        if not server.names:
            names.exact.setdefault(b"", server)
        for name in server.names:
            if name.regex is not None:
                names.add_regex(name.regex, server)
                continue
            try:
                if not names.add(name.text, server) and name.text:
                    text = f'conflicting server name "{name.text}" on {listener.address}, ignored'
                    self.reader.warnings.append(Problem(text))
            except ValueError:
                # nginx finds it when it builds its tables, after the last line was read.
                self.reader.problem(f'invalid server name or wildcard "{name.text}" on {listener.address}', None)
