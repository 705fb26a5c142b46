"""Pages made from the registry: docs/directives.md, and a JSON Schema of wproxy.toml for completion in editors.

Directives that have an effect get an entry each, with an example in both syntaxes; those that are merely accepted get a line.

    python -m wproxy.config.describe

rewrites both. A directive is known here only by its row, except for EXAMPLES: a row without a default does not show what a good
argument looks like.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import wproxy.config.model  # noqa: F401  # fills the registry
from wproxy import directives
from wproxy.config.registry import (
    CHARSET_MAP,
    CONTEXT_NAMES,
    ENTRIES,
    EVENTS,
    EXPORTER,
    GATHER,
    GEO,
    HTTP,
    LIMIT_EXCEPT,
    LOCATION,
    LOCATION_IF,
    MAIN,
    MAP,
    MATCH,
    OPAQUE,
    OWN,
    OWN_GATHER,
    REGISTRY,
    SCALAR,
    SERVER,
    SERVER_IF,
    SPLIT_CLIENTS,
    STEP,
    TYPES,
    UNION,
    UPSTREAM,
    Directive,
    context_names,
)
from wproxy.config.toml import INCLUDE, STEPS, parse_toml
from wproxy.config.tree import Node
from wproxy.config.write_nginx import write_directives
from wproxy.directives.accepted import MODULES as ACCEPTED
from wproxy.directives.like_proxy import TLS, WHOLE
from wproxy.directives.values import flag
from wproxy.generated_pages import DOCS, write_pages

MANY = 1000  # an arity of this size is no limit in practice

# Modules that have the directives of proxy_* under their own names.
PASSING = ("fastcgi", "uwsgi", "scgi", "memcached", "grpc")

# The header that opens a block.
HEADERS = {
    MAIN: "",
    EVENTS: "[events]",
    HTTP: "[http]",
    UPSTREAM: "[http.upstream.app]",
    MATCH: "[http.match.welcome]",
    EXPORTER: "[http.otel_exporter]",
    SERVER: "[[http.server]]",
    LOCATION: '[http.server.location."/"]',
    SERVER_IF: '[http.server.if."($host = www.example.com)"]',
    LOCATION_IF: '[http.server.location."/".if."($request_method = POST)"]',
    LIMIT_EXCEPT: '[http.server.location."/".limit_except."GET POST"]',
    MAP: '[http.map."$http_upgrade $connection_upgrade"]',
    GEO: '[http.geo."$area"]',
    SPLIT_CLIENTS: '[http.split_clients."$remote_addr $variant"]',
    TYPES: "[http.types]",
    CHARSET_MAP: '[http.charset_map."koi8-r utf-8"]',
}

# The contents of a block of entries.
ENTRIES_OF = {
    MAP: 'default = "upgrade"\n"" = "close"',
    GEO: 'default = "world"\n"10.0.0.0/8" = "office"',
    SPLIT_CLIENTS: '"0.5%" = "new"\n"*" = "old"',
    TYPES: '"text/html" = ["html", "htm"]\n"text/css" = "css"',
    EXPORTER: 'endpoint = "127.0.0.1:4317"',
    CHARSET_MAP: 'C0 = "D18E"\nC1 = "D0B0"',
}

# Right-hand sides for rows whose default does not show how they are written.
EXAMPLES = {
    "env": '["TZ", "OPENSSL_CONF=/etc/ssl/wproxy.cnf"]',
    "allow": '["10.0.0.0/8", "2001:db8::/32", "unix:"]',
    "deny": '"all"',
    "limit_req_zone": '[["$binary_remote_addr", "zone=clients:10m", "rate=10r/s"]]',
    "limit_req": '[["zone=clients", "burst=20", "nodelay"]]',
    "limit_conn_zone": '[["$binary_remote_addr", "zone=addresses:10m"]]',
    "limit_conn": '[["addresses", 10]]',
    "set_real_ip_from": '["10.0.0.0/8", "2001:db8::/32", "unix:"]',
    "stub_status": "true",
    "dashboard": '"write=on"',
    "header in otel_exporter": '{ X-Token = "secret" }',
    "endpoint": '"http://127.0.0.1:4318/v1/traces"',
    "protocol": '"http/protobuf"',
    "trusted_certificate": '"/etc/ssl/certs/ca-certificates.crt"',
    "otel_resource_attr": '{ "deployment.environment" = "test" }',
    "otel_span_name": '"$request_method $uri"',
    "otel_span_attr": '{ "http.request.header.x" = "$http_x" }',
    "auth_basic": '"staff only"',
    "auth_request": '"/auth"',
    "mirror": '"/mirror"',
    "ssi_types": '"text/plain"',
    "dav_methods": '["PUT", "DELETE"]',
    "post_action": '"/after"',
    "ancient_browser": '[["MSIE 6", "Lynx"]]',
    "modern_browser": '[["gecko", "1.9"]]',
    "ancient_browser_value": '"old"',
    "modern_browser_value": '"new"',
    "add_before_body": '"/before"',
    "add_after_body": '"/after"',
    "addition_types": '"text/plain"',
    "slice": '"1m"',
    "auth_request_set": '[["$user", "$upstream_http_x_user"]]',
    "auth_basic_user_file": '"users"',
    "auth_jwt": '["the realm", "token=$cookie_token"]',
    "auth_jwt_key_file": '"keys.json"',
    "auth_jwt_claim_set": '[["$role", "user", "role"]]',
    "auth_jwt_header_set": '[["$key_id", "kid"]]',
    "auth_jwt_require": '[["$jwt_claim_admin", "error=403"]]',
    "valid_referers": '[["none", "server_names", "*.example.com"]]',
    "secure_link": '"$arg_md5,$arg_expires"',
    "secure_link_md5": '"$secure_link_expires$uri secret"',
    "secure_link_secret": '"secret"',
    "userid_service": "7",
    "api": '"write=on"',
    "metrics": '"zones=locations"',
    "status_zone": '"shop"',
    "explain_secret": '"6f1d0c7be5a94e2f8b30d1c2a4e6f708"',
    "state": '"/var/lib/wproxy/app.conf"',
    "sub_filter": '[["http://old.example.com", "https://example.com"]]',
    "proxy_busy_buffers_size": '"16k"',
    "proxy_temp_file_write_size": '"64k"',
    "proxy_temp_path": '["temp/proxy", 1, 2]',
    "proxy_tunnel_timeout": '"1h"',
    "thread_pool": '[["disks", "threads=16"]]',
    "sub_filter_types": '["text/css", "text/plain"]',
    "gzip_types": '["text/css", "application/javascript"]',
    "gzip_disable": '"msie6"',
    "brotli_types": '["text/css", "application/javascript"]',
    "zstd_types": '["text/css", "application/javascript"]',
    "resolver": '["127.0.0.1", "valid=30s"]',
    "hash": '["$request_uri", "consistent"]',
    "least_time": '["header", "inflight"]',
    "sticky": '["cookie", "srv_id", "expires=1h", "path=/"]',
    "zone": '["app", "64k"]',
    "queue": '[100, "timeout=70s"]',
    "health_check": '["interval=10s", "fails=3", "passes=2", "uri=/health"]',
    "status": '["200-399"]',
    "header": '[["Content-Type", "=", "text/html"], ["!", "X-Maintenance"]]',
    "body": '[["~", "Welcome"]]',
    "require": '"$upstream_http_x_ready"',
    "user": '["www-data", "www-data"]',
    "worker_shutdown_timeout": '"30s"',
    "worker_rlimit_nofile": "65536",
    "worker_rlimit_core": '"500m"',
    "worker_priority": '"-5"',
    "worker_cpu_affinity": '["auto", "00001111"]',
    "working_directory": '"/var/tmp"',
    "error_log": '{ "logs/error.log" = "notice" }',
    "debug_connection": '"127.0.0.1"',
    "access_log": '{ "logs/access.log" = "combined" }',
    "log_format": '{ short = "$remote_addr $status $request_time" }',
    "server": '{ "127.0.0.1:3001" = { weight = 2, max_fails = 3 }, "127.0.0.1:3002" = { backup = true } }',
    "listen": '[80, ["[::]:80", "default_server"]]',
    "server_name": '[["example.com", "*.example.com"]]',
    "proxy_pass": '"http://127.0.0.1:3000"',
    "proxy_set_header": '{ Host = "$host", X-Real-IP = "$remote_addr" }',
    "proxy_hide_header": '["X-Powered-By", "X-Runtime"]',
    "proxy_pass_header": '"Server"',
    "proxy_redirect": '[["http://127.0.0.1:3000/", "/"]]',
    "proxy_cookie_domain": '[["backend.internal", "example.com"]]',
    "proxy_cookie_path": '[["/app/", "/"]]',
    "proxy_cookie_flags": '[["session", "secure", "samesite=lax"]]',
    "proxy_ignore_headers": '["X-Accel-Redirect", "Expires"]',
    "proxy_next_upstream_budget": '["20%", "min=10"]',
    "proxy_bind": '"127.0.0.1"',
    "proxy_set_body": '"$request_uri"',
    "proxy_method": '"GET"',
    "proxy_ssl_name": '"app.example.com"',
    "proxy_ssl_trusted_certificate": '"certs/authority.pem"',
    "proxy_ssl_crl": '"certs/revoked.pem"',
    "proxy_ssl_certificate": '"certs/proxy.pem"',
    "proxy_ssl_certificate_key": '"certs/proxy.key"',
    "proxy_ssl_certificate_cache": '["max=100", "inactive=20s", "valid=1m"]',
    "proxy_ssl_password_file": '"certs/passphrases"',
    "proxy_ssl_conf_command": '[["Options", "-MiddleboxCompat"]]',
    "proxy_cache_path": '[["/var/cache/pages", "levels=1:2", "keys_zone=pages:10m", "max_size=10g", "inactive=60m"]]',
    "proxy_cache_key": '"$scheme$proxy_host$request_uri"',
    "proxy_cache_valid": '[[200, 302, "10m"], [404, "1m"]]',
    "proxy_cache_bypass": '["$cookie_nocache", "$arg_nocache"]',
    "proxy_no_cache": '["$http_authorization"]',
    "proxy_cache_purge": '"$http_x_purge"',
    "proxy_cache_max_range_offset": '"10m"',
    "early_hints": '"$http_sec_fetch_dest"',
    "client_body_temp_path": '["temp/body", 1, 2]',
    "return": '[301, "https://$host$request_uri"]',
    "rewrite": '["^/old/(.*)$", "/new/$1", "last"]',
    "set": '["$backend", "app"]',
    "error_page": '[[404, "/404.html"], [500, 502, "/50x.html"]]',
    "alias": '"/srv/files/"',
    "try_files": '["$uri", "$uri/", "=404"]',
    "add_header": '[["X-Frame-Options", "DENY", "always"]]',
    "fastcgi_pass": '"unix:/run/php/php-fpm.sock"',
    "fastcgi_param": '{ SCRIPT_FILENAME = "$document_root$fastcgi_script_name", QUERY_STRING = "$query_string" }',
    "fastcgi_index": '"index.php"',
    "fastcgi_split_path_info": "'^(.+\\.php)(/.*)$'",
    "fastcgi_catch_stderr": '"PHP Fatal error"',
    "uwsgi_pass": '"unix:/run/app.sock"',
    "uwsgi_param": '{ PATH_INFO = "$document_uri", QUERY_STRING = "$query_string" }',
    "uwsgi_string": '"print(1)"',
    "scgi_pass": '"127.0.0.1:4000"',
    "scgi_param": '{ SCGI = "1", REQUEST_URI = "$request_uri" }',
    "memcached_pass": '"127.0.0.1:11211"',
    "grpc_pass": '"127.0.0.1:50051"',
    "grpc_set_header": '{ X-Real-IP = "$remote_addr" }',
    "add_trailer": '[["X-Checksum", "$sent_http_etag"]]',
    "ssl_certificate": '"certs/example.com.pem"',
    "ssl_certificate_key": '"certs/example.com.key"',
    "ssl_certificate_cache": '["max=100", "inactive=10s", "valid=60s"]',
    "ssl_password_file": '"certs/passwords"',
    "ssl_ecdh_curve": '"X25519:prime256v1"',
    "ssl_dhparam": '"certs/dhparam.pem"',
    "ssl_session_cache": '"shared:TLS:10m"',
    "ssl_session_ticket_key": '["certs/this_week.key", "certs/last_week.key"]',
    "ssl_client_certificate": '"certs/clients.pem"',
    "ssl_trusted_certificate": '"certs/more_clients.pem"',
    "ssl_crl": '"certs/revoked.pem"',
    "ssl_stapling_file": '"certs/ocsp.der"',
    "ssl_stapling_responder": '"http://ocsp.example.com/"',
    "ssl_ocsp_responder": '"http://ocsp.example.com/"',
    "ssl_ocsp_cache": '"shared:OCSP:10m"',
    "ssl_conf_command": '[["Ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"]]',
}

INHERITANCE = {
    SCALAR: "inner blocks inherit it unless they set it themselves",
    GATHER: "several in a block add up; a block that sets one inherits none",
    OWN: "not inherited",
    OWN_GATHER: "several in a block add up; not inherited",
    UNION: "the words of several in a block are combined; a block that sets one inherits none",
    STEP: "run one after the other, in the order of the file, with all others of this kind; not inherited",
}

_PREAMBLE = """\
# Directives

