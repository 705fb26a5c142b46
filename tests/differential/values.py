"""Arguments for directives: by the type that the registry gives them, or by name where the type is a directive's own.

Words in capitals stand for what only a running test knows (`fronts.Site.fill`): DIR its directory, PORT0.. the ports of its
servers, BACK0.. the addresses of the recording backend, DEAD an address where nobody listens.

Nearly all values are good ones, for a refusal tells of itself alone; the rest are wrong in ways that people are.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field

from differential import choices as st
from wproxy.config.registry import Directive
from wproxy.directives import (
    balancing,
    buffering,
    charset,
    core,
    files,
    http_core,
    media_types,
    open_file_cache,
    proxy,
    proxy_headers,
    values,
)
from wproxy.directives import rewrite as rewrite_words
from wproxy.template import compile_template
from wproxy.variables.registry import VARIABLES

Words = tuple[str, ...]
Strategy = st.SearchStrategy[Words]

# Variables that no two servers, or runs, have the same value of.
UNSTEADY = frozenset(
    [
        "connection",
        "connection_time",
        "connections_active",
        "connections_reading",
        "connections_waiting",
        "connections_writing",
        "msec",
        "pid",
        "remote_port",
        "realip_remote_port",
        "request_id",
        "request_time",
        "time_iso8601",
        "time_local",
        "nginx_version",
        "pipe",
        "bytes_sent",  # chunks are cut otherwise
        "body_bytes_sent",
        "gzip_ratio",
        "slice_range",
        "http3",
        "quic",
        "upstream_connect_time",
        "upstream_header_time",
        "upstream_response_time",
        "upstream_first_byte_time",
        "upstream_queue_time",
        "tcpinfo_rtt",
        "tcpinfo_rttvar",
        "tcpinfo_snd_cwnd",
        "tcpinfo_rcv_space",
        "upstream_last_addr",
        "request_body_file",
        "upstream_last_server_name",
    ]
)

# Names out of families: of requests, of backends' answers, of arguments, and of nothing.
FAMILY_NAMES = [
    "arg_a",
    "arg_b",
    "arg_missing",
    "http_host",
    "http_user_agent",
    "http_x_one",
    "http_x_two",
    "http_cookie",
    "http_referer",
    "http_range",
    "http_connection",
    "cookie_c",
    "cookie_missing",
    "sent_http_content_type",
    "sent_http_location",
    "sent_http_x_up",
    "sent_http_x_added",
    "sent_http_content_length",
    "sent_http_etag",
    "sent_http_set_cookie",
    "upstream_http_x_up",
    "upstream_http_content_type",
    "upstream_http_set_cookie",
    "upstream_cookie_s",
    "upstream_http_location",
    "upstream_trailer_x_end",
    "http_content_length",
    "http_transfer_encoding",
]


@dataclass
class Names:
    """What a configuration declares, for values to refer to."""

    variables: list[str] = field(default_factory=list)
    upstreams: list[str] = field(default_factory=list)
    formats: list[str] = field(default_factory=list)
    charsets: list[str] = field(default_factory=list)
    named_locations: list[str] = field(default_factory=list)
    is_old: bool = False
    strategies: dict[object, Strategy] = field(default_factory=dict)


def builtin_variables() -> list[str]:
    """Those of the registry whose values can be compared; some are our own, or of modules that nginx's binaries do not have."""
    return sorted(name for name in VARIABLES if name not in UNSTEADY and not name.startswith(("wproxy_", "otel_", "jwt_")))


BUILTIN = builtin_variables()
# Those that Debian's nginx does not have yet.
NEWER = frozenset(
    [
        "is_request_port",
        "request_port",
        "ssl_client_sigalg",
        "ssl_ech_outer_server_name",
        "ssl_ech_status",
        "ssl_sigalg",
        "ssl_sigalgs",
    ]
)
OLD_BUILTIN = [name for name in BUILTIN if name not in NEWER]
PIECES = (
    "a",
    "v",
    "-",
    "/p",
    ".x",
    "x y",
    ":",
    "1",
    "0",
    "%20",
    "=",
    "é",
    "Äpfel",
    "~",
    '"',
    "'",
    "\\",
    ";",
    ",",
    "?q=1",
    "&",
    "#",
)


