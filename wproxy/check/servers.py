"""Rules about virtual servers, and settings of the whole configuration."""

from __future__ import annotations

from collections.abc import Iterator

from wproxy.address import Address
from wproxy.check.blocks import Block, Blocks
from wproxy.check.finding import INFO, WARNING, Found, Rule
from wproxy.config.listeners import default_listen
from wproxy.config.registry import SERVER
from wproxy.config.tree import Position
from wproxy.directives.listen import listen


def _addresses(server: Block) -> list[tuple[Address, bool]]:
    """Return (address, whether it is for QUIC, which has sockets of its own) of a server; `-t` reports unreadable addresses."""
    found: list[tuple[Address, bool]] = []
    lines = server.own("listen")
    for node in lines:
        try:
            found += [(address, "quic" in node.arguments) for address in listen(*node.arguments).addresses]
        except (ValueError, TypeError):
            continue
    return found if lines else [(address, False) for address in default_listen().addresses]


def other_ports(block: Block) -> list[int]:
    """Return the ports of the server around a block that clients must write into a URL: not 80, nor 443 with TLS."""
    server = block.server()
    if server is None or not server.has("listen"):
        return []
    found: dict[int, None] = {}
    for node in server.own("listen"):
        is_tls = "ssl" in node.arguments or "quic" in node.arguments
        try:
            addresses = listen(*node.arguments).addresses
        except (ValueError, TypeError):
            continue
        found.update(
            (address.port, None) for address in addresses if address.port > 0 and address.port != (443 if is_tls else 80)
        )
    return list(found)


def conflicting_names(blocks: Blocks) -> Iterator[Found]:
    """Find a name that another server has already."""
    taken: dict[tuple[Address, bool, str], Position] = {}
    for server in blocks.servers:
        for address, is_quic in _addresses(server):
            for node in server.own("server_name"):
                for name in node.arguments:
                    first = taken.get((address, is_quic, name.lower()))
                    taken.setdefault((address, is_quic, name.lower()), node.position)
                    if name and not name.startswith("~") and first is not None:
                        reason = (
                            f'conflicting server name "{name}" on {address}: {first} has it, and this server never gets a '
                            "request for it"
                        )
                        yield Found(node.position, reason, "leave the name out here, or in the other server")


def server_name_regex(blocks: Blocks) -> Iterator[Found]:
    """Find a regex that matches inside other names."""
    for server in blocks.servers:
        for node in server.own("server_name"):
            for name in node.arguments:
                if name.startswith("~") and not (name.startswith("~^") and name.endswith("$")):
                    missing = "end" if name.startswith("~^") else "beginning"
                    reason = f'"{name}" has no {missing}: it matches in the middle of other names'
                    yield Found(node.position, reason, f'write "~^{name[1:].removeprefix("^").removesuffix("$")}$"')


def error_log_off(blocks: Blocks) -> Iterator[Found]:
    """Find `error_log off`, where `off` is the name of a file."""
    for block in blocks.all:
        for node in block.own("error_log"):
            if node.arguments[:1] == ("off",):
                reason = '"error_log off" writes errors to a file called "off"; the error log cannot be switched off'
                yield Found(node.position, reason, 'write "error_log /dev/null crit;", or keep the log')


_WEAK = ("SSLv2", "SSLv3", "TLSv1", "TLSv1.1")


def weak_tls(blocks: Blocks) -> Iterator[Found]:
    """Find versions of TLS that are no longer safe."""
    for block in blocks.all:
        for node in block.own("ssl_protocols", "proxy_ssl_protocols", "grpc_ssl_protocols", "uwsgi_ssl_protocols"):
            weak = [word for word in node.arguments if word in _WEAK]
            if weak:
                reason = f"{', '.join(weak)} {'is' if len(weak) == 1 else 'are'} broken or deprecated (RFC 8996)"
                yield Found(node.position, reason, f'write "{node.name} TLSv1.2 TLSv1.3;"')


# Directives that say whose certificates are good, and do nothing where nobody is asked for one.
_OF_CLIENTS = ("ssl_client_certificate", "ssl_crl", "ssl_ocsp")


def clients_not_asked(blocks: Blocks) -> Iterator[Found]:
    """Find servers that know whose certificates are good, and let everybody in."""
    for block in blocks.all:
        if block.context != SERVER or block.value("ssl_verify_client", "off") != "off":
            continue
        for node in block.own(*_OF_CLIENTS):
            if node.arguments[:1] != ("off",):
                reason = f'"{node.name}" does nothing: without "ssl_verify_client" no client is asked for a certificate'
                yield Found(node.position, reason, 'write "ssl_verify_client on;", or take it out')


def _two_servers(second: str) -> str:
    """Return an example: two servers at one address."""
    return "\n".join(f"server {{\n    listen 8080;\n    server_name {name};\n}}" for name in ("a.example.com", second))


SERVER_RULES = [
    Rule(
        "conflicting-server-name",
        WARNING,
        "two servers with one name at one address",
        "The first one gets all the requests. nginx warns of it and continues.",
        conflicting_names,
        _two_servers("a.example.com"),
        _two_servers("b.example.com"),
        "http",
    ),
    Rule(
        "server-name-regex",
        INFO,
        "a regex server_name without beginning or end",
        "A regex matches anywhere in the name: `~example\\.com` is also in `example.com.evil.org`.",
        server_name_regex,
        "server {\n    listen 8080;\n    server_name ~example\\.com;\n}",
        "server {\n    listen 8080;\n    server_name ~^(www\\.)?example\\.com$;\n}",
        "http",
    ),
    Rule(
        "error-log-off",
        WARNING,
        "error_log off",
        "Unlike access_log, error_log has no `off`.",
        error_log_off,
        "error_log off;",
        "error_log /dev/null crit;",
        "main",
    ),
    Rule(
        "weak-tls",
        WARNING,
        "outdated versions of TLS",
        "TLS 1.0 and 1.1 were deprecated in 2021, SSL 3 in 2015; browsers refuse them, and they weaken what they protect.",
        weak_tls,
        "ssl_protocols TLSv1 TLSv1.1 TLSv1.2;",
        "ssl_protocols TLSv1.2 TLSv1.3;",
    ),
    Rule(
        "clients-not-asked",
        WARNING,
        "trust in certificates of clients that nobody asks for",
        "ssl_verify_client is off by default: the authorities for clients, and what they have revoked, do not keep anybody out.",
        clients_not_asked,
        "ssl_client_certificate clients.pem;",
        "ssl_client_certificate clients.pem;\nssl_verify_client on;",
    ),
]
