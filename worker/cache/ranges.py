"""Ranges that are asked of the upstream although answers are stored: proxy_cache_max_range_offset (nginx:
ngx_http_upstream_cache_check_range).

To answer for a range far inside of a large file, all bytes before it would have to be fetched first.
"""

from __future__ import annotations

import re

_RANGE = re.compile(rb"bytes= *+(?:([0-9]++) *+(-)?|(-))?+", re.IGNORECASE).match


def is_too_far(value: bytes | None, limit: int | None) -> bool:
    """Whether a Range begins at or after this offset, or at an offset that only the length of the file tells."""
    if limit is None or value is None or len(value) < 7:
        return False
    match = _RANGE(value)
    if match is None:
        return False
    start, dash, suffix = match.groups()
    if suffix is not None:
        return True
    return dash is None or int(start) >= limit
