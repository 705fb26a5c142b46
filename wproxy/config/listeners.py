"""From the `listen` lines of all servers to listeners: which servers share which address (ngx_http_add_listen)."""

from __future__ import annotations

import os
from collections.abc import Callable

from wproxy.address import Address
from wproxy.config.model import Listener, Server
from wproxy.config.scope import ScopeReader
from wproxy.config.tree import Position, Problem
from wproxy.directives.listen import Listen, ServerName

LookUp = Callable[[str, int], list[Address]]


def default_listen() -> Listen:
    """Return the address of a server without `listen`: port 80, or 8000 for users who may not bind that."""
    return Listen("*", (Address("0.0.0.0", 80 if os.geteuid() == 0 else 8000),))


def build_listeners(lines: list[tuple[Server, Listen, Position]], reader: ScopeReader, look_up: LookUp) -> tuple[Listener, ...]:
    """Group servers by the address they listen on; the default is the one marked so, or the first. Problems go to `reader`.

    `listen PORT quic` is a socket of its own kind, which may share the address of another; it is checked and, as long as QUIC is
    not implemented, left out of the result.
    """
    builder = _Builder(reader, look_up)
    for server, listen, position in lines:
        for address in builder.addresses(listen, position):
            builder.add(server, listen, address, position)
    for entry in builder.found.values():
        builder.add_names(entry)
        entry.listener.protocols = entry.protocols or frozenset()
    return tuple(entry.listener for (_, is_quic), entry in builder.found.items() if not is_quic)


# Protocol parameters that hold for all servers of an address.
_SHARED_PROTOCOLS = frozenset(("ssl", "http2", "proxy_protocol"))


class _Entry:
    """An address while its lines are gathered.

    protocols: those given so far. agreed: those of an earlier line, which later lines must repeat; has_changed: whether one did
    not. servers: in the order of the file.
    """

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.servers: list[Server] = []
        self.is_marked = False
        self.has_options = False
        self.protocols: frozenset[str] | None = None
        self.agreed: frozenset[str] | None = None
        self.has_changed = False

    def redefines(self, listen: Listen) -> bool:
        """Whether a line gives the address other protocols than it has (nginx: ngx_http_add_addresses).

        The line with the socket options may set them for all; so may all lines together.
        """
        now = frozenset(listen.protocols) & _SHARED_PROTOCOLS
        before = self.protocols
        if before is None:
            self.protocols = now
            return False
        agreed = self.agreed
        self.protocols = before | now
        if now - before:
            redefined = (self.has_options and not listen.has_options) or self.has_changed or bool(before - now)
            self.agreed, self.has_changed = before, True
        elif before - now:
            redefined = listen.has_options or (agreed is not None and now != agreed)
            self.agreed, self.has_changed = now, True
        else:
            redefined = (listen.has_options and self.has_changed) or (agreed is not None and now != agreed)
            self.agreed = now
        return redefined


class _Builder:
    def __init__(self, reader: ScopeReader, look_up: LookUp) -> None:
        self.reader = reader
        self.look_up = look_up
        self.found: dict[tuple[Address, bool], _Entry] = {}  # keyed by address, and whether it is QUIC's

    def addresses(self, listen: Listen, position: Position) -> list[Address]:
        """Return the numeric addresses of a line; a name may have several."""
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
        """Enter one address of a line."""
        problem = self.reader.problem
        key = address, "quic" in listen.protocols
        entry = self.found.get(key)
        if entry is None:
            entry = self.found[key] = _Entry(Listener(address, position))
        listener = entry.listener
        # The lines of one server follow one another.
        if entry.servers and entry.servers[-1] is server:
            problem(f"a duplicate listen {address}", position)
            return
        entry.servers.append(server)
        redefines = entry.redefines(listen)
        if listen.has_options:
            if entry.has_options:
                problem(f"duplicate listen options for {address}", position)
            entry.has_options = True
            listener.options = listen.options
        if "http2" in listen.protocols:
            self.reader.warnings.append(
                Problem('the "listen ... http2" directive is deprecated, use the "http2" directive instead', position)
            )
        if listener.servers.default is None:
            listener.servers.default = server
        if listen.default_server:
            if entry.is_marked:
                problem(f"a duplicate default server for {address}", position)
            entry.is_marked = True
            listener.servers.default = server
        if redefines:
            self.reader.warnings.append(Problem(f"protocol options redefined for {address}", position))

    def add_names(self, entry: _Entry) -> None:
        """Enter the names of all servers of an address; nginx does so after the last line, so no line is blamed."""
        names, address = entry.listener.servers, entry.listener.address
        for server in entry.servers:
            for name in server.names or _NAMELESS:
                if name.regex is not None:
                    names.add_regex(name.regex, server)
                    continue
                try:
                    if not names.add(name.text, server):
                        text = f'conflicting server name "{name.text.lower()}" on {address}, ignored'
                        # nginx ignores the names of a single server: whatever they are, it is the one.
                        if len(entry.servers) > 1:
                            self.reader.warnings.append(Problem(text))
                except ValueError:
                    text = f'invalid server name or wildcard "{name.text}" on {address}'
                    if len(entry.servers) > 1:
                        self.reader.problem(text, None)
                    else:
                        self.reader.warnings.append(Problem(f"{text}, ignored"))


_NAMELESS = (ServerName(""),)
