r"""Escapes, by what follows the backslash: bytes, sets, anchors, references."""

from __future__ import annotations

import re

from wproxy.regex.classes import CONTROLS, SHORTHANDS
from wproxy.regex.nodes import ALL, Anchor, At, Atomic, Choice, Node, OneOf, Sequence, byte_set
from wproxy.regex.pattern import CLOSERS, QUANTIFIER, SIGNED, Pattern, PatternError

_ANCHORS = {"A": Anchor.SUBJECT_START, "G": Anchor.SUBJECT_START, "Z": Anchor.LAST_LINE_END, "z": Anchor.SUBJECT_END}
_EDGES = {"b": Anchor.WORD_EDGE, "B": Anchor.NO_WORD_EDGE}
_NEWLINE_SEQUENCE = Atomic(Choice((Sequence((OneOf(1 << 13), OneOf(1 << 10))), OneOf(byte_set(b"\n\v\f\r\x85")))))


def read_escape(pattern: Pattern) -> Node:
    """Return the meaning of an escape outside of a class."""
    pattern.at += 1
    char = pattern.peek()
    if not char:
        raise PatternError("\\ at end of pattern", pattern.at)
    if char.isascii() and char in "123456789":
        reference = _numbered_escape(pattern)
        if reference:
            return reference
    elif char in SHORTHANDS and char != "N":
        pattern.at += 1
        return OneOf(SHORTHANDS[char])
    elif char in _ANCHORS or char in _EDGES:
        pattern.at += 1
        return At(_ANCHORS.get(char) or _EDGES[char])
    elif char in "NRCXKpPgk":
        pattern.at += 1
        return _special_escape(pattern, char)
    return pattern.literal(read_character(pattern))


def _numbered_escape(pattern: Pattern) -> Node | None:
    r"""Read `\1`: a reference, unless it is the code of a character: 10 and up, without that many groups before it."""
    digits = re.compile("[0-9]+").match(pattern.text, pattern.at)
    assert digits
    number = int(digits[0])
    if number < 10 or digits[0][0] in "89" or number <= pattern.groups:
        pattern.at = digits.end()
        return pattern.reference(number, pattern.at - 1)
    return None


def _special_escape(pattern: Pattern, char: str) -> Node:
    if char == "N":
        if pattern.peek() == "{" and not QUANTIFIER.match(pattern.text, pattern.at):
            if pattern.text.startswith("{U+", pattern.at):
                raise PatternError("\\N{U+dddd} is supported only in Unicode (UTF) mode", pattern.at)
            raise PatternError("PCRE2 does not support \\F, \\L, \\l, \\N{name}, \\U, or \\u", pattern.at)
        return OneOf(SHORTHANDS["N"])
    if char == "R":
        return _NEWLINE_SEQUENCE
    if char == "C":
        return OneOf(ALL)
    if char == "K":
        pattern.refuse("\\K", "put what comes before it into a lookbehind or a group")
        return At(Anchor.SUBJECT_START)
    if char == "X":
        return pattern.refuse("\\X", "write a class of bytes")
    if char in "pP":
        return OneOf(read_property(pattern, char == "P"))
    if char == "g":
        return _g_reference(pattern)
    closer = CLOSERS.get(pattern.peek())
    if not closer:
        raise PatternError("\\k is not followed by a braced, angle-bracketed, or quoted name", pattern.at)
    return pattern.named_reference(pattern.take_name(closer))


def read_property(pattern: Pattern, is_negated: bool) -> int:
    r"""Read `\p{...}` or, negated, `\P{...}`, after the `\p`; return the set of bytes."""
    found = re.compile(r"\{(\^?)([\w &=:-]+)\}|([A-Za-z])").match(pattern.text, pattern.at)
    if not found:
        raise PatternError("malformed \\P or \\p sequence", min(pattern.at + 1, len(pattern.text)))
    pattern.at = found.end()
    from wproxy.regex.properties import property_set  # needed only for a regex with properties

    mask = property_set(found[2] or found[3])
    if mask is None:
        letter = "P" if is_negated else "p"
        return pattern.refuse(f"\\{letter}{found[0]}", "write a class of bytes such as [A-Za-z\\x80-\\xff]").mask
    return ALL & ~mask if is_negated != bool(found[1]) else mask


