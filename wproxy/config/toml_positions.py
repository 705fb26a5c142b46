"""Positions in a TOML file: tomli gives the values, this module the line and column of each.

`locate` walks a text that tomli has already accepted, so it checks nothing: it only has to find where one token ends
and the next begins. A path leads to a value in the parsed data, `("http", "server", 1, "listen", 0)`; its place
is where its last step is written: the key itself, in the middle of a dotted key or of a header too, or the first
character of an array element. The position of an element in an array of tables is the key of its own header. The position of a
table that several lines mention is its own header `[a]` where it has one, else the first mention (`[a.b]`, `a.b = 1`).

Measured on 1,000 servers of 10 locations (1.5 MB, 55,000 lines, CPython 3.11): 0.2 s, tomli itself 0.1. Most lines are
a bare key and a value on one line, so one regular expression takes such a line whole, together with the blank lines
and comments before it.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import NamedTuple

Path = tuple[str | int, ...]
LineAndColumn = tuple[int, int]  # line and column, from 1; a column is a character, not a byte

# Strings. The quantifiers are possessive (`*+`): a string can be read in one way only, so backtracking would find nothing. A
# multi-line string may end in up to two quotes of its own before the three that close it.
# Python before 3.11.5 repeats no group possessively without mistakes (gh-106052). Nothing here can be matched in two ways.
_BASIC = r'"[^"\\\n]*+(?:\\.[^"\\\n]*+)*"'
_LITERAL = r"'[^'\n]*+'"
_MULTILINE_BASIC = r'"""[^"\\]*+(?:(?:\\.|"{1,2}(?!"))[^"\\]*+)*"{3,5}'
_MULTILINE_LITERAL = r"'''[^']*+(?:'{1,2}(?!')[^']*+)*'{3,5}"
# Numbers, booleans and dates, which may contain a space; blanks after them are included.
_BARE = r"[^\[\]{}\"'#,\n]++"
_GAP = r"[ \t\n]*+(?:#[^\n]*+[ \t\n]*+)*"

_GAP_BEFORE = re.compile(_GAP)
_GAP_OR_COMMA = re.compile(r"[ \t\n,]*+(?:#[^\n]*+[ \t\n,]*+)*")
# The lookahead leaves `"""` and any other continuation of the value to the slower path.
_PLAIN_LINE = re.compile(rf"""{_GAP}([A-Za-z0-9_-]++)[ \t]*+=[ \t]*+(?:"[^"\\\n]*+"|{_LITERAL}|{_BARE})(?=[ \t]*+(?:[#\n]|\Z))""")
_KEY_PART = re.compile(rf"[ \t]*+([A-Za-z0-9_-]++|{_BASIC}|{_LITERAL})[ \t]*+(\.?)")
_EQUALS = re.compile(r"=[ \t]*+")
_HEADER = re.compile(r"\[\[?")
_HEADER_END = re.compile(r"\]\]?")
_SCALAR = re.compile(rf"{_MULTILINE_BASIC}|{_MULTILINE_LITERAL}|{_BASIC}|{_LITERAL}|{_BARE}", re.DOTALL)

# Things that may contain a `#` that begins no comment, and comments.
_STRING_OR_COMMENT = re.compile(rf"{_MULTILINE_BASIC}|{_MULTILINE_LITERAL}|{_BASIC}|{_LITERAL}|#([^\n]*+)", re.DOTALL)

_ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))")
_ESCAPED = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", "e": "\x1b"}


def locate(text: str) -> dict[Path, LineAndColumn]:
    """Return the position of every key and array element of a TOML text that tomli accepts, by path.

    If the text contains something that this module does not know (a later TOML), the positions before it are returned: they only
    serve messages, and no configuration should fail for lack of one.
    """
    # As tomli does; no column changes, because the CR is the last character of its line.
    text = text.replace("\r\n", "\n")
    scanner = _Scanner(text)
    try:
        scanner.walk()
    except _Lost:
        pass
    starts = [0, *(newline.end() for newline in re.finditer("\n", text))]
    places = {}
    for path, offset in scanner.offsets.items():
        line = bisect_right(starts, offset)
        places[path] = (line, offset - starts[line - 1] + 1)
    return places


