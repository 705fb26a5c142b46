"""The directives of nginx that wproxy knows but does not implement yet, so that a configuration made for nginx loads.

Name, contexts and number of arguments are nginx's own (the ngx_command_t tables of each module), and plain values (on and off,
sizes, times, numbers) are read as nginx reads them. Beyond that a row tells what is lost without the directive:

- `accepted` has no effect yet and is named by `-t` and at a start;
- `guarded` has no effect yet either, and without it the server would let in, show or do more than the configuration says, so a
  start refuses it: access rules, limits, the realip addresses they go by, checks of certificates, and the content handlers (a
  location whose fastcgi_pass did nothing would hand out the source of the programs it should have run);
- `harmless` only tunes nginx's internals: nothing that a client, an upstream or an operator sees depends on it.

A guard is the directive that does the work. Directives that only refine it (auth_basic_user_file, limit_req_zone, ssl_ciphers)
are merely accepted: without the guard they do nothing in nginx either, and with it the guard refuses. `idle` lists the values
that ask for nothing beyond the default, such as `gzip off`: they are accepted silently.

To implement one of them, take its name from this table and write its row in the file of its module. Directives of nginx's
commercial edition and of third-party modules are not here: they are unknown, and that is an error.
"""

from __future__ import annotations

from typing import NamedTuple

from wproxy.config.registry import (
    EVENTS,
    GATHER,
    HTTP,
    LIMIT_EXCEPT,
    LOCATION,
    LOCATION_IF,
    MAIN,
    OPAQUE,
    OWN,
    OWN_GATHER,
    SCALAR,
    SERVER,
    UNION,
    Directive,
    Reader,
    Warns,
    directive,
)
from wproxy.config.repeated import repeated_types_without_html
from wproxy.directives import other_protocols
from wproxy.directives.http_core import header_buffers, memory
from wproxy.directives.images import image_filter, quality, sharpness
from wproxy.directives.media_types import media_types
from wproxy.directives.pass_to import (
    TUNNEL_FAILURES,
    field,
    tunnel_target,
)
from wproxy.directives.proxy_headers import any_of, local_address
from wproxy.directives.values import flag, number, size, text, time, word, words
from wproxy.maps.addresses import Network, parse_network
from wproxy.template import Template, compile_template

MANY = 1000
LEVELS = HTTP | SERVER | LOCATION
ABOVE_LOCATION = HTTP | SERVER
WITH_IF = LEVELS | LOCATION_IF
PASS = LOCATION | LOCATION_IF


def without_arguments() -> bool:
    """Read a directive without arguments: its presence is its value."""
    return True


def anything(*arguments: str) -> None:
    """Accept anything, as nginx itself does."""


def event_method(value: str) -> str:
    """Return the event method that nginx has on Linux; only --with-poll_module and the like add others."""
    if value != "epoll":
        raise ValueError(f'invalid event type "{value}"')
    return value


def pool_size(value: str) -> int:
    """Return the bytes of a memory pool."""
    found = memory(value)
    if found < 112:
        raise ValueError("the pool size must be no less than 112")
    if found % 16:
        raise ValueError("the pool size must be a multiple of 16")
    return found


def streams_index(value: str) -> int:
    """Return a number that is a power of two."""
    found = number()(value)
    if found < 1 or found & (found - 1):
        raise ValueError('"%s" directive must be a power of two')
    return found


