"""nginx's words for an invalid address (nginx: ngx_parse_url and its callers' messages)."""

from __future__ import annotations

from wproxy.address import in_brackets

# The message of `wproxy.address`, and nginx's for the same. Any text may be a host name until the look-up fails.
_REASONS = {
    "invalid IPv6 address": "invalid host",
    "invalid address": "invalid host",
    "invalid host": "host not found",
}


def _reason(error: ValueError) -> tuple[str, str]:
    """Return (what is wrong, the quoted text)."""
    said, quote, written = str(error).partition(' "')
    reason = said.removesuffix(" in")
    return _REASONS.get(reason, reason), f"{quote[1:]}{written}"


def of_listen(error: ValueError) -> ValueError:
    """Translate an `error` of `wproxy.address` into the words of `listen`."""
    reason, written = _reason(error)
    return ValueError(f'{reason} in {written} of the "listen" directive{_suggestion(written)}')


def in_upstream(error: ValueError) -> ValueError:
    """Translate an `error` of `wproxy.address` into the words of directives that name a peer."""
    reason, written = _reason(error)
    return ValueError(f"{reason} in upstream {written}{_suggestion(written)}")


def in_resolver(error: ValueError, text: str) -> ValueError:
    """Translate an `error` of `wproxy.address` into the words of `resolver`."""
    reason = "invalid port" if str(error).startswith("invalid port") else "invalid host"
    written = f'"{text}"'
    return ValueError(f"{reason} in resolver {written}{_suggestion(written)}")


def _suggestion(written: str) -> str:
    """Suggest the spelling where only the brackets of IPv6 are missing."""
    better = in_brackets(written.strip('"'))
    return f', did you mean "{better}"?' if better else ""
