"""References from one directive to another: pools of threads, conversions between character sets, the target of a proxy_pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import dropwhile, takewhile
from operator import is_not
from typing import TYPE_CHECKING, Any

from wproxy.config.listeners import LookUp
from wproxy.config.scope import Scope
from wproxy.config.tree import Node, Position, Problem
from wproxy.directives.aio import DEFAULT_POOL
from wproxy.directives.client_address import Referrers, TrustedAddress
from wproxy.maps.addresses import parse_network
from wproxy.maps.charset_map import CharsetMap

if TYPE_CHECKING:
    from wproxy.config.model import Location
    from wproxy.directives.listen import ServerName

_NO_REFERRER = 'the "none" or "blocked" referers are specified in the "valid_referers" directive without any valid referer'
_SMALL_BUFFERS = 'the "large_client_header_buffers" size must be equal to or greater than "connection_pool_size"'
_LARGE_BUFFERS, _CONNECTION_POOL = (4, 8192), 512
_OF_MODULES = frozenset(("events", "http", "mail", "stream"))
_STORING = ("proxy", "fastcgi", "uwsgi", "scgi")
# Directives that exclude some others in their block.
# Caches that have no key by default.
WITH_KEYS = frozenset(("fastcgi_cache", "uwsgi_cache", "scgi_cache"))
APART = frozenset(("secure_link_secret", *(f"{module}_store" for module in _STORING)))


class References:
    """The checks of one configuration; each reports a problem with `problem(text, position)`."""

    def __init__(self, problem: Callable[[str, Position | None], None], look_up: LookUp) -> None:
        self._problem = problem
        self._look_up = look_up
        self._thread_pools = {DEFAULT_POOL}
        self._missing: set[tuple[str, str]] = set()
        self._small_buffers: set[Position | None] = set()
        self._referrers_without_host: set[Position | None] = set()

    def name_thread_pools(self, main: Scope, root: Node | None) -> None:
        """Record the pools of the main level. root: the main block, which also has pools that could not be read."""
        names = set()
        for node, pool in zip(main.written.get("thread_pool", ()), main.values.get("thread_pool", ())):
            if pool.name in names:
                self._problem(f'duplicate thread pool "{pool.name}"', node.position)
            names.add(pool.name)
        self._thread_pools |= names
        self._thread_pools.update(line.arguments[0] for line in (root.named("thread_pool") if root else ()) if line.arguments)

    def check_thread_pool(self, lines: tuple[Node, ...], name: str) -> None:
        """Check that `aio threads=NAME` names an existing pool."""
        if name and name not in self._thread_pools:
            self._problem(f'unknown thread pool "{name}"', lines[-1].position)

    def check_charset_maps(self, lines: tuple[Node, ...], maps: tuple[CharsetMap, ...]) -> None:
        """Check that there is only one map between two character sets, in whichever direction."""
        known = set()
        for line, each in zip(lines, maps):
            names = frozenset((each.source.lower(), each.target.lower()))
            if names in known:
                self._problem(f'duplicate "charset_map" between "{each.source}" and "{each.target}"', line.position)
            known.add(names)

    def check_redirects(self, block: Node) -> None:
        """Check that `proxy_redirect default` has a proxy_pass without variables before it in its block."""
        for line in block.named("proxy_redirect"):
            if line.arguments != ("default",):
                continue
            before = takewhile(partial(is_not, line), block.children or ())
            target = next((node for node in before if node.name == "proxy_pass" and node.arguments), None)
            if target is None:
                text = '"proxy_redirect default" should be placed after the "proxy_pass" directive'
            elif "$" in target.arguments[0]:
                text = '"proxy_redirect default" cannot be used with "proxy_pass" directive with variables'
            else:
                continue
            self._problem(text, line.position)

    def check_trusted_addresses(self, lines: tuple[Node, ...], addresses: tuple[TrustedAddress, ...]) -> None:
        """Check that the hosts of set_real_ip_from can be found."""
        for line, each in zip(lines, addresses):
            if not each.is_host:
                continue
            try:
                each.networks = tuple(parse_network(address.host)[0] for address in self._look_up(each.text, 0))
            except (OSError, UnicodeError):
                self._problem(f'host not found in set_real_ip_from "{each.text}"', line.position)

    def check_mirrors(self, lines: tuple[Node, ...], targets: tuple[bytes | None, ...]) -> None:
        """Check that `mirror off` is alone."""
        if None in targets and len(targets) > 1:
            self._problem('"mirror" directive is duplicate', lines[-1].position)

    def check_referrers(self, lines: tuple[Node, ...], referrers: tuple[Referrers, ...]) -> None:
        """Check that no host appears in two lines."""
        known: set[str] = set()
        for line, each in zip(lines, referrers):
            for name in each.names:
                if name in known:
                    self._problem(f'conflicting parameter "{name}"', line.position)
            known.update(each.names)

    def check_referrers_for_hosts(self, location: Location, server_names: tuple[ServerName, ...]) -> None:
        """Check that valid_referers with `none` or `blocked` name a host, too; regexes do not count (nginx refuses it)."""
        lines = location.valid_referers
        words = frozenset(word for line in lines for word in line.words)
        if words.isdisjoint(("none", "blocked")) or any(line.names for line in lines):
            return
        # A server without a name has the empty one.
        if "server_names" in words and (not server_names or any(name.regex is None for name in server_names)):
            return
        position = location.written["valid_referers"][-1].position
        if position not in self._referrers_without_host:  # inner locations inherit it
            self._referrers_without_host.add(position)
            self._problem(_NO_REFERRER, position)

    def check_header_buffers(self, scope: Scope) -> None:
        """Check that a large buffer for a head is not smaller than the pool of a connection (nginx: 512 bytes by default)."""
        lines = scope.written.get("large_client_header_buffers") or scope.written.get("connection_pool_size")
        if not lines:
            return
        size = scope.values.get("large_client_header_buffers", _LARGE_BUFFERS)[1]
        position = lines[-1].position
        if size < scope.values.get("connection_pool_size", _CONNECTION_POOL) and position not in self._small_buffers:
            self._small_buffers.add(position)  # servers inherit it
            self._problem(_SMALL_BUFFERS, position)

    def check_load_module(self, root: Node) -> None:
        """Check that no load_module comes after a block of a module."""
        behind = dropwhile(lambda node: node.children is None or node.name not in _OF_MODULES, root.children or ())
        for line in behind:
            if line.name == "load_module":
                self._problem('"load_module" directive is specified too late', line.position)

    def check_apart(self, scope: Scope, outer: Scope | None) -> None:
        """Check that directives that exclude each other are not set in one block."""

        def own(name: str) -> Any:
            lines = scope.written.get(name)
            return lines if lines and (outer is None or lines is not outer.written.get(name)) else None

        secret, others = own("secure_link_secret"), own("secure_link") or own("secure_link_md5")
        if secret and others:
            text = '"secure_link_secret" cannot be mixed with "secure_link" and "secure_link_md5"'
            self._problem(text, max(secret[-1].position, others[-1].position))
        for module in _STORING:
            cache, store = own(f"{module}_cache"), own(f"{module}_store")
            if cache and store and cache[-1].arguments != ("off",) and store[-1].arguments != ("off",):
                last, other = (store, "cache") if store[-1].position >= cache[-1].position else (cache, "store")
                text = f'"{last[-1].name}" directive is incompatible with "{module}_{other}"'
                self._problem(text, last[-1].position)
            # What is set further inside replaces the other one that would be inherited (nginx: ngx_http_proxy_merge_loc_conf).
            for mine, inherited in ((cache, "store"), (store, "cache")):
                if mine and mine[-1].arguments != ("off",):
                    for table in (scope.values, scope.heritage):
                        table.pop(f"{module}_{inherited}", None)

    def check_recoding(self, location: Location) -> None:
        """Check that a map exists where a location has texts in one character set and sends them in another."""
        wanted, source = location.charset, location.source_charset
        if wanted is None or source is None or wanted.constant is None or source.constant is None:
            return
        names = source.text, wanted.text
        lower = frozenset(name.lower() for name in names)
        maps = (frozenset((each.source.lower(), each.target.lower())) for each in location.charset_map)
        if len(lower) == 1 or lower in maps or names in self._missing:
            return
        self._missing.add(names)
        position = location.written["source_charset"][-1].position
        self._problem(f'no "charset_map" between the charsets "{source.text}" and "{wanted.text}"', position)


def without_cache_key(scope: Scope, outer: Scope | None) -> Iterator[Problem]:
    """Yield a warning for each cache that a block sets without a key for its responses."""
    for name in sorted(WITH_KEYS & scope.written.keys()):
        lines = scope.written[name]
        is_own = outer is None or lines is not outer.written.get(name)
        if is_own and lines[-1].arguments != ("off",) and scope.values.get(f"{name}_key") is None:
            yield Problem(f'no "{name}_key" for "{name}"', lines[-1].position)