def _g_reference(pattern: Pattern) -> Node:
    r"""Read `\g1 \g-1 \g{1} \g{-1} \g{name}`; `\g<...>` and `\g'...'` are calls."""
    opener = pattern.peek()
    if opener and opener in "<'":
        closer = CLOSERS[opener]
        number = re.compile(r"[+-]?[0-9]+" + re.escape(closer)).match(pattern.text, pattern.at + 1)
        if number:
            pattern.at = number.end()
            pattern.references.append((pattern.relative(number[0][:-1]), pattern.at - 1))
        else:
            name = pattern.take_name(closer)
            pattern.references.append((name, pattern.at - len(name) - 1))
        return pattern.refuse("a subroutine call \\g<...>", "write the group out again")
    braced = opener == "{"
    digits = SIGNED.match(pattern.text, pattern.at + braced)
    if digits:
        pattern.at = digits.end()
        relative = pattern.relative(digits[0])
        if braced and not pattern.take("}"):
            reason = "\\g is not followed by a braced, angle-bracketed, or quoted name/number or by a plain number"
            raise PatternError(reason, pattern.at)
        if relative <= 0:
            raise PatternError("reference to non-existent subpattern", digits.start() - 1 if braced and relative else pattern.at)
        return pattern.reference(relative, pattern.at - 1)
    if not braced:
        reason = "\\g is not followed by a braced, angle-bracketed, or quoted name/number or by a plain number"
        raise PatternError(reason, pattern.at)
    return pattern.named_reference(pattern.take_name("}"))


def read_character(pattern: Pattern) -> int:
    """Return the byte of an escape, after its backslash."""
    text, start = pattern.text, pattern.at
    char = pattern.peek()
    pattern.at += 1
    if not (char.isascii() and char.isalnum()):
        return ord(char)
    if char in CONTROLS:
        return CONTROLS[char]
    if char in "01234567":
        digits = re.compile("[0-7]{1,3}").match(text, start)
        assert digits
        pattern.at = digits.end()
        value = int(digits[0], 8)
        if value > 255:
            raise PatternError("octal value is greater than \\377 in 8-bit non-UTF-8 mode", pattern.at)
        return value
    if char == "x":
        if pattern.take("{"):
            return _braced(pattern, "[0-9A-Fa-f]*", 16, "non-hex character in \\x{} (closing brace missing?)")
        digits = re.compile("[0-9A-Fa-f]{0,2}").match(text, pattern.at)
        assert digits
        pattern.at = digits.end()
        return int(digits[0] or "0", 16)
    if char == "o":
        if not pattern.take("{"):
            raise PatternError("missing opening brace after \\o", min(pattern.at, len(pattern.text) - 1))
        return _braced(pattern, "[0-7]*", 8, "non-octal character in \\o{} (closing brace missing?)")
    if char == "c":
        return _control(pattern)
    if char in "FLlUu":
        raise PatternError("PCRE2 does not support \\F, \\L, \\l, \\N{name}, \\U, or \\u", pattern.at)
    raise PatternError("unrecognized character follows \\", start)


def _braced(pattern: Pattern, digit: str, base: int, reason: str) -> int:
    digits = re.compile(digit).match(pattern.text, pattern.at)
    assert digits
    if not digits[0] and pattern.peek() in ("", "}"):
        raise PatternError("digits missing in \\x{} or \\o{} or \\N{U+}", pattern.at)
    if digits[0] and int(digits[0], base) > 255:
        raise PatternError("character code point value in \\x{} or \\o{} is too large", digits.end())
    pattern.at = digits.end()
    if not pattern.take("}"):
        raise PatternError(reason, pattern.at if pattern.at < len(pattern.text) else pattern.at - 1)
    return int(digits[0], base)


def _control(pattern: Pattern) -> int:
    char = pattern.peek()
    if not char:
        raise PatternError("\\c at end of pattern", pattern.at)
    if not " " <= char <= "~":
        raise PatternError("\\c must be followed by a printable ASCII character", pattern.at)
    pattern.at += 1
    return ord(char.upper()) ^ 0x40
