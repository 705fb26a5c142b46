"""Zstandard (RFC 8878): the decisions of Brotli."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from worker.filters.accepting import Takes
from worker.filters.bodies import Change
from worker.filters.compression import Compression
from wproxy.config.model import Location
from wproxy.directives.media_types import changed_types
from wproxy.http import Request

# The window that a client with `zstd` must support (RFC 9659, 3). Levels from 20 on would exceed it.
WINDOW_LOG = 23


def zstd_filter(location: Location) -> Compression | None:
    """Return the filter of a location; None if zstd is off."""
    if not location.zstd:
        return None
    zstandard = import_module("zstandard")  # an extra: it need not be installed if it is not used
    level = location.zstd_comp_level

    def start(request: Request, length: int) -> Change:
        found = zstandard.ZstdCompressionParameters.from_level(level, source_size=max(length, 0))
        if found.window_log > WINDOW_LOG:
            found = zstandard.ZstdCompressionParameters.from_level(level, source_size=max(length, 0), window_log=WINDOW_LOG)
        compressor = zstandard.ZstdCompressor(compression_params=found)
        return Zstd(compressor.compressobj(size=length), zstandard.COMPRESSOBJ_FLUSH_BLOCK)

    types = changed_types(location.zstd_types)
    return Compression(location, b"zstd", types, location.zstd_min_length, Takes(b"zstd"), start)


class Zstd:
    """Compresses one body. block: the package's constant for ending a block but not the stream."""

    __slots__ = ("_block", "_compressor")

    more = False

    def __init__(self, compressor: Any, block: int) -> None:
        self._compressor = compressor
        self._block = block

    def feed(self, data: bytes | memoryview) -> bytes:
        """See Change."""
        output: bytes = self._compressor.compress(data)
        return output

    def flush(self) -> bytes:
        """See Change."""
        output: bytes = self._compressor.flush(self._block)
        return output

    def finish(self) -> bytes:
        """See Change."""
        output: bytes = self._compressor.flush()
        return output