def variable(names: Names) -> st.SearchStrategy[str]:
    """`$name`: a builtin one, one of a family, or one that the configuration declares."""
    pools = [st.sampled_from(OLD_BUILTIN if names.is_old else BUILTIN), st.sampled_from(FAMILY_NAMES)]
    if names.variables:
        pools += [st.sampled_from(names.variables)] * 2
    return st.one_of(*pools).map(lambda name: f"${name}")


def template(names: Names, pieces: tuple[str, ...] = PIECES) -> st.SearchStrategy[str]:
    """Text with variables anywhere."""
    braced = variable(names).map(lambda name: "${" + name[1:] + "}")
    return st.lists(st.one_of(st.sampled_from(pieces), braced), min_size=1, max_size=3).map("".join)


def one(*choices: str) -> Strategy:
    """One argument, out of these."""
    return st.sampled_from(choices).map(lambda word: (word,))


def lines(*choices: str) -> Strategy:
    """All arguments of one of these, each as it would be written with single spaces."""
    return st.sampled_from(choices).map(lambda text: tuple(text.split(" ")) if text else ())


def some(choices: tuple[str, ...], most: int = 3) -> Strategy:
    """Several words."""
    return st.lists(st.sampled_from(choices), min_size=1, max_size=most, unique=True).map(tuple)


def alone(strategy: st.SearchStrategy[str]) -> Strategy:
    return strategy.map(lambda word: (word,))


FLAG = one("on", "off", "on", "off", "on", "off", "ON", "Off", "yes")
TIME = one("1s", "5s", "60", "1m", "1h 30m", "1d", "90000ms", "2w", "1m 5s", "5s 1m", "1x", "")
SIZE = one("0", "1", "5", "100", "1k", "4K", "64k", "1m", "1M", "1g", "8x", "-1", "k")
MEMORY = one("1k", "2k", "4k", "8K", "16k", "64k", "1m")

# By the function that reads the argument.
BY_READER: dict[Callable[..., object], Strategy] = {
    balancing.present: st.just(()),
    buffering.rate: one("0", "10m", "1g", "x"),
    charset.charset_types: lines("*", "text/css", "text/html application/json", "text/plain text/plain"),
    files.modified_since: one("off", "exact", "before", "Exact", "after"),
    files.range_count: one("0", "1", "2", "5", "x"),
    proxy.http_version: one("1.0", "1.1", "3"),
    rewrite_words.break_: st.just(()),
    values.flag: FLAG,
    values.time: TIME,
    values.size: SIZE,
    http_core.memory: MEMORY,
    http_core.header_buffers: lines("4 8k", "8 4k", "4 16k", "2 4k", "8 32k", "16 1k", "0 4k", "4"),
    http_core.is_there: st.just(()),
    proxy_headers.any_of: lines("0", "1", "$arg_a", "$http_x_one $arg_a"),
    media_types.media_types: lines("*", "text/plain", "text/css application/json", "text/html", "TEXT/Plain", "image/png *"),
    files.chunk: one("0", "1k", "64k", "1m"),
    open_file_cache.seconds: one("1s", "60s", "1m", "0"),
    core.log_target: lines(
        "DIR/other.log", "DIR/other.log info", "stderr", "DIR/other.log debug_http", "DIR/other.log nonsense", "/dev/null crit"
    ),
}


def by_closure(row: Directive) -> Strategy | None:
    """For readers that are made: numbers within bounds, and words out of a list."""
    bounds = inspect.getclosurevars(row.read).nonlocals if inspect.isfunction(row.read) else {}
    if "least" in bounds:
        least, most = int(bounds["least"]), int(bounds["most"])
        good = [str(number) for number in (least, least + 1, 10, 512, most) if least <= number <= most]
        return one(*good, *good, "x", "-1")
    if "allowed" in bounds:
        allowed = tuple(map(str, bounds["allowed"]))
        if row.arity[1] == 1:
            return one(*allowed, *allowed, allowed[0].upper(), "nonsense")
        return some((*allowed, *allowed[:1]))
    return None


