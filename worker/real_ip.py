"""set_real_ip_from: the address of a client behind proxies (nginx: ngx_http_realip_module.c, routing.md §6).

A proxy that is trusted names its client in a field. From then on the request is of a client at that address: `request.client`
becomes a view of the connection (`Client.seen_at`), and whatever asks for the address gets it from there: logs, limits, access
rules, geo, balancing, the fields for upstreams. The next request on the connection begins with the proxy again.

The last address in a field is the one that the nearest proxy has seen; those before it were named by others. So with
`real_ip_recursive` we go back only while the address that we are at is itself a trusted proxy.

nginx looks twice: with the server's settings before anything else happens to the request, and, if that has found nothing, with
the location's before its limits. The second time is left out here where the settings are the same.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import lru_cache

from worker.limits.check import Check
from wproxy.config.model import Location
from wproxy.http import Request
from wproxy.maps.addresses import parse_ip
from wproxy.route import Answer

Trusts = Callable[[bytes], bool]
# How many addresses of proxies are remembered, for each place with settings.
_REMEMBERED = 1024


class RealIp(Check):
    """The settings of one location: whom it trusts, and what it reads. Also the handler before the limits."""

    def __init__(self, location: Location) -> None:
        self.trusts = lru_cache(_REMEMBERED)(trusting(location))
        self.header = location.real_ip_header
        self.recursive = location.real_ip_recursive

    def check(self, request: Request) -> None:
        """Let the request be one of the client that a trusted proxy names, if one does."""
        client = request.client
        if client.peer is not client:
            return  # it has been found already
        if self.header == "proxy_protocol":
            self._believe_proxy_protocol(request)
            return
        # The fields belong to one connection; equal ones come again and again there. What is remembered for a block of them holds
        # for one client: locations that trust other proxies see another one, and both may lead to the same named location.
        found = request.fields.cache.get(self)
        if found is None:
            named = self._named_client(request)
            found = (*named, request.fields.apart()) if named else ()
            request.fields.remember(self, found)
        if found:
            address, port, fields = found
            request.take_client(client.seen_at(address, port), fields)

    def _named_client(self, request: Request) -> tuple[bytes, int] | tuple[()]:
        wanted = self.header.lower().encode()
        values = [value for lower, _, value in request.fields.lines if lower == wanted]
        if self.header != "X-Forwarded-For":
            values = values[:1]
        return client_of(values, request.client.remote_addr, self.trusts, self.recursive) or ()

    def _believe_proxy_protocol(self, request: Request) -> None:
        client = request.client
        header = client.proxy_protocol
        if header is None or not self.trusts(client.remote_addr):
            return
        address = parsed(header.source)
        if address is not None:
            found = request.fields.cache.get(self)
            if found is None:
                found = request.fields.apart()
                request.fields.remember(self, found)
            request.take_client(client.seen_at(address[0], header.source_port), found)


def trusting(location: Location) -> Trusts:
    """Return a function that tells whether an address is one of the trusted proxies."""
    networks = [network for each in location.set_real_ip_from for network in each.networks]
    trusts_unix = any(each.text == "unix:" for each in location.set_real_ip_from)

    def trusts(address: bytes) -> bool:
        number = parse_ip(address)
        if number is None:
            return trusts_unix and address.startswith(b"unix:")
        return any(network.holds(number) for network in networks)

    return trusts


def client_of(values: list[bytes], peer: bytes, trusts: Trusts, recursive: bool) -> tuple[bytes, int] | None:
    """Return address and port of the client that these fields name, the last field first; None if they name none.

    peer: the other end of the connection. A port of 0 is unknown (nginx: ngx_http_get_forwarded_addr).
    """
    found: tuple[bytes, int] | None = None
    address = peer
    for value in reversed(values):
        while trusts(address):
            value = value.rstrip(b" ,") or value[:1]
            before, token = _last_token(value)
            named = parsed(token)
            if named is None:
                return found
            found, value = named, before
            address = found[0]
            if not recursive:
                return found
            if not before:
                break
        else:
            return found
    return found


def _last_token(value: bytes) -> tuple[bytes, bytes]:
    """Return what is before the last token, and the token. Spaces and commas are between tokens; one at the beginning is not."""
    begin = max(value.rfind(b" ", 1), value.rfind(b",", 1)) + 1
    return value[: max(0, begin - 1)], value[begin:]


def parsed(text: bytes) -> tuple[bytes, int] | None:
    """Return address and port of `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` or with its port, as we write it."""
    plain = _plain(text)
    if plain is not None:
        return plain, 0
    if text.startswith(b"["):
        address, bracket, port = text[1:].partition(b"]")
        plain = _plain(address) if bracket else None
        if plain is not None and not port:
            return plain, 0
        plain, port = (plain, port[1:]) if port.startswith(b":") else (None, b"")
    else:
        address, _, port = text.partition(b":")
        plain = _plain(address) if b":" not in port else None
    if plain is None or not (port.isdigit() and len(port) < 6 and 1 <= int(port) <= 65535):
        return None
    return plain, int(port)


def _plain(text: bytes) -> bytes | None:
    """Return an address as we write it; None when it is none."""
    number = parse_ip(text)
    if number is None:
        return None
    if b":" not in text:
        return b"%d.%d.%d.%d" % tuple(number[1].to_bytes(4, "big"))
    packed = socket.inet_pton(socket.AF_INET6, text.decode("ascii"))
    return socket.inet_ntop(socket.AF_INET6, packed).encode("ascii")


def at_location(location: Location) -> RealIp | None:
    """Return the handler before the limits of a location; None where it would find nothing new."""
    if not location.set_real_ip_from or settings_of(location) == settings_of(location.server.locations.fallback):
        return None
    return RealIp(location)


def settings_of(location: Location) -> tuple[object, ...]:
    """Return the settings that decide."""
    return location.set_real_ip_from, location.real_ip_header, location.real_ip_recursive


def at_server(real_ip: RealIp, answer: Answer) -> Answer:
    """Return an answer that looks for the client first, with the server's settings."""
    check = real_ip.check

    def answer_client(request: Request) -> object:
        check(request)
        return answer(request)

    return answer_client  # type: ignore[return-value]
