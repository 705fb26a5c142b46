"""Compression with Zstandard (RFC 8878), with the directives of nginx's third-party module (tokers/zstd-nginx-module)."""

from __future__ import annotations

from wproxy.config.registry import GATHER, HTTP, LOCATION, LOCATION_IF, SERVER, directive
from wproxy.config.repeated import repeated_types
from wproxy.directives.extras import flag_needing
from wproxy.directives.media_types import media_types
from wproxy.directives.values import number, size

_BLOCKS = HTTP | SERVER | LOCATION


class ZstdDirectives:
    """Zstandard for clients that accept it; others may get gzip."""

    zstd: bool = directive(
        flag_needing("zstandard", "zstd"),
        _BLOCKS | LOCATION_IF,
        default="off",
        doc="Whether responses are compressed with Zstandard for clients that accept it; needs `wproxy-server[zstd]`.",
    )
    zstd_types: tuple[frozenset[bytes], ...] = directive(
        media_types,
        _BLOCKS,
        arity=(1, 1000),
        inherit=GATHER,
        warns=repeated_types,
        doc="Types to compress in addition to text/html; `*`: all.",
    )
    zstd_min_length: int = directive(size, _BLOCKS, default="20", doc="The least Content-Length that is worth compressing.")
    zstd_comp_level: int = directive(number(1, 22), _BLOCKS, default="1", doc="The level of Zstandard: 1 (fast) to 22 (small).")
