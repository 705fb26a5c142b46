"""The result of a front end: the tree, and things that the tree has no room for: the files it was read from (`-T` prints
them) and the comments (`wproxy convert` keeps them, and they can silence `wproxy check`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from wproxy.config.tree import ConfigurationError, Node, Position, Problem

# A function that returns the bytes of an included file; raises ConfigurationError without a position.
OpenFile = Callable[[str], bytes]
# A function that returns the files that match a pattern, sorted; none is fine.
Glob = Callable[[str], Iterable[str]]

GLOB_CHARACTERS = frozenset("*?[")

# The files that come with us, for configurations that expect them beside their main file, as in nginx's packages.
SHIPPED_DIRECTORY = os.path.join(os.path.dirname(os.path.dirname(__file__)), "shipped")
SHIPPED = frozenset(
    ("fastcgi.conf", "fastcgi_params", "koi-utf", "koi-win", "mime.types", "scgi_params", "uwsgi_params", "win-utf")
)


class SourceFile(NamedTuple):
    """A file of the configuration: its name in messages, its bytes, and where it was first included."""

    name: str
    content: bytes
    included_at: Position | None = None

    @staticmethod
    def places(files: Iterable[SourceFile]) -> dict[str, Position]:
        """Return the place where each included file was first included, by its name."""
        return {file.name: file.included_at for file in files if file.included_at is not None}


@dataclass(slots=True)
class Comments:
    """The comments of a tree, as lines without the `#`, by the identity of the node they belong to.

    A comment on the line of a directive belongs to it, like one above it.
    """

    above: dict[int, list[str]] = field(default_factory=dict)
    end: dict[int, list[str]] = field(default_factory=dict)  # before the closing brace of a block, or at the end of the file

    def of(self, node: Node) -> list[str]:
        """Return the lines above a node."""
        return self.above.get(id(node), [])

    def at_end_of(self, block: Node) -> list[str]:
        """Return the lines after the last directive of a block."""
        return self.end.get(id(block), [])


@dataclass(slots=True)
class Document:
    """A configuration as read: its tree, its files in the order in which they were first read, its comments."""

    root: Node
    files: list[SourceFile]
    comments: Comments = field(default_factory=Comments)


def included_files(name: str, directory: str, glob: Glob) -> Iterable[str]:
    """Return the files that `include` names, relative to the directory of the main file; a pattern may match none.

    A file that every nginx has beside its main file, and this one lacks, is the one that comes with us.
    """
    path = os.path.join(directory, name)
    # A name with a zero byte goes to the code that opens it, which reports the problem; glob would raise.
    if GLOB_CHARACTERS.intersection(path) and "\0" not in path:
        return glob(path)
    if name in SHIPPED and not any(True for _ in glob(path)):
        return (os.path.join(SHIPPED_DIRECTORY, name),)
    return (path,)


BYTE_ORDER_MARK = "\ufeff"
_MARKS = (b"\xff\xfe", b"\xfe\xff")


def is_utf_16(content: bytes) -> bool:
    """Whether a file is in UTF-16, which Windows editors write: by its mark, or by the zeros between its first letters."""
    is_wide = len(content) >= 4 and b"\0\0" in (content[:4:2], content[1:4:2])
    return content.startswith(_MARKS) or is_wide


def in_utf_16(name: str) -> Problem:
    """Return the one problem of a UTF-16 file, in which nothing can be read."""
    return Problem("the file is UTF-16: save it as UTF-8", Position(name, 1))


def no_file(name: str) -> bytes:
    """Return an OpenFile for a text on its own, which has nothing to include."""
    raise ConfigurationError(Problem(f'open() "{name}" failed (2: No such file or directory)'))


def no_match(pattern: str) -> Iterable[str]:
    """Return a Glob for a text on its own."""
    return ()
