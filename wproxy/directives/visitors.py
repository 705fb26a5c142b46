"""The arguments of the directives about browsers, and about cookies that identify users (nginx: ngx_http_browser_module.c and
ngx_http_userid_filter_module.c).
"""

from __future__ import annotations

import re
from typing import NamedTuple

from wproxy.config.registry import HTTP, LOCATION, SERVER, directive
from wproxy.directives.open_file_cache import seconds
from wproxy.directives.values import number, text, word

BROWSERS = ("msie", "gecko", "opera", "safari", "konqueror")
_VERSION = re.compile(r"[0-9]{1,4}(?:\.[0-9]{1,4}){0,3}")
_FLAGS = ("off", "secure", "httponly", "samesite=strict", "samesite=lax", "samesite=none")


class ModernBrowser(NamedTuple):
    """A `modern_browser`: a browser from a version on; with neither, all browsers that no line names."""

    name: str = ""
    version: tuple[int, ...] = ()


def modern_browser(name: str, version: str | None = None) -> ModernBrowser:
    """Read `NAME VERSION`, or `unlisted`."""
    if version is None:
        if name != "unlisted":
            raise ValueError(f'no version of the browser "{name}"')
        return ModernBrowser()
    if name not in BROWSERS:
        raise ValueError(f'unknown browser name "{name}"')
    if not _VERSION.fullmatch(version):
        raise ValueError(f'invalid browser version "{version}"')
    return ModernBrowser(name, tuple(map(int, version.split("."))))


def cookie_expires(value: str) -> float | None:
    """Return the seconds that a cookie is kept; infinity for `max`, None for `off`."""
    if value in ("max", "off"):
        return float("inf") if value == "max" else None
    return seconds(value)


def cookie_mark(value: str) -> str:
    """Return a character, empty for `off`."""
    if value == "off":
        return ""
    if not re.fullmatch(r"[A-Za-z0-9=]", value):
        raise ValueError('"%s" directive value must be "off" or a single letter, digit or "="')
    return value


def cookie_flags(*words: str) -> frozenset[str]:
    """Read `secure`, `httponly`, `samesite=MODE`, or `off`."""
    for given in words:
        if given not in _FLAGS:
            raise ValueError(f'invalid value "{given}"')
    return frozenset(words) if "off" not in words else frozenset()


_BLOCKS = HTTP | SERVER | LOCATION


class UserIdDirectives:
    """Cookies by which clients are known again."""

    userid: str = directive(
        word(("off", "log", "v1", "on")),
        _BLOCKS,
        default="off",
        doc="Whether clients get a cookie by which they are known again; v1: an older form; log: those that come are seen.",
    )
    userid_name: str = directive(text, _BLOCKS, default="uid", doc="The name of that cookie.")
    userid_domain: str = directive(text, _BLOCKS, default="none", doc="The domain of that cookie; none: that of the request.")
    userid_path: str = directive(text, _BLOCKS, default="/", doc="The path of that cookie.")
    userid_p3p: str = directive(
        text, _BLOCKS, default="none", doc="The value of a field P3P that goes with that cookie; none: without."
    )
    userid_expires: float | None = directive(
        cookie_expires,
        _BLOCKS,
        default="off",
        doc="How long browsers keep that cookie; max: for ever, off: until they are closed.",
    )
    userid_mark: str = directive(
        cookie_mark, _BLOCKS, default="off", doc="A character in that cookie; cookies without it are sent again with it."
    )
    userid_service: int | None = directive(number(), _BLOCKS, doc="The number of the server in that cookie; else its address.")
    userid_flags: frozenset[str] = directive(
        cookie_flags, _BLOCKS, arity=(1, 3), default="off", doc="Flags of that cookie: secure, httponly, samesite=MODE; or off."
    )
