"""The PROXY protocol: what a proxy says about its client before anything else on a connection (haproxy's proxy-protocol.txt).

Version 1 is a line, `PROXY TCP4 192.0.2.1 192.0.2.2 56324 443`; version 2 is binary, and may carry typed values (TLVs): names,
a certificate's subject. Both are read with nginx's tolerance (ngx_proxy_protocol.c): the addresses of version 1 are only
checked for their characters, and a header about no client, or about none with a TCP connection, is accepted and says nothing.
Unlike nginx we wait for the rest of a header that arrives in pieces.
"""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LONGEST = 4096

_FIXED = 16  # the bytes of version 2 before the addresses
_WORD = b"PROXY "
_LINE = re.compile(rb"PROXY TCP[46] ([0-9A-Fa-f:.]*) ([0-9A-Fa-f:.]*) ([0-9]+) ([0-9]+)\r\n")
_UNKNOWN = b"PROXY UNKNOWN"
_PROXY, _STREAM = 1, 1
# By address family: the length of an address.
_ADDRESS_BYTES = {1: 4, 2: 16}

_SSL = 0x20
_TLV_TYPES = {b"alpn": 1, b"authority": 2, b"unique_id": 5, b"ssl": _SSL, b"netns": 0x30}
_SSL_TYPES = {b"version": 0x21, b"cn": 0x22, b"cipher": 0x23, b"sig_alg": 0x24, b"key_alg": 0x25}
_SSL_FIXED = 5  # which certificates there are, and whether the client's was valid


class BrokenProxyHeader(ValueError):
    """The first bytes are no header of the PROXY protocol. Its text is nginx's; empty where nginx says nothing."""


class ProxyHeader(NamedTuple):
    """The contents of a header.

    source: the client. destination: the address that it connected to. A port of 0 is unknown. tlvs: as received.
    """

    source: bytes
    source_port: int
    destination: bytes
    destination_port: int
    tlvs: bytes = b""


def take_proxy_header(data: bytes) -> tuple[ProxyHeader | None, int] | None:
    """Return the header at the beginning of these bytes, and its length; None while it is incomplete. Raises BrokenProxyHeader.

    The header is None if it says nothing about a client.
    """
    if data.startswith(SIGNATURE[: len(data)]):
        return _take_binary(data) if len(data) >= _FIXED else None
    if not data.startswith(_WORD[: len(data)]):
        raise _broken(data)
    end = data.find(b"\r\n")
    if end >= 0 and data.startswith(_UNKNOWN):
        return None, end + 2
    match = _LINE.match(data)
    if match is not None:
        source, destination, source_port, destination_port = match.groups()
        ports = _port(source_port), _port(destination_port)
        if max(ports) <= 65535:
            return ProxyHeader(source, ports[0], destination, ports[1]), match.end()
    if end >= 0 or b"\n" in data or len(data) > LONGEST:
        raise _broken(data)
    return None


def _port(digits: bytes) -> int:
    return int(digits) if len(digits) < 19 else 65536


def _broken(data: bytes) -> BrokenProxyHeader:
    line = re.split(rb"[\r\n]", data, maxsplit=1)[0]
    return BrokenProxyHeader(f'broken header: "{line.decode("latin-1")}"')


def _take_binary(data: bytes) -> tuple[ProxyHeader | None, int] | None:
    version, command = data[12] >> 4, data[12] & 15
    if version != 2:
        raise BrokenProxyHeader(f"unknown PROXY protocol version: {version}")
    end = _FIXED + int.from_bytes(data[14:16], "big")
    if end > LONGEST:
        raise BrokenProxyHeader("header is too large")
    if len(data) < end:
        return None
    family, transport = data[13] >> 4, data[13] & 15
    size = _ADDRESS_BYTES.get(family)
    if command != _PROXY or transport != _STREAM or size is None:
        return None, end
    addresses = data[_FIXED : _FIXED + 2 * size + 4]
    if _FIXED + len(addresses) > end or len(addresses) < 2 * size + 4:
        raise BrokenProxyHeader("")
    source, destination = address_text(addresses[:size]), address_text(addresses[size : 2 * size])
    ports = addresses[2 * size :]
    return (
        ProxyHeader(
            source,
            int.from_bytes(ports[:2], "big"),
            destination,
            int.from_bytes(ports[2:], "big"),
            data[_FIXED + len(addresses) : end],
        ),
        end,
    )


def address_text(packed: bytes) -> bytes:
    """Return the text of 4 or 16 bytes; an IPv4 address that is mapped into IPv6 keeps its dots."""
    if len(packed) == 4:
        return b"%d.%d.%d.%d" % tuple(packed)
    address = ipaddress.IPv6Address(packed)
    mapped = address.ipv4_mapped
    return (f"::ffff:{mapped}" if mapped is not None else str(address)).encode()


def find_tlv(tlvs: bytes, name: bytes) -> bytes | None:
    """Return the value of a TLV by its name in variables: `authority`, `ssl_cn`, `ssl_verify`, `0xea`; None without one.

    Raises ValueError with nginx's words for a name that there is not, and for TLVs that are broken.
    """
    types, rest = _TLV_TYPES, name
    if name.startswith(b"ssl_"):
        ssl = _value_of(tlvs, _SSL)
        if ssl is None:
            return None
        if len(ssl) < _SSL_FIXED:
            raise ValueError("")
        types, rest = _SSL_TYPES, name[4:]
        if rest == b"verify":
            return b"%d" % int.from_bytes(ssl[1:5], "big")
        tlvs = ssl[_SSL_FIXED:]
    if rest.startswith(b"0x"):
        if not re.fullmatch(rb"[0-9a-fA-F]{1,15}", rest[2:]):
            raise ValueError(f'invalid PROXY protocol TLV "{name.decode("latin-1")}"')
        return _value_of(tlvs, int(rest[2:], 16))
    if rest not in types:
        raise ValueError(f'unknown PROXY protocol TLV "{name.decode("latin-1")}"')
    return _value_of(tlvs, types[rest])


def _value_of(tlvs: bytes, wanted: int) -> bytes | None:
    """Return the first value of that type. Raises ValueError."""
    at = 0
    while at < len(tlvs):
        begin = at + 3
        end = begin + int.from_bytes(tlvs[at + 1 : begin], "big")
        if begin > len(tlvs) or end > len(tlvs):
            raise ValueError("broken PROXY protocol TLV")
        if tlvs[at] == wanted:
            return tlvs[begin:end]
        at = end
    return None
