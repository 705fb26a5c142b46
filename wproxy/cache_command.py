"""`wproxy cache ACTION ...`: its words and its output. `master.api_client` asks the running server."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from wproxy.cli import CACHE_ACTIONS
from wproxy.config.tree import printable
from wproxy.upstream_command import Api, CannotChange, table

_STATUSES = ("hit", "stale", "updating", "revalidated", "miss", "expired", "bypass")


def run_cache_action(name: str, words: Sequence[str], as_json: bool, api: Api, now: float) -> str:
    """Run one of CACHE_ACTIONS; return the text to print. now: unix time. Raises CannotChange."""
    if name not in CACHE_ACTIONS:
        raise CannotChange(f'unknown action "{name}", choose from: {", ".join(CACHE_ACTIONS)}')
    action = CACHE_ACTIONS[name]
    if not action.least <= len(words) <= action.most:
        raise CannotChange(f"usage: wproxy cache {action.usage}")
    if name == "stat":
        found = {words[0]: api.ask("GET", place(words[0]))} if words else api.ask("GET", "/http/caches")
        return as_text(found, as_json, [_STAT, *(stat_row(zone, shown) for zone, shown in found.items())])
    if name == "list":
        query = f"?most={MOST}" + (f"&prefix={quote(words[1], safe='')}" if len(words) > 1 else "")
        entries = api.ask("GET", f"{place(words[0])}/entries{query}")
        return as_text(entries, as_json, [_LIST, *(entry_row(entry, now) for entry in entries)])
    zone, key = words
    purged = api.ask("POST", f"{place(zone)}/purge", {"key": key})["purged"]
    if not purged and not key.endswith("*"):
        raise CannotChange(f'"{key}" is not in the cache {zone}')
    return f"wproxy: {purged} purged from {zone}\n"


# How many entries `list` shows.
MOST = 100_000
_STAT = ("ZONE", "SIZE", "MAX", *(status.upper() for status in _STATUSES), "HITS")
_LIST = ("STATUS", "SIZE", "FRESH", "USED", "KEY")


def place(zone: str) -> str:
    """Return the path of a zone in the API."""
    return f"/http/caches/{quote(zone, safe='')}"


def as_text(found: Any, as_json: bool, rows: list[tuple[str, ...]]) -> str:
    """Return what was found as JSON, or these rows as a table."""
    return json.dumps(found, indent=2) + "\n" if as_json else table(rows)


def stat_row(zone: str, shown: dict[str, Any]) -> tuple[str, ...]:
    """Return the cells of a zone. The last one is the part of responses that came from the cache."""
    counts = [shown[status]["responses"] for status in _STATUSES]
    hits, total = sum(counts[:4]), sum(counts)
    ratio = f"{100 * hits / total:.1f}%" if total else "-"
    limit = size_text(shown["max_size"]) if "max_size" in shown else "-"
    size = size_text(shown["size"]) + (" (cold)" if shown["cold"] else "")
    return (zone, size, limit, *map(str, counts), ratio)


def entry_row(entry: dict[str, Any], now: float) -> tuple[str, ...]:
    """Return the cells of a stored response."""
    left = entry["valid"] - now
    fresh = f"{time_text(left)}" if left >= 0 else f"expired {time_text(-left)} ago"
    used = f"{time_text(max(0.0, now - entry['used']))} ago"
    return (str(entry["status"] or "-"), size_text(entry["size"]), fresh, used, printable(entry["key"]))


def size_text(size: int) -> str:
    """Return a size for people: 0, 4k, 12M."""
    for unit in ("", "k", "M", "G"):
        if size < 10240 and (size < 1024 or unit):
            return f"{size}{unit}"
        size = round(size / 1024)
    return f"{size}T"


def time_text(seconds: float) -> str:
    """Return a time for people, in its largest unit: 12s, 5m, 3h, 2d."""
    for unit, most in (("s", 60), ("m", 60), ("h", 24)):
        if seconds < most:
            return f"{seconds:.0f}{unit}"
        seconds /= most
    return f"{seconds:.0f}d"
