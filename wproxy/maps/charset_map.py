"""The conversions of `charset_map`: tables from one character set of single bytes to another, or to UTF-8 and back
(nginx: src/http/modules/ngx_http_charset_filter_module.c).

Characters that a table does not name: ASCII stays; other bytes become a question mark; other characters of UTF-8 are written as
HTML entities, `&#1078;`.
"""

from __future__ import annotations

import codecs
from typing import NamedTuple, Protocol

UTF_8 = "utf-8"
_UNDEFINED = "\ufffe"  # in the tables of `codecs`: the byte has no character
_REPLACING = "wproxy.charset_map"


def _replace(error: UnicodeError) -> tuple[str | bytes, int]:
    """Return a question mark for each sequence that is not UTF-8, and an entity for a character that has no byte."""
    if isinstance(error, UnicodeEncodeError):
        missing = error.object[error.start : error.end]
        return b"".join(b"%c" % ord(each) if each.isascii() else b"&#%d;" % ord(each) for each in missing), error.end
    assert isinstance(error, UnicodeDecodeError)
    return "?", error.end


codecs.register_error(_REPLACING, _replace)


class Recoder(Protocol):
    """Recodes one text, which arrives in pieces."""

    def recode(self, data: bytes, is_last: bool) -> bytes:
        """Return the next piece in the other character set; an incomplete character is kept for the piece after."""


class Bytes:
    """Recodes byte by byte: the length stays, and a part of a text can be recoded on its own."""

    def __init__(self, table: bytes) -> None:
        self._table = table

    def recode(self, data: bytes, is_last: bool) -> bytes:
        """See Recoder."""
        return data.translate(self._table)


class ToUtf8:
    """Recodes each byte to a character of UTF-8."""

    def __init__(self, characters: str) -> None:
        """characters: one for each byte."""
        self._characters = characters.replace(_UNDEFINED, "?")

    def recode(self, data: bytes, is_last: bool) -> bytes:
        """See Recoder."""
        return codecs.charmap_decode(data, "strict", self._characters)[0].encode()


class FromUtf8:
    """Recodes each character to a byte, or to several that name it."""

    def __init__(self, characters: str) -> None:
        """characters: one for each byte."""
        self._bytes = codecs.charmap_build(characters)
        self._decoder = codecs.getincrementaldecoder(UTF_8)(_REPLACING)

    def recode(self, data: bytes, is_last: bool) -> bytes:
        """See Recoder."""
        return codecs.charmap_encode(self._decoder.decode(data, is_last), _REPLACING, self._bytes)[0]


class CharsetMap(NamedTuple):
    """One `charset_map`. pairs: a byte of the source, and one byte of the target or, for UTF-8, the bytes of a character."""

    source: str
    target: str
    pairs: tuple[tuple[int, bytes], ...]

    @property
    def is_for_utf8(self) -> bool:
        """Whether the target is UTF-8."""
        return self.target.lower() == UTF_8


class Recoding:
    """A conversion from one character set to another. keeps_length: whether it is from byte to byte."""

    __slots__ = ("_bytes", "_characters", "_makes", "keeps_length")

    def __init__(self, charset_map: CharsetMap, backwards: bool) -> None:
        """backwards: whether it goes from the target of the map to its source."""
        self.keeps_length = not charset_map.is_for_utf8
        self._bytes = b""
        self._characters = ""
        self._makes: type[ToUtf8] | type[FromUtf8] = FromUtf8 if backwards else ToUtf8
        if self.keeps_length:
            table = bytearray(byte if byte < 128 else 63 for byte in range(256))
            for source, target in charset_map.pairs:
                if backwards:
                    table[target[0]] = source
                else:
                    table[source] = target[0]
            self._bytes = bytes(table)
        else:
            characters = [chr(byte) if byte < 128 else _UNDEFINED for byte in range(256)]
            for source, target in charset_map.pairs:
                characters[source] = target.decode()
            self._characters = "".join(characters)

    def start(self) -> Recoder:
        """Return a recoder for one text."""
        return Bytes(self._bytes) if self.keeps_length else self._makes(self._characters)


# Keyed by source and target, in lower case.
Recodings = dict[tuple[str, str], Recoding]


def recodings_of(maps: tuple[CharsetMap, ...]) -> Recodings:
    """Return all conversions of these maps, each map in both directions."""
    found: Recodings = {}
    for each in maps:
        names = each.source.lower(), each.target.lower()
        found[names] = Recoding(each, backwards=False)
        found[names[::-1]] = Recoding(each, backwards=True)
    return found
