"""The location of a server that matches a path, by the directive tree: for rules that follow a request to its next place."""

from __future__ import annotations

from wproxy.check.blocks import Block
from wproxy.check.regexes import search
from wproxy.config.registry import LOCATION


def find_location(block: Block, path: str) -> Block | None:
    """Return the location in a server, or inside a location, that a path leads to, or None."""
    siblings = [one for one in block.blocks if one.context == LOCATION]
    exact = next((one for one in siblings if one.modifier == "=" and one.pattern == path), None)
    if exact is not None:
        return exact
    prefixes = [one for one in siblings if one.is_prefix and path.startswith(one.pattern)]
    longest = max(prefixes, key=lambda one: len(one.pattern), default=None)
    inner = find_location(longest, path) if longest is not None else None
    if inner is not None and (inner.is_regex or inner.modifier in ("=", "^~")):
        return inner
    best = inner or longest
    if best is None or best.modifier != "^~":
        for one in siblings:
            regex = one.regex()
            if regex is not None and search(regex, path.encode("utf-8", "surrogateescape")) is not None:
                return find_location(one, path) or one
    return best
