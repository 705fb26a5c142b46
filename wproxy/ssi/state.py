"""What all pages of one client's request share: SSI variables, blocks, and the captures of the last match."""

from __future__ import annotations

import re


class SsiState:
    """The memory of SSI in one client's request. variables: by lower-case name; blocks: by name."""

    __slots__ = ("blocks", "match", "variables")

    def __init__(self) -> None:
        self.variables: dict[str, bytes] = {}
        self.blocks: dict[bytes, bytes] = {}
        self.match: re.Match[bytes] | None = None

    def capture(self, match: re.Match[bytes]) -> None:
        """Remember a match, and the named groups in it as variables."""
        self.match = match
        for name, value in match.groupdict().items():
            self.variables[name.lower()] = value or b""

    def create(self, name: str) -> None:
        """Have a variable be empty, unless it is there."""
        if self.find(name) is None:
            self.variables[name] = b""

    def find(self, name: str) -> bytes | None:
        """Return the value of an SSI variable, or of a capture; None if there is none."""
        if len(name) == 1 and name in "0123456789" and self.match is not None:
            number = int(name)
            return (self.match[number] or b"") if number <= self.match.re.groups else None
        return self.variables.get(name)