class Layout(NamedTuple):
    """The lines of a TOML text where tables and arrays begin or end.

    headers: the line of each header, with the path of its table. ends: the line of the bracket that closes an array.
    """

    headers: list[tuple[int, Path]]
    ends: dict[Path, int]


def layout(text: str) -> Layout:
    """Find the headers and the ends of arrays of a TOML text that tomli accepts."""
    text = text.replace("\r\n", "\n")
    scanner = _Scanner(text)
    try:
        scanner.walk()
    except _Lost:
        pass
    starts = [0, *(newline.end() for newline in re.finditer("\n", text))]
    headers = [(bisect_right(starts, offset), path) for offset, path in scanner.headers]
    return Layout(headers, {path: bisect_right(starts, offset) for path, offset in scanner.ends.items()})


def doubly_said(text: str, offset: int) -> tuple[str, LineAndColumn, int | None] | None:
    """Find a repetition that TOML does not allow: the last key before an offset, its position, and the line where it was given
    first. None when there is none to be found.
    """
    text = text.replace("\r\n", "\n")  # no line number changes
    scanner = _Scanner(text)
    try:
        scanner.walk()
    except (_Lost, RecursionError):
        pass
    said = [one for one in scanner.said if one.offset < offset]
    if not said:
        return None
    *before, last = said
    line = text.count("\n", 0, last.offset) + 1
    place = (line, last.offset - text.rfind("\n", 0, last.offset))
    first = next((one for one in before if one.excludes(last.path)), None)
    return dotted(last.path), place, None if first is None else text.count("\n", 0, first.offset) + 1


def dotted(path: Iterable[str | int]) -> str:
    """Write a path as TOML does, in quotes or in the brackets of a header, without the indexes of array elements."""
    key = ".".join(part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else f'"{part}"' for part in path if isinstance(part, str))
    return f"[{key}]" if '"' in key else f'"{key}"'


class Comment(NamedTuple):
    """A comment: its line, its text without the `#`, whether it has the line to itself, and the blanks before it if so."""

    line: int
    text: str
    is_alone: bool
    indentation: int


def comments_in(text: str) -> Iterator[Comment]:
    """Find the comments of a TOML text that tomli accepts, in their order."""
    line, counted = 1, 0
    for match in _STRING_OR_COMMENT.finditer(text):
        if match[1] is not None:
            line += text.count("\n", counted, match.start())
            counted = match.start()
            before = text[text.rfind("\n", 0, counted) + 1 : counted]
            yield Comment(line, match[1].rstrip(), not before.strip(" \t"), len(before))


def left_open(text: str) -> tuple[str, int] | None:
    """Return the sign that is open at the end of the beginning of a file and its line, or None.

    Of nested brackets it is the innermost.
    """
    opened: list[tuple[str, int]] = []
    for match in _SIGN.finditer(text):
        sign = match[0]
        if sign in ("[", "{", '"""', "'''", '"', "'"):
            opened.append((sign, text.count("\n", 0, match.start()) + 1))
            if sign not in "[{":  # all the rest is inside the string
                break
        elif sign in ("]", "}") and opened:
            opened.pop()
    return opened[-1] if opened else None


# Strings and comments, which hide their contents, and after them the signs that may be open.
_SIGN = re.compile(
    rf"""{_MULTILINE_BASIC}|{_MULTILINE_LITERAL}|\"{{3}}|'{{3}}|{_BASIC}|{_LITERAL}|#[^\n]*+|[\[\]{{}}"']""", re.DOTALL
)


class _Said(NamedTuple):
    """A header or an assignment: the offset of its key, and its path."""

    offset: int
    path: Path
    is_header: bool

    def excludes(self, path: Path) -> bool:
        """Whether the path must not be given again: it is the same, or lies within this value, or this within it."""
        return path == self.path[: len(path)] or (not self.is_header and path[: len(self.path)] == self.path)


