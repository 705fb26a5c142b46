"""Character sets: the one that is declared with a text, and the one that a text is recoded from (nginx:
ngx_http_charset_filter_module.c).
"""

from __future__ import annotations

from wproxy.config.registry import CHARSET_MAP, GATHER, HTTP, LOCATION, LOCATION_IF, SERVER, directive
from wproxy.config.repeated import repeated_types
from wproxy.config.tree import Node
from wproxy.directives.values import flag
from wproxy.maps.charset_map import CharsetMap
from wproxy.maps.entries import read_entries
from wproxy.template import Template, compile_template


def charset_name(name: str) -> Template | None:
    """Return the name of a character set; None for `off`."""
    return None if name == "off" else compile_template(name)


def charset_types(*names: str) -> tuple[str, ...]:
    """Return the media types of one line, in lower case; `*` is all."""
    return tuple(name.lower() for name in names)


def charset_map(source: str, target: str, entries: list[Node]) -> CharsetMap:
    """Read `charset_map SOURCE TARGET { BYTE BYTES; ... }`, in hexadecimal. Raises ConfigurationError for wrong entries."""
    if source.lower() == target.lower():
        raise ValueError(f'"charset_map" between the same charsets "{source}" and "{target}"')
    made = CharsetMap(source, target, ())
    if CharsetMap(target, source, ()).is_for_utf8:
        raise ValueError('"charset_map" from "utf-8": write the map to "utf-8", it works both ways')
    pairs: list[tuple[int, bytes]] = []

    def read(entry: Node) -> None:
        if len(entry.arguments) != 1:
            raise ValueError("invalid parameters number")
        pairs.append((_byte(entry.name)[0], (_character if made.is_for_utf8 else _byte)(entry.arguments[0])))

    read_entries(entries, read)
    return made._replace(pairs=tuple(pairs))


def _byte(text: str) -> bytes:
    """Return one byte in hexadecimal."""
    try:
        found = bytes.fromhex(text) if text.isascii() else b""
    except ValueError:
        found = b""
    if len(found) != 1 or len(text) > 2:
        raise ValueError(f'invalid value "{text}"')
    return found


def _character(text: str) -> bytes:
    """Return the bytes of one character of UTF-8, in hexadecimal; nginx takes those of three bytes at most."""
    try:
        found = bytes.fromhex(text) if text.isascii() else b""
        is_one = len(found.decode()) == 1 and len(found) <= 3
    except ValueError:
        is_one = False
    if not is_one:
        raise ValueError(f'invalid value "{text}"')
    return found


_BLOCKS = HTTP | SERVER | LOCATION


class CharsetDirectives:
    """The character sets of texts."""

    charset: Template | None = directive(
        charset_name, _BLOCKS | LOCATION_IF, default="off", doc="The character set that is declared in the Content-Type of texts."
    )
    charset_types: tuple[tuple[str, ...], ...] = directive(
        charset_types,
        _BLOCKS,
        arity=(1, 1000),
        default=(
            "text/xml",
            "text/plain",
            "text/vnd.wap.wml",
            "application/javascript",
            "application/rss+xml",
        ),
        inherit=GATHER,
        warns=repeated_types,
        doc="The types, in addition to text/html, that `charset` applies to.",
    )
    override_charset: bool = directive(
        flag, _BLOCKS | LOCATION_IF, default="off", doc="Whether `charset` overrides the one that an upstream declares."
    )
    source_charset: Template | None = directive(
        charset_name,
        _BLOCKS | LOCATION_IF,
        default="off",
        doc="The character set of texts that declare none; where `charset` differs, a `charset_map` recodes them.",
    )
    charset_map: tuple[CharsetMap, ...] = directive(
        charset_map,
        HTTP,
        arity=2,
        inherit=GATHER,
        block=CHARSET_MAP,
        named=True,
        doc="How bytes of one character set are written in another, in hexadecimal; it works both ways.",
    )