Written by `python -m wproxy.config.describe` from the tables in `wproxy/directives/`: change those, not this page.

Names and meanings are nginx's, and so is the syntax of every file whose name does not end in `.toml`. In a `wproxy.toml` the
top level of the file is the context *main*; a block is a table: `[events]`, `[http]`, `[http.upstream.NAME]`,
`[[http.server]]`, `[http.server.location."PREFIX"]`, `[http.server.if."(CONDITION)"]`. `on` and `off` are also `true` and
`false`. Several arguments are an array. Where a directive may be repeated, each element of an array is one occurrence, and an
occurrence with several arguments is an array itself; some directives take a table instead, whose keys are the first arguments.

`include` is allowed in any block, in both syntaxes: a file, or a pattern, relative to the directory of the main file. `steps` in
a `wproxy.toml` lists directives whose order tables cannot keep, in nginx.conf's form: `steps = [["set", "$a", "1"],
["if", "($arg_b)", [["set", "$a", "2"], ["break"]]], ["set", "$c", "$a"]]`. `wproxy convert` translates either syntax into the
other.
"""

_ACCEPTED = """\
## accepted

These are accepted so that a configuration made for nginx loads, but have no effect yet. `wproxy -t` names those whose effect
would be visible, and a start refuses those without which the server would let in more than the configuration says.
"""


def sections() -> Iterator[tuple[ModuleType, list[Directive]]]:
    """Yield each module of tables with its rows, in the order in which they are written.

    `register` leaves only values on a class. Where several tables have a row of one name, as `server` in http and in upstream,
    the rows come in the order of the tables.
    """
    taken: set[int] = set()
    for file in pkgutil.iter_modules(directives.__path__):
        module = importlib.import_module(f"{directives.__name__}.{file.name}")
        classes = [found for found in vars(module).values() if isinstance(found, type)]
        tables = [table for table in classes if table.__module__ == module.__name__]
        rows = []
        for table in tables:
            for name in vars(table).get("__annotations__", {}):
                row = _row_of(table, name, taken)
                if row:
                    taken.add(id(row))
                    rows.append(row)
        if rows:
            yield module, rows


def _row_of(table: type, name: str, taken: set[int]) -> Directive | None:
    """Return the row that an attribute of a table was; None for any other attribute."""
    for row in REGISTRY.get(name.rstrip("_"), ()):
        if row.attribute == name and id(row) not in taken and name in vars(table) and vars(table)[name] is row.value:
            return row
    return None


def directives_page() -> str:
    """Return the text of docs/directives.md."""
    parts = [_PREAMBLE]
    for module, rows in sections():
        title = module.__name__.rpartition(".")[2]
        subject = " ".join((module.__doc__ or "").partition("\n\n")[0].split())
        parts.append(f"## {title}\n\n{subject}\n")
        parts.extend(map(_entry, rows))
    parts.append(_ACCEPTED)
    for purpose, lines in ACCEPTED.items():
        table = ["| directive | in | arguments | without it |", "|---|---|---|---|"]
        for line in lines:
            for name in line.names.split():
                effect = "nothing changes" if line.effective else "refused by a start" if line.guards else "named by `-t`"
                row = next(row for row in REGISTRY[name] if row.contexts & line.contexts)
                table.append(f"| {name} | {', '.join(context_names(row.contexts))} | {_arity(row)} | {effect} |")
        parts.append(f"### {purpose}\n\n" + "\n".join(table) + "\n")
    return "\n".join(parts)


def example(row: Directive) -> str:
    """Return the row as it may appear in a wproxy.toml."""
    if row.block:
        return "\n".join(filter(None, (HEADERS[row.block], ENTRIES_OF.get(row.block))))
    if not row.arity[1]:
        return f"{row.name} = true"
    value = EXAMPLES.get(f"{row.name} in {context_names(row.contexts)[0]}", EXAMPLES.get(row.name))
    if value is None and (model_name := f"proxy_{row.name.partition('_')[2]}") in EXAMPLES and like_proxy(row.name):
        value = EXAMPLES[model_name]
    if value is None:
        value = json.dumps(_default(row))
    return f"{row.name} = {value}"


def like_proxy(name: str) -> bool:
    """Whether a directive is that of proxy_* for another module."""
    module, _, rest = name.partition("_")
    return module in PASSING and rest in (*WHOLE, *TLS)


def nginx_example(row: Directive) -> str:
    """Return the same as it may appear in an nginx.conf."""
    context = next(bit for bit in CONTEXT_NAMES if row.contexts & bit)
    toml = example(row) if row.block else f"{HEADERS[context]}\n{example(row)}"
    return write_directives(_deepest(parse_toml(toml.encode(), "example"), row.name))


def _deepest(node: Node, name: str) -> list[Node]:
    """Return the directives of that name in the outermost block that has them."""
    children = node.children or []
    found = [child for child in children if child.name == name]
    return (_deepest(children[0], name) if children else []) or found


def _entry(row: Directive) -> str:
    facts = [f"- in: {', '.join(context_names(row.contexts))}"]
    if not row.block:
        default = "none" if row.default is None else f"`{row.default if isinstance(row.default, str) else ' '.join(row.default)}`"
        facts += [f"- arguments: {_arity(row)}", f"- default: {default}"]
        if row.inherit != SCALAR or row.contexts & (row.contexts - 1):  # with one context there is nothing to inherit
            facts.append(f"- inheritance: {INHERITANCE[row.inherit]}")
    examples = f"```toml\n{example(row)}\n```\n\n```nginx\n{nginx_example(row)}```\n"
    return f"### {row.name}\n\n{row.doc}\n\n" + "\n".join(facts) + f"\n\n{examples}"


def _arity(row: Directive) -> str:
    least, most = row.arity
    if not most:
        return "none"
    if least == most:
        return str(least)
    return f"{least} or more" if most >= MANY else f"{least} {'or' if most == least + 1 else 'to'} {most}"


def _default(row: Directive) -> Any:
    """Return the default in TOML: a number or a boolean where it is one, a list where it has several words."""
    words = (row.default,) if isinstance(row.default, str) else row.default or ()
    values = [word == "on" if row.read is flag else int(word) if word.isdigit() else word for word in words]
    return values[0] if len(values) == 1 else values


def json_schema() -> dict[str, Any]:
    """Return a JSON Schema (2020-12) of wproxy.toml. Editors complete names and show the docs; `wproxy` itself checks values."""
    definitions: dict[str, Any] = {}
    for bit, name in CONTEXT_NAMES.items():
        if bit != MAIN:
            definitions[_definition(name)] = _ANY_ENTRIES if bit & ENTRIES else _context(bit)
    for rows in REGISTRY.values():
        for row in rows:
            definitions[_definition_of(row)] = {"description": row.doc, **(_block(row) if row.block else _simple(row))}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "wproxy.toml",
        **_context(MAIN),
        "$defs": definitions,
    }


def _definition(context: str) -> str:
    """Return the place of a context's schema."""
    return context.replace(" ", "_")


def _definition_of(row: Directive) -> str:
    """Return the place of a row's schema; `server` has two."""
    rows = REGISTRY[row.name]
    return f"{row.name}.{rows.index(row)}" if len(rows) > 1 else f"{row.name}."


def _context(context: int) -> dict[str, Any]:
    """Return the schema of a block."""
    rows = [row for rows in REGISTRY.values() for row in rows if row.contexts & context]
    properties: dict[str, Any] = {row.name: {"$ref": f"#/$defs/{_definition_of(row)}"} for row in rows}
    return {"type": "object", "properties": {**properties, **_IN_ANY_BLOCK}, "additionalProperties": False}


def _block(row: Directive) -> dict[str, Any]:
    one: dict[str, Any] = {"type": ["object", "array"]}  # with any contents
    if row.block != OPAQUE:
        one = {"$ref": f"#/$defs/{_definition(CONTEXT_NAMES[row.block])}"}
    either = {"anyOf": [one, {"type": "array", "items": one}]}
    if row.named:
        return {"type": "object", "additionalProperties": either}
    return either if row.repeats else one


def _simple(row: Directive) -> dict[str, Any]:
    least, most = row.arity
    if not most:
        return {"type": "boolean"}
    scalar: dict[str, Any] = (
        {"enum": [True, False, "on", "off"]} if row.read is flag else {"type": ["string", "number", "boolean"]}
    )
    occurrence = [scalar] if least <= 1 else []
    occurrence.append(_array(scalar, least, most))
    forms = list(occurrence)
    if row.inherit == STEP:
        forms.append(_array(_array(scalar, least, most)))
    elif row.repeats:
        forms[-1] = _array({"anyOf": occurrence})
    if row.named:
        rest = [_array(scalar, least - 1, most - 1), {"type": "object", "additionalProperties": scalar}]
        several = _array({"anyOf": list(rest)})
        forms.append({"type": "object", "additionalProperties": {"anyOf": [scalar, *rest, several]}})
    default = {} if row.default is None else {"default": _default(row)}
    return {**(forms[0] if len(forms) == 1 else {"anyOf": forms}), **default}


def _array(items: dict[str, Any], least: int = 0, most: int = MANY) -> dict[str, Any]:
    limits = {"minItems": least, "maxItems": most}
    return {"type": "array", "items": items, **{word: limit for word, limit in limits.items() if 0 < limit < MANY}}


_WORD: dict[str, Any] = {"type": ["string", "number", "boolean"]}
_IN_ANY_BLOCK = {
    INCLUDE: {
        "description": "The directives of these files are inserted here.",
        "anyOf": [{"type": "string"}, _array({"type": "string"})],
    },
    STEPS: {"description": "Directives in order, in nginx.conf's form.", **_array(_array({}, 1))},
}
_ANY_ENTRIES: dict[str, Any] = {
    "type": ["object", "array"],
    "additionalProperties": {"anyOf": [_WORD, _array({"anyOf": [_WORD, _array(_WORD)]})]},
}


def _schema_text() -> str:
    """Return the schema with a line for each definition: with a line for each brace it would have some 20,000."""
    schema = json_schema()
    definitions = schema.pop("$defs")
    properties = schema.pop("properties")
    parts = [f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in schema.items()]
    for name, group in (("properties", properties), ("$defs", definitions)):
        lines = [f"    {json.dumps(key)}: {json.dumps(value)}" for key, value in group.items()]
        parts.append(f"  {json.dumps(name)}: {{\n" + ",\n".join(lines) + "\n  }")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def documents() -> dict[str, str]:
    """Return the generated files under docs/: name to text."""
    return {"directives.md": directives_page(), "wproxy.schema.json": _schema_text()}


def main() -> int:
    """Write what is generated here; return the exit code."""
    return write_pages({os.path.join(DOCS, name): text for name, text in documents().items()})


if __name__ == "__main__":
    sys.exit(main())
