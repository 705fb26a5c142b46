"""The modules that a configuration needs, imported by the master before it forks its workers.

What only some configurations need is imported where it is used (`worker.attach` and others). A worker that did so itself would
open the files of the program: those of another version, if they have been replaced since the master started, and the successor
of a worker that died would be a mixture of both. So a master imports all of it beforehand, at the start and at each reload; its
workers find the modules loaded, and share their memory.

A row of the tables below has a condition and the modules that are needed where it holds. `tests/worker/test_imports.py` finds
every import inside a function, and wants a row for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from operator import attrgetter
from typing import TypeVar

from worker.attach import is_traced
from worker.filters.order import stores
from worker.upstream.module_settings import ModuleSettings
from worker.upstream.protocols import settings_of
from wproxy.config.counting import wants_counters
from wproxy.config.model import Configuration, Listener, Location, Server
from wproxy.config.tree import ConfigurationError, Problem
from wproxy.directives.explain_ring import is_recorded
from wproxy.failures import reason_of

Asking = TypeVar("Asking")


def passes_by(module: str) -> Callable[[ModuleSettings], bool]:
    """Return whether settings are those of the directives that begin with this word."""
    return lambda settings: settings.module == module


def is_secure(settings: ModuleSettings) -> bool:
    """Whether connections to the upstream of a location may be encrypted."""
    return bool(settings.get("target").may_be_secure)


def has_http2_upstream(settings: ModuleSettings) -> bool:
    """Whether requests are passed on by HTTP/2."""
    return settings.module == "proxy" and settings.max_streams > 0


def shows_state(location: Location) -> bool:
    """Whether a location answers questions about the state of the server."""
    return bool(location.api) or location.dashboard is not None


def adds_pages(location: Location) -> bool:
    """Whether other pages stand around those of a location."""
    return bool(location.add_before_body or location.add_after_body)


def has_http2(listener: Listener) -> bool:
    """Whether clients of a listener may speak HTTP/2."""
    servers = (listener.servers.default, *listener.servers.targets)
    return any(server is not None and listener.speaks_http2(server) for server in servers)


def shares_sessions(configuration: Configuration) -> bool:
    """Whether machines share the sessions of an upstream."""
    return any(upstream.sticky is not None and upstream.sticky.server is not None for upstream in configuration.upstreams)


def has_common_limits(configuration: Configuration) -> bool:
    """Whether machines count together."""
    return any(zone.sync is not None for zone in configuration.limit_zones)


# What a single location asks for.
FOR_LOCATIONS: tuple[tuple[Callable[[Location], object], tuple[str, ...]], ...] = (
    (attrgetter("mirror"), ("worker.content.mirror",)),
    (shows_state, ("worker.content.api", "worker.content.api_resets", "worker.dashboard.snapshot", "wproxy.decisions.ring")),
    (attrgetter("dashboard"), ("worker.content.dashboard",)),
    (attrgetter("stub_status"), ("worker.content.stub_status",)),
    (
        attrgetter("metrics"),
        ("worker.content.metrics", "worker.counters.page", "worker.counters.reading", "wproxy.counters.exposition"),
    ),
    (lambda location: location.metrics and location.metrics.compat, ("worker.counters.plus",)),
    (attrgetter("empty_gif"), ("worker.content.empty_gif",)),
    (attrgetter("random_index"), ("worker.content.random_index",)),
    (attrgetter("autoindex"), ("worker.content.autoindex",)),
    (attrgetter("dav_methods"), ("worker.content.dav",)),
    (attrgetter("auth_jwt"), ("worker.access.token_keys", "wproxy.tokens")),
    (is_traced, ("worker.tracing.locations",)),
    (is_recorded, ("worker.decisions.recording", "wproxy.explain")),
    # Filters.
    (attrgetter("slice"), ("worker.filters.slices",)),
    (attrgetter("grpc_errors"), ("worker.filters.grpc_errors",)),
    (attrgetter("user_ids"), ("worker.filters.userid",)),
    (attrgetter("gunzip"), ("worker.filters.gunzip",)),
    (attrgetter("sub_filter"), ("worker.filters.sub_filter",)),
    (attrgetter("ssi"), ("worker.filters.ssi",)),
    (adds_pages, ("worker.filters.addition",)),
    (attrgetter("brotli"), ("worker.filters.brotli",)),
    (attrgetter("zstd"), ("worker.filters.zstd",)),
)
# What a location asks for that passes requests on.
FOR_PASSING: tuple[tuple[Callable[[ModuleSettings], object], tuple[str, ...]], ...] = (
    (stores, ("worker.filters.store",)),
    (attrgetter("has_cache"), ("worker.cache.answering", "worker.cache.hits")),
    (is_secure, ("worker.upstream.tls.open", "wproxy.tls.upstreams")),
    (has_http2_upstream, ("worker.upstream.protocols.http2",)),
    (passes_by("fastcgi"), ("worker.client.http1.repeated_fastcgi", "worker.upstream.protocols.fastcgi")),
    (passes_by("uwsgi"), ("worker.upstream.protocols.closing",)),
    (passes_by("scgi"), ("worker.upstream.protocols.closing",)),
    (passes_by("memcached"), ("worker.upstream.protocols.memcached",)),
    (passes_by("grpc"), ("worker.upstream.protocols.grpc",)),
)
# What a server asks for.
FOR_SERVERS: tuple[tuple[Callable[[Server], object], tuple[str, ...]], ...] = (
    (lambda server: server.ssl_verify_client != "off", ("wproxy.certificate",)),
    (lambda server: server.ssl_verify_client != "off" and server.ssl_ocsp != "off", ("worker.tls.client_status",)),
    (attrgetter("ssl_stapling"), ("worker.tls.stapling",)),
    (attrgetter("ssl_session_cache.zone"), ("worker.tls.shared_sessions",)),
)
# What a listener asks for.
FOR_LISTENERS: tuple[tuple[Callable[[Listener], object], tuple[str, ...]], ...] = (
    (lambda listener: "ssl" in listener.protocols, ("worker.client.secure", "worker.tls.stream")),
    (has_http2, ("worker.client.preface", "worker.client.http2.serve")),
)
# What a configuration as a whole asks for.
FOR_ALL: tuple[tuple[Callable[[Configuration], object], tuple[str, ...]], ...] = (
    (
        wants_counters,
        (
            "worker.counters.counting",
            "worker.counters.handshakes",
            "worker.counters.peers",
            "worker.counters.requests",
            "worker.limits.counted",
            "worker.upstream.report_counts",
            "wproxy.counters.layout",
            "wproxy.counters.plan",
            "wproxy.counters.totals",
        ),
    ),
    (attrgetter("cache_zones"), ("worker.cache.cache", "worker.cache.processes", "worker.content.api_caches")),
    (attrgetter("limit_zones"), ("worker.limits.connection_zone", "worker.limits.request_zone")),
    (
        has_common_limits,
        (
            "worker.limits.common_connections",
            "worker.limits.synced_connections",
            "worker.limits.synced_requests",
            "worker.redis.link",
        ),
    ),
    (shares_sessions, ("worker.upstream.synced_sticky", "worker.redis.link")),
    (attrgetter("exporter"), ("worker.tracing.exporter", "wproxy.counters.layout")),
)


def needed_modules(configuration: Configuration) -> Iterator[str]:
    """Yield the names of the modules that a configuration needs, some more than once."""
    servers = configuration.all_servers
    locations = [location for server in servers for location in server.each_location()]
    yield from _of(FOR_LOCATIONS, locations)
    yield from _of(FOR_PASSING, [settings for location in locations if (settings := settings_of(location)) is not None])
    yield from _of(FOR_SERVERS, servers)
    yield from _of(FOR_LISTENERS, configuration.all_listeners)
    yield from _of(FOR_ALL, (configuration,))


def _of(rows: Iterable[tuple[Callable[[Asking], object], tuple[str, ...]]], all_that_ask: Iterable[Asking]) -> Iterator[str]:
    for needs, modules in rows:
        if any(map(needs, all_that_ask)):
            yield from modules


def import_needed(configuration: Configuration) -> Configuration:
    """Import all that the workers of a configuration will need, and return the configuration. Raises ConfigurationError."""
    for name in needed_modules(configuration):
        try:
            import_module(name)
        except (ImportError, SyntaxError, OSError) as error:
            raise ConfigurationError(Problem(f'cannot import "{name}": {reason_of(error)}')) from None
    return configuration
