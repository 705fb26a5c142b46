r"""Unicode properties, `\p{L}`, of bytes: nginx does not ask PCRE2 for UTF mode, so a byte is the character of its number."""

from __future__ import annotations

import unicodedata

from wproxy.regex.nodes import ALL, byte_range, byte_set

_CATEGORIES = {byte: unicodedata.category(chr(byte)) for byte in range(256)}
# Categories that no character below 256 has, so that nothing matches.
_EMPTY_CATEGORIES = ("cn", "co", "cs", "lm", "lt", "m", "mc", "me", "mn", "nl", "zl", "zp")
# Well-known scripts, none of whose characters is below 256.
_FOREIGN_SCRIPTS = ("arabic", "cyrillic", "devanagari", "greek", "han", "hangul", "hebrew", "hiragana", "katakana", "thai")
_MICRO_SIGN = 1 << 0xB5


def _of_category(prefix: str) -> int:
    """Return the bytes whose general category begins with these letters."""
    return sum(1 << byte for byte, category in _CATEGORIES.items() if category.startswith(prefix))


_LETTERS = _of_category("L")
_ALPHANUMERIC = _LETTERS | _of_category("N")
_CASED = _of_category("Lu") | _of_category("Ll")
_LATIN = _LETTERS & ~_MICRO_SIGN
_SPACE = byte_range(9, 13) | byte_set(b" \x85\xa0")

# Keyed by name in lower case, without spaces, hyphens and underscores, which are ignored.
PROPERTIES: dict[str, int] = {
    **{prefix.lower(): _of_category(prefix) for category in _CATEGORIES.values() for prefix in (category[0], category)},
    **dict.fromkeys(_EMPTY_CATEGORIES, 0),
    **dict.fromkeys(("l&", "lc"), _CASED),
    "any": ALL,
    "ascii": byte_range(0, 127),
    **dict.fromkeys(("alphabetic", "alpha"), _LETTERS),
    **dict.fromkeys(("lowercase", "lower"), _of_category("Ll") | byte_set(b"\xaa\xba")),
    **dict.fromkeys(("uppercase", "upper"), _of_category("Lu")),
    **dict.fromkeys(("whitespace", "wspace", "space", "xsp", "xps"), _SPACE),
    "xan": _ALPHANUMERIC,
    "xwd": _ALPHANUMERIC | byte_set(b"_"),
    "xuc": byte_set(b"$@`") | byte_range(0xA0, 0xFF),
}
SCRIPTS: dict[str, int] = {
    **dict.fromkeys(("latin", "latn"), _LATIN),
    **dict.fromkeys(("common", "zyyy"), ALL & ~_LATIN),
    **dict.fromkeys(_FOREIGN_SCRIPTS, 0),
}


def property_set(name: str) -> int | None:
    """Return the bytes that have a property, as a set; None for one that is unknown here."""
    plain = "".join(char for char in name.lower() if char not in " -_")
    kind, separator, value = plain.replace("=", ":").partition(":")
    if separator:
        return SCRIPTS.get(value) if kind in ("sc", "scx", "script", "scriptextensions") else None
    found = PROPERTIES.get(plain)
    return SCRIPTS.get(plain) if found is None else found
