"""The worst-case time of a backtracking match: a bound derived from the tree.

Theory. From one starting place, a matcher tries paths. A repeat of a set S adds one step for each byte it takes, and for every
byte it gives back it runs the rest of the pattern again. But if the rest can only begin with bytes outside S (`[^/]+/`), each
of these runs ends at once: such a repeat is decided by the next byte and multiplies nothing. So the bound is c * n^d steps for n
bytes: d counts the nested undecided repeats (at least 1 for any repeat without limit), c the branches and limited repeats that
are undecided. A repeat without limit around a body that is itself undecided has no such bound: `(a+)+`. A search that may start
anywhere multiplies by n once more.

The bound errs on the safe side only: a node that it cannot judge counts as undecided.
"""

from __future__ import annotations

from math import inf, log2
from typing import NamedTuple

from wproxy.regex import nodes
from wproxy.regex.nodes import ALL, NEWLINE, Node


class Cost(NamedTuple):
    """2**scale * n**degree steps; degree inf: more than any power."""

    degree: float
    scale: float


_STEP = Cost(0, 0)
_ENDLESS = Cost(inf, 0)
_UNROLLED = 32
_BUDGET = 20.0  # log2 of the steps that need no guard: 10 to 20 ms
_LONGEST = 1 << 16  # bytes: more than any URI, header or cookie that a request may have
NO_LIMIT = -1

# Nested repeats with limits and nested looks make the walk exponential; a pattern that costs more than this is not judged.
_FUEL = 20_000
_fuel = [0]


class _TooTangled(Exception):
    pass


def _burn() -> None:
    _fuel[0] -= 1
    if _fuel[0] < 0:
        raise _TooTangled


def unwatched_length(tree: Node, anchored: bool) -> int:
    """Return the longest subject, in bytes, that needs no guard; NO_LIMIT when none does."""
    _fuel[0] = _FUEL
    try:
        degree, scale = _cost(tree, 0, _STEP)
    except _TooTangled:
        return 0
    if not anchored:
        degree += 1
    if degree == inf:
        return 0
    if degree * log2(_LONGEST) + scale <= _BUDGET:
        return NO_LIMIT
    if degree == 0:
        return 0
    return int(2 ** (max(_BUDGET - scale, 0) / degree))


def is_anchored(tree: Node) -> bool:
    """Whether a match can only begin where the subject does: with a leading `^`, or `.*` under `(?s)`."""
    match tree:
        case nodes.At(anchor):
            return anchor is nodes.Anchor.SUBJECT_START
        case nodes.Sequence(items):
            return bool(items) and is_anchored(items[0])
        case nodes.Choice(branches):
            return all(is_anchored(branch) for branch in branches)
        case nodes.Capture(body) | nodes.Atomic(body):
            return is_anchored(body)
        case nodes.Repeat(body, least):
            return least > 0 and is_anchored(body)
        case nodes.Look(body, ahead, negative):
            return ahead and not negative and is_anchored(body)
        case _:
            return False


def leading_taker(tree: Node) -> nodes.OneOf | None:
    """Return the set of the `.*` that a pattern begins with.

    When nothing is found from the start of a stretch of such bytes, nothing is found from within it: the repeat could have taken
    the bytes before as well. (Not so with back-references, which see what was taken.)
    """
    match tree:
        case nodes.Sequence(items) if items:
            return leading_taker(items[0])
        case nodes.Capture(body):
            return leading_taker(body)
        case nodes.Repeat(nodes.OneOf() as taken, _, None, greed) if greed is not nodes.Greed.POSSESSIVE:
            return taken if taken.mask | NEWLINE == ALL else None
        case _:
            return None


def contains_reference(node: Node) -> bool:
    """Whether a match depends on what a group has matched."""
    return isinstance(node, nodes.BackReference | nodes.IfGroup) or any(contains_reference(child) for child in _children(node))


def _children(node: Node) -> tuple[Node, ...]:
    match node:
        case nodes.Sequence(items) | nodes.Choice(items):
            return items
        case nodes.Capture(body) | nodes.Atomic(body) | nodes.Repeat(body) | nodes.Look(body):
            return (body,)
        case nodes.IfGroup(_, yes, no):
            return (yes, no)
        case _:
            return ()


def _first(node: Node, follow: int) -> int:
    """Return the bytes with which the node and its successors can begin."""
    _burn()
    match node:
        case nodes.OneOf(mask):
            return mask
        case nodes.At():
            return follow
        case nodes.Sequence(items):
            for item in reversed(items):
                follow = _first(item, follow)
            return follow
        case nodes.Choice(branches):
            mask = 0
            for branch in branches:
                mask |= _first(branch, follow)
            return mask
        case nodes.Capture(body) | nodes.Atomic(body):
            return _first(body, follow)
        case nodes.Repeat(body, least, most):
            if most == 0:
                return follow
            first = _first(body, follow)
            return first if least else first | follow
        case nodes.Look(body):
            # The cost of a look is paid at each place where it is tried.
            return ALL if _cost(body, 0, _STEP).degree or follow == 0 else follow
        case nodes.BackReference() | nodes.IfGroup():
            return ALL


