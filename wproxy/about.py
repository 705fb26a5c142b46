"""The texts of `-v`, `-V` and `-h`.

Programs search the text of `-V` for the names of modules and take what they find as a promise (drop-in.md). So both lists are
derived from the registry: a module is listed when the directive that makes it useful has an effect, and the name of any other
module appears only after `--without-`.
"""

from __future__ import annotations

import platform

from wproxy.compiled import how_it_runs
from wproxy.identity import NGINX, WPROXY, Identity

# Optional modules of nginx, each with the directive that makes it useful.
OPTIONAL = {
    "--with-debug": "debug_connection",
    "--with-http_ssl_module": "ssl_certificate",
    "--with-http_v2_module": "http2",
    "--with-http_v3_module": "http3",
    "--with-http_realip_module": "set_real_ip_from",
    "--with-http_addition_module": "add_before_body",
    "--with-http_xslt_module": "xslt_stylesheet",
    "--with-http_image_filter_module": "image_filter",
    "--with-http_geoip_module": "geoip_country",
    "--with-http_sub_module": "sub_filter",
    "--with-http_dav_module": "dav_methods",
    "--with-http_flv_module": "flv",
    "--with-http_mp4_module": "mp4",
    "--with-http_gunzip_module": "gunzip",
    "--with-http_gzip_static_module": "gzip_static",
    "--with-http_auth_request_module": "auth_request",
    "--with-http_random_index_module": "random_index",
    "--with-http_secure_link_module": "secure_link",
    "--with-http_slice_module": "slice",
    "--with-http_stub_status_module": "stub_status",
    "--with-mail": "mail",
    "--with-stream": "stream",
    "--with-stream_ssl_preread_module": "ssl_preread",
}
# Modules that every nginx has unless it was built without them, in the same form.
USUAL = {
    "http_charset_module": "charset",
    "http_gzip_module": "gzip",
    "http_ssi_module": "ssi",
    "http_userid_module": "userid",
    "http_access_module": "allow",
    "http_auth_basic_module": "auth_basic",
    "http_mirror_module": "mirror",
    "http_autoindex_module": "autoindex",
    "http_geo_module": "geo",
    "http_map_module": "map",
    "http_split_clients_module": "split_clients",
    "http_referer_module": "valid_referers",
    "http_rewrite_module": "rewrite",
    "http_proxy_module": "proxy_pass",
    "http_fastcgi_module": "fastcgi_pass",
    "http_uwsgi_module": "uwsgi_pass",
    "http_scgi_module": "scgi_pass",
    "http_grpc_module": "grpc_pass",
    "http_memcached_module": "memcached_pass",
    "http_limit_conn_module": "limit_conn",
    "http_limit_req_module": "limit_req",
    "http_empty_gif_module": "empty_gif",
    "http_browser_module": "ancient_browser",
    "http_upstream_hash_module": "hash",
    "http_upstream_ip_hash_module": "ip_hash",
    "http_upstream_least_conn_module": "least_conn",
    "http_upstream_least_time_module": "least_time",
    "http_upstream_random_module": "random",
    "http_upstream_sticky_module": "sticky",
    "http_upstream_keepalive_module": "keepalive",
    "http_upstream_zone_module": "upstream",  # the state of peers is shared by all workers, `zone` or not
    "http-cache": "proxy_cache",
}

_USAGE = """\
Usage: {name} [-?hvVtTq] [-s signal] [-p prefix]
{indent}[-e filename] [-c filename] [-g directives]

Options:
  -?,-h         : this help
  -v            : show version and exit
  -V            : show version and configure options then exit
  -t            : test configuration and exit
  -T            : test configuration, dump it and exit
  -q            : suppress non-error messages during configuration testing
  -s signal     : send signal to a master process: stop, quit, reopen, reload
  -p prefix     : set prefix path (default: {prefix})
  -e filename   : set error log file (default: {log})
  -c filename   : set configuration file (default: {file})
  -g directives : set global directives out of configuration file

"""


def version_text(identity: Identity) -> str:
    """Return the one line of `-v`."""
    return f"{identity.name} version: {identity.token}\n"


def usage_text(identity: Identity) -> str:
    """Return the usage text that `-h` prints after the version."""
    text = _USAGE.format(
        name=identity.name,
        indent=" " * len(f"Usage: {identity.name} "),
        prefix=identity.prefix or "the directory of the configuration file",
        log=identity.error_log or "logs/error.log",
        file=identity.file or "wproxy.toml or /etc/wproxy/wproxy.toml",
    )
    return text if identity is NGINX else f"{text}The commands, start, reload, status and more: {identity.name} --help\n\n"


def build_text(identity: Identity) -> str:
    """Return what `-V` prints after the version: what we run on, and our features as nginx's `configure` arguments."""
    lines = [f"{WPROXY.name} {WPROXY.version}"] if identity is not WPROXY else []
    lines.append(f"built by {platform.python_implementation()} {platform.python_version()}, {how_it_runs()}")
    words = [f"--{word}={path}" for word, path in _paths(identity) if path] + module_words()
    if "--with-http_ssl_module" in words:
        import ssl  # 10 ms

        lines += [f"built with {ssl.OPENSSL_VERSION}", "TLS SNI support enabled"]
    lines.append(f"configure arguments: {' '.join(words)}")
    return "".join(f"{line}\n" for line in lines)


def module_words() -> list[str]:
    """Return the --with and --without arguments in which we differ from a default nginx build."""
    there = [word for word, directive in OPTIONAL.items() if is_effective(directive)]
    return there + [f"--without-{word}" for word, directive in USUAL.items() if not is_effective(directive)]


def is_effective(name: str) -> bool:
    """Whether a directive of that name exists and has an effect; those that are merely accepted do not count."""
    import wproxy.config.model  # noqa: F401  fills the registry
    from wproxy.config.registry import REGISTRY
    from wproxy.directives.accepted import ACCEPTED

    accepted = ACCEPTED.get(name, [])
    return any(row.effective and all(row is not other for other in accepted) for row in REGISTRY.get(name, ()))


def _paths(identity: Identity) -> list[tuple[str, str]]:
    return [
        ("prefix", identity.prefix.rstrip("/")),
        ("conf-path", identity.file),
        ("error-log-path", identity.error_log),
        ("http-log-path", identity.access_log),
        ("pid-path", identity.pid),
    ]
