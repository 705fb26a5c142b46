"""What names stood for, in memory that outlives reloads and upgrades (`wproxy.lasting`): workers that begin while the name
servers are down have it from those before them (nginx: ngx_http_upstream_zone_copy_peers, the copying of resolved peers from
the old zone).

A text for each name in an upstream, or for a service of it: the length, a number made of the text, the text. A line that gets
another port, weight or the like finds what the line before it had found, as in nginx (ngx_http_upstream_zone_preresolve).
Every worker follows every name and writes what it has found, mostly what is there already. Nothing is locked: what two have
written at once is not what its number says, and then nothing is remembered until one of them hears of a change, or of the
same again.
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
        """Remember this instead; what is too long is not remembered."""
        data = text.encode()
        if len(data) > SIZE - _HEAD or text == self.read():
            return
        self._memory[0 : _HEAD + len(data)] = len(data).to_bytes(8, "little") + _number_of(data) + data

    def read(self) -> str:
        """What was written last; "" when there is nothing."""
        length = int.from_bytes(self._memory[0:8], "little")
        if not length or length > SIZE - _HEAD:
            return ""
        head, data = self._memory[8:_HEAD], self._memory[_HEAD : _HEAD + length]
        return data.decode("utf-8", "replace") if head == _number_of(data) else ""

    def __repr__(self) -> str:
        return f"<remembered: {self.read()!r}>"


def remembered(upstream: str, host: str, service: str) -> Remembered:
    """The memory of what a host, or a service of it, stands for; the same for the same names as long as the process lives.

    Made where the configuration is read, it is there for all workers.
    """
    key = (upstream, host.lower(), service)
    if key not in _memory:
        _memory[key] = Remembered(LASTING.region("\0".join(("addresses", *key)), SIZE))
    return _memory[key]


def _number_of(data: bytes) -> bytes:
    return blake2b(data, digest_size=8).digest()
