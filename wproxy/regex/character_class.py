r"""Character classes: `[a-z\d[:alpha:]]`, as sets of bytes."""

from __future__ import annotations

import re

from wproxy.regex.classes import POSIX, SHORTHANDS
from wproxy.regex.escapes import read_character, read_property
from wproxy.regex.nodes import ALL, WORD, Anchor, At, Look, Node, OneOf, Sequence, byte_range, fold_case
from wproxy.regex.pattern import CASELESS, XX, Pattern, PatternError

_POSIX = re.compile(r"\[([:.=])(\^?)((?:\\[\\\]]|\[(?![:.=])|[^\\\]\[])*?)\1\]")
_WORD_EDGES = {"[[:<:]]": True, "[[:>:]]": False}


def read_class(pattern: Pattern) -> Node:
    """Return a class from its bracket on; `[[:<:]]` and `[[:>:]]` are word boundaries."""
    text, start = pattern.text, pattern.at
    for edge, ahead in _WORD_EDGES.items():
        if text.startswith(edge, start):
            pattern.at += len(edge)
            return Sequence((At(Anchor.WORD_EDGE), Look(OneOf(WORD), ahead, False, start)))
    if posix := _POSIX.match(text, start):
        if posix[1] == ":":
            raise PatternError("POSIX named classes are supported only within a class", start)
        raise PatternError("POSIX collating elements are not supported", start)
    pattern.at += 1
    negated = pattern.take("^")
    mask, first = 0, True
    pattern.quoting = False
    while True:
        _skip_quotes(pattern)
        if pattern.at >= len(text):
            raise PatternError("missing terminating ] for character class", pattern.at)
        if text[pattern.at] == "]" and not first and not pattern.quoting:
            pattern.at += 1
            break
        if pattern.flags & XX and not pattern.quoting and text[pattern.at] in " \t":
            pattern.at += 1
            continue
        first = False
        mask |= _member(pattern)
    return OneOf(ALL & ~mask if negated else mask)


def _skip_quotes(pattern: Pattern) -> None:
    r"""Skip `\Q` and `\E` and remember which came last."""
    while True:
        if pattern.take("\\E"):
            pattern.quoting = False
        elif pattern.quoting or not pattern.take("\\Q"):
            return
        else:
            pattern.quoting = True


def _member(pattern: Pattern) -> int:
    """Return a byte, a range or a named set, as a set."""
    text = pattern.text
    low = _atom(pattern)
    _skip_quotes(pattern)
    hyphen = not pattern.quoting and text.startswith("-", pattern.at)
    if isinstance(low, tuple):
        if hyphen and text[pattern.at + 1 : pattern.at + 2] not in ("]", ""):
            raise PatternError("invalid range in character class", pattern.at)
        return low[0]  # a named set, whose case is handled already
    if not hyphen:
        return _in_both_cases(pattern, 1 << low)
    pattern.at += 1
    _skip_quotes(pattern)
    if text.startswith("]", pattern.at) and not pattern.quoting:
        return _in_both_cases(pattern, 1 << low | 1 << 0x2D)
    if pattern.at >= len(text):
        raise PatternError("missing terminating ] for character class", pattern.at)
    start = pattern.at
    high = _atom(pattern)
    if isinstance(high, tuple):
        raise PatternError("invalid range in character class", start + 1 if text[start] == "[" else pattern.at)
    if high < low:
        raise PatternError("range out of order in character class", pattern.at - 1)
    return _in_both_cases(pattern, byte_range(low, high))


def _in_both_cases(pattern: Pattern, mask: int) -> int:
    return fold_case(mask) if pattern.flags & CASELESS else mask


def _atom(pattern: Pattern) -> int | tuple[int]:
    """Return one byte as a number, or a set as a tuple of one."""
    text = pattern.text
    char = text[pattern.at]
    if not pattern.quoting and char == "[" and (posix := _POSIX.match(text, pattern.at)):
        return (_posix(pattern, posix),)
    if pattern.quoting or char != "\\":
        pattern.at += 1
        return ord(char)
    pattern.at += 1
    char = pattern.peek()
    if not char:
        raise PatternError("\\ at end of pattern", pattern.at)
    if char == "N":
        raise PatternError("\\N is not supported in a class", pattern.at + 1)
    if char in SHORTHANDS:
        pattern.at += 1
        return (SHORTHANDS[char],)
    if char in "pP":
        pattern.at += 1
        return (read_property(pattern, char == "P"),)
    if char in "BRX":
        raise PatternError("escape sequence is invalid in character class", pattern.at)
    if char == "b":
        pattern.at += 1
        return 8
    if char in "89g":
        pattern.at += 1
        return ord(char)
    return read_character(pattern)


def _posix(pattern: Pattern, posix: re.Match[str]) -> int:
    if posix[1] != ":":
        raise PatternError("POSIX collating elements are not supported", pattern.at)
    mask = POSIX.get(posix[3])
    if mask is None:
        raise PatternError("unknown POSIX class name", posix.start(3))
    pattern.at = posix.end()
    if pattern.flags & CASELESS:
        mask = fold_case(mask)
    return ALL & ~mask if posix[2] else mask
