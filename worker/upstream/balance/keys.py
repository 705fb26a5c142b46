"""Balancing by key: the same key goes to the same peer: ip_hash, hash (nginx: ngx_http_upstream_hash_module.c, ip_hash too)."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from itertools import count
from typing import TYPE_CHECKING
from zlib import crc32

from worker.upstream.balance.rotation import round_robin
from wproxy.http import Request

if TYPE_CHECKING:
    from worker.upstream.balance.tier import Method, Tier
    from worker.upstream.live_peer import LivePeer
    from wproxy.directives.balancing import Balancing

_NOBODY = bytes(3)


def address_bytes(address: bytes) -> bytes:
    """Return the significant part of a client's address: the network of an IPv4 address, the whole of an IPv6 address."""
    text = address.decode("latin-1")
    try:
        if ":" in text:
            return socket.inet_pton(socket.AF_INET6, text)
        return socket.inet_pton(socket.AF_INET, text)[:3]
    except OSError:
        return _NOBODY  # a unix socket


def ip_hash_numbers(address: bytes) -> Iterator[int]:
    """Yield the numbers for the bytes of an address, try after try."""
    number = 89
    while True:
        for byte in address:
            number = (number * 113 + byte) % 6271
        yield number


def ip_hash(tier: Tier, request: Request, tried: int, now: int) -> LivePeer | None:
    """Return the peer of the client's network."""
    if len(tier.peers) < 2 or tier.is_backup:
        return round_robin(tier, request, tried, now)
    numbers = ip_hash_numbers(address_bytes(request.client.remote_addr))
    return tier.first_usable(numbers, tried, now) or round_robin(tier, request, tried, now)


def hash_numbers(key: bytes) -> Iterator[int]:
    """Yield the numbers for a key, try after try: like Cache::Memcached."""
    number = 0
    for attempt in count():
        number += crc32(b"%d%b" % (attempt, key) if attempt else key) >> 16 & 0x7FFF
        yield number & 0xFFFFFFFF


def hash_key(balancing: Balancing) -> Method:
    """Return a method that picks the peer of the key; an empty key belongs to none."""
    evaluate = balancing.key.evaluate

    def choose(tier: Tier, request: Request, tried: int, now: int) -> LivePeer | None:
        key = evaluate(request)
        if not key or len(tier.peers) < 2 or tier.is_backup:
            return round_robin(tier, request, tried, now)
        return tier.first_usable(hash_numbers(key), tried, now) or round_robin(tier, request, tried, now)

    return choose
