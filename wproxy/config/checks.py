"""The active health checks of a configuration: `match` blocks, and the `health_check` of locations."""

from __future__ import annotations

from wproxy.checked_health import MOST_CHECKS
from wproxy.config.model import Check, Location, Match
from wproxy.config.registry import MATCH
from wproxy.config.scope import ScopeReader
from wproxy.config.tree import Node
from wproxy.directives.health_check import GRPC_CHECK
from wproxy.health_match import SUCCESS


class Checks:
    """All `match` blocks by name. The checks themselves belong to their upstreams."""

    def __init__(self, reader: ScopeReader) -> None:
        self.reader = reader
        usual = Match({"status": SUCCESS}, {})
        usual.name = ""
        self.matches: dict[str, Match] = {"": usual}

    def add_match(self, node: Node) -> None:
        """Read a `match` block."""
        scope = self.reader.read(node, MATCH, None)
        match = Match(scope.values, scope.written)
        match.name = name = node.arguments[0]
        if self.matches.setdefault(name, match) is not match:
            self.reader.problem(f'duplicate match "{name}"', node.position)

    def add(self, location: Location) -> None:
        """Give the health_check of a location to the upstream of its proxy_pass or the like."""
        settings = location.health_check
        assert settings is not None
        position = location.written["health_check"][-1].position
        match = self.matches.get(settings.match)
        target, upstream = location.target, location.upstream
        text = None
        if target is None:
            text = '"health_check" has nothing to check: there is no "proxy_pass" in this location'
        elif target.template is not None:
            text = f'"health_check" cannot be used with variables in "{location.pass_module}_pass"'
        elif settings.kind == GRPC_CHECK and location.pass_module != "grpc":
            text = '"type=grpc" has nothing to check: there is no "grpc_pass" in this location'
        elif match is None:
            text = f'unknown match "{settings.match}"'
        elif upstream is not None and len(upstream.checks) >= MOST_CHECKS:
            text = f'upstream "{upstream.name}" has more than {MOST_CHECKS} health checks'
        if text is not None:
            self.reader.problem(text, position)
        elif upstream is not None and match is not None:
            upstream.checks += (Check(len(upstream.checks), settings, match, location, position),)