FIELD_NAMES = (
    "X-Added",
    "X-Other",
    "Cache-Control",
    "Content-Type",
    "Location",
    "ETag",
    "Last-Modified",
    "Vary",
    "x_lower",
    "Link",
)
UPSTREAM_FIELDS = (
    "X-Up", "Set-Cookie", "Server", "Date", "Content-Type", "X-Accel-Expires", "ETag", "x-up", "X-Accel-Redirect", "Vary",
    "Cache-Control", "Content-Length", "Status", "X-Pad",
)  # fmt: skip
SENT_FIELDS = (
    "Host", "X-One", "X-Forwarded-For", "Connection", "Content-Length", "Accept-Encoding", "X-Real-IP", "User-Agent", "Cookie",
    "x-one", "Range", "If-None-Match", "Expect", "Upgrade",
)  # fmt: skip
URIS = ("/", "/a", "/a/b.txt", "/file.txt", "/dir/", "/missing", "/big.bin", "/page.html")
REGEXES = (
    r"^/(.*)$", r"^/a/(.*)\.txt$", r"(?<cap>[a-z]+)", r"\.(txt|html)$", r"^(/dir)/?(.*)$", r"^/a", r"(\d+)", r"[^/]+$", r"^$",
    r"B", r"%", r"(.)(.)(.)", r"^/nope", r"(unbalanced", r"a{2,}", r"^/(?:file|page)",
)  # fmt: skip
REPLACEMENTS = (
    "/$1", "/file.txt", "/dir/$1?", "/a/b.txt?x=1", "http://example.com/$1", "$scheme://h$uri", "/$1?y=$arg_a", "/big.bin?", "/$uri",
    "https://example.com$request_uri?", "/a?b=$1&c", "relative", "/page.html?$args", "/\u00e9 $1",
)  # fmt: skip


def error_page(names: Names) -> Strategy:
    """Codes, what they become, and where to."""
    codes = some(("404", "403", "500", "502", "503", "504", "405", "413", "416", "301", "400", "494", "418", "304", "414"), 2)
    becomes = st.sampled_from((None, None, None, "=", "=200", "=404", "=302", "=503", "=204"))
    where = st.one_of(
        st.sampled_from((*URIS, "http://example.com/e", "/err$uri", "$arg_a", "/file.txt?code=$status")),
        st.sampled_from(tuple(names.named_locations or ["/file.txt"])),
        template(names),
    )
    return st.builds(lambda many, to, uri: (*many, *([to] if to else []), uri), codes, becomes, where)


def header_with(fields: tuple[str, ...], names: Names) -> Strategy:
    return st.tuples(st.sampled_from(fields), st.one_of(template(names), st.just("")))


def added(names: Names) -> Strategy:
    return st.one_of(
        header_with(FIELD_NAMES, names),
        header_with(FIELD_NAMES, names).map(lambda words: (*words, "always")),
        st.just(("X", "1", "never")),
    )


def rewrite(names: Names) -> Strategy:
    modes = st.sampled_from((None, "last", "break", "redirect", "permanent", "break"))
    to = st.one_of(st.sampled_from(REPLACEMENTS), template(names).map(lambda text: "/" + text))
    return st.builds(lambda regex, uri, mode: (regex, uri, *([mode] if mode else [])), st.sampled_from(REGEXES), to, modes)


def return_(names: Names) -> Strategy:
    return st.one_of(
        st.tuples(st.sampled_from(("200", "200", "404", "201", "204", "301", "302", "303", "307", "308", "403", "444", "500", "299",
                                   "304", "418", "599", "400", "413", "1000", "0", "999")), template(names)),
        st.tuples(st.sampled_from(("200", "204", "301", "403", "404", "500", "405", "408", "413", "499", "494", "416", "600"))),
        st.tuples(st.sampled_from(("http://example.com$request_uri", "https://$host/x", "$scheme://h/", "/relative"))),
        st.tuples(st.sampled_from(("301", "302", "308")), st.sampled_from(("/there", "/a?$args", "$uri/", "//h/x", "there", ""))),
    )  # fmt: skip


