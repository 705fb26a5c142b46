"""The directives that every module with a `*_pass` has: those of proxy_*, under the module's own name.

fastcgi_read_timeout means for FastCGI what proxy_read_timeout means for HTTP, and so on; nginx writes such rows out in each of
its modules. Here the table of a module takes them over from the tables of proxy_*.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from wproxy.config.registry import HTTP, LOCATION, SERVER, UNION, Directive, Reader, directive
from wproxy.directives.buffering import BufferingDirectives
from wproxy.directives.cache import CacheDirectives, cache, cache_path
from wproxy.directives.certificates import certificate_cache
from wproxy.directives.proxy import ProxyDirectives
from wproxy.directives.proxy_headers import ProxyHeaderDirectives
from wproxy.directives.proxy_tls import ProxyTlsDirectives
from wproxy.directives.request_body import RequestBodyDirectives
from wproxy.directives.store import StoreDirectives
from wproxy.directives.values import words

# Of every module; after the name of the module.
CONNECTIONS = (
    *("bind", "socket_keepalive", "connect_timeout", "send_timeout", "read_timeout", "buffer_size"),
    *("next_upstream_tries", "next_upstream_timeout", "next_upstream_budget"),
)
# Of those but memcached.
SOCKETS = ("socket_rcvbuf", "socket_sndbuf")
# Of those whose peers answer with the fields of a response.
FIELDS = ("hide_header", "pass_header", "ignore_headers", "intercept_errors")
# Of those whose answers can be kept.
CACHE = (
    *("cache_path", "cache", "cache_key", "cache_valid", "cache_bypass", "no_cache", "cache_purge", "cache_methods"),
    *("cache_min_uses", "cache_max_range_offset", "cache_revalidate", "cache_use_stale", "cache_background_update"),
    *("cache_lock", "cache_lock_age", "cache_lock_timeout"),
)
# Of those that can stand in for HTTP in every respect.
WHOLE = (
    *CONNECTIONS,
    *SOCKETS,
    *FIELDS,
    *CACHE,
    *("pass_request_headers", "pass_request_body", "request_buffering", "ignore_client_abort", "force_ranges"),
    *("buffering", "buffers", "busy_buffers_size", "max_temp_file_size", "temp_file_write_size", "temp_path", "limit_rate"),
    *("store", "store_access"),
)

# Of those that may use TLS.
TLS = (
    *("ssl_server_name", "ssl_name", "ssl_verify", "ssl_verify_depth", "ssl_trusted_certificate", "ssl_crl", "ssl_certificate"),
    *("ssl_certificate_key", "ssl_certificate_cache", "ssl_password_file", "ssl_protocols", "ssl_ciphers", "ssl_session_reuse"),
    "ssl_conf_command",
)

Table = TypeVar("Table", bound=type)


def like_proxy(module: str, names: Sequence[str], failures: tuple[str, ...]) -> Callable[[Table], Table]:
    """Return a decorator that gives the table of a module the rows of proxy_* with these names.

    failures: the words of its next_upstream.
    """

    def enter(table: Table) -> Table:
        rows = {name: _row(module, name) for name in names}
        rows["next_upstream"] = directive(
            words(failures),
            HTTP | SERVER | LOCATION,
            arity=(1, 1000),
            default=("error", "timeout"),
            inherit=UNION,
            doc="Which failures are retried on another peer.",
        )
        if "cache_use_stale" in rows:
            rows["cache_use_stale"] = replace(rows["cache_use_stale"], read=words(failures))
        for name, row in rows.items():
            setattr(table, f"{module}_{name}", row)
            table.__annotations__[f"{module}_{name}"] = Any
        return table

    return enter


def _row(module: str, name: str) -> Directive:
    row = next(row for table in _TABLES if (row := _ROWS[table].get(f"proxy_{name}")) is not None)
    read = _NAMING[name](f"{module}_{name}") if name in _NAMING else row.read
    return replace(row, read=read, doc=row.doc.replace("proxy_", f"{module}_"))


# Readers whose messages name the directive.
_NAMING: dict[str, Callable[[str], Reader]] = {
    "ssl_certificate_cache": certificate_cache,
    "cache": cache,
    "cache_path": cache_path,
}
_TABLES = (
    ProxyDirectives,
    ProxyTlsDirectives,
    ProxyHeaderDirectives,
    RequestBodyDirectives,
    BufferingDirectives,
    StoreDirectives,
    CacheDirectives,
)
# As they are written: `register` puts values in the place of rows.
_ROWS = {table: {name: row for name, row in vars(table).items() if isinstance(row, Directive)} for table in _TABLES}
