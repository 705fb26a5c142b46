"""Character sets: which one is named with a text, and what a text is recoded from (nginx: ngx_http_charset_filter_module.c)."""

from __future__ import annotations

from wproxy.config.registry import CHARSET_MAP, GATHER, HTTP, LOCATION, LOCATION_IF, SERVER, directive
from wproxy.config.repeated import repeated_types
from wproxy.config.tree import Node
from wproxy.directives.values import flag
from wproxy.maps.charset_map import CharsetMap
from wproxy.maps.entries import read_entries
from wproxy.template import Template, compile_template


def charset_name(name: str) -> Template | None:
    """The name of a character set, None for `off`."""
    return None if name == "off" else compile_template(name)


def charset_types(*names: str) -> tuple[str, ...]:
    """The media types of one line, in lower case; `*` is all."""
    return tuple(name.lower() for name in names)


def charset_map(source: str, target: str, entries: list[Node]) -> CharsetMap:
    """`charset_map SOURCE TARGET { BYTE BYTES; ... }`, in hexadecimal. Raises ConfigurationError for wrong entries."""
    if source.lower() == target.lower():
        raise ValueError(f'"charset_map" between the same charsets "{source}" and "{target}"')
    made = CharsetMap(source, target, ())
    if CharsetMap(target, source, ()).is_for_utf8:
        raise ValueError('"charset_map" from "utf-8": write the map to "utf-8", it serves both ways')
    pairs: list[tuple[int, bytes]] = []

    def read(entry: Node) -> None:
        if len(entry.arguments) != 1:
            raise ValueError("invalid parameters number")
        pairs.append((_byte(entry.name)[0], (_character if made.is_for_utf8 else _byte)(entry.arguments[0])))

    read_entries(entries, read)
    return made._replace(pairs=tuple(pairs))


def _byte(text: str) -> bytes:
    """One byte in hexadecimal."""
    try:
        found = bytes.fromhex(text) if text.isascii() else b""
    except ValueError:
        found = b""
    if len(found) != 1 or len(text) > 2:
        raise ValueError(f'invalid value "{text}"')
    return found


def _character(text: str) -> bytes:
    """The bytes of one character of UTF-8, in hexadecimal; nginx takes those of three bytes at most."""
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
    """What texts are written in."""

    charset: Template | None = directive(
        charset_name, _BLOCKS | LOCATION_IF, default="off", doc="The character set that is named with the Content-Type of texts."
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
        doc="The types, besides text/html, that `charset` is named with.",
    )
    override_charset: bool = directive(
        flag, _BLOCKS | LOCATION_IF, default="off", doc="Whether `charset` takes the place of what an upstream names."
    )
    source_charset: Template | None = directive(
        charset_name,
        _BLOCKS | LOCATION_IF,
        default="off",
        doc="What texts are written in that do not say so: where `charset` is another, they are recoded by a `charset_map`.",
    )
    charset_map: tuple[CharsetMap, ...] = directive(
        charset_map,
        HTTP,
        arity=2,
        inherit=GATHER,
        block=CHARSET_MAP,
        named=True,
        doc="How bytes of one character set are written in another, in hexadecimal; it serves both ways.",
    )
