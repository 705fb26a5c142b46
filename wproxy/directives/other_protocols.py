"""The blocks `stream` and `mail`: their contents are checked as nginx checks them, though they have no effect yet.

Their directives are not in the registry, since no model holds them and many have the names of http directives. A table gives, for
each, the blocks that may contain it, the number of its arguments and their reader (nginx: src/stream and src/mail). Variables are
not looked up: these protocols have other variables than HTTP.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from wproxy.config.registry import closest_name
from wproxy.config.tree import ConfigurationError, Node, Problem
from wproxy.directives.certificates import PROTOCOLS, session_cache
from wproxy.directives.client_address import trusted_address
from wproxy.directives.http_core import memory
from wproxy.directives.limits import connection_limit, connection_zone
from wproxy.directives.listen import listen
from wproxy.directives.open_file_cache import seconds
from wproxy.directives.pass_to import NO_PORT, target
from wproxy.directives.values import flag, number, text, time, word, words

MANY = 1000
Read = Callable[..., Any]


class Row(NamedTuple):
    """One directive: the blocks that may contain it, the reader of its arguments, their number, the block that it opens."""

    blocks: frozenset[str]
    read: Read
    arity: tuple[int, int]
    opens: str = ""


def anything(*arguments: str) -> tuple[str, ...]:
    """Return the arguments unchanged."""
    return arguments


def rate(value: str) -> int | str:
    """Return bytes per second, or a text with variables."""
    return value if "$" in value else memory(value)


def conn_zone(key: str, zone: str) -> None:
    """Read `KEY zone=NAME:SIZE`, without checking the variables of the key."""
    connection_zone("", zone)


def table(*lines: tuple[str, str, Read, int | tuple[int, int]], **blocks: str) -> dict[str, list[Row]]:
    """Return rows by name, from lines of (blocks, names, reader, number of arguments)."""
    rows: dict[str, list[Row]] = {}
    for where, names, read, arity in lines:
        both = (arity, arity) if isinstance(arity, int) else arity
        for name in names.split():
            opens = blocks.get(name, "") if {"stream", "mail"}.intersection(where.split()) else ""
            rows.setdefault(name, []).append(Row(frozenset(where.split()), read, both, opens))
    return rows


_LEVEL = word(("info", "notice", "warn", "error"))
_VERIFY = word(("off", "on", "optional", "optional_no_ca"))
_FILES = (
    "ssl_certificate ssl_certificate_key ssl_ciphers ssl_client_certificate ssl_crl ssl_dhparam ssl_ecdh_curve ssl_password_file "
    "ssl_session_ticket_key ssl_trusted_certificate"
)
_BOTH = "stream server"

STREAM = table(
    ("stream", "server", anything, 0),
    ("stream", "upstream", anything, 1),
    ("stream", "geo", anything, (1, 2)),
    ("stream", "map split_clients", anything, 2),
    ("stream", "map_hash_bucket_size map_hash_max_size variables_hash_bucket_size variables_hash_max_size", number(), 1),
    ("stream", "server_names_hash_max_size server_names_hash_bucket_size", number(), 1),
    ("stream", "geoip_city geoip_country geoip_org", anything, (1, 2)),
    ("stream", "limit_conn_zone", conn_zone, 2),
    ("stream", "log_format", anything, (2, MANY)),
    ("server", "listen", listen, (1, MANY)),
    ("server", "proxy_pass", target(), 1),
    ("server", "return pass", text, 1),
    ("server", "server_name", anything, (1, MANY)),
    (_BOTH, "allow deny", text, 1),
    (_BOTH, "set", anything, 2),
    (_BOTH, "set_real_ip_from", trusted_address, 1),
    (_BOTH, "limit_conn", connection_limit, 2),
    (_BOTH, "limit_conn_log_level", _LEVEL, 1),
    (_BOTH, "preread_buffer_size proxy_buffer_size", memory, 1),
    (_BOTH, "proxy_download_rate proxy_upload_rate", rate, 1),
    (_BOTH, "preread_timeout proxy_connect_timeout proxy_next_upstream_timeout proxy_protocol_timeout proxy_timeout", time, 1),
    (_BOTH, "resolver_timeout ssl_handshake_timeout", time, 1),
    (_BOTH, "proxy_next_upstream_tries proxy_requests proxy_responses proxy_ssl_verify_depth ssl_verify_depth", number(), 1),
    (_BOTH, "limit_conn_dry_run proxy_half_close proxy_next_upstream proxy_protocol proxy_socket_keepalive proxy_ssl", flag, 1),
    (_BOTH, "proxy_ssl_server_name proxy_ssl_session_reuse proxy_ssl_verify ssl_prefer_server_ciphers ssl_preread", flag, 1),
    (_BOTH, "ssl_session_tickets ssl_reject_handshake ssl_stapling ssl_stapling_verify tcp_nodelay", flag, 1),
    (_BOTH, f"{_FILES} proxy_ssl_certificate proxy_ssl_certificate_key proxy_ssl_ciphers proxy_ssl_crl", text, 1),
    (_BOTH, "proxy_ssl_name proxy_ssl_password_file proxy_ssl_trusted_certificate", text, 1),
    (_BOTH, "ssl_stapling_file ssl_stapling_responder ssl_ocsp_responder ssl_ocsp_cache", text, 1),
    (_BOTH, "ssl_certificate_cache proxy_ssl_certificate_cache", anything, (1, 3)),
    (_BOTH, "ssl_conf_command proxy_ssl_conf_command", anything, 2),
    (_BOTH, "ssl_ocsp", word(("off", "on", "leaf")), 1),
    (_BOTH, "ssl_alpn", anything, (1, MANY)),
    (_BOTH, "ssl_verify_client", _VERIFY, 1),
    (_BOTH, "ssl_session_timeout", seconds, 1),
    (_BOTH, "ssl_session_cache", session_cache, (1, 2)),
    (_BOTH, "ssl_protocols proxy_ssl_protocols", words(PROTOCOLS), (1, MANY)),
    (_BOTH, "proxy_bind", anything, (1, 2)),
    (_BOTH, "open_log_file_cache", anything, (1, 4)),
    (_BOTH, "access_log error_log", anything, (1, MANY)),
    ("stream server upstream", "resolver", anything, (1, MANY)),
    ("upstream", "resolver_timeout", time, 1),
    ("upstream", "server", anything, (1, MANY)),
    ("upstream", "least_conn", anything, 0),
    ("upstream", "random", anything, (0, 2)),
    ("upstream", "hash zone", anything, (1, 2)),
    server="server",
    upstream="upstream",
    geo="entries",
    map="entries",
    split_clients="entries",
)
MAIL = table(
    ("mail", "server", anything, 0),
    ("server", "protocol", word(("pop3", "imap", "smtp")), 1),
    ("server", "listen", anything, (1, MANY)),
    ("mail server", "auth_http server_name", text, 1),
    ("mail server", "auth_http_header", anything, 2),
    ("mail server", "auth_http_timeout proxy_timeout resolver_timeout smtp_greeting_delay timeout", time, 1),
    ("mail server", "imap_client_buffer proxy_buffer smtp_client_buffer", memory, 1),
    ("mail server", "auth_http_pass_client_cert proxy_pass_error_message proxy_protocol proxy_smtp_auth xclient", flag, 1),
    ("mail server", "ssl_prefer_server_ciphers ssl_session_tickets", flag, 1),
    ("mail server", "set_real_ip_from", trusted_address, 1),
    ("mail server", "max_errors max_commands ssl_verify_depth", number(), 1),
    ("mail server", "starttls", word(("off", "on", "only")), 1),
    ("mail server", _FILES, text, 1),
    ("mail server", "ssl_verify_client", _VERIFY, 1),
    ("mail server", "ssl_session_timeout", seconds, 1),
    ("mail server", "ssl_session_cache", session_cache, (1, 2)),
    ("mail server", "ssl_conf_command", anything, 2),
    ("mail server", "ssl_protocols", words(PROTOCOLS), (1, MANY)),
    ("mail server", "error_log imap_auth imap_capabilities pop3_auth pop3_capabilities resolver", anything, (1, MANY)),
    ("mail server", "smtp_auth smtp_capabilities", anything, (1, MANY)),
    server="server",
)


def stream(nodes: list[Node]) -> None:
    """Read a `stream` block; raises ConfigurationError with all problems."""
    _refuse([*_problems(nodes, "stream", STREAM), *_unknown_targets(nodes)])


def mail(nodes: list[Node]) -> None:
    """Read a `mail` block; raises ConfigurationError with all problems."""
    problems = list(_problems(nodes, "mail", MAIL))
    for server in (node for node in nodes if node.name == "server"):
        if not any(block.name == "auth_http" for block in [*nodes, *(server.children or ())]):
            problems.append(Problem('no "auth_http" is defined for server', server.position))
    _refuse(problems)


def _refuse(problems: list[Problem]) -> None:
    if problems:
        raise ConfigurationError(*problems)


def _problems(nodes: list[Node], block: str, rows: dict[str, list[Row]]) -> Iterator[Problem]:
    for node in nodes:
        row = next((row for row in rows.get(node.name, ()) if block in row.blocks), None)
        text = _refusal(node, row, rows)
        if text:
            yield Problem(text, node.position)
        elif row is not None and row.opens and row.opens != "entries":
            yield from _problems(node.children or [], row.opens, rows)
            if row.opens == "server" and not any(node.named("listen")):
                yield Problem('no "listen" is defined for server', node.position)


def _refusal(node: Node, row: Row | None, rows: dict[str, list[Row]]) -> str:
    """Return what is wrong with a directive, apart from its contents; "" for nothing."""
    if row is None:
        if node.name in rows:
            return f'"{node.name}" directive is not allowed here'
        near = closest_name(node.name, rows)
        return f'unknown directive "{node.name}"' + (f', did you mean "{near}"?' if near else "")
    if not row.arity[0] <= len(node.arguments) <= row.arity[1]:
        return f'invalid number of arguments in "{node.name}" directive'
    if row.opens and node.children is None:
        return f'directive "{node.name}" has no opening "{{"'
    if not row.opens and node.children is not None:
        return f'directive "{node.name}" is not terminated by ";"'
    try:
        row.read(*node.arguments)
    except ValueError as error:
        return str(error).replace('"%s" directive', f'"{node.name}" directive')
    return ""


def _unknown_targets(nodes: list[Node]) -> Iterator[Problem]:
    """Yield the problems of proxy_pass targets that are neither an upstream of the block nor have a port."""
    upstreams = {node.arguments[0].lower() for node in nodes if node.name == "upstream" and node.arguments}
    for server in (node for node in nodes if node.name == "server"):
        for node in server.named("proxy_pass"):
            written = node.arguments[0] if len(node.arguments) == 1 else "$"
            if "$" in written or written.lower() in upstreams:
                continue
            try:
                address = target()(written).address
            except ValueError:
                continue  # reported already
            if address is not None and address.port == NO_PORT:
                yield Problem(f'no port in upstream "{written}"', node.position)
