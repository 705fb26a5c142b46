"""nginx's words for an address that is none (nginx: ngx_parse_url and those who report what it found)."""

from __future__ import annotations

# What `wproxy.address` says, and nginx for the same. Any text may be the name of a host, until nobody knows it.
_REASONS = {
    "invalid IPv6 address": "invalid host",
    "invalid address": "invalid host",
    "invalid host": "host not found",
}


def _reason(error: ValueError) -> tuple[str, str]:
    """(what is wrong, what was written with its quotes)."""
    said, quote, written = str(error).partition(' "')
    reason = said.removesuffix(" in")
    return _REASONS.get(reason, reason), f"{quote[1:]}{written}"


def of_listen(error: ValueError) -> ValueError:
    """`error` of `wproxy.address` in the words of `listen`."""
    reason, written = _reason(error)
    return ValueError(f'{reason} in {written} of the "listen" directive')


def in_upstream(error: ValueError) -> ValueError:
    """`error` of `wproxy.address` in the words of what names a peer."""
    reason, written = _reason(error)
    return ValueError(f"{reason} in upstream {written}")
