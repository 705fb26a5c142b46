"""The modules that mypyc compiles, with `WPROXY_COMPILE=1 pip install .`; setup.py reads this table.

The source is the same, and interpreted it is the reference: a compiled module stands beside its source, and the
import system prefers it. What runs for every request is compiled, in groups that are one shared library each: calls inside of a
group are the cheapest, and a group whose sources are the same is not built again.

A module of HOT that no group has is in INTERPRETED, with the reason (tests/test_compiled_table.py).
"""

from __future__ import annotations

import os
import shutil
import sysconfig
from importlib.machinery import EXTENSION_SUFFIXES

# The packages that requests come through: each of their modules is in one of the two tables below.
HOT = (
    "worker.client.http1",
    "worker.client.http2",
    "worker.http1",
    "worker.http2",
    "worker.upstream",
    "worker.upstream.balance",
    "worker.upstream.protocols",
)

GROUPS: dict[str, tuple[str, ...]] = {
    "words": (
        "wproxy.bodies",
        "wproxy.checked_health",
        "wproxy.health",
        "wproxy.http",
        "wproxy.matching",
        "wproxy.peer_counters",
        "wproxy.request_body",
        "wproxy.route",
        "wproxy.template",
        "wproxy.uri",
    ),
    "http1": (
        "worker.channel",
        "worker.loop",
        "worker.outlet",
        "worker.rates",
        "worker.stream",
        "worker.http1.broken_head",
        "worker.http1.chunked",
        "worker.http1.fields",
        "worker.http1.framing",
        "worker.http1.head_memo",
        "worker.http1.head_shape",
        "worker.http1.hosts",
        "worker.http1.request",
        "worker.http1.request_fields",
        "worker.http1.request_line",
        "worker.http1.request_values",
        "worker.http1.response",
        "worker.http1.unusual_head",
        "worker.http1.write",
    ),
    "client": (
        "worker.client.accept",
        "worker.client.clients",
        "worker.client.ending",
        "worker.client.http1.body",
        "worker.client.http1.connection",
        "worker.client.http1.ending",
        "worker.client.http1.learning",
        "worker.client.http1.new_request",
        "worker.client.http1.repeated_answer",
        "worker.client.http1.repeated_exchange",
        "worker.client.http1.repeated_passage",
        "worker.client.http1.repeated_visit",
        "worker.client.http1.response",
        "worker.client.http1.serve",
        "worker.client.http1.tunnel",
        "worker.client.http1.varied_exchange",
        "worker.client.plan",
        "worker.client.requests",
        "worker.content.returns",
        "worker.filters.fields",
        "worker.filters.headers",
        "worker.filters.trailers",
        "worker.logs.access",
        "worker.logs.formats",
        "worker.pages",
        "worker.phases",
    ),
    "upstream": (
        "worker.upstream.answers",
        "worker.upstream.balance.load",
        "worker.upstream.balance.rotation",
        "worker.upstream.balance.tier",
        "worker.upstream.body",
        "worker.upstream.budget",
        "worker.upstream.connect",
        "worker.upstream.counts",
        "worker.upstream.exchange",
        "worker.upstream.hidden",
        "worker.upstream.idle",
        "worker.upstream.incoming",
        "worker.upstream.live_peer",
        "worker.upstream.opening",
        "worker.upstream.outgoing",
        "worker.upstream.passing",
        "worker.upstream.peers",
        "worker.upstream.pooled",
        "worker.upstream.protocols",
        "worker.upstream.protocols.http1",
        "worker.upstream.proxied_body",
        "worker.upstream.report",
        "worker.upstream.reshaping",
        "worker.upstream.sending",
        "worker.upstream.target",
        "worker.upstream.times",
    ),
    "http2": (
        "worker.client.http2.body",
        "worker.client.http2.connection",
        "worker.client.http2.exchange",
        "worker.client.http2.response",
        "worker.client.http2.sender",
        "worker.client.http2.serve",
        "worker.client.http2.tunnel",
        "worker.http2.abuse",
        "worker.http2.answer_block",
        "worker.http2.errors",
        "worker.http2.frames",
        "worker.http2.header_block",
        "worker.http2.request_head",
        "worker.http2.response_head",
        "worker.http2.settings",
        "worker.http2.streams",
        "worker.http2.windows",
    ),
    "files": (
        "worker.content.file_body",
        "worker.content.files_again",
        "worker.content.index",
        "worker.content.kept_files",
        "worker.content.open_files",
        "worker.content.opening",
        "worker.content.static",
        "worker.content.try_files",
    ),
    "fastcgi": (
        "worker.cgi.head",
        "worker.cgi.parameters",
        "worker.client.http1.repeated_fastcgi",
        "worker.fastcgi.records",
        "worker.upstream.protocols.closing",
        "worker.upstream.protocols.fastcgi",
        "worker.upstream.protocols.writing",
    ),
    "http2_upstream": (
        "worker.upstream.protocols.grpc",
        "worker.upstream.protocols.grpc_head",
        "worker.upstream.protocols.http2",
        "worker.upstream.protocols.http2_arriving",
        "worker.upstream.protocols.http2_frames",
        "worker.upstream.protocols.http2_head",
        "worker.upstream.protocols.http2_stream",
        "worker.upstream.shared",
    ),
    "limits": (
        "worker.limits.check",
        "worker.limits.connection_zone",
        "worker.limits.connections",
        "worker.limits.request_zone",
        "worker.limits.requests",
        "worker.limits.zone",
    ),
    "tls": (
        "worker.client.secure",
        "worker.tls.stream",
        "worker.tunnel",
    ),
}

