"""Compression with Brotli (RFC 7932), with the directives of Google's module for nginx (ngx_brotli)."""

from __future__ import annotations

from wproxy.config.registry import GATHER, HTTP, LOCATION, LOCATION_IF, SERVER, directive
from wproxy.config.repeated import repeated_types
from wproxy.directives.extras import flag_needing
from wproxy.directives.media_types import media_types
from wproxy.directives.values import number, size

WINDOWS = {1 << bits: bits for bits in range(10, 25)}


def window(text: str) -> int:
    """Return a power of two from 1k to 16m, as its exponent."""
    bits = WINDOWS.get(size(text))
    if bits is None:
        raise ValueError("must be a power of two from 1k to 16m")
    return bits


_BLOCKS = HTTP | SERVER | LOCATION


class BrotliDirectives:
    """Brotli for clients that accept it; others may get gzip."""

    brotli: bool = directive(
        flag_needing("brotli", "brotli"),
        _BLOCKS | LOCATION_IF,
        default="off",
        doc="Whether responses are compressed with Brotli for clients that accept it; needs `wproxy-server[brotli]`.",
    )
    brotli_types: tuple[frozenset[bytes], ...] = directive(
        media_types,
        _BLOCKS,
        arity=(1, 1000),
        inherit=GATHER,
        warns=repeated_types,
        doc="Types to compress in addition to text/html; `*`: all.",
    )
    brotli_min_length: int = directive(size, _BLOCKS, default="20", doc="The least Content-Length that is worth compressing.")
    brotli_comp_level: int = directive(number(0, 11), _BLOCKS, default="6", doc="The level of Brotli: 0 (fast) to 11 (small).")
    brotli_window: int = directive(window, _BLOCKS, default="512k", doc="The window in which Brotli looks for repetitions.")
