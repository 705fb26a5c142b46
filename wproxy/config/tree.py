"""The directive tree: both front ends (TOML and nginx.conf) produce it and everything after them reads it.

A node is one directive as written: its name, its arguments as text, its position, and its children when it opens a block. It has
no meaning yet; the registry gives it one (`wproxy.config.registry`), and `wproxy.config.resolve` turns the tree into the model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


class Position(NamedTuple):
    """The position of something written. Lines and columns count from 1; column 0 means that only the line is known."""

    file: str
    line: int
    column: int = 0

    def __str__(self) -> str:
        if not self.line:
            return self.file
        return f"{self.file}:{self.line}:{self.column}" if self.column else f"{self.file}:{self.line}"


class Problem(NamedTuple):
    """One problem of a configuration, and its place. `position` is None when no line is to blame."""

    text: str
    position: Position | None = None

    def __str__(self) -> str:
        """Return one line, whatever it quotes: a control character appears as its number."""
        return printable(f"{self.text} in {self.position}" if self.position else self.text)


def printable(text: str) -> str:
    """Return a text on one line, its control characters as numbers."""
    return text if text.isprintable() else _UNPRINTABLE.sub(_escaped, text)


def printable_lines(text: str) -> str:
    """Return a text of several lines, with the control characters of each as numbers."""
    return text if text.isprintable() else "\n".join(map(printable, text.split("\n")))


# Characters that end a line for some reader, or steer a terminal. Bytes that are not UTF-8 stay: the reader knows their encoding.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def _escaped(character: re.Match[str]) -> str:
    return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(character[0]) or f"\\x{ord(character[0]):02x}"


class ConfigurationError(Exception):
    """A configuration that cannot be used; carries every problem found, the first one first."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = problems

    @property
    def lines(self) -> str:
        """Every problem on a line of its own."""
        return "\n".join(map(str, self.problems))


class BrokenShape(ConfigurationError):
    """A file whose syntax is wrong. root: the tree as far as it could be read. is_balanced: whether its blocks nest as intended,
    so that the place of a directive means something. included: where each file but the main one was first included.
    """

    def __init__(self, problems: Iterable[Problem], root: Node, is_balanced: bool, included: Mapping[str, Position]) -> None:
        super().__init__(*problems)
        self.root = root
        self.is_balanced = is_balanced
        self.included = included


@dataclass(slots=True)
class Node:
    """One directive as written. `children` is None for a simple directive and a list (perhaps empty) for a block."""

    name: str
    arguments: tuple[str, ...]
    position: Position
    children: list[Node] | None = field(default=None)

    def named(self, name: str) -> Iterator[Node]:
        """Return the direct children of that name, in the order of the file."""
        return (child for child in self.children or () if child.name == name)