def _may_be_empty(node: Node) -> bool:
    match node:
        case nodes.OneOf():
            return False
        case nodes.Sequence(items):
            return all(_may_be_empty(item) for item in items)
        case nodes.Choice(branches):
            return any(_may_be_empty(branch) for branch in branches)
        case nodes.Capture(body) | nodes.Atomic(body):
            return _may_be_empty(body)
        case nodes.Repeat(body, least):
            return not least or _may_be_empty(body)
        case nodes.IfGroup(_, yes, no):
            return _may_be_empty(yes) or _may_be_empty(no)
        case nodes.At() | nodes.Look() | nodes.BackReference():
            return True


def _disjoint(branches: tuple[Node, ...], follow: int) -> bool:
    seen = 0
    for branch in branches:
        first = _first(branch, follow)
        if first & seen or (_may_be_empty(branch) and first == 0):
            return False
        seen |= first
    return True


def _is_decided(node: Node, follow: int) -> bool:
    """Whether the next byte alone decides every choice inside the node."""
    match node:
        case nodes.OneOf() | nodes.At() | nodes.Look():
            return True
        case nodes.Sequence(items):
            for item in reversed(items):
                if not _is_decided(item, follow):
                    return False
                follow = _first(item, follow)
            return True
        case nodes.Choice(branches):
            return _disjoint(branches, follow) and all(_is_decided(branch, follow) for branch in branches)
        case nodes.Capture(body) | nodes.Atomic(body):
            return _is_decided(body, follow)
        case nodes.Repeat(body, least, most):
            first = _first(body, 0)
            if _may_be_empty(body) or not _is_decided(body, first | follow):
                return False
            return least == most or not first & follow
        case nodes.BackReference() | nodes.IfGroup():
            return False


def _aside(node: Node) -> float:
    """Return the degree of the costliest inner node that is matched separately: looks and atomic groups."""
    found = max((_aside(child) for child in _children(node)), default=0.0)
    match node:
        case nodes.Look(body) | nodes.Atomic(body):
            return max(found, _cost(body, 0, _STEP).degree)
        case _:
            return found


def _has_endless_repeat(node: Node) -> bool:
    if isinstance(node, nodes.Repeat) and node.most is None:
        return True
    return any(_has_endless_repeat(child) for child in _children(node))


def _sum(one: Cost, other: Cost) -> Cost:
    if one.degree != other.degree:
        return max(one, other)
    return Cost(one.degree, _log_sum(one.scale, other.scale))


def _log_sum(one: float, other: float) -> float:
    return max(one, other) + log2(1 + 2 ** -abs(one - other))


def _worse(one: Cost, other: Cost) -> Cost:
    return Cost(max(one.degree, other.degree), max(one.scale, other.scale))


def _cost(node: Node, follow: int, rest: Cost) -> Cost:
    """Return the cost of the node and its successors, from one place; follow: the bytes that can come after it."""
    _burn()
    match node:
        case nodes.OneOf() | nodes.At():
            return rest
        case nodes.Sequence(items):
            for item in reversed(items):
                rest = _cost(item, follow, rest)
                follow = _first(item, follow)
            return rest
        case nodes.Choice(branches):
            return _choice_cost(branches, follow, rest)
        case nodes.IfGroup(_, yes, no):
            return _choice_cost((yes, no), ALL, rest)
        case nodes.Capture(body):
            return _cost(body, follow, rest)
        case nodes.Atomic(body) | nodes.Look(body):
            return _worse(_cost(body, 0, _STEP), rest)
        case nodes.BackReference():
            return Cost(max(1, rest.degree), rest.scale)
        case nodes.Repeat(body, least, most, nodes.Greed.POSSESSIVE):
            return _worse(_repeat_cost(body, least, most, 0, _STEP), rest)
        case nodes.Repeat(body, least, most):
            return _repeat_cost(body, least, most, follow, rest)


def _choice_cost(branches: tuple[Node, ...], follow: int, rest: Cost) -> Cost:
    costs = [_cost(branch, follow, rest) for branch in branches]
    total = costs[0]
    combine = _worse if _disjoint(branches, follow) else _sum
    for cost in costs[1:]:
        total = combine(total, cost)
    return total


def _repeat_cost(body: Node, least: int, most: int | None, follow: int, rest: Cost) -> Cost:
    first = _first(body, 0)
    decided = not _may_be_empty(body) and _is_decided(body, first | follow)
    if decided:
        # All turns together read the subject once, except for the parts matched separately in each of them.
        own = 1 + _aside(body) if most is None else _aside(body)
        if most is not None and _has_endless_repeat(body):
            own = max(own, 1)
        exits = first & follow
        if most is None:
            return Cost(max(own, rest.degree + 1 if exits else rest.degree), rest.scale)
        scale = rest.scale + (log2(most - least + 1) if exits else 0)
        return Cost(max(own, rest.degree), max(scale, log2(most + 1)))
    if most is None or most > _UNROLLED:
        return _ENDLESS
    total = rest
    for turn in range(most):
        total = _cost(body, first | follow, total)
        if turn < most - least:
            total = _sum(total, rest)
    return total
