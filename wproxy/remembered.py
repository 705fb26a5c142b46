"""Remembered addresses of names, in memory that outlives reloads and upgrades (`wproxy.lasting`): workers that start while the
name servers are down take them from there (nginx: ngx_http_upstream_zone_copy_peers, the copying of resolved peers from the old
zone).

There is a text for each name in an upstream, or for each service of a name: the length, a number made of the text, the text. A
`server` line that gets another port, weight or the like finds what the line before it had found, as in nginx
(ngx_http_upstream_zone_preresolve). Every worker follows every name and writes what it has found, which is mostly there already.
Nothing is locked: when two workers write at once, the text does not match its number, and then nothing is remembered until one of
them learns of a change, or of the same again.
"""

from __future__ import annotations

import mmap
from hashlib import blake2b

from wproxy.lasting import LASTING

SIZE = 65536  # bytes: some thousand addresses
_HEAD = 16

_memory: dict[tuple[str, str, str], Remembered] = {}


class Remembered:
    """One text."""

    __slots__ = ("_memory",)

    def __init__(self, memory: mmap.mmap) -> None:
        """memory: SIZE bytes, zero when they are new."""
        self._memory = memory

    def write(self, text: str) -> None:
        """Remember this text instead; one that is too long is not remembered."""
        data = text.encode()
        if len(data) > SIZE - _HEAD or text == self.read():
            return
        self._memory[0 : _HEAD + len(data)] = len(data).to_bytes(8, "little") + _number_of(data) + data

    def read(self) -> str:
        """Return the text that was written last; "" when there is none."""
        length = int.from_bytes(self._memory[0:8], "little")
        if not length or length > SIZE - _HEAD:
            return ""
        head, data = self._memory[8:_HEAD], self._memory[_HEAD : _HEAD + length]
        return data.decode("utf-8", "replace") if head == _number_of(data) else ""

    def __repr__(self) -> str:
        return f"<remembered: {self.read()!r}>"


def remembered(upstream: str, host: str, service: str) -> Remembered:
    """Return the memory for the addresses of a host, or of a service of it; the same for the same names while the process lives.

    It is made where the configuration is read, and so all workers have it.
    """
    key = (upstream, host.lower(), service)
    if key not in _memory:
        _memory[key] = Remembered(LASTING.region("\0".join(("addresses", *key)), SIZE))
    return _memory[key]


def _number_of(data: bytes) -> bytes:
    return blake2b(data, digest_size=8).digest()
