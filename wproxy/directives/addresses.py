"""nginx's words for an address that is none (nginx: ngx_parse_url and those who report what it found)."""

from __future__ import annotations

from wproxy.address import in_brackets

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
    return ValueError(f'{reason} in {written} of the "listen" directive{_suggestion(written)}')


def in_upstream(error: ValueError) -> ValueError:
    """`error` of `wproxy.address` in the words of what names a peer."""
    reason, written = _reason(error)
    return ValueError(f"{reason} in upstream {written}{_suggestion(written)}")


def in_resolver(error: ValueError, text: str) -> ValueError:
    """`error` of `wproxy.address` in the words of `resolver`."""
    reason = "invalid port" if str(error).startswith("invalid port") else "invalid host"
    written = f'"{text}"'
    return ValueError(f"{reason} in resolver {written}{_suggestion(written)}")


def _suggestion(written: str) -> str:
    """What to write where only the brackets of IPv6 are missing."""
    better = in_brackets(written.strip('"'))
    return f', did you mean "{better}"?' if better else ""
