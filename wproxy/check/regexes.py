"""Paths that the regex of a location can match, read from its tree (`wproxy.regex.nodes`).

Samples are made by walking the tree and are trusted only after the regex itself has matched them, so a rule that names a path has
seen that path match.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from wproxy.check.blocks import Block, compiled
from wproxy.regex import Regex, RegexTimedOut
from wproxy.regex.nodes import (
    EMPTY,
    Anchor,
    At,
    Atomic,
    BackReference,
    Capture,
    Choice,
    IfGroup,
    Look,
    Node,
    OneOf,
    Repeat,
    Sequence,
    byte_set,
)
from wproxy.regex.parse import Parser
from wproxy.regex.pattern import PatternError, Untranslatable
from wproxy.regex.widths import width_of

_PREFERRED = b"xa1/-_. "  # the bytes that a sample prefers from a set
_HEX = byte_set(b"0123456789abcdefABCDEF")
_SLASH = byte_set(b"/")


def tree_of(pattern: str, caseless: bool = False) -> Node | None:
    """Return the tree of a regex; None for one that cannot be read (which `-t` reports)."""
    try:
        return Parser(pattern.encode("utf-8", "surrogateescape").decode("latin-1"), caseless).parse()
    except (PatternError, Untranslatable, RecursionError):
        return None


def search(regex: Regex, subject: bytes) -> re.Match[bytes] | None:
    """Return the first match; None also when the search takes too long."""
    try:
        return regex.search(subject)
    except RegexTimedOut:
        return None


# Samples


def sample(tree: Node, inside: Mapping[str, bytes]) -> bytes:
    """Return a text that a regex is likely to match. inside: the texts that some of its groups must match, by number or
    lower-case name.
    """
    match tree:
        case OneOf(mask):
            preferred = next((byte for byte in _PREFERRED if mask >> byte & 1), None)
            return bytes([preferred if preferred is not None else max(mask & -mask, 1).bit_length() - 1])
        case Sequence(items):
            return b"".join(sample(item, inside) for item in items)
        case Choice(branches):
            wanted = [branch for branch in branches if _has_group(branch, inside)]
            return sample((wanted or branches)[0], inside)
        case Capture(body, number, name):
            given = inside.get(str(number), inside.get(name.lower()) if name else None)
            return given if given is not None else sample(body, inside)
        case Atomic(body):
            return sample(body, inside)
        case Repeat(body, least, _):
            return sample(body, inside) * max(least, int(_has_group(body, inside)))
        case IfGroup(_, yes, _):
            return sample(yes, inside)
    return b""


def _has_group(node: Node, wanted: Mapping[str, bytes]) -> bool:
    match node:
        case Capture(body, number, name):
            return str(number) in wanted or name.lower() in wanted or _has_group(body, wanted)
        case Sequence(items):
            return any(_has_group(item, wanted) for item in items)
        case Choice(branches):
            return any(_has_group(branch, wanted) for branch in branches)
        case Atomic(body) | Repeat(body, _, _):
            return _has_group(body, wanted)
    return False


def matched_with(location: Block, group: str, text: bytes) -> re.Match[bytes] | None:
    """Return a match of a location's regex in which a group has matched that text, of a path that a request could have.

    None when there is none, as far as can be determined.
    """
    regex, tree = location.regex(), tree_of(location.pattern, location.modifier == "~*")
    if regex is None or tree is None:
        return None
    subject = sample(tree, {group: text})
    subject = subject if subject.startswith(b"/") else b"/" + subject
    if {b"..", b"."}.intersection(subject.split(b"/")) or b"//" in subject:
        return None  # dot segments are resolved, and slashes merged, before locations are matched
    found = search(regex, subject)
    try:
        taken = found[int(group) if group.isdigit() else _spelled(regex, group)] if found is not None else None
    except (IndexError, KeyError):
        return None
    return found if taken == text else None


def _spelled(regex: Regex, group: str) -> str:
    return next((name for name in regex.names if name.lower() == group), group)


def expanded(text: str, found: re.Match[bytes]) -> bytes:
    """Return a text with the captures of a match in place of its variables, and an `x` for each other variable."""
    groups = {name.lower(): value or b"" for name, value in found.groupdict().items()}

    def value(variable: re.Match[bytes]) -> bytes:
        name = (variable[1] or variable[2]).decode().lower()
        if name.isdigit():
            return found[int(name)] or b"" if int(name) <= (found.re.groups) else b""
        return groups.get(name, b"x")

    return re.sub(rb"\$(?:\{(\w+)\}|(\w+))", value, text.encode("utf-8", "surrogateescape"))


# Regexes that never match


def why_never(pattern: str, caseless: bool = False, merges_slashes: bool = True) -> str | None:
    """Return why a regex matches no path of a request; None where it may match one."""
    tree = tree_of(pattern, caseless)
    if tree is None or compiled(pattern, caseless) is None:
        return None
    if _is_contradiction(tree):
        return "something must come before ^ or after $ in it"
    if _is_from_start(tree):
        first, may_be_empty = _first(tree)
        if not may_be_empty and not first & _SLASH:
            return "it begins with ^ and no slash, and every path begins with a slash"
    if _requires(tree, ("?",)):
        return 'it asks for a "?", but the arguments of a request are not compared'
    if _requires(tree, ("#",)):
        return 'it asks for a "#", which no client sends'
    if _requires(tree, ("%", "hex", "hex")):
        return "it asks for an escape (%..), but the path is decoded before it is compared"
    if merges_slashes and _requires(tree, ("/", "/")):
        return "it asks for two slashes in a row, but they are merged before the path is compared"
    return None


def matches_everything(pattern: str) -> bool:
    """Whether a regex matches every path."""
    return pattern in (
        "",
        "/",
        "^/",
        "^",
        ".",
        ".*",
        "^.*",
        "^.*$",
        ".*$",
        "^/.*",
        "^/.*$",
        "^/(.*)$",
        "^/(.*)",
        "^(.*)$",
        "(.*)",
        "^(.*)",
    )


_STARTS = (Anchor.SUBJECT_START,)
_ENDS = (Anchor.SUBJECT_END, Anchor.LAST_LINE_END)


def _least_width(node: Node) -> int:
    match node:
        case OneOf():
            return 1
        case Sequence(items):
            return sum(map(_least_width, items))
        case Choice(branches):
            return min(map(_least_width, branches))
        case Capture(body) | Atomic(body):
            return _least_width(body)
        case Repeat(body, least, _):
            return _least_width(body) * least
        case IfGroup(_, yes, no):
            return min(_least_width(yes), _least_width(no))
    return 0


def _is_contradiction(node: Node) -> bool:
    """Whether something is asked for before the start of the subject or after its end."""
    match node:
        case OneOf(mask):
            return not mask
        case Sequence(items):
            for index, item in enumerate(items):
                if _is_contradiction(item):
                    return True
                if _is_from_start(item) and any(map(_least_width, items[:index])):
                    return True
                if _is_to_end(item) and any(map(_least_width, items[index + 1 :])):
                    return not _first(Sequence(items[index + 1 :]))[0] & 1 << 10
            return False
        case Choice(branches):
            return all(map(_is_contradiction, branches))
        case Capture(body) | Atomic(body):
            return _is_contradiction(body)
        case Repeat(body, least, _):
            return bool(least) and _is_contradiction(body)
    return False


def _is_to_end(node: Node) -> bool:
    """Whether every match ends at the end of the subject."""
    match node:
        case At(anchor):
            return anchor in _ENDS
        case Sequence(items):
            last = next((item for item in reversed(items) if width_of(item) != 0 or _is_to_end(item)), None)
            return last is not None and _is_to_end(last)
        case Choice(branches):
            return all(map(_is_to_end, branches))
        case Capture(body) | Atomic(body):
            return _is_to_end(body)
        case Repeat(body, least, _):
            return bool(least) and _is_to_end(body)
    return False


def _is_from_start(node: Node) -> bool:
    """Whether every match begins at the start of the subject."""
    match node:
        case At(anchor):
            return anchor in _STARTS
        case Sequence(items):
            for item in items:
                if _is_from_start(item):
                    return True
                if width_of(item) != 0:
                    return False
            return False
        case Choice(branches):
            return all(map(_is_from_start, branches))
        case Capture(body) | Atomic(body):
            return _is_from_start(body)
        case Repeat(body, least, _):
            return bool(least) and _is_from_start(body)
    return False


def _first(node: Node) -> tuple[int, bool]:
    """Return (the bytes that a match may begin with, whether it may be empty)."""
    match node:
        case OneOf(mask):
            return mask, False
        case Sequence(items):
            bytes_ = 0
            for item in items:
                first, may_be_empty = _first(item)
                bytes_ |= first
                if not may_be_empty:
                    return bytes_, False
            return bytes_, True
        case Choice(branches):
            found = [_first(branch) for branch in branches]
            union = 0
            for first, _ in found:
                union |= first
            return union, any(may_be_empty for _, may_be_empty in found)
        case Capture(body) | Atomic(body):
            return _first(body)
        case Repeat(body, least, _):
            first, may_be_empty = _first(body)
            return first, may_be_empty or not least
        case IfGroup(_, yes, no):
            return _first(Choice((yes, no)))
        case BackReference():
            return (1 << 256) - 1, True
    return 0, True


def _requires(node: Node, signs: tuple[str, ...]) -> bool:
    """Whether every match has these bytes in a row; "hex" is any hexadecimal digit."""
    match node:
        case OneOf():
            return len(signs) == 1 and _is_sign(node, signs[0])
        case Sequence(items):
            flat = _flat(items)
            rows = (flat[index : index + len(signs)] for index in range(len(flat) - len(signs) + 1))
            if any(all(map(_is_sign, row, signs)) for row in rows):
                return True
            return any(_requires(item, signs) for item in items)
        case Choice(branches):
            return all(_requires(branch, signs) for branch in branches)
        case Capture(body) | Atomic(body):
            return _requires(body, signs)
        case Repeat(body, least, _):
            return bool(least) and _requires(body, signs)
        case Look():
            return False
    return False


def _flat(items: tuple[Node, ...]) -> list[Node]:
    """Return the items with inner sequences spliced in; repeats of a known number are written out."""
    found: list[Node] = []
    for item in items:
        match item:
            case Sequence(inner):
                found += _flat(inner)
            case Capture(body) | Atomic(body):
                found += _flat((body,))
            case Repeat(body, least, most) if least == most and least <= 4:
                found += _flat((body,)) * least
            case _:
                found.append(item)
    return [item for item in found if item != EMPTY]


def _is_sign(node: Node, sign: str) -> bool:
    if not isinstance(node, OneOf) or not node.mask:
        return False
    return not node.mask & ~_HEX if sign == "hex" else node.mask == byte_set(sign.encode())
