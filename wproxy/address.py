"""Addresses as people write them: `127.0.0.1:80`, `[::1]:80`, `example.com`, `unix:/run/app.sock`, `*:80`, `8080`.

Parsing only. Names are resolved elsewhere, because that needs a socket or a resolver.
"""

from __future__ import annotations

import ipaddress
from typing import NamedTuple


class Address(NamedTuple):
    """One end of a connection. `host` is an IP address, a name or (port -1) the path of a unix socket."""

    host: str
    port: int

    @property
    def is_unix(self) -> bool:
        """Whether this is a unix socket."""
        return self.port < 0

    @property
    def is_numeric(self) -> bool:
        """Whether no name has to be looked up: an IP address or a unix socket."""
        return self.is_unix or is_ip(self.host)

    @property
    def is_ipv6(self) -> bool:
        """Whether this is an IPv6 address."""
        return not self.is_unix and ":" in self.host

    def __str__(self) -> str:
        if self.is_unix:
            return f"unix:{self.host}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def is_ip(host: str) -> bool:
    """Whether this is an IPv4 or IPv6 address without brackets or zone."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return "%" not in host  # ipaddress accepts a zone


def parse_port(text: str) -> int:
    """Read a port number, 1 to 65535, ASCII digits only; raises ValueError."""
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 65535):
        raise ValueError(f'invalid port "{text}"')
    return int(text)


def parse_address(text: str, default_port: int) -> Address:
    """Read `host`, `host:port`, `[v6]`, `[v6]:port` or `unix:path`; raises ValueError with nginx's words."""
    if text.startswith("unix:"):
        path = text[5:]
        if not path:
            raise ValueError(f'no path in the unix domain socket "{text}"')
        if len(path.encode()) > 107:
            raise ValueError(f'too long path in the unix domain socket "{text}"')
        return Address(path, -1)
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or not is_ip(host) or ":" not in host:
            raise ValueError(f'invalid IPv6 address in "{text}"')
        if rest and not rest.startswith(":"):
            raise ValueError(f'invalid address "{text}"')
        port = rest[1:] if rest else ""
        has_port = bool(rest)
    else:
        host, colon, port = text.partition(":")
        has_port = bool(colon)
        if ":" in port:
            raise ValueError(f'invalid port in "{text}"')
    if not host:
        raise ValueError(f'no host in "{text}"')
    if any(byte <= " " or byte in "/?#@\\\x7f" for byte in host):
        raise ValueError(f'invalid host in "{text}"')
    if not has_port:
        return Address(host, default_port)
    try:
        return Address(host, parse_port(port))
    except ValueError:
        raise ValueError(f'invalid port in "{text}"') from None


def in_brackets(text: str) -> str | None:
    """Put brackets around an IPv6 address that was written without them, `::1:80`; None for anything else."""
    host, _, port = text.rpartition(":")
    if ":" in host and is_ip(host) and port.isdigit():
        return f"[{host}]:{port}"
    return f"[{text}]" if ":" in text and is_ip(text) else None


def parse_listen_address(text: str) -> Address:
    """Read the address of a `listen`, which may also be a port alone or `*`; the default port is 80. Raises ValueError."""
    if text.isascii() and text.isdigit():
        return Address("0.0.0.0", _listen_port(text, text))
    if text == "*":
        return Address("0.0.0.0", 80)
    if text.startswith("*:"):
        return Address("0.0.0.0", _listen_port(text[2:], text))
    return parse_address(text, 80)


def _listen_port(port: str, text: str) -> int:
    try:
        return parse_port(port)
    except ValueError:
        raise ValueError(f'invalid port in "{text}"') from None
