"""gzip (RFC 1952; routing.md §5.6; nginx: src/http/modules/ngx_http_gzip_filter_module.c)."""

from __future__ import annotations

import zlib

from worker.filters.accepting import GzipOk
from worker.filters.bodies import Change
from worker.filters.compression import Compression
from wproxy.config.model import Location
from wproxy.directives.media_types import changed_types
from wproxy.http import Request

_GZIP = 16  # added to the bits of the window: a gzip head and tail instead of zlib's


def gzip_filter(location: Location) -> Compression | None:
    """Return the filter of a location; None if gzip is off."""
    if not location.gzip:
        return None
    level = location.gzip_comp_level

    def start(request: Request, length: int) -> Change:
        return Gzip(request, level, length)

    types = changed_types(location.gzip_types)
    return Compression(location, b"gzip", types, location.gzip_min_length, GzipOk(location), start)


def window_of(length: int) -> tuple[int, int]:
    """Return (bits of the window, memory level) for a body of this length, -1 for an unknown one; the choice is nginx's.

    zlib clears its memory first: for a small body that would take most of the time.
    """
    bits, memory = 15, 8
    if length > 0:
        while length < (1 << (bits - 1)) - 262:
            bits -= 1
            memory -= 1
    return bits, memory


class Gzip:
    """Compresses one body. At the end it records the bytes in and out on the request, for $gzip_ratio."""

    __slots__ = ("_deflater", "_read", "_request", "_written")

    more = False

    def __init__(self, request: Request, level: int, length: int) -> None:
        bits, memory = window_of(length)
        self._deflater = zlib.compressobj(level, zlib.DEFLATED, bits + _GZIP, memory)
        self._request = request
        self._read = self._written = 0

    def feed(self, data: bytes | memoryview) -> bytes:
        """See Change."""
        self._read += len(data)
        return self._counted(self._deflater.compress(data))

    def flush(self) -> bytes:
        """See Change."""
        return self._counted(self._deflater.flush(zlib.Z_SYNC_FLUSH))

    def finish(self) -> bytes:
        """See Change."""
        output = self._counted(self._deflater.flush())
        self._request.gzipped = self._read, self._written
        return output

    def _counted(self, output: bytes) -> bytes:
        self._written += len(output)
        return output

    def __repr__(self) -> str:
        return f"<gzip {self._read} to {self._written}>"
