"""The directive tree: what both front ends (TOML and nginx.conf) produce and everything after them reads.

A node is one directive as written: its name, its arguments as text, where it stands, and its children when it opens a
block. No meaning is attached here; the registry gives it one (`wproxy.config.registry`), and `wproxy.config.resolve` turns
the tree into the model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


class Position(NamedTuple):
    """Where something was written. Lines and columns count from 1; column 0 means that only the line is known."""

    file: str
    line: int
    column: int = 0

    def __str__(self) -> str:
        if not self.line:
            return self.file
        return f"{self.file}:{self.line}:{self.column}" if self.column else f"{self.file}:{self.line}"


class Problem(NamedTuple):
    """One thing wrong in a configuration: what, and where. `position` is None where no line is to blame."""

    text: str
    position: Position | None = None

    def __str__(self) -> str:
        """One line, whatever is quoted in it: a control character stands as its number."""
        return printable(f"{self.text} in {self.position}" if self.position else self.text)


def printable(text: str) -> str:
    """A text on one line, its control characters as numbers."""
    return text if text.isprintable() else _UNPRINTABLE.sub(_escaped, text)


def printable_lines(text: str) -> str:
    """A text of several lines, the control characters of each as numbers."""
    return text if text.isprintable() else "\n".join(map(printable, text.split("\n")))


# What ends a line for someone, or steers a terminal. Bytes that are not UTF-8 stay as they are: a reader knows their encoding.
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
    """A file whose syntax is wrong. root: the tree as far as it could be made out. is_balanced: whether the blocks of it nest as
    they were meant to, so that where a directive stands in it says something. included: where each file but the main one was
    first included.
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
        """The direct children of that name, in the order of the file."""
        return (child for child in self.children or () if child.name == name)
