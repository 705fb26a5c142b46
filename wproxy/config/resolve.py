"""From tree to model: every directive checked against the registry, inheritance applied, names linked.

All problems of a file are found in one run: a directive that is wrong is noted and left out, and the rest is still checked. Only
when the whole tree has been walked does `resolve` give up, with every problem and its position.

A block is read before its inner blocks, because they inherit all of it, also directives that come after them in the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from wproxy.config.checks import Checks
from wproxy.config.collector import read_exporter
from wproxy.config.compat import put_defaults
from wproxy.config.control import control_listener
from wproxy.config.convert import NGINX, syntax_of
from wproxy.config.effects import refusals, warnings
from wproxy.config.listeners import LookUp, build_listeners, default_listen
from wproxy.config.model import Configuration, Exporter, Listener, Location, Server
from wproxy.config.names import declare_names
from wproxy.config.peers import Upstreams, only_resolver
from wproxy.config.references import APART, WITH_KEYS, References, without_cache_key
from wproxy.config.registry import EVENTS, HTTP, LIMIT_EXCEPT, LOCATION, LOCATION_IF, MAIN, SERVER, SERVER_IF
from wproxy.config.scope import Scope, ScopeReader
from wproxy.config.temporary_paths import CACHE_PATHS, WITH_LEVELS, MadeDirectories
from wproxy.config.tls import ALWAYS_READ, TlsFiles, check_server, is_secure, upstream_files
from wproxy.config.tree import ConfigurationError, Node, Position, Problem
from wproxy.config.zones import WITH_ZONES, Zones
from wproxy.directives.buffering import wrong_buffers
from wproxy.directives.explain_ring import is_recorded
from wproxy.directives.listen import Listen
from wproxy.directives.log import COMBINED, AccessLog, LogFormat, log_format
from wproxy.directives.rewrite import If, Return, Step
from wproxy.files import FilePlan, TypeTables
from wproxy.log_files import Place, plain_place
from wproxy.matching import LocationMatcher
from wproxy.referrers import referer_test
from wproxy.regex import Regex, compile_regex
from wproxy.syslog import Syslog
from wproxy.template import compile_template
from wproxy.user_ids import UserIds
from wproxy.variables import Namespace, use_namespace

__all__ = ["LookUp", "resolve"]

# The directives that pass requests on, and the word before `_pass` of each.
_PASSES = {
    "proxy_pass": "proxy",
    "fastcgi_pass": "fastcgi",
    "uwsgi_pass": "uwsgi",
    "scgi_pass": "scgi",
    "memcached_pass": "memcached",
    "grpc_pass": "grpc",
}
# Those of them that may use TLS.
SECURE_MODULES = ("proxy", "uwsgi", "grpc")
# Those that have no effect yet.
_OTHER_PASSES = frozenset(("tunnel_pass",))
_PASS_WITH_URI = (
    '"proxy_pass" cannot have URI part in location given by regular expression, or inside named location, '
    'or inside "if" statement, or inside "limit_except" block'
)


def resolve(root: Node, file: str, prefix: str, look_up: LookUp) -> Configuration:
    """Turn the tree of a whole configuration into the model; raises ConfigurationError with all problems.

    look_up: (host, port) to numeric addresses, raises OSError; a parameter because it needs a socket.
    """
    namespace = Namespace()
    with use_namespace(namespace):
        declare_names(root, namespace)
        return _Resolver(prefix, look_up).configuration(root, file)


class _Resolver:
    """One run over one tree."""

    def __init__(self, prefix: str, look_up: LookUp) -> None:
        self.prefix = prefix
        self.reader = ScopeReader()
        self.problem = self.reader.problem
        self.look_up = look_up
        self.upstreams = Upstreams(self.reader, look_up)
        self.checks = Checks(self.reader)
        self.servers: list[Server] = []
        self.exporter: Exporter | None = None
        self.traced: Position | None = None  # the first location that traces
        self.log_formats: dict[str, LogFormat] = {
            "combined": log_format("combined", COMBINED),
            "wproxy_json": log_format("wproxy_json", "escape=none", "$wproxy_json"),
        }
        self.format_nodes: dict[str, Node] = {}
        self.order: dict[int, int] = {}  # the position of each node of the http block, by id
        self.listens: list[tuple[Server, Listen, Position]] = []
        self.gathering: dict[str, AccessLog] = {}  # the first log with a buffer= to each file
        self.type_tables: TypeTables = {}
        self.references = References(self.problem, look_up)
        self.zones = Zones(self.problem)
        self.made_directories = MadeDirectories(self.problem, prefix)
        self.tls_files: list[TlsFiles] = []
        self.read_at_start: list[tuple[str, Position]] = []
        self.certified: set[int] = set()  # the servers that have certificates, or reject all handshakes, by identity
        # Checks at the end of a block, where the directive is: it may refer to something in another block.
        self.named_elsewhere: tuple[tuple[str, Callable[..., None]], ...] = (
            ("access_log", self.check_access_logs),
            ("error_log", self.check_error_logs),
            ("aio", self.references.check_thread_pool),
            ("charset_map", self.references.check_charset_maps),
            ("set_real_ip_from", self.references.check_trusted_addresses),
            ("mirror", self.references.check_mirrors),
            ("valid_referers", self.references.check_referrers),
            *((name, self.zones.note) for name in WITH_ZONES),
            *((name, self.made_directories.note) for name in WITH_LEVELS),
            *((name, self.made_directories.note_caches) for name in CACHE_PATHS),
            *((name, self.note_file) for name in ALWAYS_READ),
        )
        self.naming = frozenset(name for name, _ in self.named_elsewhere)

    # Blocks, from the outside to the inside.

    def configuration(self, root: Node, file: str) -> Configuration:
        reader = self.reader
        main = self.read(root, MAIN, None)
        self.compat = main.values.get("compat", "current")
        self.references.check_load_module(root)
        events = reader.read(_only(root, "events"), EVENTS, None)
        http = _only(root, "http")
        if http:
            self.http(http)
        listeners = build_listeners(self.listens, reader, self.look_up)
        if not reader.problems:
            self.check_certified(listeners)
        is_explained = any(is_recorded(location) for server in self.servers for location in server.each_location())
        has_upstreams = any(not group.implicit for group in self.upstreams.groups.values())
        is_controlled = self.zones.has_caches or has_upstreams or is_explained
        control = control_listener(main, root, self.prefix, reader, self.own_server) if is_controlled else None
        # TOML omits a table that sets nothing; a file without any block is one that was forgotten.
        needed = ("events",) if syntax_of(file) == NGINX else ("events", "http", "stream", "mail")
        if not reader.problems and not any(node.name in needed for node in root.children or ()):
            self.problem(f'no "{"events" if syntax_of(file) == NGINX else "http"}" section in configuration', None)
        if reader.problems:
            order: dict[Position | None, int] = {}
            for node in _walk(root):
                order.setdefault(node.position, len(order))
            # Problems without a place come last: nginx finds them when everything has been read.
            raise ConfigurationError(*sorted(reader.problems, key=lambda problem: order.get(problem.position, len(order))))
        configuration = Configuration({**main.values, **events.values}, {**main.written, **events.written})
        configuration.file = file
        configuration.prefix = self.prefix
        configuration.listeners = listeners
        configuration.control = control
        configuration.exporter = self.exporter
        configuration.tree = root if is_explained else None
        connections = configuration.worker_connections
        if connections <= len(listeners):
            text = f"{connections} worker_connections are not enough for {len(listeners)} listening sockets"
            raise ConfigurationError(Problem(text, configuration.origins.get("worker_connections")))
        configuration.servers = tuple(self.servers)
        configuration.upstreams = tuple(self.upstreams.groups.values())
        configuration.limit_zones = self.zones.limits()
        configuration.cache_zones = self.zones.caches(self.prefix)
        configuration.warnings = (*reader.warnings, *warnings(reader.ineffective))
        configuration.refusals = tuple(refusals(reader.ineffective))
        configuration.log_formats = self.log_formats
        configuration.tls_files = tuple(self.tls_files)
        configuration.read_at_start = tuple(self.read_at_start)
        configuration.made_directories = self.made_directories.places
        return configuration

    def http(self, node: Node) -> None:
        scope = self.read(node, HTTP, None)
        put_defaults(self.compat, scope, HTTP)
        self.upstreams.compat = self.compat
        self.upstreams.http = only_resolver(scope)
        for child in node.named("upstream"):
            if child.children is not None and len(child.arguments) == 1:
                self.upstreams.add_block(child)
        self.upstreams.check_zones()
        for child in node.named("match"):
            if child.children is not None and len(child.arguments) == 1:
                self.checks.add_match(child)
        exporters = [child for child in node.named("otel_exporter") if child.children is not None]
        for child in exporters[:1]:
            self.exporter = read_exporter(child, scope, self.reader, self.own_server)
        for child in node.named("server"):
            if child.children is not None:
                self.server(child, scope)
        if self.traced is not None and not exporters:
            self.problem('"otel_exporter" block is missing', self.traced)
        self.zones.finish()

    def own_server(self, node: Node) -> Server:
        """Return a server of our own, such as that of the control socket: nothing of the http block applies to it."""
        servers, listens, self.servers, self.listens = self.servers, self.listens, [], []
        self.server(node, Scope())
        (server,) = self.servers
        self.servers, self.listens = servers, listens
        return server

    def server(self, node: Node, http: Scope) -> None:
        scope = self.read(node, SERVER, http)
        server = Server(scope.values, scope.written)
        server.position = node.position
        self.references.check_header_buffers(scope)
        server.names = tuple(name for line in scope.values.get("server_name", ()) for name in line)
        for line in scope.written.get("server_name", ()):
            self.reader.warnings.extend(
                Problem(f'server name "{name}" has suspicious symbols', line.position) for name in line.arguments if "/" in name
            )
        server.named = {}
        server.steps = self.steps(scope.values.get("steps", ()), SERVER_IF, scope, None)
        server.locations = LocationMatcher(self.location_at("server", "server", "", scope, node.position, server, None))
        self.locations_in(node, scope, server, server.locations, None)
        if check_server(scope, self.problem):
            self.certified.add(id(server))
        self.servers.append(server)
        lines = [(line.position, listen) for line, listen in zip(scope.written.get("listen", ()), scope.values.get("listen", ()))]
        for place, listen in lines or [(node.position, default_listen())]:
            self.listens.append((server, listen, place))

    # Locations.

    def locations_in(
        self, node: Node, scope: Scope, server: Server, matcher: LocationMatcher[Location], outer: Location | None
    ) -> None:
        """Read the location blocks in a server or in a location, into its matcher."""
        for child in node.named("location"):
            if child.children is None or not 1 <= len(child.arguments) <= 2:
                continue
            named = self.modifier_and_pattern(child, outer)
            if named is None:
                continue
            modifier, pattern = named
            inner = self.read(child, LOCATION, scope)
            location = self.location_at("location", modifier, pattern, inner, child.position, server, outer)
            self.enter(location, child, server, matcher)
            if location.health_check is not None:
                self.checks.add(location)
            if any(True for _ in child.named("location")):
                location.inner = LocationMatcher(location)
                self.locations_in(child, inner, server, location.inner, location)
        self.redirect_slashless(matcher)
        matcher.seal()

    def modifier_and_pattern(self, node: Node, outer: Location | None) -> tuple[str, str] | None:
        """Return modifier and pattern of a `location`; None after noting a problem (ngx_http_core_location)."""
        if len(node.arguments) == 2:
            modifier, pattern = node.arguments
            if modifier not in ("=", "^~", "~", "~*"):
                self.problem(f'invalid location modifier "{modifier}"', node.position)
                return None
        else:
            pattern = node.arguments[0]
            modifier = next((word for word in ("=", "^~", "~*", "~") if pattern.startswith(word)), "")
            pattern = pattern[len(modifier) :]
            if not modifier and pattern.startswith("@"):
                modifier = "@"
        if outer is None:
            return modifier, pattern
        text = None
        if outer.modifier == "=":
            text = f'location "{pattern}" cannot be inside the exact location "{outer.pattern}"'
        elif outer.modifier == "@":
            text = f'location "{pattern}" cannot be inside the named location "{outer.pattern}"'
        elif modifier == "@":
            text = f'named location "{pattern}" can be on the server level only'
        elif modifier not in ("~", "~*") and not pattern.startswith(outer.pattern):
            text = f'location "{pattern}" is outside location "{outer.pattern}"'
        if text is not None:
            self.problem(text, node.position)
            return None
        return modifier, pattern

    def enter(self, location: Location, node: Node, server: Server, matcher: LocationMatcher[Location]) -> None:
        """Enter a location into its matcher."""
        modifier, pattern = location.modifier, location.pattern
        if modifier == "@":
            if server.named.setdefault(location.prefix, location) is not location:
                # Two with one name: the first is used, as in nginx.
                self.reader.warnings.append(Problem(f'duplicate location "{pattern}", ignored', node.position))
        elif modifier in ("~", "~*"):
            if location.regex is not None:
                matcher.add_regex(location.regex, location)
        elif not matcher.add(modifier, location.prefix, location):
            self.problem(f'duplicate location "{pattern}"', node.position)

    def regex(self, pattern: str, caseless: bool, position: Position) -> Regex | None:
        """Return a regex; None after noting a problem."""
        try:
            return compile_regex(pattern, caseless)
        except ValueError as error:
            self.problem(str(error), position)
            return None

    def location_at(
        self,
        kind: str,
        modifier: str,
        pattern: str,
        scope: Scope,
        position: Position,
        server: Server,
        outer: Location | None,
    ) -> Location:
        """Return the location of a scope, inside another or None; its nameless ones (`if`, limit_except) are made too."""
        location = Location(scope.values, scope.written)
        location.kind = kind
        location.modifier = modifier
        location.pattern = pattern
        location.prefix = pattern.encode("utf-8", "surrogateescape")
        location.position = position
        location.server = server
        if modifier in ("~", "~*") and outer is not None and kind != "location":
            location.regex = outer.regex
        elif modifier in ("~", "~*"):
            location.regex = self.regex(pattern, modifier == "~*", position)
        try:
            location.files = FilePlan(location, self.prefix, self.type_tables)
        except ValueError as error:
            self.problem(str(error), _place(scope, position, "alias"))
        for text, *to_blame in wrong_buffers(location):
            self.problem(text, _place(scope, position, *to_blame))
        self.references.check_recoding(location)
        if location.userid != "off":
            location.user_ids = UserIds(location, compile_template("$uid_reset"))
        if scope.values.get("dashboard") and modifier not in ("", "^~"):
            text = '"dashboard" needs a location with a prefix, such as "location /dashboard/": its parts are below that'
            self.problem(text, _place(scope, position, "dashboard"))
        if self.traced is None and "otel_trace" in scope.written and location.otel_trace.constant != b"off":
            self.traced = scope.written["otel_trace"][-1].position
        if location.valid_referers:
            self.references.check_referrers_for_hosts(location, server.names)
        location.referer_test = referer_test(location.valid_referers, server.names)
        location.upstream = None
        # Where there are several, the last one counts. They are not inherited, so they are in the order of the file.
        for name in () if _PASSES.keys().isdisjoint(scope.values) else [name for name in scope.values if name in _PASSES]:
            target, place = scope.values[name], _place(scope, position, name)
            if target.uri_part and (modifier in ("~", "~*", "@") or kind in ("if", "limit_except")):
                self.problem(_PASS_WITH_URI, place)
            # nginx loads the files for every target with variables, even where it can only be "http://".
            if (target.is_secure or target.template is not None) and _PASSES[name] in SECURE_MODULES:
                self.tls_files.append(upstream_files(scope, _PASSES[name], self.problem))
            upstream = None if target.address is None else self.upstreams.target(target, place, scope)
            location.pass_to(_PASSES[name], target, upstream)
        for name in () if _OTHER_PASSES.isdisjoint(scope.values) else sorted(_OTHER_PASSES):
            other = scope.values.get(name)
            if other is not None and other.address is not None:
                self.upstreams.check(other, _place(scope, position, name), scope)
        location.steps = ()  # a server's run before a location is found, those of an `if` with the steps around it
        if kind == "location":
            location.steps = self.steps(scope.values.get("steps", ()), LOCATION_IF, scope, location)
            if location.limit_except is not None:
                node = location.limit_except.node
                location.for_other_methods, _ = self.anonymous("limit_except", node, LIMIT_EXCEPT, scope, location)
        return location

    def anonymous(self, kind: str, node: Node | None, context: int, scope: Scope, around: Location) -> tuple[Location, Scope]:
        """Return the settings of an `if` or a limit_except: those of the location around it, except the ones it sets itself."""
        inner = self.read(node, context, scope)
        location = self.location_at(
            kind, around.modifier, around.pattern, inner, node.position if node else around.position, around.server, around
        )
        module = around.pass_module
        if module and not location.pass_module:
            # The target is inherited here and nowhere else (routing.md §1.4).
            location.pass_to(module, around.target, around.upstream)
            setattr(location, f"{module}_pass", around.target)
            location.written[f"{module}_pass"] = around.written[f"{module}_pass"]
        return location, inner

    def steps(self, steps: tuple[Step, ...], context: int, scope: Scope, around: Location | None) -> tuple[Step, ...]:
        """Return the steps of a block, with the contents of each `if` read."""
        for step in steps:
            if not isinstance(step, If) or step.node is None:
                continue
            if around is None:
                inner = self.read(step.node, context, scope)
            else:
                step.location, inner = self.anonymous("if", step.node, context, scope, around)
            step.steps = inner.values.get("steps", ())
        return steps

    def redirect_slashless(self, matcher: LocationMatcher[Location]) -> None:
        """Make a location `/x/` that passes requests on answer `/x` with a redirect to itself, unless `/x` has its own."""
        for table in (matcher.prefixes, matcher.exact):
            for pattern, location in list(table.items()):
                slashless = pattern[:-1]
                if not (location.pass_module and slashless and pattern.endswith(b"/")):
                    continue
                if slashless in matcher.prefixes or slashless in matcher.exact:
                    continue
                redirect = slash_redirect(location)
                if location.for_other_methods is not None:
                    # The settings of limit_except hold for the redirect, too: its access_log, for instance.
                    redirect.for_other_methods = slash_redirect(location.for_other_methods)
                matcher.add("=", slashless, redirect)

    # Files and zones.

    def note_file(self, lines: tuple[Node, ...], value: object) -> None:
        """Note a file that is read when a server starts."""
        self.read_at_start += [(line.arguments[0], line.position) for line in lines]

    def check_certified(self, listeners: tuple[Listener, ...]) -> None:
        """Check that the default server of a TLS address has a certificate, or rejects every handshake."""
        secure = {
            address: (is_secure(listen), place)
            for _, listen, place in self.listens
            if is_secure(listen)
            for address in listen.addresses
        }
        for listener in listeners:
            word, place = secure.get(listener.address, ("", None))
            if word and id(listener.servers.default) not in self.certified:
                self.problem(f'no "ssl_certificate" is defined for the "listen ... {word}" directive', place)

    # Logs.

    def name_log_formats(self, http: Node, scope: Scope) -> None:
        """Record the formats of the http block with their places: as in nginx a format is known only below its line."""
        for node, line in zip(scope.written.get("log_format", ()), scope.values.get("log_format", ())):
            if self.log_formats.setdefault(line.name, line) is not line:
                self.problem(f'duplicate "log_format" name "{line.name}"', node.position)
        for node in http.named("log_format"):
            if node.arguments:  # an invalid one too: it has been reported
                self.format_nodes.setdefault(node.arguments[0], node)
        if self.format_nodes:
            self.order = {id(node): number for number, node in enumerate(_walk(http))}

    def read(self, node: Node | None, context: int, outer: Scope | None) -> Scope:
        """Do what `ScopeReader.read` does, and check the logs of the block."""
        scope = self.reader.read(node, context, outer)
        self.upstreams.find_name_servers(scope)
        if context == HTTP:
            assert node is not None
            self.name_log_formats(node, scope)
        if context == MAIN:
            self.references.name_thread_pools(scope, node)
        if node is not None:
            self.references.check_redirects(node)
        # Most blocks have nothing of the kind: one look tells.
        if not self.naming.isdisjoint(scope.written):
            for name, check in self.named_elsewhere:
                lines = scope.written.get(name, ())
                if lines and (outer is None or lines is not outer.written.get(name)):
                    check(lines, scope.values[name])
        if not APART.isdisjoint(scope.written):
            self.references.check_apart(scope, outer)
        if not WITH_KEYS.isdisjoint(scope.written):
            self.reader.warnings.extend(without_cache_key(scope, outer))
        return scope

    def check_access_logs(self, lines: tuple[Node, ...], logs: tuple[AccessLog, ...]) -> None:
        """Check that every access_log names an existing format, and buffers lines like the others to its file."""
        for line, log in zip(lines, logs):
            if log.path in self.log_formats:
                text = f'"{log.path}" in "access_log" is a log format, not a file: write {{ "FILE" = "{log.path}" }}'
            elif log.path != "off" and (missing := self.missing_format(line, log.format)):
                text = missing
            elif log.buffer and self.gathering.setdefault(log.path, log).buffering != log.buffering:
                text = f'access_log "{log.path}" already defined with conflicting parameters'
            else:
                if log.syslog is not None:
                    self.look_up_syslog(log.syslog, line.position)
                continue
            self.problem(text, line.position)

    def missing_format(self, line: Node, name: str) -> str:
        """Return why the format of an access_log is unknown there; "" when it is known."""
        node = self.format_nodes.get(name)
        if node is None:
            return "" if name in self.log_formats else f'unknown log format "{name}"'
        if self.order[id(node)] < self.order[id(line)]:
            return ""
        return f'unknown log format "{name}", which is defined further down at {node.position}: put that before this'

    def check_error_logs(self, lines: tuple[Node, ...], targets: tuple[tuple[Place, str], ...]) -> None:
        """Look up the addresses of syslog servers among the error logs."""
        for line, (place, _) in zip(lines, targets):
            plain = plain_place(place)
            if isinstance(plain, Syslog):
                self.look_up_syslog(plain, line.position)

    def look_up_syslog(self, syslog: Syslog, position: Position) -> None:
        """Replace the name of a syslog server by its first address."""
        if syslog.server.is_numeric:
            return
        host, port = syslog.server
        try:
            syslog.server = self.look_up(host, port)[0]
        except OSError:
            self.problem(f'host not found in syslog server "{host}"', position)


def slash_redirect(location: Location) -> Location:
    """Return the location that answers `/x` for a proxied `/x/`: the same settings, and a redirect in place of its content."""
    redirect = Location(dict(vars(location)), location.written)
    if redirect.pass_module:
        setattr(redirect, f"{redirect.pass_module}_pass", None)
        redirect.pass_to("", None, None)
    redirect.inner = redirect.for_other_methods = None
    redirect.modifier, redirect.pattern = "=", location.pattern[:-1]
    redirect.steps = (Return(301, compile_template("$wproxy_slashed_uri$is_args$args")),)
    return redirect


def _place(scope: Scope, otherwise: Position, *names: str) -> Position:
    """Return the place of the scope's value for the first of these names that was written."""
    return next((scope.written[name][-1].position for name in names if scope.written.get(name)), otherwise)


def _walk(node: Node) -> Iterator[Node]:
    """Yield all nodes in the order of reading."""
    yield node
    for child in node.children or ():
        yield from _walk(child)


def _only(node: Node, name: str) -> Node | None:
    return next((child for child in node.named(name) if child.children is not None), None)
