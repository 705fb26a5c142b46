"""The model: what a configuration means, ready to serve. Immutable by agreement once `resolve` has returned it.

Every directive arrives as an attribute of the same name, already read, inherited and defaulted: the classes below get them
from the tables in `wproxy.directives`. What they add is structure: servers in listeners, locations in a matcher, peers in
upstreams.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from wproxy.address import Address
from wproxy.config.registry import register
from wproxy.config.tree import Position, Problem
from wproxy.directives.core import EventsDirectives, MainDirectives
from wproxy.directives.http_core import BlockDirectives, CommonDirectives, ServerDirectives
from wproxy.directives.log import LogDirectives, LogFormat
from wproxy.directives.proxy import ProxyDirectives, ProxyTarget
from wproxy.directives.rewrite import RewriteDirectives
from wproxy.directives.upstream import UpstreamDirectives
from wproxy.matching import LocationMatcher, ServerNames

register(
    MainDirectives,
    EventsDirectives,
    BlockDirectives,
    CommonDirectives,
    ServerDirectives,
    LogDirectives,
    ProxyDirectives,
    RewriteDirectives,
    UpstreamDirectives,
)


class Settings:
    """Values by directive name; where one was set is remembered for messages and for `wproxy explain`."""

    def __init__(self, values: dict[str, Any], origins: dict[str, Position]) -> None:
        self.__dict__.update(values)
        self.origins = origins

    def origin(self, name: str) -> str:
        """`file:line:column` of the directive that gave this value, or "default"."""
        position = self.origins.get(name)
        return str(position) if position else "default"

    def described(self, name: str) -> str:
        """` (proxy_read_timeout 60: FILE:LINE:COLUMN)`, for messages that blame a setting; "" for no name."""
        if not name:
            return ""
        value = getattr(self, name)
        shown = " ".join(map(str, value)) if isinstance(value, tuple) else f"{value:g}"
        return f" ({name} {shown}: {self.origin(name)})"


@dataclass(frozen=True, slots=True)
class Peer:
    """One address of an upstream, with the parameters of the `server` line that named it."""

    name: str  # as it appears in logs and in $upstream_addr: ip:port or unix:path
    address: Address
    server: str  # the address as written
    weight: int = 1
    max_fails: int = 1
    fail_timeout: float = 10.0
    max_conns: int = 0
    backup: bool = False
    down: bool = False
    record: int = 0  # its record in the shared memory


class Upstream(Settings, UpstreamDirectives):
    """A group of peers: an `upstream` block, or the addresses of one proxy_pass."""

    name: str
    position: Position
    implicit: bool
    peers: tuple[Peer, ...]

    def __repr__(self) -> str:
        return f"<upstream {self.name}: {', '.join(peer.name for peer in self.peers)}>"


class Location(Settings, CommonDirectives, LogDirectives, ProxyDirectives, RewriteDirectives):
    """One location, or the server itself where no location matches (its `modifier` is then "server")."""

    modifier: str  # "", "=", "server"
    pattern: str  # as written
    prefix: bytes  # what of the URI a proxy_pass with a URI replaces
    position: Position
    server: Server
    upstream: Upstream | None
    proxy_target: ProxyTarget | None
    # Set by a worker when it attaches (worker.phases): what answers a request here, and what that needs at hand.
    answer: Callable[..., Any]
    write_log: Callable[..., None] | None = None
    group: Any = None  # worker.upstream.peers.Group of `upstream`
    protocol: Any = None  # worker.upstream.protocols.UpstreamProtocol
    head_plan: Any = None  # what the protocol worked out for this location
    hidden: frozenset[bytes] = frozenset()  # response fields that the client does not get
    retried_statuses: frozenset[int] = frozenset()  # of answers that proxy_next_upstream asks to retry
    server_token: bytes = b"wproxy"  # the value of Server

    def __repr__(self) -> str:
        return f"<location {self.modifier} {self.pattern}>".replace("  ", " ")


class Server(Settings, CommonDirectives, ServerDirectives):
    """A virtual server."""

    position: Position
    names: tuple[str, ...]
    locations: LocationMatcher[Location]

    @property
    def name(self) -> str:
        """The first server_name, for logs, as nginx tells it: no leading dot, lower case; empty when there is none."""
        return self.names[0].removeprefix(".").lower() if self.names else ""

    def __repr__(self) -> str:
        return f"<server {self.name or '_'} at {self.position}>"


@dataclass(slots=True)
class Listener:
    """An address to listen on, and the virtual servers found there."""

    address: Address
    position: Position
    backlog: int = 511
    servers: ServerNames[Server] = field(default_factory=ServerNames)

    def __repr__(self) -> str:
        return f"<listener {self.address}>"


class Configuration(Settings, MainDirectives, EventsDirectives):
    """A whole configuration."""

    file: str  # the main file, as given
    prefix: str  # directory that relative paths start from, with a trailing slash
    listeners: tuple[Listener, ...]
    servers: tuple[Server, ...]
    upstreams: tuple[Upstream, ...]  # explicit and implicit
    log_formats: dict[str, LogFormat]
    warnings: tuple[Problem, ...] = ()  # what is allowed and probably not meant

    @property
    def error_log_targets(self) -> list[tuple[str, str]]:
        """(path or "stderr", level) of every error_log, paths absolute."""
        return [(path if path == "stderr" else self.path(path), level) for path, level in self.error_log]

    def path(self, name: str) -> str:
        """A path as configured, made absolute by the prefix."""
        return name if name.startswith("/") else self.prefix + name
