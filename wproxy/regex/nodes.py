"""A regular expression as a tree, after parsing: all flags are resolved, all bytes are sets.

A set of bytes is an int: bit n stands for byte n. So a class, a shorthand, a caseless letter and a plain byte are the same thing,
and intersection, complement and case folding are single operations.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

ALL = (1 << 256) - 1


def byte_range(low: int, high: int) -> int:
    """Return the set of the bytes low..high, both included."""
    return (1 << (high + 1)) - (1 << low)


def byte_set(members: bytes) -> int:
    """Return the set of these bytes."""
    mask = 0
    for member in members:
        mask |= 1 << member
    return mask


UPPER = byte_range(0x41, 0x5A)
LOWER = byte_range(0x61, 0x7A)
DIGIT = byte_range(0x30, 0x39)
ALPHA = UPPER | LOWER
WORD = ALPHA | DIGIT | 1 << 0x5F
SPACE = byte_set(b"\t\n\v\f\r ")
NEWLINE = 1 << 10
# Without UTF mode PCRE2 counts the Latin-1 no-break space and NEL (pcre2pattern, "Generic character types").
HORIZONTAL = byte_set(b"\t \xa0")
VERTICAL = byte_set(b"\n\v\f\r\x85")


def fold_case(mask: int) -> int:
    """Return the set with the other case of each ASCII letter in it: PCRE2's tables in the C locale."""
    return mask | (mask & UPPER) << 32 | (mask & LOWER) >> 32


class Anchor(Enum):
    """Assertions without a body, by what must be true at their position."""

    SUBJECT_START = r"\A"
    SUBJECT_END = r"\Z"
    LAST_LINE_END = "$"
    LINE_START = "line start"
    LINE_END = "line end"
    WORD_EDGE = r"\b"
    NO_WORD_EDGE = r"\B"


class Greed(Enum):
    """The greed of a repeat, by its suffix."""

    GREEDY = ""
    LAZY = "?"
    POSSESSIVE = "+"


@dataclass(frozen=True, slots=True)
class OneOf:
    """One byte of a set; the empty set never matches."""

    mask: int


@dataclass(frozen=True, slots=True)
class At:
    """An anchor."""

    anchor: Anchor


@dataclass(frozen=True, slots=True)
class Sequence:
    """One node after the other; an empty one is the empty match."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """The first branch that matches."""

    branches: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Capture:
    """A numbered group."""

    body: Node
    number: int
    name: str


@dataclass(frozen=True, slots=True)
class Atomic:
    """`(?>...)`: never entered again once left."""

    body: Node


@dataclass(frozen=True, slots=True)
class Repeat:
    """least..most times; most None is without limit."""

    body: Node
    least: int
    most: int | None
    greed: Greed


@dataclass(frozen=True, slots=True)
class Look:
    """A lookahead or lookbehind; offset: its place in the pattern, for messages."""

    body: Node
    ahead: bool
    negative: bool
    offset: int


@dataclass(frozen=True, slots=True)
class BackReference:
    """The text that a group has matched."""

    number: int
    caseless: bool


@dataclass(frozen=True, slots=True)
class IfGroup:
    """`(?(1)yes|no)`."""

    number: int
    yes: Node
    no: Node


Node = OneOf | At | Sequence | Choice | Capture | Atomic | Repeat | Look | BackReference | IfGroup

EMPTY = Sequence(())
NEVER = OneOf(0)
