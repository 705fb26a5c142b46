"""What else is wrong in a file whose syntax is wrong: nginx stops at a lost brace, and the next run finds the misspelt word.

Only what is sure in a tree with holes is said. A name that nobody knows is unknown wherever it stands, and a block without a
brace is one; where a directive may stand is asked only when no brace is missing or left over. What the directives mean is not
asked: a variable may have been declared in the line that could not be read.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping

from wproxy.config.registry import ENTRIES, MAIN, find_directive, unknown_directive_text
from wproxy.config.scope import refusal
from wproxy.config.tree import BrokenShape, Node, Position, Problem

_ANY_CONTEXT = 0  # inside a block that nobody knows, or that may not stand there


def with_directives(error: BrokenShape) -> list[Problem]:
    """The problems of a file's syntax and of the directives that could be read all the same, in the order of the files."""
    blamed = {problem.position[:2] for problem in error.problems if problem.position}
    found = [problem for problem in _problems(error.root, MAIN, error.is_balanced) if _line(problem.position) not in blamed]
    rank = _Ranks(error.root, error.included)
    return sorted([*error.problems, *dict.fromkeys(found)], key=lambda problem: rank.of(problem.position))


def _line(position: Position | None) -> tuple[str, int] | None:
    return position[:2] if position else None


def _problems(block: Node, context: int, is_balanced: bool) -> Iterator[Problem]:
    """What is wrong with the directives of a block and of those inside."""
    for node in block.children or ():
        row = find_directive(node.name, context)
        if row is None:
            if node.name:  # a block without a name has been reported
                yield Problem(unknown_directive_text(node, context), node.position)
            inside = _ANY_CONTEXT
        else:
            # What has no effect on what may stand inside: it is asked as if it stood where it may.
            text = refusal(row, node, context if is_balanced and context else row.contexts)
            if text is not None and (is_balanced or text.startswith("directive ")):
                yield Problem(text, node.position)
            inside = row.block if row.contexts & context or not is_balanced else _ANY_CONTEXT
        if not inside & ENTRIES:
            yield from _problems(node, inside, is_balanced)


class _Ranks:
    """The order of reading, of which problems know only the lines."""

    def __init__(self, root: Node, included: Mapping[str, Position]) -> None:
        self.included = included
        self.lines: dict[str, list[tuple[int, int, float]]] = {}  # by file: (line, column, how many nodes were before it)
        for order, node in enumerate(_walk(root)):
            self.lines.setdefault(node.position.file, []).append((node.position.line, node.position.column, order))
        for places in self.lines.values():
            places.sort()

    def of(self, position: Position | None) -> tuple[float, ...]:
        """What to sort by: where the last node of the file before that place was read, or before the place where the file was
        included, and the way from there; what has no place comes last."""
        if position is None:
            return (float("inf"),)
        places = self.lines.get(position.file, [])
        index = bisect_right(places, (position.line, position.column, float("inf")))
        outer = self.included.get(position.file) if not index else None
        before = self.of(outer) if outer else (places[index - 1][2] if index else -1,)
        return (*before, position.line, position.column)


def _walk(node: Node) -> Iterator[Node]:
    """All nodes in the order of reading."""
    yield node
    for child in node.children or ():
        yield from _walk(child)
