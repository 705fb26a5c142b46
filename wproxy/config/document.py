"""What a front end hands on: the tree, and beside it what the tree has no room for: the files it was read from (`-T` prints
them) and the comments (`wproxy convert` carries them over, `wproxy check` is silenced by them).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from wproxy.config.tree import ConfigurationError, Node, Position, Problem

# Gives the bytes of an included file; raises ConfigurationError without a position.
OpenFile = Callable[[str], bytes]
# Gives the files that match a pattern, sorted; none is fine.
Glob = Callable[[str], Iterable[str]]

GLOB_CHARACTERS = frozenset("*?[")


class SourceFile(NamedTuple):
    """A file that the configuration was read from: its name in messages, its bytes, and where it was first included."""

    name: str
    content: bytes
    included_at: Position | None = None

    @staticmethod
    def places(files: Iterable[SourceFile]) -> dict[str, Position]:
        """Where each of these files that is included was included first, by its name."""
        return {file.name: file.included_at for file in files if file.included_at is not None}


@dataclass(slots=True)
class Comments:
    """The comments of a tree, as lines without the `#`, by the identity of the node they belong to.

    A comment on the line of a directive belongs to it like one above it.
    """

    above: dict[int, list[str]] = field(default_factory=dict)
    end: dict[int, list[str]] = field(default_factory=dict)  # before the closing brace of that block, or at the end of the file

    def of(self, node: Node) -> list[str]:
        """The lines above a node."""
        return self.above.get(id(node), [])

    def at_end_of(self, block: Node) -> list[str]:
        """The lines after the last directive of a block."""
        return self.end.get(id(block), [])


@dataclass(slots=True)
class Document:
    """A configuration as read: its tree, its files in the order they were first read, its comments."""

    root: Node
    files: list[SourceFile]
    comments: Comments = field(default_factory=Comments)


def included_files(name: str, directory: str, glob: Glob) -> Iterable[str]:
    """The files that `include` names: a relative name starts at the directory of the main file, a pattern may match none."""
    path = os.path.join(directory, name)
    # No file has a zero byte in its name: who opens it says so, and glob would raise.
    return glob(path) if GLOB_CHARACTERS.intersection(path) and "\0" not in path else (path,)


BYTE_ORDER_MARK = "\ufeff"
_MARKS = (b"\xff\xfe", b"\xfe\xff")


def is_utf_16(content: bytes) -> bool:
    """Whether a file is in UTF-16, which editors of Windows write: by its mark, or by the zeros between its first letters."""
    is_wide = len(content) >= 4 and b"\0\0" in (content[:4:2], content[1:4:2])
    return content.startswith(_MARKS) or is_wide


def in_utf_16(name: str) -> Problem:
    """The one problem of a file in UTF-16, of which nothing can be read."""
    return Problem("the file is UTF-16: save it as UTF-8", Position(name, 1))


def no_file(name: str) -> bytes:
    """An OpenFile for a text that stands alone: there is nothing to include."""
    raise ConfigurationError(Problem(f'open() "{name}" failed (2: No such file or directory)'))


def no_match(pattern: str) -> Iterable[str]:
    """A Glob for a text that stands alone."""
    return ()
