"""What `charset_map` makes of texts: tables from one character set of single bytes to another, or to UTF-8 and back
(nginx: src/http/modules/ngx_http_charset_filter_module.c).

What a table does not name: ASCII stays what it is; other bytes become a question mark; other characters of UTF-8 are written as
HTML entities, `&#1078;`.
"""

from __future__ import annotations

import codecs
from typing import NamedTuple, Protocol

UTF_8 = "utf-8"
_UNREADABLE = "wproxy.unreadable"
# One question mark for each sequence that is no UTF-8.
codecs.register_error(_UNREADABLE, lambda error: ("?", error.end) if isinstance(error, UnicodeDecodeError) else ("?", 0))


class Recoder(Protocol):
    """Recodes one text, which comes in pieces."""

    def recode(self, data: bytes, is_last: bool) -> bytes:
        """The next piece in the other character set; the beginning of a character is kept for the piece after."""


class Bytes:
    """Byte by byte: the length stays, and a part of a text can be recoded for itself."""

    def __init__(self, table: bytes) -> None:
        self._table = table

    def recode(self, data: bytes, is_last: bool) -> bytes:
        """See Recoder."""
        return data.translate(self._table)


class ToUtf8:
    """Each byte becomes a character of UTF-8."""

    def __init__(self, characters: dict[int, str]) -> None:
        self._characters = characters

    def recode(self, data: bytes, is_last: bool) -> bytes:
        """See Recoder."""
        return data.decode("latin-1").translate(self._characters).encode()


class FromUtf8:
    """Each character becomes a byte, or several that name it."""

    def __init__(self, characters: dict[int, str]) -> None:
        self._characters = characters
        self._decoder = codecs.getincrementaldecoder(UTF_8)(_UNREADABLE)

    def recode(self, data: bytes, is_last: bool) -> bytes:
        """See Recoder."""
        text = self._decoder.decode(data, is_last).translate(self._characters)
        return text.encode("latin-1", "xmlcharrefreplace")


class CharsetMap(NamedTuple):
    """One `charset_map`. pairs: byte of the source, and one byte of the target or, of UTF-8, the bytes of a character."""

    source: str
    target: str
    pairs: tuple[tuple[int, bytes], ...]

    @property
    def is_for_utf8(self) -> bool:
        """Whether the target is UTF-8."""
        return self.target.lower() == UTF_8


class Recoding:
    """A way from one character set to another. keeps_length: it is from byte to byte."""

    __slots__ = ("_bytes", "_characters", "_makes", "keeps_length")

    def __init__(self, charset_map: CharsetMap, backwards: bool) -> None:
        """backwards: from the target of the map to its source."""
        self.keeps_length = not charset_map.is_for_utf8
        self._bytes = b""
        self._characters: dict[int, str] = {}
        self._makes: type[ToUtf8] | type[FromUtf8] = FromUtf8 if backwards else ToUtf8
        if self.keeps_length:
            table = bytearray(byte if byte < 128 else 63 for byte in range(256))
            for source, target in charset_map.pairs:
                if backwards:
                    table[target[0]] = source
                else:
                    table[source] = target[0]
            self._bytes = bytes(table)
        elif backwards:
            # What is no byte of the other set must not pass for one of latin-1.
            self._characters = {code: f"&#{code};" for code in range(128, 256)}
            self._characters |= {ord(target.decode()): chr(source) for source, target in charset_map.pairs}
        else:
            self._characters = dict.fromkeys(range(128, 256), "?")
            self._characters |= {source: target.decode() for source, target in charset_map.pairs}

    def start(self) -> Recoder:
        """What recodes one text."""
        return Bytes(self._bytes) if self.keeps_length else self._makes(self._characters)


# By source and target, in lower case.
Recodings = dict[tuple[str, str], Recoding]


def recodings_of(maps: tuple[CharsetMap, ...]) -> Recodings:
    """All ways that these maps know, each map both ways."""
    found: Recodings = {}
    for each in maps:
        names = each.source.lower(), each.target.lower()
        found[names] = Recoding(each, backwards=False)
        found[names[::-1]] = Recoding(each, backwards=True)
    return found
