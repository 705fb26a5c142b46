"""$modern_browser, $ancient_browser, $msie (subrequests.md §7.5; nginx: src/http/modules/ngx_http_browser_module.c)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from wproxy.browsers import is_msie
from wproxy.http import Request
from wproxy.variables.registry import LOCATION, variable

if TYPE_CHECKING:
    from wproxy.config.model import Location
    from wproxy.directives.visitors import ModernBrowser


class Sign(NamedTuple):
    """The sign of a browser in a User-Agent: the text before its version, and the first place where it may be."""

    text: bytes
    begin: int


# In the order in which they are looked for: some pretend to be others.
SIGNS = {
    "opera": Sign(b"Opera", 0),
    "msie": Sign(b"MSIE ", 25),
    "gecko": Sign(b"rv:", 13),
    "safari": Sign(b"Safari/", 13),
    "konqueror": Sign(b"Konqueror/", 25),
}
# Opera puts a character between its name and its version.
_GAPS = {"opera": 1}
_VERSION = re.compile(rb"[0-9.]*")
_NEVER = 1 << 62


def is_modern(agent: bytes | None, modern: tuple[ModernBrowser, ...], ancient: tuple[tuple[bytes, ...], ...]) -> bool:
    """Whether a browser is a new one. agent: its User-Agent. modern, ancient: the lines of the configuration."""
    is_unlisted_modern = any(not line.name for line in modern)
    if agent is None:
        return is_unlisted_modern
    listed = {line.name: number(line.version) for line in reversed(modern) if line.name}  # the first line of a name counts
    if listed:
        listed.setdefault("opera", _NEVER)
        for name, sign in SIGNS.items():
            version = version_of(agent, sign, _GAPS.get(name, 0)) if name in listed else None
            if version is not None:
                return version >= listed[name]
        if not is_unlisted_modern:
            return False
    texts = [text for line in ancient for text in line]
    if b"netscape4" in texts and is_netscape4(agent):
        return False
    if any(text in agent for text in texts if text != b"netscape4"):
        return False
    return is_unlisted_modern


def version_of(agent: bytes, sign: Sign, gap: int) -> int | None:
    """Return the version after a sign, as a number to compare; None if the sign is not there."""
    at = agent.find(sign.text, sign.begin)
    begin = at + len(sign.text) + gap
    if at < 0 or begin >= len(agent):
        return None
    match = _VERSION.match(agent, begin)
    return number(tuple(int(part or b"0") for part in match[0].split(b"."))) if match is not None else None


def number(version: tuple[int, ...]) -> int:
    """Return a version as one number: two digits for each part after the first."""
    return sum(part * 10 ** (6 - 2 * place) for place, part in enumerate(version[:4]))


def is_netscape4(agent: bytes) -> bool:
    """Whether a browser is Netscape 4 or older."""
    return len(agent) > len(b"Mozilla/4.72 ") and agent[:1] == b"M" and b"0" < agent[8:9] < b"5"


def _is_modern(request: Request, location: Location) -> bool:
    return is_modern(request.fields.get(b"user-agent"), location.modern_browser, location.ancient_browser)


@variable("modern_browser", LOCATION)
def modern_browser(request: Request) -> bytes:
    location = request.location
    return value(location.modern_browser_value) if _is_modern(request, location) else b""


@variable("ancient_browser", LOCATION)
def ancient_browser(request: Request) -> bytes:
    location = request.location
    return b"" if _is_modern(request, location) else value(location.ancient_browser_value)


def value(lines: tuple[str, ...]) -> bytes:
    """Return the value that a line sets; the last one counts."""
    return lines[-1].encode("utf-8", "surrogateescape") if lines else b"1"


@variable("msie")
def msie(request: Request) -> bytes:
    return b"1" if is_msie(request.fields.get(b"user-agent") or b"") else b""