def condition(names: Names) -> Strategy:
    """The words between the parentheses of `if`."""
    tested = variable(names)
    return st.one_of(
        st.tuples(tested),
        st.tuples(tested, st.sampled_from(("=", "!=")), st.sampled_from(("a", "GET", "POST", "", "1", "h", "$arg_a"))),
        st.tuples(tested, st.sampled_from(("~", "~*", "!~", "!~*")), st.sampled_from(REGEXES)),
        st.tuples(st.sampled_from(("-f", "!-f", "-d", "!-d", "-e", "!-e", "-x", "!-x")),
                  st.sampled_from(("$request_filename", "$document_root$uri", "DIR/www/file.txt", "DIR/www/dir", "file.txt"))),
    )  # fmt: skip


def try_files(names: Names) -> Strategy:
    candidates = st.lists(
        st.sampled_from(("$uri", "$uri/", "/file.txt", "$uri.txt", "/missing", "/$arg_a", "/dir/", "${uri}index.html", "$request_uri")),
        min_size=1, max_size=3,
    )  # fmt: skip
    last = st.sampled_from(("=404", "=403", "=503", "/file.txt", "/a?x=$args", "/missing", *(names.named_locations or ["=403"])))
    return st.builds(lambda many, end: (*many, end), candidates, last)


def proxy_pass(names: Names) -> Strategy:
    target = st.sampled_from(("BACK0", "BACK0", "BACK1", *names.upstreams, *names.upstreams))
    uri = st.sampled_from(
        ("", "", "", "/", "/up", "/up/", "/up?x=1", "/$1", "$request_uri", "$uri", "/v$arg_a", "/a%20b", "/\u00e9")
    )
    return st.builds(lambda host, rest: (f"http://{host}{rest}",), target, uri)


def map_source(names: Names) -> st.SearchStrategy[str]:
    return st.one_of(variable(names), template(names))


ADDRESSES = (
    "127.0.0.1",
    "127.0.0.0/8",
    "10.0.0.0/8",
    "all",
    "::1",
    "2001:db8::/32",
    "unix:",
    "192.168.1.7",
    "127.0.0.1/8",
    "1.2.3",
)
CHARSETS = ("utf-8", "koi8-r", "windows-1251", "off", "iso-8859-1", "$arg_a")

# How large nginx's hash tables are; what they hold has to fit, and wproxy has none.
HASHES = [
    "map_hash_bucket_size",
    "map_hash_max_size",
    "proxy_headers_hash_bucket_size",
    "proxy_headers_hash_max_size",
    "referer_hash_bucket_size",
    "referer_hash_max_size",
    "server_names_hash_bucket_size",
    "server_names_hash_max_size",
    "types_hash_bucket_size",
    "types_hash_max_size",
    "variables_hash_bucket_size",
    "variables_hash_max_size",
]

