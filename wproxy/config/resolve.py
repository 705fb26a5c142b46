"""From tree to model: every directive checked against the registry, inheritance applied, names linked.

All problems of a file are found in one run: a directive that is wrong is noted and left out, and the rest is looked at all the
same. Only when the whole tree has been walked does `resolve` give up, with every problem and its position.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from wproxy.address import Address
from wproxy.config.model import Configuration, Listener, Location, Peer, Server, Upstream
from wproxy.config.registry import (
    EVENTS,
    HTTP,
    LOCATION,
    MAIN,
    OWN,
    OWN_GATHER,
    SERVER,
    UPSTREAM,
    Directive,
    context_names,
    find_directive,
    unknown_directive_text,
)
from wproxy.config.tree import ConfigurationError, Node, Position, Problem
from wproxy.directives.http_core import DEFAULT_BACKLOG, Listen
from wproxy.directives.log import COMBINED, LogFormat
from wproxy.directives.proxy import ProxyTarget
from wproxy.directives.rewrite import Return
from wproxy.matching import LocationMatcher
from wproxy.template import compile_template

# Looks a host name up: (host, port) to numeric addresses; raises OSError. It needs a socket, so it is given to us.
LookUp = Callable[[str, int], list[Address]]

Values = dict[str, Any]
Origins = dict[str, Position]


class Scope:
    """What one block sets: its own values by attribute name, and where each was written."""

    def __init__(self, outer: Scope | None = None) -> None:
        self.values: Values = dict(outer.heritage) if outer else {}
        self.origins: Origins = {}
        self.places: dict[str, list[Position]] = {}  # of each value that gathers
        if outer:
            self.origins = {name: outer.origins[name] for name in outer.heritage if name in outer.origins}
        self.heritage: Values = dict(self.values)  # of the values, those that an inner block sees


def resolve(root: Node, file: str, prefix: str, look_up: LookUp) -> Configuration:
    """Turn the tree of a whole configuration into the model; raises ConfigurationError with all problems."""
    return _Resolver(look_up).configuration(root, file, prefix)


class _Resolver:
    """One run over one tree; collects problems instead of stopping at the first."""

    def __init__(self, look_up: LookUp) -> None:
        self.look_up = look_up
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.upstreams: dict[str, Upstream] = {}
        self.servers: list[Server] = []
        self.log_formats: dict[str, LogFormat] = {"combined": LogFormat("combined", "default", COMBINED)}
        self.server_listens: list[tuple[Server, Listen, Position]] = []

    def problem(self, text: str, position: Position | None) -> None:
        self.problems.append(Problem(text, position))

    # Blocks, from the outside to the inside.

    def configuration(self, root: Node, file: str, prefix: str) -> Configuration:
        main = self.scope(root, MAIN, None)
        events = self.scope(_only(root, "events"), EVENTS, None)
        http = _only(root, "http")
        if http:
            self.http(http)
        elif not self.problems:
            self.problem('no "http" section in configuration', root.position._replace(line=0))
        listeners = self.listeners()
        if self.problems:
            raise ConfigurationError(*self.problems)
        configuration = Configuration({**main.values, **events.values}, {**main.origins, **events.origins})
        configuration.file = file
        configuration.prefix = prefix
        configuration.listeners = listeners
        configuration.servers = tuple(self.servers)
        configuration.upstreams = tuple(self.upstreams.values())
        configuration.warnings = tuple(self.warnings)
        configuration.log_formats = self.log_formats
        return configuration

    def http(self, node: Node) -> None:
        scope = self.scope(node, HTTP, None)
        for child in node.named("upstream"):
            if child.children is not None and len(child.arguments) == 1:
                self.upstream(child)
        for child in node.named("server"):
            if child.children is not None:
                self.server(child, scope)
        self.check_log_formats(scope)

    def upstream(self, node: Node) -> None:
        name = node.arguments[0]
        scope = self.scope(node, UPSTREAM, None)
        if name.lower() in self.upstreams:
            self.problem(f'duplicate upstream "{name}"', node.position)
            return
        peers = []
        if not any(True for _ in node.named("server")):
            self.problem("no servers are inside upstream", node.position)
        for place, server in zip(scope.places.get("server", ()), scope.values.get("server", ())):
            for address in self.addresses(server.address, place):
                peers.append(
                    Peer(
                        str(address),
                        address,
                        server.text,
                        server.weight,
                        server.max_fails,
                        server.fail_timeout,
                        server.max_conns,
                        server.backup,
                        server.down,
                    )
                )
        if peers and all(peer.backup for peer in peers):
            self.problem("no servers are inside upstream: all are backup", node.position)
        self.upstreams[name.lower()] = self.new_upstream(name, scope, node.position, peers, implicit=False)

    def server(self, node: Node, http: Scope) -> None:
        scope = self.scope(node, SERVER, http)
        server = Server(scope.values, scope.origins)
        server.position = node.position
        server.names = tuple(name for line in scope.values.get("server_name", ()) for name in line)
        server.locations = LocationMatcher(self.location(None, node, scope, server))
        for child in node.named("location"):
            if child.children is None or not child.arguments:
                continue
            location = self.location(child, child, scope, server)
            if location.modifier not in ("", "="):
                self.problem(f'invalid location modifier "{location.modifier}"', child.position)
            elif not location.pattern.startswith("/"):
                self.problem(f'location "{location.pattern}" must start with "/"', child.position)
            elif not server.locations.add(location.modifier, location.prefix, location):
                self.problem(f'duplicate location "{location.pattern}"', child.position)
        self.redirect_slashless(server)
        server.locations.seal()
        self.servers.append(server)
        for place, listen in zip(scope.places.get("listen", ()), scope.values.get("listen", ())):
            self.server_listens.append((server, listen, place))
        if not any(True for _ in node.named("listen")):
            self.server_listens.append((server, Listen(Address("0.0.0.0", 80)), node.position))

    def location(self, node: Node | None, block: Node, outer: Scope, server: Server) -> Location:
        """A location block; node None: the server itself, for requests that no location takes."""
        if node is None:
            scope, modifier, pattern = outer, "server", ""
        else:
            scope = self.scope(node, LOCATION, outer)
            modifier, pattern = node.arguments if len(node.arguments) == 2 else ("", node.arguments[0])
        location = Location(scope.values, scope.origins)
        location.modifier = modifier
        location.pattern = pattern
        location.prefix = pattern.encode("utf-8", "surrogateescape")
        location.position = block.position
        location.server = server
        location.proxy_target = scope.values.get("proxy_pass")
        location.upstream = None
        if location.proxy_target:
            location.upstream = self.target_upstream(location.proxy_target, scope.origins["proxy_pass"])
        return location

    def redirect_slashless(self, server: Server) -> None:
        """A proxied location `/x/` answers `/x` with a redirect to itself, unless that has a location of its own."""
        for pattern, location in list(server.locations.prefixes.items()):
            slashless = pattern[:-1]
            if not (location.upstream and slashless and pattern.endswith(b"/")) or slashless in server.locations.prefixes:
                continue
            redirect = Location(dict(vars(location)), location.origins)
            redirect.upstream = redirect.proxy_target = redirect.proxy_pass = None
            redirect.return_ = Return(301, compile_template("$wproxy_slashed_uri$is_args$args"))
            server.locations.add("=", slashless, redirect)

    # Peers.

    def target_upstream(self, target: ProxyTarget, position: Position) -> Upstream | None:
        """The group a proxy_pass names: an upstream block, or one made of the addresses of the name."""
        key = target.address.host.lower()
        explicit = self.upstreams.get(key)
        if explicit and not explicit.implicit and not target.address.is_unix:
            if target.has_port:
                self.problem(f'upstream "{explicit.name}" may not have port {target.port}', position)
            return explicit
        name = str(target.address)
        if name in self.upstreams:
            return self.upstreams[name]
        addresses = self.addresses(target.address, position)
        peers = [Peer(str(address), address, name) for address in addresses]
        # Idle connections to a bare address are kept too: nginx never does, and pays a handshake for each request.
        upstream = self.new_upstream(name, Scope(), position, peers, implicit=True)
        self.upstreams[name] = upstream
        return upstream

    def addresses(self, address: Address, position: Position) -> list[Address]:
        """The numeric addresses of one that was written; a name that is not found is a problem."""
        if address.is_numeric:
            return [address]
        try:
            return self.look_up(address.host, address.port)
        except OSError:
            self.problem(f'host not found in upstream "{address.host}"', position)
            return []

    def new_upstream(self, name: str, scope: Scope, position: Position, peers: list[Peer], implicit: bool) -> Upstream:
        upstream = Upstream(scope.values, scope.origins)
        upstream.name = name
        upstream.position = position
        upstream.implicit = implicit
        upstream.peers = tuple(peers)
        return upstream

    # Listeners.

    def listeners(self) -> tuple[Listener, ...]:
        """Servers by the address they listen on; the default of each is the one marked so, or the first."""
        found: dict[Address, Listener] = {}
        marked: set[Address] = set()
        taken: set[tuple[int, Address]] = set()
        for server, listen, position in self.server_listens:
            if (id(server), listen.address) in taken:
                self.problem(f"a duplicate listen {listen.address}", position)
                continue
            taken.add((id(server), listen.address))
            listener = found.setdefault(listen.address, Listener(listen.address, position))
            if listen.backlog != DEFAULT_BACKLOG:
                listener.backlog = listen.backlog
            if listener.servers.default is None:
                listener.servers.default = server
            if listen.default_server:
                if listen.address in marked:
                    self.problem(f"a duplicate default server for {listen.address}", position)
                marked.add(listen.address)
                listener.servers.default = server
            for name in server.names or ("",):
                try:
                    if not listener.servers.add(name, server) and name:
                        text = f'conflicting server name "{name}" on {listen.address}, ignored'
                        self.warnings.append(Problem(text, position))
                except ValueError as error:
                    self.problem(f"{error} on {listen.address}", position)
        return tuple(found.values())

    def check_log_formats(self, http: Scope) -> None:
        """Every access_log must name a format that exists."""
        self.log_formats.update({line.name: line for line in http.values.get("log_format", ())})
        for server in self.servers:
            for location in server.locations:
                for log in location.access_log:
                    where = location.origins.get("access_log", location.position)
                    if log.path in self.log_formats:
                        text = f'"{log.path}" in "access_log" is a log format, not a file: write {{ "FILE" = "{log.path}" }}'
                    elif log.path != "off" and log.format not in self.log_formats:
                        text = f'unknown log format "{log.format}"'
                    else:
                        continue
                    if Problem(text, where) not in self.problems:
                        self.problem(text, where)

    # Directives.

    def scope(self, node: Node | None, context: int, outer: Scope | None) -> Scope:
        """Read the directives that stand in one block, on top of what the block around it hands down."""
        scope = Scope(outer)
        own: set[str] = set()
        for child in node.children or () if node else ():
            row = self.check(child, context)
            if row is None:
                continue
            attribute = row.attribute
            if attribute in own and not row.repeats:
                self.problem(f'"{child.name}" directive is duplicate', child.position)
                continue
            try:
                value = row.read(*child.arguments)
            except ValueError as error:
                # Only there: a person may have written %s too.
                text = str(error).replace('"%s" directive', f'"{child.name}" directive')
                self.problem(text, child.position)
                continue
            if row.repeats:
                scope.places.setdefault(attribute, []).append(child.position)
                value = (*scope.values[attribute], value) if attribute in own else (value,)
            own.add(attribute)
            scope.values[attribute] = value
            scope.origins[attribute] = child.position
            if row.inherit not in (OWN, OWN_GATHER):
                scope.heritage[attribute] = value
        return scope

    def check(self, node: Node, context: int) -> Directive | None:
        """The row of a directive that may stand here with these arguments; None after noting why not."""
        row = find_directive(node.name, context)
        if row is None:
            self.problem(unknown_directive_text(node, context), node.position)
        elif not row.contexts & context:
            where = " or ".join(context_names(row.contexts))
            self.problem(f'"{node.name}" directive is not allowed here, only in {where}', node.position)
        elif bool(row.block) != (node.children is not None):
            needs = 'has no opening "{"' if row.block else "takes values, not a block"
            self.problem(f'directive "{node.name}" {needs}', node.position)
        elif not row.accepts(len(node.arguments)):
            self.problem(f'invalid number of arguments in "{node.name}" directive', node.position)
        elif any("\0" in argument for argument in node.arguments):
            self.problem(f'a zero byte in "{node.name}" directive', node.position)
        else:
            return row
        return None


def _only(node: Node, name: str) -> Node | None:
    return next((child for child in node.named(name) if child.children is not None), None)
