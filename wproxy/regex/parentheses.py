"""Parentheses that are not plain groups: options, conditions, calls, callouts, and the options at the very start."""

from __future__ import annotations

import re

from wproxy.regex.nodes import Node
from wproxy.regex.pattern import (
    CASELESS,
    CLOSERS,
    DOTALL,
    DUPLICATES,
    EXTENDED,
    MULTILINE,
    NO_CAPTURE,
    SIGNED,
    UNGREEDY,
    XX,
    Pattern,
    PatternError,
)

_LETTERS = {
    "i": CASELESS,
    "m": MULTILINE,
    "s": DOTALL,
    "x": EXTENDED,
    "n": NO_CAPTURE,
    "U": UNGREEDY,
    "J": DUPLICATES,
}
_UNSET_BY_CARET = CASELESS | MULTILINE | DOTALL | EXTENDED | XX | NO_CAPTURE
# Options at the very start: those that make no difference here, and those that would.
_START = re.compile(r"\(\*([A-Z0-9_]+)(=[0-9]+)?\)")
_HARMLESS = {"NO_JIT", "NO_START_OPT", "NO_AUTO_POSSESS", "NO_DOTSTAR_ANCHOR", "LF", "BSR_UNICODE"}
_HARMLESS_LIMITS = {"LIMIT_MATCH", "LIMIT_DEPTH", "LIMIT_HEAP", "LIMIT_RECURSION"}
_CHANGING = {"UTF", "UTF8", "UCP", "CR", "CRLF", "ANYCRLF", "ANY", "NUL", "BSR_ANYCRLF", "NOTEMPTY", "NOTEMPTY_ATSTART"}


def read_start_options(pattern: Pattern) -> None:
    """Read `(*NO_JIT)` and the like at the very start."""
    while option := _START.match(pattern.text, pattern.at):
        if option[1] in _CHANGING and not option[2]:
            advice = "write the pattern without it: it is matched byte by byte"
            pattern.refuse(f"the option {option[0]}", advice)
        elif option[1] not in (_HARMLESS_LIMITS if option[2] else _HARMLESS):
            return
        pattern.at = option.end()


def read_condition_group(pattern: Pattern, offset: int) -> int:
    """Return the number of the group that a condition tests."""
    digits = SIGNED.match(pattern.text, pattern.at)
    if digits:
        pattern.at = digits.end()
        number = pattern.relative(digits[0])
        pattern.references.append((number, offset))
        if not pattern.take(")"):
            raise PatternError("missing closing parenthesis for condition", pattern.at)
    else:
        if not pattern.peek():
            raise PatternError("missing closing parenthesis", pattern.at)
        special = re.compile(r"R(?:[0-9]*|&\w*)\)|DEFINE\)|VERSION>?=[0-9.]+\)").match(pattern.text, pattern.at)
        if special and special[0][:-1] not in pattern.names:
            pattern.at = special.end()
            pattern.refuse(f"the condition ({special[0]}", "write the regex without it")
            return 0
        closer = CLOSERS.get(pattern.peek(), "") if pattern.peek() in "<'" else ""
        name = pattern.take_name(closer or ")")
        pattern.references.append((name, pattern.at - len(name) - 1))
        if closer and not pattern.take(")"):
            raise PatternError("missing closing parenthesis for condition", pattern.at)
        number = pattern.names.get(name, 0)
    if number > pattern.groups:
        pattern.refuse("a condition on a group that comes later", "put the group before it")
    return number


def read_call(pattern: Pattern, call: re.Match[str]) -> Node:
    """Read `(?1)`, `(?-1)`, `(?+1)`: a subroutine call."""
    pattern.at = call.end()
    if call[0] in ("-0", "+0"):
        raise PatternError("a relative value of zero is not allowed", pattern.at)
    number = pattern.relative(call[0])
    if not pattern.take(")"):
        raise PatternError("(?R (recursive pattern call) must be followed by a closing parenthesis", pattern.at)
    if number:
        pattern.references.append((number, pattern.at - 1))
    return pattern.refuse(f"recursion (?{call[0]})", "write the group out again, as deep as it is needed")


def skip_callout(pattern: Pattern) -> None:
    """Skip `(?C)`, `(?C1)`, `(?C'text')`: no callout function is installed."""
    digits = re.compile("[0-9]*").match(pattern.text, pattern.at)
    assert digits
    opener = pattern.peek()
    if not digits[0] and opener and opener in "`'\"^%#${":
        closer = "}" if opener == "{" else opener
        end = pattern.text.find(closer, pattern.at + 1)
        if end < 0:
            raise PatternError("missing terminating delimiter for callout with string argument", pattern.at)
        pattern.at = end + 1
    else:
        pattern.at = digits.end()
        if digits[0] and int(digits[0]) > 255:
            raise PatternError("number after (?C is greater than 255", pattern.at)
    if not pattern.take(")"):
        raise PatternError("closing parenthesis for (?C expected", pattern.at)


def read_flags(pattern: Pattern) -> tuple[int, str]:
    """Return the flags after `(?i-s`, `(?^i`, and the character that ends them: `)` or `:`."""
    text = pattern.text
    flags, on, may_hyphen = pattern.flags, True, True
    if pattern.take("^"):
        flags &= ~_UNSET_BY_CARET
        may_hyphen = False
    while True:
        if pattern.at == len(text):
            raise PatternError("missing closing parenthesis", pattern.at)
        char = text[pattern.at]
        pattern.at += 1
        if char in ":)":
            break
        if char == "-":
            if not may_hyphen:
                raise PatternError("invalid hyphen in option setting", pattern.at - 1)
            on = may_hyphen = False
            continue
        bit = _LETTERS.get(char)
        if bit is None:
            raise PatternError("unrecognized character after (? or (?-", pattern.at - 1)
        if char == "x":
            flags &= ~XX
            bit |= XX if pattern.take("x") or not on else 0
        flags = flags | bit if on else flags & ~bit
    return flags, char
