"""Comments that silence rules.

    # wproxy: ignore RULE-ID, RULE-ID     on the line of the finding, or above it
    # wproxy: ignore-file RULE-ID         anywhere: the rule is silent in this file

The tree has no comments, so the text of the files is searched line by line. Both syntaxes begin a comment with `#`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from wproxy.config.document import SourceFile
from wproxy.config.tree import Position

_COMMENT = re.compile(r"#\s*wproxy:\s*ignore(-file)?\s+([a-z0-9-]+(?:\s*,\s*[a-z0-9-]+)*)")
# The end of a directive of nginx.conf: its position is the line of that end.
_END = re.compile(r"[;{}]\s*(?:#.*)?$")


class Mention(NamedTuple):
    """One rule that a comment names, and its place."""

    rule: str
    position: Position


class Silences:
    """The rules that the comments of some files silence."""

    def __init__(self, files: Iterable[SourceFile]) -> None:
        self.mentions: list[Mention] = []
        self._in_file: set[tuple[str, str]] = set()  # (file, rule)
        self._at_line: set[tuple[str, int, str]] = set()  # (file, line, rule)
        for file in {file.name: file for file in files}.values():
            self._read(file.name, file.content.decode("utf-8", "surrogateescape").split("\n"))

    def covers(self, rule: str, position: Position | None) -> bool:
        """Whether a finding of this rule at this place is silenced."""
        if position is None:
            return False
        return (position.file, rule) in self._in_file or (position.file, position.line, rule) in self._at_line

    def _read(self, name: str, lines: list[str]) -> None:
        is_nginx = not name.endswith(".toml")
        for number, line in enumerate(lines, 1):
            match = _COMMENT.search(line)
            if match is None:
                continue
            rules = re.split(r"\s*,\s*", match[2])
            self.mentions += [Mention(rule, Position(name, number, match.start() + 1 if not is_nginx else 0)) for rule in rules]
            if match[1]:
                self._in_file.update((name, rule) for rule in rules)
                continue
            covered = {number}
            if not line[: match.start()].strip():
                covered.update(_next_directive(lines, number, is_nginx))
            self._at_line.update((name, one, rule) for one in covered for rule in rules)


def _next_directive(lines: list[str], start: int, is_nginx: bool) -> Iterable[int]:
    """Yield the numbers of the lines of the directive after line `start`; further comments may come between."""
    for number in range(start + 1, len(lines) + 1):
        text = lines[number - 1].strip()
        if text.startswith("#"):
            continue
        yield number
        if not is_nginx or not text or _END.search(text):
            return
