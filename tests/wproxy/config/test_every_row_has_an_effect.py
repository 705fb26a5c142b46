"""What the registry calls effective is read by something that serves, or says in its description that it tunes nothing."""

from __future__ import annotations

import re
from pathlib import Path

import wproxy.config.model  # noqa: F401  # fills the registry
from worker.upstream.protocols import PROTOCOLS
from wproxy.config.registry import REGISTRY, STEP

HOUSE = Path(__file__).parents[3]
# Where a row is declared, described or linted: reading it there has no effect on a request.
_WORDS_ONLY = ("wproxy/directives/", "wproxy/check/", "master/demo/")
# Read by their names as data: the tables that say so.
_BY_NAME = {
    "add_header_inherit": "wproxy/directives/headers.py",
    "add_trailer_inherit": "wproxy/directives/headers.py",
    "compat": "wproxy/config/compat.py",
    "otel_resource_attr": "wproxy/config/collector.py",
    "events": "wproxy/config/resolve.py",
    **{f"{module}_pass": "wproxy/config/resolve.py" for module in PROTOCOLS},
    **dict.fromkeys(("auth_jwt_claim_set", "auth_jwt_header_set"), "wproxy/config/names.py"),
    **dict.fromkeys(("limit_conn_zone", "limit_req_zone"), "wproxy/config/zones.py"),
    **{f"{module}_cache_path": "wproxy/config/temporary_paths.py" for module in ("proxy", "fastcgi", "uwsgi", "scgi")},
    "upstream_start": "wproxy/config/peers.py",
    **dict.fromkeys(("ssl_client_certificate", "ssl_trusted_certificate", "ssl_crl"), "wproxy/tls/contexts.py"),
    **dict.fromkeys(("gzip_static", "brotli_static", "zstd_static"), "worker/content/precompressed.py"),
    **dict.fromkeys(("hash", "ip_hash", "least_conn", "least_time", "random"), "worker/upstream/balance/__init__.py"),
}


def test_every_effective_row_is_read_somewhere():
    sources = {
        str(file.relative_to(HOUSE)): file.read_text()
        for room in ("wproxy", "worker", "master")
        for file in (HOUSE / room).rglob("*.py")
    }
    serving = "\n".join(text for name, text in sources.items() if not name.startswith(_WORDS_ONLY))
    read = set(re.findall(r"\.(\w+)", serving))
    # What all upstream modules have is read by its word alone (worker/upstream/module_settings.py).
    words = set(re.findall(r'\bsettings\.get\(\s*"(\w+)"', serving))
    words |= set(re.findall(r'\bvalue\("(\w+)"\)', sources["wproxy/directives/buffering.py"]))
    read |= {f"{module}_{word}" for module in PROTOCOLS for word in words}
    without = [
        row.name
        for rows in REGISTRY.values()
        for row in rows
        if row.effective
        and row.inherit != STEP
        and row.attribute not in read
        and "nothing depends on it" not in row.doc
        and not re.search("tunes nothing|no effect", row.doc)
        and row.joins not in read
        and f'"{row.name}"' not in sources.get(_BY_NAME.get(row.name, ""), "")
    ]
    assert without == []
