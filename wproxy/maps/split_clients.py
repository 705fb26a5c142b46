"""`split_clients`: a value chosen by the hash of another, so that a share of all clients gets each (nginx:
src/http/modules/ngx_http_split_clients_module.c).
"""

from __future__ import annotations

from wproxy.http import Request
from wproxy.maps.map import shown, told
from wproxy.template import Template

_WORD = 0xFFFFFFFF
_FACTOR = 0x5BD1E995


def murmur_hash2(data: bytes) -> int:
    """Return the MurmurHash2 of 32 bits; the length is the seed (nginx: src/core/ngx_murmurhash.c)."""
    length = len(data)
    value = length
    whole = length & ~3
    for index in range(0, whole, 4):
        word = int.from_bytes(data[index : index + 4], "little") * _FACTOR & _WORD
        word = (word ^ word >> 24) * _FACTOR & _WORD
        value = value * _FACTOR & _WORD ^ word
    if whole < length:
        value = (value ^ int.from_bytes(data[whole:], "little")) * _FACTOR & _WORD
    value = (value ^ value >> 13) * _FACTOR & _WORD
    return value ^ value >> 15


class SplitClients:
    """One split_clients. parts: (limit, value): the first with a limit above the hash counts; 0 is above all."""

    def __init__(self, name: str, source: Template) -> None:
        self.name = name
        self.source = source
        self.parts: list[tuple[int, bytes]] = []
        self._total = 0

    def add(self, share: int, value: bytes) -> None:
        """Enter a share in hundredths of a percent, 0 for the rest. Raises ValueError when the total is above 100%."""
        self._total = self._total + share if share else 10000
        if self._total > 10000:
            raise ValueError("percent total is greater than 100%")
        # Each limit is cut to a whole number before they add up. A total of 100% gets what is lost by that.
        before = self.parts[-1][0] if self.parts else 0
        limit = before + share * _WORD // 10000 if share and self._total < 10000 else 0
        self.parts.append((limit, value))

    def choose(self, value: bytes) -> bytes:
        """Return the value for a hash; empty when the shares do not cover it."""
        found = murmur_hash2(value)
        for limit, chosen in self.parts:
            if found < limit or not limit:
                return chosen
        return b""

    def read(self, request: Request) -> bytes:
        """Return the value of the variable."""
        value = self.source.evaluate(request)
        result = self.choose(value)
        if request.trace is not None:
            request.trace.step(self, told("split_clients", self.name, value, result), value=shown(result))
        return result

    def varies(self) -> int:
        """How long the value holds: as long as the source."""
        return self.source.varies

    def __repr__(self) -> str:
        return f"<split_clients {self.source.text!r} ${self.name}>"
