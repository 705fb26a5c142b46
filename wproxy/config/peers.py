"""The groups of peers of a configuration: `upstream` blocks, and those made from the address of a proxy_pass or the like."""

from __future__ import annotations

from wproxy.address import Address
from wproxy.config.compat import put_defaults
from wproxy.config.effects import Ineffective
from wproxy.config.listeners import LookUp
from wproxy.config.model import Peer, Upstream
from wproxy.config.registry import UPSTREAM
from wproxy.config.scope import Scope, ScopeReader
from wproxy.config.tree import Node, Position, Problem
from wproxy.directives.balancing import ROUND_ROBIN, Balancing
from wproxy.directives.pass_to import NO_PORT
from wproxy.directives.proxy import ProxyTarget
from wproxy.directives.upstream import INEFFECTIVE_PARAMETERS, METHODS, UpstreamServer, method
from wproxy.remembered import remembered
from wproxy.sessions import session_memory


class Upstreams:
    """All groups by lower-case name; a bare address is a group of its own."""

    def __init__(self, reader: ScopeReader, look_up: LookUp) -> None:
        self.reader = reader
        self.look_up = look_up
        self.groups: dict[str, Upstream] = {}
        self.http = Scope()  # the settings that blocks inherit from the http block
        self.compat = "current"
        self._zones: dict[str, int | None] = {}  # the size of each zone, where it was given

    def add_block(self, node: Node) -> None:
        """Read an `upstream` block."""
        name = node.arguments[0]
        scope = self.reader.read(node, UPSTREAM, self.http)
        self.find_name_servers(scope)
        put_defaults(self.compat, scope, UPSTREAM)
        if name.lower() in self.groups:
            self.reader.problem(f'duplicate upstream "{name}"', node.position)
            return
        if scope.values.get("state") is None and not any(True for _ in node.named("server")):
            self.reader.problem("no servers are inside upstream", node.position)
        balancing = self._balancing(node, scope)
        peers: list[Peer] = []
        lines: list[UpstreamServer] = []
        for line, server in zip(scope.written.get("server", ()), scope.values.get("server", ())):
            # Possibly only its `resolver` knows a name with `resolve`: the workers ask it before they serve.
            for address in () if server.resolve else self.addresses(server.address, line.position, scope, server.text):
                lines.append(server)
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
        self._add_zone(scope)
        servers = scope.values.get("server", ())
        were_read = len(servers) == sum(1 for _ in node.named("server"))
        if servers and were_read and all(server.backup for server in servers) and scope.values.get("state") is None:
            self.reader.problem(f'no servers in upstream "{name}"', node.position)
        group = self.groups[name.lower()] = self._group(name, scope, node.position, peers, implicit=False)
        group.balancing = balancing
        group.peer_lines = tuple(lines)
        group.remembered = {
            server: remembered(name, server.address.host, server.service) for server in servers if not server.address.is_numeric
        }
        if group.sticky is not None and group.sticky.zone:
            group.session_memory = session_memory(name, group.sticky.zone, group.sticky.size)

    def _add_zone(self, scope: Scope) -> None:
        """Note the `zone` of a block; several blocks may name one, and one of them has to give its size."""
        zone = scope.values.get("zone")
        if zone is None:
            return
        known = self._zones.setdefault(zone.name, zone.size)
        if known is None:
            self._zones[zone.name] = zone.size
        elif zone.size not in (None, known):
            text = f'the size {zone.size} of shared memory zone "{zone.name}" conflicts with already declared size {known}'
            self.reader.problem(text, scope.written["zone"][-1].position)

    def check_zones(self) -> None:
        """Report zones whose size no block has given; to be called when all blocks have been read."""
        for name, size in self._zones.items():
            if size is None:
                self.reader.problem(f'zero size shared memory zone "{name}"', None)

    def _balancing(self, node: Node, scope: Scope) -> Balancing:
        """Return the method of a block. As in nginx the last one counts, and a server has to fit the methods before it in the
        block.
        """
        balancing: Balancing | None = None
        for child in node.children or ():
            if child.name in METHODS and scope.values.get(child.name) is not None:
                if balancing is not None:
                    self.reader.warnings.append(Problem("load balancing method redefined", child.position))
                balancing = method(child.name, scope.values[child.name])
            elif child.name == "server":
                for parameter in child.arguments[1:]:
                    word = parameter.partition("=")[0]
                    if balancing is not None and word in balancing.refuses:
                        text = f'balancing method does not support parameter "{parameter}"'
                        self.reader.problem(text, child.position)
                    if word in INEFFECTIVE_PARAMETERS:
                        subject = f'"{word}" parameter of "server" directive'
                        self.reader.ineffective.append(Ineffective(subject, child.position, False))
        sticky = scope.values.get("sticky")
        if sticky is not None and sticky.sync and sticky.server is None:
            position = scope.written["sticky"][-1].position
            self.reader.ineffective.append(Ineffective('"sync" parameter of "sticky" directive', position, False))
        return balancing or ROUND_ROBIN

    def target(self, target: ProxyTarget, position: Position, scope: Scope) -> Upstream | None:
        """Return the group that a proxy_pass names: an upstream block, or one made from the addresses of the name."""
        assert target.address is not None
        key = target.address.host.lower()
        explicit = self.groups.get(key)
        if explicit and not explicit.implicit and not target.address.is_unix:
            if target.has_port:
                self.reader.problem(f'upstream "{explicit.name}" may not have port {target.port}', position)
            return explicit
        if target.address.port == NO_PORT:
            self.reader.problem(f'no port in upstream "{target.text}"', position)
            return None
        name = str(target.address)
        if name in self.groups:
            return self.groups[name]
        addresses = self.addresses(target.address, position, scope)
        peers = [Peer(str(address), address, name) for address in addresses]
        # Idle connections to a bare address are kept too: nginx never keeps them, and pays a handshake for each request.
        scope = only_resolver(scope)
        put_defaults(self.compat, scope, UPSTREAM)
        self.groups[name] = self._group(name, scope, position, peers, implicit=True)
        return self.groups[name]

    def check(self, target: ProxyTarget, position: Position, scope: Scope) -> None:
        """Check a target of a protocol without a default port: it must be an upstream, or a port of an existing host."""
        assert target.address is not None
        explicit = self.groups.get(target.address.host.lower())
        if target.address.is_unix:
            return
        if explicit and not explicit.implicit:
            if target.has_port:
                self.reader.problem(f'upstream "{explicit.name}" may not have port {target.port}', position)
        elif not target.has_port:
            self.reader.problem(f'no port in upstream "{target.text}"', position)
        else:
            self.addresses(target.address, position, scope)

    def find_name_servers(self, scope: Scope) -> None:
        """Look up the name servers that a `resolver` names by name."""
        line = scope.written.get("resolver")
        servers = scope.values.get("resolver")
        if not line or servers is None:
            return
        try:
            scope.values["resolver"] = scope.heritage["resolver"] = servers.with_addresses(self.look_up)
        except OSError as error:
            self.reader.problem(str(error.strerror), line[-1].position)

    def addresses(self, address: Address, position: Position, scope: Scope, written: str = "") -> list[Address]:
        """Return the numeric addresses of a written address; a name that is not found is a problem, or has none yet.

        scope: the source of `upstream_start`. written: the wording for a problem; None: the name alone.
        """
        if address.is_numeric:
            return [address]
        try:
            return self.look_up(address.host, address.port)
        except OSError:
            problem = Problem(f'host not found in upstream "{written or address.host}"', position)
            if scope.values.get("upstream_start") == "degraded":
                self.reader.warnings.append(problem)
            else:
                self.reader.problem(problem.text, position)
            return []

    def _group(self, name: str, scope: Scope, position: Position, peers: list[Peer], implicit: bool) -> Upstream:
        upstream = Upstream(scope.values, scope.written)
        upstream.name = name
        upstream.position = position
        upstream.implicit = implicit
        upstream.peers = tuple(peers)
        return upstream


def only_resolver(scope: Scope) -> Scope:
    """Return the part of a scope that is about resolving names, for an upstream to inherit."""
    found = Scope()
    for name in ("resolver", "resolver_timeout", "upstream_start"):
        if name in scope.values:
            found.values[name] = found.heritage[name] = scope.values[name]
            found.written[name] = scope.written[name]
    return found