def power_of_two(least: int, most: int) -> Reader:
    """Return a reader of sizes that are powers of two, from the least to the most."""

    def shown(value: int) -> str:
        return f"{value // 1024}k" if value >= 1024 else str(value)

    allowed = [least << shift for shift in range((most // least).bit_length())]
    listed = ", ".join(map(shown, allowed[:-1]))

    def read(value: str) -> int:
        found = memory(value)
        if found not in allowed:
            raise ValueError(f'"%s" directive must be {listed}, or {shown(most)}')
        return found

    return read


def pair(*arguments: str) -> tuple[str, ...]:
    """Return a few words that only the module itself can judge."""
    return arguments


def stylesheet(path: str, *parameters: str) -> tuple[str, tuple[Template, ...]]:
    """Read `FILE [NAME=VALUE ...]`."""
    return path, tuple(map(compile_template, parameters))


def network(written: str) -> Network:
    """Return an address or a network."""
    try:
        return parse_network(written)[0]
    except ValueError:
        raise ValueError(f'invalid network "{written}"') from None


def computed_by_perl(name: str, code: str) -> tuple[str, str]:
    """Read `$NAME MODULE::FUNCTION`, or the text of a function."""
    if not name.startswith("$") or len(name) == 1:
        raise ValueError(f'invalid variable name "{name}"')
    return name[1:].lower(), code


class Line(NamedTuple):
    """Directives that differ only in their names."""

    names: str
    contexts: int
    read: Reader = text
    arity: int | tuple[int, int] = 1
    inherit: str = SCALAR
    block: int = 0
    named: bool = False
    idle: str = ""  # words, lower case: one of them as the only argument asks for nothing
    effective: bool = False
    guards: bool = False
    warns: Warns | None = None


accepted = Line


def guarded(line: Line) -> Line:
    """Return this line, to be refused by a start."""
    return line._replace(guards=True)


def harmless(line: Line) -> Line:
    """Return this line, to be accepted silently."""
    return line._replace(effective=True)


ANY_NUMBER = (1, MANY)

# The purpose of a module, in a sentence, and its directives.
MODULES: dict[str, tuple[Line, ...]] = {
    "Processes (src/core/nginx.c).": (
        # Each worker has a socket of its own and its event loop takes one event at a time: there is nothing to take turns for.
        harmless(accepted("lock_file", MAIN)),
        harmless(accepted("timer_resolution", MAIN, time)),
        harmless(accepted("pcre_jit", MAIN, flag)),  # Python's `re` has no such stage
        # A module brings directives, and an unknown one is an error where it appears.
        harmless(accepted("load_module", MAIN, inherit=OWN_GATHER)),
        harmless(accepted("ssl_object_cache_inheritable", MAIN, flag)),  # a reload reads every file again
        # nginx's reaction when it finds its own memory corrupted.
        harmless(accepted("debug_points", MAIN, word(("stop", "abort")))),
        accepted("ssl_engine google_perftools_profiles", MAIN),
        accepted("quic_bpf", MAIN, flag, idle="off"),
    ),
    "Protocols other than HTTP (src/stream, src/mail).": (
        accepted("stream", MAIN, other_protocols.stream, arity=0, inherit=OWN, block=OPAQUE),
        accepted("mail", MAIN, other_protocols.mail, arity=0, inherit=OWN, block=OPAQUE),
    ),
    "The event loop (src/event/ngx_event.c).": (
        harmless(accepted("accept_mutex multi_accept", EVENTS, flag)),
        # The standard `selectors` uses the best method of the system.
        harmless(accepted("use", EVENTS, event_method)),
        harmless(accepted("worker_aio_requests epoll_events", EVENTS, number())),
    ),
    "Sizes of nginx's tables: wproxy's grow by themselves.": (
        harmless(
            accepted(
                "map_hash_max_size map_hash_bucket_size variables_hash_max_size variables_hash_bucket_size "
                "server_names_hash_max_size server_names_hash_bucket_size",
                HTTP,
                number(),
            )
        ),
        harmless(
            accepted(
                "types_hash_max_size types_hash_bucket_size proxy_headers_hash_max_size proxy_headers_hash_bucket_size",
                LEVELS,
                number(),
            )
        ),
        harmless(accepted("referer_hash_max_size referer_hash_bucket_size", SERVER | LOCATION, number())),
        harmless(accepted("connection_pool_size request_pool_size http2_pool_size", ABOVE_LOCATION, pool_size)),
        harmless(accepted("http2_streams_index_size", ABOVE_LOCATION, streams_index)),
    ),
    "Ways to move bytes: wproxy chooses by itself (ngx_http_core_module.c).": (
        harmless(accepted("tcp_nopush tcp_nodelay client_body_in_single_buffer", LEVELS, flag)),
        harmless(accepted("open_file_cache_events", LEVELS, flag)),
        harmless(
            accepted(
                "postpone_output send_lowat read_ahead subrequest_output_buffer_size proxy_send_lowat fastcgi_send_lowat",
                LEVELS,
                memory,
            )
        ),
        harmless(accepted("directio_alignment", LEVELS, size)),
        # Temporary files are written by the loop: a disk that makes writers wait holds up a worker.
        accepted("aio_write", LEVELS, flag, idle="off"),
        harmless(accepted("output_buffers", LEVELS, header_buffers, arity=2)),
    ),
    "Connections, bodies and subrequests (ngx_http_core_module.c).": (
        accepted("client_body_early_read", LEVELS, any_of, arity=ANY_NUMBER, inherit=GATHER),
    ),
    "TLS with clients (ngx_http_ssl_module.c).": (
        accepted("ssl_ech_file", ABOVE_LOCATION, inherit=GATHER),
        accepted("ssl_early_data ssl_certificate_compression", ABOVE_LOCATION, flag, idle="off"),
    ),
    "HTTP/2 and HTTP/3 with clients (src/http/v2, src/http/v3).": (
        accepted("http3 http3_hq", ABOVE_LOCATION, flag, idle="off"),
        accepted("quic_retry quic_gso", ABOVE_LOCATION, flag, idle="off"),
        accepted("quic_host_key", ABOVE_LOCATION),
        accepted("quic_active_connection_id_limit http3_max_concurrent_streams", ABOVE_LOCATION, number()),
        accepted("http3_stream_buffer_size", ABOVE_LOCATION, memory),
        # Server push is gone, and these limits have long been those of HTTP/1: nginx ignores them too.
        harmless(
            accepted(
                "http2_max_field_size http2_max_header_size http2_idle_timeout http2_recv_timeout http2_max_requests "
                "http2_max_concurrent_pushes",
                ABOVE_LOCATION,
                anything,
                inherit=GATHER,
            )
        ),
        harmless(accepted("http2_push http2_push_preload", LEVELS, anything, inherit=GATHER)),
    ),
    "Tunnels for CONNECT (ngx_http_tunnel_module.c).": (
        # Without them CONNECT is refused with 405.
        accepted("tunnel_pass", SERVER | PASS, tunnel_target, arity=(0, 1), inherit=OWN),
        accepted("tunnel_allow_upstream", LEVELS, any_of, arity=ANY_NUMBER, inherit=GATHER),
        accepted("tunnel_bind", LEVELS, local_address, arity=(1, 2), idle="off"),
        accepted("tunnel_bind_dynamic tunnel_socket_keepalive", LEVELS, flag, idle="off"),
        accepted("tunnel_buffer_size tunnel_send_lowat", LEVELS, memory),
        accepted("tunnel_socket_rcvbuf tunnel_socket_sndbuf", LEVELS, memory, idle="0"),
        accepted(
            "tunnel_connect_timeout tunnel_read_timeout tunnel_send_timeout tunnel_next_upstream_timeout", LEVELS, time
        ),
        accepted("tunnel_next_upstream", LEVELS, words(TUNNEL_FAILURES), arity=ANY_NUMBER, inherit=UNION),
        accepted("tunnel_next_upstream_tries", LEVELS, number()),
    ),
    "Compression (ngx_http_gzip_filter_module.c, ngx_http_gzip_static_module.c, ngx_http_gunzip_filter_module.c).": (
        harmless(accepted("gzip_buffers gunzip_buffers", LEVELS, header_buffers, arity=2)),  # a few slices, whatever the body
        # Not in nginx's manual: how much memory its compressor may take, and when it begins.
        harmless(accepted("gzip_window", LEVELS, power_of_two(512, 32768))),
        harmless(accepted("gzip_hash", LEVELS, power_of_two(512, 131072))),
        harmless(accepted("postpone_gzipping", LEVELS, memory)),
        harmless(accepted("gzip_no_buffer", LEVELS, flag)),
    ),
    "Changes to the text of a response (ngx_http_sub_filter_module.c, ngx_http_ssi_filter_module.c and others).": (
        harmless(accepted("ssi_min_file_chunk", LEVELS, memory)),  # texts are never sent by the kernel
        harmless(accepted("ssi_ignore_recycled_buffers", LEVELS, flag)),  # no buffer is written to again
    ),
    "Directory listings and special kinds of files (ngx_http_autoindex_module.c and others).": (
        accepted("flv mp4", LOCATION, without_arguments, arity=0, inherit=OWN_GATHER),
        accepted("mp4_buffer_size mp4_max_buffer_size", LEVELS, memory),
        accepted("mp4_start_key_frame", LEVELS, flag, idle="off"),
    ),
    "Images and XML (ngx_http_image_filter_module.c, ngx_http_xslt_filter_module.c).": (
        accepted("image_filter", LOCATION, image_filter, arity=(1, 3), inherit=GATHER, idle="off"),
        accepted("image_filter_jpeg_quality image_filter_webp_quality", LEVELS, quality),
        accepted("image_filter_sharpen", LEVELS, sharpness),
        accepted("image_filter_transparency image_filter_interlace", LEVELS, flag),
        accepted("image_filter_buffer", LEVELS, memory),
        accepted("xml_entities", LEVELS),
        accepted("xslt_stylesheet", LOCATION, stylesheet, arity=ANY_NUMBER, inherit=GATHER),
        accepted("xslt_param xslt_string_param", LEVELS, field, arity=2, inherit=GATHER),
        accepted("xslt_types", LEVELS, media_types, arity=ANY_NUMBER, inherit=GATHER, warns=repeated_types_without_html),
        accepted("xslt_last_modified", LEVELS, flag),
    ),
    "Variables from geography and cookies (ngx_http_geoip_module.c and others).": (
        accepted("geoip_country geoip_city geoip_org", HTTP, pair, arity=(1, 2)),
        accepted("geoip_proxy", HTTP, network, inherit=GATHER),
        accepted("geoip_proxy_recursive", HTTP, flag),
    ),
    "Embedded Perl (ngx_http_perl_module.c).": (
        guarded(accepted("perl", LOCATION | LIMIT_EXCEPT, inherit=OWN)),
        accepted("perl_modules perl_require", HTTP, inherit=OWN_GATHER),
        accepted("perl_set", HTTP, computed_by_perl, arity=2, inherit=OWN_GATHER),
    ),
}  # fmt: skip


def _rows() -> dict[str, list[Directive]]:
    rows: dict[str, list[Directive]] = {}
    for purpose, lines in MODULES.items():
        for line in lines:
            for name in line.names.split():
                row: Directive = directive(
                    line.read,
                    line.contexts,
                    arity=line.arity,
                    inherit=line.inherit,
                    block=line.block,
                    named=line.named,
                    effective=line.effective,
                    guards=line.guards,
                    warns=line.warns,
                    doc=f"{purpose} {'Accepted: nothing depends on it.' if line.effective else 'Accepted, without effect yet.'}",
                )
                rows.setdefault(name, []).append(row)
    return rows


def _idle_values() -> dict[str, frozenset[str]]:
    found = {name: frozenset(line.idle.split()) for lines in MODULES.values() for line in lines for name in line.names.split()}
    return {name: words for name, words in found.items() if words}


# Keyed by name, for `register_accepted`.
ACCEPTED = _rows()
# The arguments, in lower case, with which a directive asks for nothing beyond the default.
IDLE = _idle_values()
# The names that a configuration may contain without any message.
HARMLESS = frozenset(name for name, rows in ACCEPTED.items() for row in rows if row.effective)
