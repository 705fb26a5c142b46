"""Times as the API has them."""

from __future__ import annotations

from datetime import UTC, datetime


def instant(unix: float) -> str:
    """Return a time as the API has it: ISO 8601 with milliseconds, in UTC."""
    return datetime.fromtimestamp(unix, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
