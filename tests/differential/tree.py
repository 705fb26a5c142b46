"""A configuration as it is generated: directives in blocks, one to a line, so that an error's line tells which one is meant."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

_PLAIN = re.compile(r"[^\s\"'\\{};#$]+")
_PLAIN_VARIABLES = re.compile(r"(?:[^\s\"'\\{};#$]|\$\w)+")


@dataclass(frozen=True)
class Line:
    """One directive. children: None for a simple one. is_fixed: the tests need it, so nothing may take it out."""

    name: str
    arguments: tuple[str, ...] = ()
    children: tuple[Line, ...] | None = None
    is_fixed: bool = False

    def without(self, unwanted: Line) -> Line:
        """The same without one of the lines inside, found by identity."""
        if self.children is None:
            return self
        return replace(self, children=tuple(child.without(unwanted) for child in self.children if child is not unwanted))

    def around(self, wanted: Line) -> Line | None:
        """Only what is fixed, and what leads to one of the lines inside; None where that is nothing."""
        if self is wanted:
            return self
        children = tuple(child for one in self.children or () if (child := one.around(wanted)) is not None)
        if any(wanted is line for child in children for line in child.all_lines()):
            return replace(self, children=children)
        if self.is_fixed:
            return self if self.children is None else replace(self, children=children)
        return None

    def all_lines(self) -> Iterator[Line]:
        """It and everything inside, as written."""
        yield self
        for child in self.children or ():
            yield from child.all_lines()


@dataclass
class Written:
    """The text of a tree, and which directive begins on each line; a closing brace belongs to its block."""

    lines: list[str] = field(default_factory=list)
    owners: list[Line] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "\n".join(self.lines) + "\n"

    def owner(self, line: int) -> Line | None:
        """The directive of a line, counted from 1."""
        return self.owners[line - 1] if 0 < line <= len(self.owners) else None


def write(lines: tuple[Line, ...]) -> Written:
    """nginx's syntax of a tree."""
    written = Written()

    def put(text: str, owner: Line) -> None:
        written.lines.append(text)
        written.owners.append(owner)

    def put_line(line: Line, indent: str) -> None:
        words = " ".join([quote_key(line.name), *map(quote, line.arguments)])
        if line.name == "if":
            words = "if (" + " ".join(map(quote, line.arguments)) + ")"
        if line.children is None:
            put(f"{indent}{words};", line)
            return
        put(f"{indent}{words} {{", line)
        for child in line.children:
            put_line(child, indent + "    ")
        put(f"{indent}}}", line)

    for line in lines:
        put_line(line, "")
    return written


def quote(word: str) -> str:
    """A word as it may stand in nginx's syntax."""
    if _PLAIN_VARIABLES.fullmatch(word):
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


def quote_key(word: str) -> str:
    """The same for the first word of a line, which is a key in blocks of entries."""
    return word if _PLAIN.fullmatch(word) else quote(word)
