"""What `charset_map` makes of texts: tables from one character set of single bytes to another, or to UTF-8 and back
(nginx: src/http/modules/ngx_http_charset_filter_module.c).

What a table does not name: ASCII stays what it is; other bytes become a question mark; other characters of UTF-8 are written as
HTML entities, `&#1078;`.
"""

from __future__ import annotations

import codecs
from typing import NamedTuple, Protocol

UTF_8 = "utf-8"
_UNDEFINED = "\ufffe"  # in the tables of `codecs`: there is no such byte
_REPLACING = "wproxy.charset_map"


def _replace(error: UnicodeError) -> tuple[str | bytes, int]:
    """A question mark for each sequence that is no UTF-8; an entity for a character that has no byte."""
    if isinstance(error, UnicodeEncodeError):
        missing = error.object[error.start : error.end]
        return b"".join(b"%c" % ord(each) if each.isascii() else b"&#%d;" % ord(each) for each in missing), error.end
    assert isinstance(error, UnicodeDecodeError)
    return "?", error.end


codecs.register_error(_REPLACING, _replace)


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

    def __init__(self, characters: str) -> None:
        """characters: one for each byte."""
        self._characters = characters.replace(_UNDEFINED, "?")

    def recode(self, data: bytes, is_last: bool) -> bytes:
        """See Recoder."""
        return codecs.charmap_decode(data, "strict", self._characters)[0].encode()


class FromUtf8:
    """Each character becomes a byte, or several that name it."""

    def __init__(self, characters: str) -> None:
        """characters: one for each byte."""
        self._bytes = codecs.charmap_build(characters)
        self._decoder = codecs.getincrementaldecoder(UTF_8)(_REPLACING)

    def recode(self, data: bytes, is_last: bool) -> bytes:
        """See Recoder."""
        return codecs.charmap_encode(self._decoder.decode(data, is_last), _REPLACING, self._bytes)[0]


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
