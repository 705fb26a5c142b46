"""The statuses of responses with a cache, and the columns in which they are counted (nginx Plus: /api/9/http/caches)."""

from __future__ import annotations

# The statuses that come from the cache, then those that come from the upstream; the names are those of $upstream_cache_status.
HIT, STALE, UPDATING, REVALIDATED, MISS, EXPIRED, BYPASS = range(7)
NAMES = ("HIT", "STALE", "UPDATING", "REVALIDATED", "MISS", "EXPIRED", "BYPASS")
FROM_CACHE = 4
# A status has the columns for its responses and their bytes; one from the upstream has also those for what was stored.
RESPONSES, BYTES, RESPONSES_WRITTEN, BYTES_WRITTEN = range(4)


def column(status: int) -> int:
    """Return the first column of a status."""
    return status * 2 if status < FROM_CACHE else FROM_CACHE * 2 + (status - FROM_CACHE) * 4


def as_json(totals: list[int]) -> dict[str, dict[str, int]]:
    """Return the sums of columns as nginx Plus shows them."""
    found = {}
    for status, name in enumerate(NAMES):
        names = ["responses", "bytes"] if status < FROM_CACHE else ["responses", "bytes", "responses_written", "bytes_written"]
        begin = column(status)
        found[name.lower()] = dict(zip(names, totals[begin : begin + len(names)], strict=True))
    return found
