"""Compression with gzip: what, for which clients, how much (nginx: ngx_http_gzip_filter_module.c, and ngx_http_gzip_ok of the
core).
"""

from __future__ import annotations

from typing import NamedTuple

from wproxy.config.registry import GATHER, HTTP, LOCATION, LOCATION_IF, SERVER, UNION, directive
from wproxy.config.repeated import repeated_types
from wproxy.directives.media_types import media_types
from wproxy.directives.values import flag, number, size, words
from wproxy.regex import Regex, compile_regex

PROXIED = ("off", "expired", "no-cache", "no-store", "private", "no_last_modified", "no_etag", "auth", "any")


class Disabled(NamedTuple):
    """One `gzip_disable`. msie6: the word that stands for Internet Explorer 4 to 6 without its service pack."""

    agents: tuple[Regex, ...]
    msie6: bool


def disabled(*patterns: str) -> Disabled:
    """Read regexes for User-Agent, ignoring case, and the word `msie6`; `degradation` is nginx's measure for scarce memory."""
    agents = tuple(compile_regex(pattern, True) for pattern in patterns if pattern not in ("msie6", "degradation"))
    return Disabled(agents, "msie6" in patterns)


def version(text: str) -> int:
    """Read `1.0` or `1.1`, as 10 or 11."""
    if text not in ("1.0", "1.1"):
        raise ValueError(f'invalid value "{text}"')
    return int(text.replace(".", ""))


_BLOCKS = HTTP | SERVER | LOCATION


class GzipDirectives:
    """gzip, and the clients that may get it."""

    gzip: bool = directive(
        flag, _BLOCKS | LOCATION_IF, default="off", doc="Whether responses are compressed with gzip for clients that accept it."
    )
    gzip_types: tuple[frozenset[bytes], ...] = directive(
        media_types,
        _BLOCKS,
        arity=(1, 1000),
        inherit=GATHER,
        warns=repeated_types,
        doc="Types to compress in addition to text/html; `*`: all.",
    )
    gzip_min_length: int = directive(size, _BLOCKS, default="20", doc="The least Content-Length that is worth compressing.")
    gzip_comp_level: int = directive(number(1, 9), _BLOCKS, default="1", doc="The level of gzip: 1 (fast) to 9 (small).")
    gzip_http_version: int = directive(version, _BLOCKS, default="1.1", doc="The least HTTP version of a client that gets gzip.")
    gzip_proxied: frozenset[str] = directive(
        words(PROXIED),
        _BLOCKS,
        arity=(1, 1000),
        default="off",
        inherit=UNION,
        doc="The responses that are compressed for a request that came through a proxy (it has a Via).",
    )
    gzip_vary: bool = directive(
        flag, _BLOCKS, default="off", doc="Whether compressible responses have `Vary: Accept-Encoding`, compressed or not."
    )
    gzip_disable: tuple[Disabled, ...] = directive(
        disabled, _BLOCKS, arity=(1, 1000), inherit=GATHER, doc="Regexes of User-Agents that get no gzip; `msie6` is one of them."
    )
