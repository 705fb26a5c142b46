"""`listen` and `server_name`: the addresses and names of a virtual server (nginx: ngx_http_core_listen,
ngx_http_core_server_name).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from wproxy.address import Address, parse_listen_address
from wproxy.config.registry import OWN_GATHER, SERVER, directive
from wproxy.directives.addresses import of_listen
from wproxy.directives.values import parse_time, size
from wproxy.regex import Regex, compile_regex

DEFAULT_BACKLOG = 511
# Parameters that change the protocol on the socket; wproxy.config.effects decides about them.
PROTOCOLS = ("ssl", "http2", "quic", "proxy_protocol")


@dataclass(frozen=True, slots=True)
class KeepaliveProbes:
    """`so_keepalive`: whether idle TCP connections are probed, after how long, how often, how many times; None is the system's
    value.
    """

    on: bool = True
    idle: int | None = None
    interval: int | None = None
    count: int | None = None


@dataclass(frozen=True, slots=True)
class SocketOptions:
    """The options of one `listen` for its socket; None leaves the system's value."""

    backlog: int = DEFAULT_BACKLOG
    receive_buffer: int | None = None
    send_buffer: int | None = None
    fastopen: int | None = None
    deferred: bool = False
    multipath: bool = False
    ipv6only: bool = True
    keepalive: KeepaliveProbes | None = None


PLAIN_SOCKET = SocketOptions()


@dataclass(frozen=True, slots=True)
class Listen:
    """One `listen` line.

    addresses: several for a range of ports; a name is not looked up yet. has_options: whether a socket parameter was
    given, which is allowed once per address. protocols: the given words of PROTOCOLS.
    """

    text: str
    addresses: tuple[Address, ...]
    default_server: bool = False
    options: SocketOptions = PLAIN_SOCKET
    has_options: bool = False
    protocols: tuple[str, ...] = ()


_RANGE = re.compile(r"(.*?)([0-9]{1,5})-([0-9]{1,5})")


def _addresses(text: str) -> tuple[Address, ...]:
    """Return the addresses of `8080`, `*:80`, `[::]:80`, `unix:/path`, `127.0.0.1:8000-8003`, `name:80`."""
    match = None if text.startswith("unix:") else _RANGE.fullmatch(text)
    if match is None or (match[1] and not match[1].endswith(":")):
        return (parse_listen_address(text),)
    first, last = int(match[2]), int(match[3])
    if not (1 <= first <= 65535 and last <= 65535):
        raise ValueError(f'invalid port in "{text}"')
    if first > last:
        raise ValueError(f'invalid port range in "{text}"')
    return tuple(parse_listen_address(f"{match[1]}{port}") for port in range(first, last + 1))


def _count(key: str, value: str, least: int) -> int:
    if not (value.isascii() and value.isdigit() and len(value) < 10 and int(value) >= least):
        raise ValueError(f'invalid {key} "{key}={value}"')
    return int(value)


def _bytes(key: str, value: str) -> int:
    try:
        return size(value)
    except ValueError:
        raise ValueError(f'invalid {key} "{key}={value}"') from None


def _probes(value: str) -> KeepaliveProbes:
    if value in ("on", "off"):
        return KeepaliveProbes(value == "on")
    parts = value.split(":")
    if len(parts) > 3 or not any(parts):
        raise ValueError(f'invalid so_keepalive value: "{value}"')
    parts += [""] * (3 - len(parts))
    numbers: list[int | None] = []
    for part, is_time in zip(parts, (True, True, False), strict=True):
        seconds = parse_time(part) if is_time else float(part) if part.isascii() and part.isdigit() else None
        if part and not seconds:
            raise ValueError(f'invalid so_keepalive value: "{value}"')
        numbers.append(int(seconds) if seconds else None)
    return KeepaliveProbes(True, *numbers)


def listen(text: str, *parameters: str) -> Listen:
    """Read `listen ADDRESS [PARAMETER...]` (routing.md §2.1). Every listener of ours has a socket for each worker, so `reuseport`
    changes nothing.
    """
    try:
        addresses = _addresses(text)
    except ValueError as error:
        raise of_listen(error) from None
    default, has_options = False, False
    protocols: list[str] = []
    options: dict[str, object] = {}
    for parameter in parameters:
        key, equals, value = parameter.partition("=")
        if parameter in ("default_server", "default"):
            default = True
            continue
        if parameter in PROTOCOLS:
            protocols.append(parameter)
            continue
        has_options = True
        if parameter in ("reuseport", "bind"):
            pass  # both are the case anyway
        elif parameter in ("deferred", "multipath"):
            options[parameter] = True
        elif not equals:
            raise ValueError(f'invalid parameter "{parameter}"')
        elif key == "backlog":
            options["backlog"] = _count(key, value, 1)
        elif key == "fastopen":
            options["fastopen"] = _count(key, value, 0)
        elif key == "rcvbuf":
            options["receive_buffer"] = _bytes(key, value)
        elif key == "sndbuf":
            options["send_buffer"] = _bytes(key, value)
        elif key == "ipv6only" and value.startswith("o"):
            if value not in ("on", "off"):
                raise ValueError(f'invalid ipv6only flags "{value}"')
            options["ipv6only"] = value == "on"  # IPv4 accepts it too, and ignores it
        elif key == "so_keepalive":
            options["keepalive"] = _probes(value)
        else:
            raise ValueError(f'invalid parameter "{parameter}"')
    made = SocketOptions(**options) if options else PLAIN_SOCKET  # type: ignore[arg-type]
    return Listen(text, addresses, default, made, has_options, tuple(protocols))


@dataclass(frozen=True, slots=True)
class ServerName:
    """One name of a server: its text as written, and its regex when it begins with `~`."""

    text: str
    regex: Regex | None = None


def names(*values: str) -> tuple[ServerName, ...]:
    """Return the names of one `server_name` line (nginx: ngx_http_core_server_name)."""
    found = []
    for value in values:
        if (value.startswith("*") and not (len(value) > 2 and value[1] == ".")) or value == ".":
            raise ValueError(f'server name "{value}" is invalid')
        if value.startswith("~"):
            if value == "~":
                raise ValueError(f'empty regex in server name "{value}"')
            # With an upper-case letter nginx ignores case, though hosts are lower-cased before.
            found.append(ServerName(value, compile_regex(value[1:], value != value.lower())))
        elif value == "$hostname":
            found.append(ServerName(os.uname().nodename.lower()))
        else:
            found.append(ServerName(value))
    return tuple(found)


class ListenDirectives:
    """Directives in a `server` block that define its addresses and names."""

    listen: tuple[Listen, ...] = directive(
        listen,
        SERVER,
        arity=(1, 16),
        inherit=OWN_GATHER,
        # Without `quic` nobody would be served.
        idle_parameters={"quic": True},
        doc="Address and port to listen on: `8080`, `127.0.0.1:80`, `[::]:80`, `unix:/path`, `8000-8003`.",
    )
    server_name: tuple[tuple[ServerName, ...], ...] = directive(
        names,
        SERVER,
        arity=(1, 1000),
        inherit=OWN_GATHER,
        doc="The names of this server: exact, `*.example.com`, `www.*`, `~regex`.",
    )
