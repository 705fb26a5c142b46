"""The model: what a configuration means, ready to serve. Immutable by agreement once `resolve` has returned it.

Every directive arrives as an attribute of the same name, already read, inherited and defaulted: the classes below get them
from the tables in `wproxy.directives`, which modules.py lists. What they add is structure: servers in listeners, locations in a
matcher, peers in upstreams.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from wproxy.address import Address
from wproxy.config.modules import LocationModules, MainModules, ServerModules, UpstreamModules
from wproxy.config.registry import REGISTRY, default_words
from wproxy.config.tls import TlsFiles
from wproxy.config.tree import Node, Position, Problem
from wproxy.directives.health_check import HealthCheck, MatchDirectives
from wproxy.directives.listen import PLAIN_SOCKET, ServerName, SocketOptions
from wproxy.directives.log import LogFormat
from wproxy.directives.otel import OtelExporterDirectives
from wproxy.directives.proxy import ProxyTarget
from wproxy.directives.proxy_headers import LocalAddress
from wproxy.directives.rewrite import If, Step, walk_steps
from wproxy.files import FilePlan
from wproxy.identity import WPROXY, Identity
from wproxy.log_files import AsJson, Place, plain_place
from wproxy.matching import LocationMatcher, ServerNames
from wproxy.referrers import RefererTest
from wproxy.regex import Regex
from wproxy.route import Route
from wproxy.user_ids import UserIds
from wproxy.zone_memory import LimitZone

if TYPE_CHECKING:
    from wproxy.cache.zone import CacheZone


class Described(str):
    """A setting as messages show it: ` (proxy_read_timeout 60: FILE:LINE:COLUMN)`; name, value, at: its parts."""

    __slots__ = ("at", "name", "value")

    name: str
    value: str
    at: str

    def __new__(cls, name: str, value: str, at: str) -> Described:
        """Return it for a directive, its value as written, and its place."""
        described = super().__new__(cls, f" ({name} {value}: {at})")
        described.name, described.value, described.at = name, value, at
        return described


class Settings:
    """Values by directive name; the place where one was set is remembered for messages and for `wproxy explain`."""

    def __init__(self, values: dict[str, Any], written: dict[str, tuple[Node, ...]]) -> None:
        """values: by attribute. written: the directives that each of them comes from."""
        self.__dict__.update(values)
        self.written = written

    @property
    def origins(self) -> dict[str, Position]:
        """The place of each value that is not a default."""
        return {name: nodes[-1].position for name, nodes in self.written.items() if nodes}

    def origin(self, name: str) -> str:
        """Return the `file:line:column` of the directive that gave this value, or "default"."""
        nodes = self.written.get(name)
        return str(nodes[-1].position) if nodes else "default"

    def described(self, name: str) -> str:
        """Return ` (proxy_read_timeout 60: FILE:LINE:COLUMN)` for messages that blame a setting; "" for no name.

        Sizes and numbers are written as people write them: 1m.
        """
        if not name:
            return ""
        value = getattr(self, name)
        nodes = self.written.get(name)
        shown: str
        if isinstance(value, float):
            shown = f"{value:g}"
        elif nodes:
            shown = " ".join(nodes[-1].arguments)
        else:
            shown = default_words(name)
        return Described(name, shown, self.origin(name))


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


class Match(Settings, MatchDirectives):
    """A `match` block; one without a name is the expectation of a health_check that names none."""

    name: str

    def __repr__(self) -> str:
        return f"<match {self.name}>"


@dataclass(frozen=True, slots=True, eq=False)
class Check:
    """One health_check of an upstream, with the location whose proxy_ settings it uses. number: its index within the upstream."""

    number: int
    settings: HealthCheck
    match: Match
    location: Location
    position: Position


class Upstream(Settings, UpstreamModules):
    """A group of peers: an `upstream` block, or the addresses of one proxy_pass."""

    name: str
    position: Position
    implicit: bool
    peers: tuple[Peer, ...]
    checks: tuple[Check, ...] = ()

    def __repr__(self) -> str:
        return f"<upstream {self.name}: {', '.join(peer.name for peer in self.peers)}>"


class Location(Settings, LocationModules):
    """One location, or the server itself where no location matches (its `modifier` is then "server").

    The settings of an `if` or a `limit_except` inside a location are a location too, of kind "if" or "limit_except": the parts
    about the URI (modifier, pattern, prefix) are those of the location around it.
    """

    kind: str  # "location", "server", "if", "limit_except"
    modifier: str  # "", "=", "^~", "~", "~*", "@", "server"
    pattern: str  # as written
    prefix: bytes  # the part of the URI that a proxy_pass with a URI replaces
    regex: Regex | None = None
    position: Position
    server: Server
    inner: LocationMatcher[Location] | None = None  # the locations inside
    steps: tuple[Step, ...] = ()
    for_other_methods: Location | None = None  # limit_except
    upstream: Upstream | None
    # The one of the `*_pass` that counts, if it has any: an `if` also has that of the location around it.
    pass_module: str = ""
    proxy_target: ProxyTarget | None = None
    fastcgi_target: ProxyTarget | None = None
    uwsgi_target: ProxyTarget | None = None
    scgi_target: ProxyTarget | None = None
    memcached_target: ProxyTarget | None = None
    grpc_target: ProxyTarget | None = None
    files: FilePlan  # how it finds files
    route: Route  # made by the worker that attaches it
    error_log: tuple[tuple[Place, str], ...] = ()  # (): the logs of the main level
    referer_test: RefererTest | None = None  # valid_referers
    user_ids: UserIds | None = None  # userid

    @property
    def target(self) -> ProxyTarget | None:
        """Return where requests are passed, by whatever protocol; None if they are not."""
        target: ProxyTarget | None = getattr(self, f"{self.pass_module}_target", None)
        return target

    def pass_to(self, module: str, target: ProxyTarget | None, upstream: Upstream | None) -> None:
        """Set where requests are passed. module: the word before `_pass`, "" for nowhere; upstream: None with variables."""
        if self.pass_module:
            setattr(self, f"{self.pass_module}_target", None)
        self.pass_module, self.upstream = module, upstream
        if module:
            setattr(self, f"{module}_target", target)

    def anonymous(self) -> Iterator[Location]:
        """Return the locations of its `if`s and of its limit_except."""
        found: list[Location] = []

        def visit(step: Step) -> None:
            if isinstance(step, If) and step.location is not None:
                found.append(step.location)

        walk_steps(self.steps, visit)
        if self.for_other_methods is not None:
            found.append(self.for_other_methods)
        return iter(found)

    def __repr__(self) -> str:
        shown = f"<location {self.modifier} {self.pattern}>".replace("  ", " ")
        return shown if self.kind in ("location", "server") else f"<{self.kind} in {shown}>"


class Server(Settings, ServerModules):
    """A virtual server."""

    position: Position
    names: tuple[ServerName, ...]
    locations: LocationMatcher[Location]
    named: dict[bytes, Location]  # keyed by name, the "@" included
    steps: tuple[Step, ...] = ()
    # The route through the server's own steps, where a request enters; made by the worker that attaches it; None without steps.
    entry: Route | None = None

    @cached_property
    def name(self) -> str:
        """The first server_name as nginx logs it: no leading dot, lower case; empty when there is none."""
        if not self.names:
            return ""
        first = self.names[0]
        return first.text if first.regex else first.text.removeprefix(".").lower()

    @cached_property
    def encoded_name(self) -> bytes:
        """Its name as requests have it."""
        return self.name.encode("utf-8", "surrogateescape")

    def each_location(self) -> Iterator[Location]:
        """Yield all its locations: the server itself, nested ones, named ones and those of `if` and limit_except."""
        pending = [*self.locations, *self.named.values()]
        while pending:
            location = pending.pop()
            yield location
            pending.extend(location.anonymous())
            if location.inner is not None:
                pending.extend(list(location.inner)[1:])

    def __repr__(self) -> str:
        return f"<server {self.name or '_'} at {self.position}>"


class Exporter(Settings, OtelExporterDirectives):
    """An `otel_exporter`. encoding: grpc, http/protobuf or http/json.

    server: it has the one location that leads to the collector. resource: names and values of what spans belong to.
    """

    position: Position
    encoding: str
    path: str
    resource: tuple[tuple[str, str], ...]
    server: Server

    def __repr__(self) -> str:
        return f"<exporter at {self.position}>"


# File modes of unix sockets: accessible to all, as nginx's are, and our own.
PUBLIC = 0o666
PRIVATE = 0o600


@dataclass(slots=True)
class Listener:
    """An address to listen on, and its virtual servers.

    protocols: the words of `listen` that change the protocol, from all lines of the address: ssl, http2, proxy_protocol.
    mode: the mode of a unix socket's file. is_optional: a worker that cannot bind it serves without it.
    """

    address: Address
    position: Position
    options: SocketOptions = PLAIN_SOCKET
    servers: ServerNames[Server] = field(default_factory=ServerNames)
    mode: int = PUBLIC
    is_optional: bool = False
    protocols: frozenset[str] = frozenset()

    def speaks_http2(self, server: Server) -> bool:
        """Whether clients may ask for one of its servers in HTTP/2."""
        return server.http2 or "http2" in self.protocols

    def __repr__(self) -> str:
        return f"<listener {self.address}>"


class Configuration(Settings, MainModules):
    """A whole configuration."""

    file: str  # the main file, as given
    prefix: str  # directory that relative paths start from, with a trailing slash
    listeners: tuple[Listener, ...]
    servers: tuple[Server, ...]
    upstreams: tuple[Upstream, ...]  # explicit and implicit
    log_formats: dict[str, LogFormat]
    limit_zones: tuple[LimitZone, ...] = ()
    cache_zones: tuple[CacheZone, ...] = ()
    control: Listener | None = None  # api_socket
    exporter: Exporter | None = None  # otel_exporter
    tree: Node | None = None  # what it was made from, where requests are recorded
    identity: Identity = WPROXY  # the name we answer to
    warnings: tuple[Problem, ...] = ()  # settings that are allowed but probably not meant, or have no effect yet
    tls_files: tuple[TlsFiles, ...] = ()  # for TLS with upstreams
    read_at_start: tuple[tuple[str, Position], ...] = ()  # other files that must exist, as written, and their places
    made_directories: dict[str, Position]  # those of temporary files and caches, absolute, and where each was first named
    refusals: tuple[
        Problem, ...
    ] = ()  # problems that keep a server from starting: it would be less safe than its configuration says

    @property
    def all_listeners(self) -> tuple[Listener, ...]:
        """All listeners: those for clients, and the control socket."""
        return self.listeners if self.control is None else (*self.listeners, self.control)

    @property
    def all_servers(self) -> tuple[Server, ...]:
        """The servers of all listeners, and the one that leads to the collector of spans."""
        found = self.servers
        if self.control is not None and self.control.servers.default is not None:
            found = (*found, self.control.servers.default)
        return found if self.exporter is None else (*found, self.exporter.server)

    @property
    def error_log_targets(self) -> list[tuple[Place, str]]:
        """(path, "stderr", a Syslog or AsJson of one, level) of every error_log of the main level, paths absolute."""
        return self.log_targets(self.error_log)

    @property
    def error_log_files(self) -> list[str]:
        """The paths of the error logs of all levels, absolute, each once."""
        lines = list(self.error_log)
        for server in self.servers:
            for location in server.each_location():
                lines += location.error_log
        places = (plain_place(place) for place, _ in self.log_targets(lines))
        return list(dict.fromkeys(place for place in places if isinstance(place, str) and place != "stderr"))

    @property
    def access_log_files(self) -> list[str]:
        """The paths of the access logs whose name is known at load, absolute, each once."""
        logs = (log for server in self.servers for location in server.each_location() for log in location.access_log)
        return list(dict.fromkeys(self.path(log.path) for log in logs if log.is_file))

    @property
    def has_tls(self) -> bool:
        """Whether clients of some server use TLS."""
        return any(server.ssl_certificate or server.ssl_reject_handshake for server in self.servers)

    @property
    def own_directories(self) -> frozenset[str]:
        """The default directories of logs and pid files, which are created when they are missing."""
        paths = [Configuration.pid, *(place for place, _ in Configuration.error_log), *(log.path for log in Location.access_log)]
        paths += [path for path in (self.identity.pid, self.identity.error_log, self.identity.access_log) if path]
        return frozenset(os.path.dirname(self.path(path)) for path in paths if isinstance(path, str))

    @property
    def is_transparent(self) -> bool:
        """Whether connections to some upstream come from addresses that are not ours (`proxy_bind ... transparent`)."""
        names = [name for name in REGISTRY if name.endswith("_bind")]
        bound = (
            getattr(location, name, None) for server in self.servers for location in server.each_location() for name in names
        )
        return any(isinstance(local, LocalAddress) and local.transparent for local in bound)

    def log_targets(self, lines: Iterable[tuple[Place, str]]) -> list[tuple[Place, str]]:
        """Return the targets of `error_log` lines, paths absolute."""
        return [(self._absolute(place), level) for place, level in lines]

    def _absolute(self, place: Place) -> Place:
        """Return the place of an error log, its path absolute."""
        plain = plain_place(place)
        if isinstance(plain, str) and plain != "stderr":
            plain = self.path(plain)
        return AsJson(plain) if isinstance(place, AsJson) else plain

    def path(self, name: str) -> str:
        """Return a configured path, made absolute with the prefix."""
        return name if name.startswith("/") else self.prefix + name

    def path_beside(self, name: str) -> str:
        """Return a path, made absolute with the directory of the main file, as those of certificates are (nginx: conf_prefix)."""
        directory = os.path.dirname(self.file)
        return name if name.startswith("/") else os.path.join(directory, name) if directory else self.prefix + name
