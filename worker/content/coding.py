"""Who may be sent a file that lies compressed (routing.md §5.6; nginx: ngx_http_gzip_ok)."""

from __future__ import annotations

import re

from wproxy.http import Request

_ZERO = re.compile(rb"\s*;\s*q=0(?:\.0{0,3})?\s*\Z", re.IGNORECASE)


def accepts(request: Request, coding: bytes) -> bool:
    """Whether Accept-Encoding names the coding with a quality above 0; `*` does not count."""
    cache = request.fields.cache
    key = "takes", coding
    known: bool | None = cache.get(key)
    if known is None:
        known = cache[key] = _accepts(request.fields.get(b"accept-encoding") or b"", coding)
    return known


def _accepts(value: bytes, coding: bytes) -> bool:
    for item in value.split(b","):
        name, semicolon, quality = item.partition(b";")
        if name.strip().lower() == coding:
            return _ZERO.match(semicolon + quality) is None
    return False


def may_compress(request: Request) -> bool:
    """Whether the client speaks 1.1 and asks directly: what came through a proxy might be kept for another client."""
    return request.version > 10 and request.fields.get(b"via") is None