INTERPRETED: dict[str, str] = {
    "worker.descriptor": "a native class cannot derive from socket.socket",
    "worker.parking": "a compiled generator cannot be awaited by interpreted coroutines",
    "worker.subrequest": "only pages with subrequests use it; its classes show that those of interpreted modules may derive",
    "wproxy.failures": "exceptions lose the defaults of their classes",
    "worker.upstream.protocols.memcached": "few requests go there",
    **dict.fromkeys(
        (
            "worker.upstream.backlog",
            "worker.upstream.balance.chance",
            "worker.upstream.balance.keys",
            "worker.upstream.balance.ring",
            "worker.upstream.common_counts",
            "worker.upstream.cookies",
            "worker.upstream.hints",
            "worker.upstream.queue",
            "worker.upstream.redirects",
            "worker.upstream.report_counts",
            "worker.upstream.states",
            "worker.upstream.sticky",
            "worker.upstream.synced_sticky",
            "worker.upstream.upload",
        ),
        "only some configurations or some answers need it",
    ),
    **dict.fromkeys(
        (
            "worker.upstream.buffering",
            "worker.upstream.failing",
            "worker.upstream.failure_log",
            "worker.upstream.instant",
            "worker.upstream.make_passing",
            "worker.upstream.manner",
            "worker.upstream.module_settings",
            "worker.upstream.slow_start",
        ),
        "nothing of it runs for a request that goes well",
    ),
}

COMPILED = tuple(module for group in GROUPS.values() for module in group)


def source_of(module: str) -> str:
    """Return the path of a module's source below the directory of our packages."""
    path = module.replace(".", "/")
    return f"{path}/__init__.py" if os.path.isdir(os.path.join(_HOUSE, path)) else f"{path}.py"


def compiled_modules() -> list[str]:
    """Return the modules that would be imported compiled."""
    return [module for module in COMPILED if _has_extension(os.path.join(_HOUSE, source_of(module).removesuffix(".py")))]


def how_it_runs() -> str:
    """Say whether this installation is compiled: the text of `-V` and `--version`."""
    found = len(compiled_modules())
    if not found:
        return "interpreted"
    return f"{found} modules compiled" if found == len(COMPILED) else f"{found} of {len(COMPILED)} modules compiled"


def compiler() -> str:
    """Return the program that compiles C, as setuptools chooses it."""
    command: str = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    return command.split()[0]


def missing_to_compile() -> str:
    """Say in one line which of C compiler and headers of Python is not on this machine, and how to get it; "" for none."""
    if shutil.which(compiler()) is None:
        return f"there is no C compiler ({compiler()}): install one (on Debian: apt-get install gcc), or set CC"
    header = os.path.join(sysconfig.get_path("include"), "Python.h")
    if not os.path.exists(header):
        return f"there are no headers of this Python ({header}): install them (on Debian: apt-get install python3-dev)"
    return ""


def _has_extension(path: str) -> bool:
    return any(os.path.exists(path + suffix) for suffix in EXTENSION_SUFFIXES)


_HOUSE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