# By name, where the type is the directive's own. Each is given the names that the configuration declares.
BY_NAME: dict[str, Callable[[Names], Strategy]] = {
    "access_log": lambda names: st.one_of(
        st.tuples(st.sampled_from(("DIR/access.log", "DIR/more.log")), st.sampled_from(names.formats or ["combined"])),
        st.tuples(st.sampled_from(("DIR/access.log", "DIR/more.log")), st.sampled_from(names.formats or ["combined"]),
                  st.sampled_from(("if=$arg_a", "if=$status", "buffer=4k", "gzip=3", "flush=1s", "buffer=4k flush=1s", "if=1"))
                  ).map(lambda words: tuple(" ".join(words).split(" "))),
        lines("off", "off", "DIR/$arg_a.log main"),
    ),
    "add_header": added,
    "add_trailer": added,
    "aio": lambda _: one("off", "threads", "threads=default", "nonsense"),
    "alias": lambda _: one("DIR/www/", "DIR/www/dir/", "DIR/www", "DIR/www/$arg_a", "DIR/www/$1", "DIR/www/file.txt"),
    "allow": lambda _: one(*ADDRESSES),
    "charset": lambda _: one(*CHARSETS),
    "charset_map": lambda names: st.just(("koi8-r", "utf-8")),
    "client_body_temp_path": lambda _: lines("DIR/tmp_a", "DIR/tmp_a 1", "DIR/tmp_a 1 2", "DIR/tmp_a 4", "DIR/tmp_a 5 6", "DIR/tmp_a 3 3 4", "DIR/tmp_a 0"),
    "client_header_buffer_size": lambda _: one("128", "1k", "4k", "64k"),
    "client_max_body_size": lambda _: one("0", "1", "5", "10", "1k", "1m", "1g", "x"),
    **dict.fromkeys(("connection_pool_size", "request_pool_size"), lambda _: one("4k", "8k", "100", "5")),
    "debug_connection": lambda _: one("127.0.0.1", "10.0.0.0/8", "unix:", "nonsense/33"),
    "default_type": lambda _: one("text/html", "application/octet-stream", "", "text/x y", "TEXT/PLAIN"),
    "deny": lambda _: one(*ADDRESSES),
    "directio": lambda _: one("off", "1m", "4k", "0"),
    "disable_symlinks": lambda _: lines("off", "on", "if_not_owner", "on from=DIR", "on from=$document_root", "from=DIR"),
    "env": lambda _: one("LANG", "A=b", "PATH"),
    "epoll_events": lambda _: one("1", "64", "512"),  # an nginx that waits for 0 events at a time never answers
    "error_page": error_page,
    "expires": lambda _: lines(
        "-1", "epoch", "max", "off", "1h", "modified 1h", "@15h30m", "$arg_a", "modified -1h", "0", "1y", "modified", "@99h", "soon"
    ),
    "gunzip_buffers": lambda _: lines("32 4k", "16 8k", "0 4k"),
    "gzip_buffers": lambda _: lines("32 4k", "16 8k", "4"),
    "gzip_disable": lambda _: lines("msie6", "Mozilla", "curl bot", "(", "^$"),
    "gzip_http_version": lambda _: one("1.0", "1.1", "2"),
    "gzip_min_length": lambda _: one("0", "1", "20", "1000", "1k"),
    "hash": lambda names: st.one_of(alone(template(names)), template(names).map(lambda key: (key, "consistent"))),
    "index": lambda _: lines("index.html", "missing.html index.html", "file.txt", "index.$arg_a /file.txt", "/a/b.txt", "/missing", "dir"),
    "keepalive": lambda names: lines("1", "4", "16", *(() if names.is_old else ("0", "4 local")), "x"),
    "keepalive_timeout": lambda _: lines("75s", "65 60", "1h", "0", "10s 5s", "x", "1m 1m 1m"),
    "least_time": lambda _: lines("header", "last_byte", "header inflight", "nonsense"),
    "limit_rate": lambda _: one("0", "10m", "100m", "1g"),
    "limit_rate_after": lambda _: one("0", "10m", "1k"),
    "open_file_cache": lambda _: lines("off", "max=10", "max=10 inactive=20s", "inactive=20s", "max=0", "max=x"),
    "open_log_file_cache": lambda _: lines("off", "max=10", "max=10 inactive=20s valid=1m min_uses=2", "inactive=20s", "max=0"),
    "output_buffers": lambda _: lines("2 32k", "1 4k", "0 1k"),
    "proxy_bind": lambda _: lines("127.0.0.1", "off", "127.0.0.2", "$server_addr", "$remote_addr", "nonsense"),
    "proxy_buffers": lambda _: lines("8 4k", "4 8k", "2 64k", "8 1k", "1 4k"),
    "proxy_busy_buffers_size": lambda _: one("8k", "16k", "4k"),
    "proxy_cookie_domain": lambda names: st.one_of(
        lines("off", "example.com other.org", ".example.com $host", "~\\.?example\\.(com|net)$ $1.org", "example.com $server_name"),
        st.tuples(st.just("example.com"), template(names)),
    ),
    "proxy_cookie_flags": lambda _: lines(
        "off", "s httponly", "s secure samesite=strict", "~. nosecure nohttponly", "s nosamesite", "$arg_a secure", "s nonsense",
        "~^S samesite=lax", "s samesite=$arg_a",
    ),
    "proxy_cookie_path": lambda _: lines("off", "/ /app/", "/one /", "~^/(.+) /p/$1", "~*/ONE $uri", "$arg_a /x"),
    **dict.fromkeys(HASHES, lambda _: one("64", "128", "1024", "2048", "x")),
    "proxy_hide_header": lambda _: one(*UPSTREAM_FIELDS),
    "proxy_method": lambda _: one("GET", "POST", "PUT", "get", "$request_method", "MKCOL"),
    "proxy_pass": proxy_pass,
    "proxy_pass_header": lambda _: one(*UPSTREAM_FIELDS),
    "proxy_redirect": lambda names: st.one_of(
        lines("off", "default", "http://BACK0/ /", "/ /x/", "~^http://[^/]+(/.*)$ $1", "~*OTHER(.*)$ $host$1", "http://$proxy_host/ /",
              "http://up.example/ $scheme://$host:$server_port/", "default default"),
        st.tuples(st.just("/"), template(names)),
    ),
    "proxy_set_body": lambda names: alone(template(names)),
    "proxy_set_header": lambda names: header_with(SENT_FIELDS, names),
    "proxy_store": lambda _: lines("off", "off", "DIR/store$uri"),
    "proxy_store_access": lambda _: lines("user:rw", "user:rw group:rw all:r", "nonsense"),
    "proxy_temp_path": lambda _: lines("DIR/tmp_b", "DIR/tmp_b 1", "DIR/tmp_b 1 2", "DIR/tmp_b 3 4 5"),
    "queue": lambda _: lines("1", "10 timeout=5s", "0"),
    "random": lambda _: lines("", "two", "two least_conn", "three"),
    "resolver": lambda _: lines("127.0.0.1", "127.0.0.1 valid=1m", "127.0.0.1 ipv6=off", "[::1]:5353", "x=1"),
    "return": return_,
    "rewrite": rewrite,
    "root": lambda _: one("DIR/www", "DIR/www/dir", "DIR/www/", "DIR/nothing", "DIR/$arg_a", "DIR/www/$1"),
    "satisfy": lambda _: one("all", "any", "ANY", "none"),
    "sendfile_max_chunk": lambda _: one("0", "1k", "64k", "1m"),
    "server_tokens": lambda _: one("on", "off", "build", "maybe"),
    "set": lambda names: st.tuples(st.sampled_from(("$s_one", "$s_two", "$s_three", "$s_one", "$limit_rate", "$args", "$uri", "s_one")),
                                   st.one_of(template(names), st.sampled_from(("$1", "a$1b$2", "", "1k")))),
    "sub_filter": lambda names: st.tuples(st.sampled_from(("word", "<b>", "</head>", "WORD", "$arg_a", "o")), template(names)),
    "source_charset": lambda _: one(*(name for name in CHARSETS if name != "off")),
    "thread_pool": lambda _: lines("pool threads=2", "pool threads=2 max_queue=10", "pool"),
    "try_files": try_files,
    "worker_cpu_affinity": lambda _: lines("auto", "01", "10 01"),
    "worker_priority": lambda _: one("0", "5", "-1"),
    "worker_processes": lambda _: one("1", "2", "auto"),
    "worker_connections": lambda _: one("64", "512", "1024"),
    "zone": lambda _: lines("z 64k", "z 1m", "z 1k", "z"),
    "server_name": lambda _: lines("a.example", "*.example b.example", "~^(?<sub>\\w+)\\.test$", "_", "", ".x.example", "a..example"),
}  # fmt: skip


def words_for(row: Directive, names: Names) -> Strategy:
    """Arguments for a directive."""
    if (row.name, row.read) not in names.strategies:
        strategy = find_strategy(row, names)
        assert strategy is not None, f"nobody has written values for {row.name}: add them to differential.values"
        names.strategies[row.name, row.read] = strategy
    return names.strategies[row.name, row.read]


def find_strategy(row: Directive, names: Names) -> Strategy | None:
    """The strategy for a row; None for one that nobody has written values for."""
    if row.name in BY_NAME:
        return BY_NAME[row.name](names)
    if row.read is compile_template:
        return alone(template(names))
    if row.read in BY_READER:
        return BY_READER[row.read]
    return by_closure(row)
