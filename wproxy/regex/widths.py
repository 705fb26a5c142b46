"""The width of a node in bytes."""

from __future__ import annotations

from wproxy.regex.nodes import At, Atomic, BackReference, Capture, Choice, IfGroup, Look, Node, OneOf, Repeat, Sequence


def width_of(node: Node) -> int | None:
    """Return how many bytes a node always takes; None when that varies (PCRE2 10.42's rule for lookbehinds)."""
    match node:
        case OneOf():
            return 1
        case At() | Look():
            return 0
        case Sequence(items):
            widths = [width_of(item) for item in items]
            return None if None in widths else sum(width for width in widths if width is not None)
        case Choice(branches):
            found = {width_of(branch) for branch in branches}
            return found.pop() if len(found) == 1 else None
        case Capture(body) | Atomic(body):
            return width_of(body)
        case Repeat(Look()):
            return 0
        case Repeat(body, least, most):
            width = width_of(body)
            return width * least if width is not None and least == most else None
        case IfGroup(_, yes, no):
            return width_of(yes) if width_of(yes) == width_of(no) else None
        case BackReference():
            return 0  # PCRE2 takes the width of the group; Python's compiler checks that
