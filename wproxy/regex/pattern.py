"""A pattern while it is read: the position, the flags at this place, the groups so far and references to them.

A construct that PCRE2 refuses is an error at once (PatternError). One that it accepts and Python's `re` cannot run is noted and
skipped (`refuse`), because an error of PCRE2's own goes first, wherever it is.
"""

from __future__ import annotations

import re

from wproxy.regex.nodes import ALL, WORD, BackReference, Node, OneOf, fold_case


class PatternError(ValueError):
    """PCRE2 refuses the pattern: its words and the offset (in bytes) where it stopped."""

    def __init__(self, reason: str, offset: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.offset = offset


class Untranslatable(ValueError):
    """PCRE2 accepts the pattern, but Python's `re` cannot run it: the construct, and its replacement."""

    def __init__(self, construct: str, advice: str) -> None:
        super().__init__(construct)
        self.construct = construct
        self.advice = advice


# Flags, by their letters in `(?imsxnU)`; XX is `xx`, DUPLICATES is `J`.
CASELESS, MULTILINE, DOTALL, EXTENDED, XX, NO_CAPTURE, UNGREEDY, DUPLICATES = (1 << bit for bit in range(8))

# The character that closes the name of a group, by the one that opens it.
CLOSERS = {"<": ">", "'": "'", "{": "}"}
SIGNED = re.compile(r"[+-]?[0-9]+")
QUANTIFIER = re.compile(r"[*+?]|\{([0-9]+)(?:(,)([0-9]*))?\}")


class Pattern:
    """The text, the position in it (`at`), and what was found: flags, groups, names."""

    def __init__(self, text: str, caseless: bool = False) -> None:
        self.text = text
        self.at = 0
        self.flags = CASELESS if caseless else 0
        self.groups = 0
        self.names: dict[str, int] = {}
        self.open_groups: list[int] = []
        # References that must exist once all groups are known: number or name, offset for the error message.
        self.references: list[tuple[int | str, int]] = []
        self.quoting = False  # inside a character class: after \\Q
        self.refusal: Untranslatable | None = None

    def peek(self) -> str:
        """Return the next character without consuming it; empty at the end."""
        return self.text[self.at : self.at + 1]

    def take(self, expected: str) -> bool:
        """Skip this text if it comes next; tell whether it did."""
        if self.text.startswith(expected, self.at):
            self.at += len(expected)
            return True
        return False

    def take_name(self, closer: str) -> str:
        """Return the name of a group, between its opening and closing characters."""
        text = self.text
        if closer != ")":
            self.at += 1
        start = self.at
        while self.at < len(text) and ord(text[self.at]) < 128 and WORD >> ord(text[self.at]) & 1:
            self.at += 1
        name = text[start : self.at]
        if not name:
            raise PatternError("subpattern name expected", start)
        if name[0].isdigit():
            raise PatternError("subpattern name must start with a non-digit", start)
        if len(name) > 32:
            raise PatternError("subpattern name is too long (maximum 32 code units)", self.at)
        if not self.take(closer):
            raise PatternError("syntax error in subpattern name (missing terminator?)", self.at)
        return name

    def refuse(self, construct: str, advice: str) -> OneOf:
        """Note what cannot be translated and read on: an error of PCRE2's own goes first."""
        if self.refusal is None:
            self.refusal = Untranslatable(construct, advice)
        return OneOf(ALL)

    def literal(self, byte: int) -> OneOf:
        """Return a byte that stands for itself, in both cases under `i`."""
        return OneOf(fold_case(1 << byte) if self.flags & CASELESS else 1 << byte)

    def named_reference(self, name: str) -> Node:
        """Return a back-reference to the group of that name."""
        offset = self.at - 1 - len(name)
        if name not in self.names:
            self.references.append((name, offset))
            return self.refuse("a reference to a group that comes later", "put the group before it")
        return self.reference(self.names[name], offset)

    def reference(self, number: int, offset: int) -> Node:
        """Return a back-reference to the group of that number; offset: the place of a complaint if it does not exist."""
        self.references.append((number, offset))
        if number > self.groups:
            return self.refuse("a reference to a group that comes later", "put the group before it")
        if number in self.open_groups:
            return self.refuse("a reference to the group it stands in", "write the repetition out")
        return BackReference(number, bool(self.flags & CASELESS))

    def relative(self, digits: str) -> int:
        """Return a number that may be relative: `-1` is the group before, `+1` the next one."""
        if digits[0] == "-":
            number = self.groups + 1 + int(digits)
            return number if number > 0 else -1
        return self.groups + int(digits) if digits[0] == "+" else int(digits)