class _Lost(Exception):
    """The text continues in a way that TOML does not have, as far as this module knows."""


class _Scanner:
    """Walks the text once and notes the offset of every key and element."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.offset = 0
        self.offsets: dict[Path, int] = {}
        self.lengths: dict[Path, int] = {}  # of the arrays of tables, so far
        self.headers: list[tuple[int, Path]] = []  # the offset of each header
        self.ends: dict[Path, int] = {}  # the offset of the bracket that closes an array
        self.said: list[_Said] = []

    def walk(self) -> None:
        """Read statement after statement, to the end of the text."""
        text, offsets = self.text, self.offsets
        table: Path = ()
        while True:
            line = _PLAIN_LINE.match(text, self.offset)
            if line:
                offsets[(*table, line[1])] = line.start(1)
                self.said.append(_Said(line.start(1), (*table, line[1]), False))
                self.offset = line.end()
                continue
            self.take(_GAP_BEFORE)
            if self.offset == len(text):
                return
            if self.is_at("["):
                offset = self.offset
                table = self.header()
                self.headers.append((offset, table))
                self.said.append(_Said(offset, table, True))
            else:
                self.assignment(table)

    def header(self) -> Path:
        """Read `[a.b]` or `[[a.b]]`; return the path of the table it opens."""
        is_array = self.take(_HEADER)[0] == "[["
        *above, (name, offset) = self.dotted_key()
        self.take(_HEADER_END)
        path: Path = ()
        for part, start in above:
            path = (*path, part)
            self.offsets.setdefault(path, start)
            if path in self.lengths:  # a step into an array of tables means its last element
                path = (*path, self.lengths[path] - 1)
        path = (*path, name)
        if not is_array:
            self.offsets[path] = offset
            return path
        self.offsets.setdefault(path, offset)
        index = self.lengths.get(path, 0)
        self.lengths[path] = index + 1
        path = (*path, index)
        self.offsets[path] = offset
        return path

    def assignment(self, table: Path) -> None:
        """Read `a.b = value`, in a table or in an inline table."""
        path = table
        for part, start in self.dotted_key():
            path = (*path, part)
            self.offsets.setdefault(path, start)
        self.said.append(_Said(start, path, False))
        self.take(_EQUALS)
        self.value(path)

    def value(self, path: Path) -> None:
        if self.is_at("["):
            self.array(path)
        elif self.is_at("{"):
            self.inline_table(path)
        else:
            self.take(_SCALAR)

    def array(self, path: Path) -> None:
        self.offset += 1
        index = 0
        while True:
            self.take(_GAP_OR_COMMA)
            if self.is_at("]"):
                break
            element = (*path, index)
            self.offsets[element] = self.offset
            self.value(element)
            index += 1
        self.ends[path] = self.offset
        self.offset += 1

    def inline_table(self, path: Path) -> None:
        self.offset += 1
        while True:
            self.take(_GAP_OR_COMMA)
            if self.is_at("}"):
                break
            self.assignment(path)
        self.offset += 1

    def dotted_key(self) -> list[tuple[str, int]]:
        """Return the parts of a key, each with its offset."""
        parts = []
        while True:
            part = self.take(_KEY_PART)
            parts.append((_key_text(part[1]), part.start(1)))
            if not part[2]:
                return parts

    def take(self, token: re.Pattern[str]) -> re.Match[str]:
        match = token.match(self.text, self.offset)
        if match is None:
            raise _Lost
        self.offset = match.end()
        return match

    def is_at(self, character: str) -> bool:
        return self.text.startswith(character, self.offset)


def _key_text(written: str) -> str:
    """Return a key without its quotes and escapes."""
    if written[0] == "'":
        return written[1:-1]
    if written[0] == '"':
        return _ESCAPE.sub(_unescape, written[1:-1]) if "\\" in written else written[1:-1]
    return written


def _unescape(escape: re.Match[str]) -> str:
    code = escape[1] or escape[2] or escape[3]
    return chr(int(code, 16)) if code else _ESCAPED.get(escape[4], escape[4])
