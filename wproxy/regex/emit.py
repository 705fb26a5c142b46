"""The tree as a pattern for Python's `re` on bytes.

No flag of `re` is used: the parser has resolved case, dots and lines, so every set is written out. That also lets the search of
`re` skip to a possible first byte, which it does not do under IGNORECASE.
"""

from __future__ import annotations

from functools import lru_cache

from wproxy.regex import nodes
from wproxy.regex.nodes import ALL, DIGIT, NEVER, NEWLINE, SPACE, WORD, Node
from wproxy.regex.widths import width_of

_ANCHORS = {
    nodes.Anchor.SUBJECT_START: r"\A",
    nodes.Anchor.SUBJECT_END: r"\Z",
    nodes.Anchor.LAST_LINE_END: "$",
    # For PCRE2 no line follows a newline that ends the subject; for Python's MULTILINE one does.
    nodes.Anchor.LINE_START: r"(?:\A|(?<=\n)(?!\Z))",
    nodes.Anchor.LINE_END: r"(?=\n|\Z)",
    nodes.Anchor.WORD_EDGE: r"\b",
    # Python's \B fails on an empty subject before 3.14.
    nodes.Anchor.NO_WORD_EDGE: r"(?!\b)",
}

_NAMED_SETS = {
    ALL & ~NEWLINE: ".",
    ALL: r"[\x00-\xff]",
    0: "(?!)",
    DIGIT: r"\d",
    WORD: r"\w",
    SPACE: r"\s",
    ALL & ~DIGIT: r"\D",
    ALL & ~WORD: r"\W",
    ALL & ~SPACE: r"\S",
}
_SPECIAL = frozenset(b"\\^$.|?*+()[]{}-&~# ")


def emit(node: Node) -> str:
    """Return Python's syntax for a tree, in Latin-1."""
    match node:
        case nodes.OneOf(mask):
            return set_text(mask)
        case nodes.At(anchor):
            return _ANCHORS[anchor]
        case nodes.Sequence(items):
            return "".join(_within_sequence(item) for item in items)
        case nodes.Choice(branches):
            return "|".join(emit(branch) for branch in branches)
        case nodes.Capture(body, _, name):
            return f"(?P<{name}>{emit(body)})" if name else f"({emit(body)})"
        case nodes.Atomic(body):
            return f"(?>{emit(body)})"
        case nodes.Repeat():
            return _repeat(node)
        case nodes.Look():
            return _look(node)
        case nodes.BackReference(number, caseless):
            return f"(?i:\\{number})" if caseless else f"(?:\\{number})"
        case nodes.IfGroup(number, yes, no):
            return f"(?({number}){_within_sequence(yes)}|{_within_sequence(no)})"


def _within_sequence(node: Node) -> str:
    return f"(?:{emit(node)})" if isinstance(node, nodes.Choice) else emit(node)


def _repeat(node: nodes.Repeat) -> str:
    body = node.body
    single = isinstance(body, nodes.OneOf) and body != NEVER
    text = emit(body) if single or isinstance(body, nodes.Capture) else f"(?:{emit(body)})"
    least, most = node.least, node.most
    if most is None and least < 2:
        sign = "+" if least else "*"
    elif (least, most) == (0, 1):
        sign = "?"
    else:
        sign = f"{{{least}}}" if least == most else f"{{{least},{'' if most is None else most}}}"
    if node.greed is nodes.Greed.POSSESSIVE and not single:
        # Possessive groups had bugs up to 3.11.4 and 3.12.0 (gh-106052); atomic ones mean the same.
        return f"(?>{text}{sign})"
    return text + sign + node.greed.value


def _look(node: nodes.Look) -> str:
    sign = ("=" if node.ahead else "<=") if not node.negative else ("!" if node.ahead else "<!")
    branches = node.body.branches if isinstance(node.body, nodes.Choice) else (node.body,)
    if node.ahead or len({width_of(branch) for branch in branches}) == 1:
        return f"(?{sign}{emit(node.body)})"
    # Python requires one width for all branches of a lookbehind.
    looks = [f"(?{sign}{emit(branch)})" for branch in branches]
    return "".join(looks) if node.negative else f"(?:{'|'.join(looks)})"


@lru_cache(maxsize=1024)
def set_text(mask: int) -> str:
    """Return a set of bytes as an atom: a literal, a shorthand or a class, whichever is shortest."""
    named = _NAMED_SETS.get(mask)
    if named:
        return named
    if not mask & (mask - 1):
        return _byte(mask.bit_length() - 1)
    inside, outside = _ranges(mask), "^" + _ranges(ALL & ~mask)
    return f"[{min(inside, outside, key=len)}]"


def _ranges(mask: int) -> str:
    text = []
    while mask:
        low = (mask & -mask).bit_length() - 1
        length = (~(mask >> low) & ((mask >> low) + 1)).bit_length() - 1
        mask &= ~(((1 << length) - 1) << low)
        text.append(_byte(low) + ("-" * (length > 2) + _byte(low + length - 1) if length > 1 else ""))
    return "".join(text)


def _byte(byte: int) -> str:
    if byte in _SPECIAL:
        return "\\" + chr(byte)
    return chr(byte) if 32 < byte < 127 else f"\\x{byte:02x}"
