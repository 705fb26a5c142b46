"""Brotli (RFC 7932): the decisions of gzip, except those of gzip_http_version, gzip_proxied and gzip_disable (ngx_brotli)."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from worker.filters.accepting import Takes
from worker.filters.bodies import Change
from worker.filters.compression import Compression
from wproxy.config.model import Location
from wproxy.directives.media_types import changed_types
from wproxy.http import Request


def brotli_filter(location: Location) -> Compression | None:
    """Return the filter of a location; None if brotli is off."""
    if not location.brotli:
        return None
    brotli = import_module("brotli")  # an extra: it need not be installed if it is not used
    level, window = location.brotli_comp_level, location.brotli_window

    def start(request: Request, length: int) -> Change:
        return Brotli(brotli.Compressor(quality=level, lgwin=window_of(length, window)))

    types = changed_types(location.brotli_types)
    return Compression(location, b"br", types, location.brotli_min_length, Takes(b"br"), start)


def window_of(length: int, most: int) -> int:
    """Return the bits of the smallest window that holds a body of this length, -1 for an unknown one."""
    return most if length < 0 else max(10, min(most, (length + 16).bit_length()))


class Brotli:
    """Compresses one body."""

    __slots__ = ("_compressor",)

    more = False

    def __init__(self, compressor: Any) -> None:
        self._compressor = compressor

    def feed(self, data: bytes | memoryview) -> bytes:
        """See Change."""
        output: bytes = self._compressor.process(bytes(data))
        return output

    def flush(self) -> bytes:
        """See Change."""
        output: bytes = self._compressor.flush()
        return output

    def finish(self) -> bytes:
        """See Change."""
        output: bytes = self._compressor.finish()
        return output
