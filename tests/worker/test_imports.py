"""What a configuration needs is imported before the workers are forked."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from worker import imports
from wproxy.config.load import load_text
from wproxy.config.tree import ConfigurationError

HOUSE = Path(__file__).parents[2]
ROOMS = ("master", "worker", "wproxy")
# Files whose functions run in commands, or in the master before it forks.
BEFORE_THE_FORK = (
    "worker/explain/",
    "worker/imports.py",
    "wproxy/__main__.py",
    "wproxy/about.py",
    "wproxy/check/",
    "wproxy/config/",
    "wproxy/files.py",  # the plans of locations, as a configuration is read
    "wproxy/regex/escapes.py",  # regexes are compiled as it is read
    "wproxy/tls/contexts.py",
    "wproxy/top/",
    "wproxy/why/",
)
# Needed by `wproxy explain` only.
BY_COMMANDS = {"worker.cache.explaining"}


def in_functions(file: Path) -> set[str]:
    """The modules of the program that functions of a file import."""
    found = set()
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    for function in (node for node in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(node, functions)):
        for node in ast.walk(function):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                module = node.module or ""
                names = {f"{module}.{alias.name}" for alias in node.names}
                found |= {name if (HOUSE / f"{name.replace('.', '/')}.py").exists() else module for name in names}
    return {name for name in found if name.partition(".")[0] in ROOMS}


def rows() -> set[str]:
    tables = (imports.FOR_LOCATIONS, imports.FOR_PASSING, imports.FOR_SERVERS, imports.FOR_LISTENERS, imports.FOR_ALL)
    return {name for table in tables for _, names in table for name in names}


def files() -> list[Path]:
    found = [file for room in ("worker", "wproxy") for file in sorted((HOUSE / room).rglob("*.py"))]
    return [file for file in found if not str(file.relative_to(HOUSE)).startswith(BEFORE_THE_FORK)]


def test_every_import_in_a_function_that_workers_call_has_a_row():
    assert {name for file in files() for name in in_functions(file)} - BY_COMMANDS - rows() == set()


def test_every_row_names_a_module():
    missing = [name for name in rows() if not (HOUSE / f"{name.replace('.', '/')}.py").exists()]
    assert [name for name in missing if not (HOUSE / name.replace(".", "/") / "__init__.py").exists()] == []


# What tests/test_rooms.py does not ask of a single location.
CONFIGURATION = """
worker_processes 1;
events {}
http {
    proxy_cache_path /tmp/none keys_zone=c:1m;
    limit_req_zone $remote_addr zone=r:1m rate=1r/s;
    upstream u { server 127.0.0.1:1; }
    server {
        listen 1 ssl;
        http2 on;
        ssl_certificate a.pem;
        ssl_certificate_key a.key;
        ssl_client_certificate a.pem;
        ssl_stapling on;
        ssl_verify_client optional;
        ssl_ocsp on;
        location / { proxy_pass http://u; proxy_cache c; limit_req zone=r; }
        location /t { proxy_pass https://u; otel_trace_context propagate; explain_ring on; }
        location /f { fastcgi_pass u; }
    }
}
"""


def names_for(text: str) -> set[str]:
    return set(imports.needed_modules(load_text(text.encode(), "nginx.conf", "/tmp", lambda host, port: [])))


def test_servers_listeners_and_zones_have_their_modules():
    assert names_for(CONFIGURATION) >= {
        "worker.cache.answering",
        "worker.cache.processes",
        "worker.client.http2.serve",
        "worker.client.secure",
        "worker.decisions.recording",
        "worker.limits.request_zone",
        "worker.tls.client_status",
        "worker.tls.stapling",
        "worker.tracing.locations",
        "worker.upstream.protocols.fastcgi",
        "worker.upstream.tls.open",
    }


def test_a_module_that_cannot_be_imported_is_a_problem_of_the_configuration(monkeypatch):
    monkeypatch.setattr(imports, "FOR_ALL", ((bool, ("worker.that_is_not_there",)),))
    plain = load_text(b"events {} http { server { listen 1; } }", "nginx.conf", "/tmp", lambda host, port: [])
    with pytest.raises(ConfigurationError, match=r'cannot import "worker.that_is_not_there": .*wproxy upgrade'):
        imports.import_needed(plain)
