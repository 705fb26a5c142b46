"""IP addresses as numbers, networks as ranges of them, and a table from ranges to values.

Networks and ranges are nested, never half overlapping: they are flattened once, into adjacent intervals, and an address is then
found with one bisection, whatever the number of networks.
"""

from __future__ import annotations

import ipaddress
from bisect import bisect_right
from functools import lru_cache
from typing import Generic, NamedTuple, TypeVar

Value = TypeVar("Value")

BITS = {4: 32, 6: 128}
NO_ADDRESS = (4, 0xFFFFFFFF)  # the address that nginx looks up when there is none: 255.255.255.255

_MAPPED = 0xFFFF << 32

# (4 or 6, the address as a number)
NumberedAddress = tuple[int, int]


class Network(NamedTuple):
    """A network: 4 or 6, its first address as a number, the length of its prefix."""

    family: int
    first: int
    prefix: int

    @property
    def last(self) -> int:
        """The last address."""
        return self.first | ((1 << (BITS[self.family] - self.prefix)) - 1)

    def holds(self, address: NumberedAddress) -> bool:
        """Whether the address is in it."""
        return address[0] == self.family and self.first <= address[1] <= self.last


def parse_ipv4(text: bytes) -> int | None:
    """Return the number of `192.0.2.1`, or None when it is no address. Leading zeros are allowed, as in nginx."""
    parts = text.split(b".")
    if len(parts) != 4 or not all(part.isdigit() for part in parts):
        return None
    numbers = [int(part) if len(part) < 10 else 256 for part in parts]
    if max(numbers) > 255:
        return None
    return numbers[0] << 24 | numbers[1] << 16 | numbers[2] << 8 | numbers[3]


def parse_ip(text: bytes) -> NumberedAddress | None:
    """Return an address without brackets, or None; one that is mapped into IPv6 (::ffff:192.0.2.1) counts as IPv4."""
    number = parse_ipv4(text)
    if number is not None:
        return 4, number
    if b":" not in text or b"%" in text:
        return None
    try:
        number = int(ipaddress.IPv6Address(text.decode("ascii")))
    except ValueError:
        return None
    return (4, number & 0xFFFFFFFF) if number >> 32 << 32 == _MAPPED else (6, number)


@lru_cache(1024)
def packed(text: bytes) -> bytes:
    """Return the 4 or 16 bytes of a valid address; the text itself for a unix socket."""
    if b":" not in text:
        return bytes(map(int, text.split(b".")))
    return text if text.startswith(b"unix:") else ipaddress.IPv6Address(text.decode("ascii")).packed


def parse_ip_and_port(text: bytes) -> NumberedAddress | None:
    """Return the address of `192.0.2.1:80`, `[2001:db8::1]:80` or of one without a port, or None."""
    if text.startswith(b"["):
        address, bracket, rest = text[1:].partition(b"]")
        if not bracket or not (rest == b"" or (rest.startswith(b":") and _is_port(rest[1:]))):
            return None
        return parse_ip(address) if b":" in address else None
    if text.count(b":") == 1:
        address, _, port = text.partition(b":")
        number = parse_ipv4(address)
        return (4, number) if number is not None and _is_port(port) else None
    return parse_ip(text)


def _is_port(text: bytes) -> bool:
    return text.isdigit() and len(text) < 6 and 1 <= int(text) <= 65535


def parse_network(text: str) -> tuple[Network, bool]:
    """Return the network of `10.0.0.0/8`, `2001:db8::/32` or an address, and whether bits were set beyond its prefix.

    Raises ValueError.
    """
    address, slash, prefix = text.partition("/")
    encoded = address.encode("utf-8", "surrogateescape")
    number = parse_ipv4(encoded)
    family = 4
    if number is None:
        family = 6
        try:
            number = int(ipaddress.IPv6Address("" if "%" in address else address))
        except ValueError:
            raise ValueError(f'invalid network "{text}"') from None
    bits = BITS[family]
    if not slash:
        return Network(family, number, bits), False
    if not (prefix.isascii() and prefix.isdigit() and len(prefix) < 4 and int(prefix) <= bits):
        raise ValueError(f'invalid network "{text}"')
    length = int(prefix)
    first = number >> (bits - length) << (bits - length)
    return Network(family, first, length), first != number


class RangeTable(Generic[Value]):
    """Values by ranges of numbers that are nested or separate; the smallest range around a number counts."""

    def __init__(self, ranges: dict[tuple[int, int], Value]) -> None:
        """ranges: (first, last) to value."""
        self._starts: list[int] = []
        self._values: list[Value | None] = []
        open_ranges: list[tuple[int, Value]] = []  # (last, value), the innermost at the end
        for (first, last), value in sorted(ranges.items(), key=lambda item: (item[0][0], -item[0][1])):
            self._close(open_ranges, first)
            self._begin(first, value)
            open_ranges.append((last, value))
        self._close(open_ranges, None)

    def _close(self, open_ranges: list[tuple[int, Value]], before: int | None) -> None:
        """End the ranges that are over before a number: after each the range around it continues."""
        while open_ranges and (before is None or open_ranges[-1][0] < before):
            last, _ = open_ranges.pop()
            self._begin(last + 1, open_ranges[-1][1] if open_ranges else None)

    def _begin(self, start: int, value: Value | None) -> None:
        if self._starts and self._starts[-1] == start:
            self._values[-1] = value
        else:
            self._starts.append(start)
            self._values.append(value)

    def find(self, number: int) -> Value | None:
        """Return the value of the smallest range around the number, or None."""
        index = bisect_right(self._starts, number)
        return self._values[index - 1] if index else None
