"""Further problems in a file with broken syntax: nginx stops at a lost brace, and only the next run finds the misspelt word.

Only certain problems are reported from a tree with holes. An unknown name is unknown wherever it appears, and a block without a
brace is a problem anywhere; whether a directive is allowed at its place is checked only when no brace is missing or left over.
The meaning of directives is not checked: a variable may have been declared in the line that could not be read.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping

from wproxy.config.registry import ENTRIES, MAIN, find_directive, unknown_directive_text
from wproxy.config.scope import refusal
from wproxy.config.tree import BrokenShape, Node, Position, Problem

_ANY_CONTEXT = 0  # inside a block that is unknown, or not allowed there


def with_directives(error: BrokenShape) -> list[Problem]:
    """Return the problems of a file's syntax and of the directives that could still be read, in the order of the files."""
    blamed = {problem.position[:2] for problem in error.problems if problem.position}
    found = [problem for problem in _problems(error.root, MAIN, error.is_balanced) if _line(problem.position) not in blamed]
    rank = _Ranks(error.root, error.included)
    return sorted([*error.problems, *dict.fromkeys(found)], key=lambda problem: rank.of(problem.position))


def _line(position: Position | None) -> tuple[str, int] | None:
    return position[:2] if position else None


def _problems(block: Node, context: int, is_balanced: bool) -> Iterator[Problem]:
    """Find the problems of the directives of a block and of inner blocks."""
    for node in block.children or ():
        row = find_directive(node.name, context)
        if row is None:
            if node.name:  # a block without a name has been reported
                yield Problem(unknown_directive_text(node, context), node.position)
            inside = _ANY_CONTEXT
        else:
            # A block without effect on its contents: they are checked as if it were at an allowed place.
            text = refusal(row, node, context if is_balanced and context else row.contexts)
            if text is not None and (is_balanced or text.startswith("directive ")):
                yield Problem(text, node.position)
            inside = row.block if row.contexts & context or not is_balanced else _ANY_CONTEXT
        if not inside & ENTRIES:
            yield from _problems(node, inside, is_balanced)


class _Ranks:
    """The order of reading; problems know only their lines."""

    def __init__(self, root: Node, included: Mapping[str, Position]) -> None:
        self.included = included
        self.lines: dict[str, list[tuple[int, int, float]]] = {}  # by file: (line, column, number of nodes before it)
        for order, node in enumerate(_walk(root)):
            self.lines.setdefault(node.position.file, []).append((node.position.line, node.position.column, order))
        for places in self.lines.values():
            places.sort()

    def of(self, position: Position | None) -> tuple[float, ...]:
        """Return a sort key: when the last node of the file before that place was read, or the place where the file was included,
        and the way from there; a problem without a place comes last.
        """
        if position is None:
            return (float("inf"),)
        places = self.lines.get(position.file, [])
        index = bisect_right(places, (position.line, position.column, float("inf")))
        outer = self.included.get(position.file) if not index else None
        before = self.of(outer) if outer else (places[index - 1][2] if index else -1,)
        return (*before, position.line, position.column)


def _walk(node: Node) -> Iterator[Node]:
    """Yield all nodes in the order of reading."""
    yield node
    for child in node.children or ():
        yield from _walk(child)
