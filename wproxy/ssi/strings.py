"""Variables in the values of parameters, the expressions of `if`, and the encodings of `echo`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

Find = Callable[[str], "bytes | None"]
_NAME = re.compile(rb"[A-Za-z0-9_]*")
# `\\`, `\'`, `\"` and `\$` lose their backslash; any other keeps it.
_QUOTED = re.compile(rb"""\\(?:([\\'"$])|(?=.)|\Z)""", re.DOTALL)
_TOKEN = re.compile(rb"""(?s:\\.?)|\$|[^\\$]+""")


class InvalidString(Exception):
    """A value with a wrong variable, or an expression that makes no sense; the message is for the log."""


def evaluate(text: bytes, find: Find) -> bytes:
    """Return a value with its variables filled in; unknown ones are empty. Raises InvalidString."""
    if b"$" not in text:
        return unquoted(text) if b"\\" in text else text
    parts: list[bytes] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        assert match is not None
        token = match[0]
        at = match.end()
        if token != b"$":
            parts.append(unquoted(token) if token.startswith(b"\\") else token)
            continue
        is_bracketed = text[at : at + 1] == b"{"
        at += is_bracketed
        name = _NAME.match(text, at)
        assert name is not None
        at = name.end()
        shown = text.decode("latin-1")
        if is_bracketed:
            if text[at : at + 1] != b"}":
                raise InvalidString(f'the closing bracket in "{name[0].decode("latin-1")}" variable is missing')
            at += 1
        if not name[0]:
            raise InvalidString(f'invalid variable name in "{shown}"')
        parts.append(find(name[0].decode("ascii").lower()) or b"")
    return b"".join(parts)


def unquoted(text: bytes) -> bytes:
    """Return a text without the backslashes that only quote."""

    def replace(match: re.Match[bytes]) -> bytes:
        if match[1] is not None:
            return match[1]
        return b"" if match.end() == len(text) else b"\\"

    return _QUOTED.sub(replace, text)


class Expression(NamedTuple):
    """The expression of an `if`. right: None for a test whether the left side is empty. is_regex: whether it is one."""

    left: bytes
    is_negated: bool = False
    right: bytes | None = None
    is_regex: bool = False


_LEFT = re.compile(rb"""[A-Za-z0-9${}_"']*""")
_OPERATOR = re.compile(rb" *(?:(!?=) *|\Z)")


def read_expression(text: bytes) -> Expression:
    """Read an expression. Raises InvalidString."""
    left = _LEFT.match(text)
    assert left is not None
    lower = left[0].lower()
    operator = _OPERATOR.match(text, left.end())
    if operator is None:
        raise InvalidString(f'invalid expression in "{(lower + text[left.end() :]).decode("latin-1")}"')
    if operator[1] is None:
        return Expression(lower)
    is_negated = operator[1] == b"!="
    right = text[operator.end() :]
    if right[:1] == b"/" and len(right) > 1:
        if not right.endswith(b"/"):
            raise InvalidString(f'invalid expression in "{(lower + text[left.end() :]).decode("latin-1")}"')
        return Expression(lower, is_negated, right[1:-1], True)
    if right[:2] == b"\\/":
        right = right[1:]
    return Expression(lower, is_negated, right)


_ENTITIES = {b"<": b"&lt;", b">": b"&gt;", b"&": b"&amp;", b'"': b"&quot;"}
_IN_ENTITIES = re.compile(rb'[<>&"]')
_IN_URL = re.compile(rb"""[\x00-\x20"#%'<>\\^`{|}\x7f-\xff]""")


def as_entities(text: bytes) -> bytes:
    """Return a text that HTML shows as it is."""
    return _IN_ENTITIES.sub(lambda match: _ENTITIES[match[0]], text)


def as_url(text: bytes) -> bytes:
    """Return a text as a part of a URL."""
    return _IN_URL.sub(lambda match: b"%%%02X" % match[0][0], text)


ENCODINGS: dict[bytes, Callable[[bytes], bytes]] = {b"entity": as_entities, b"url": as_url, b"none": bytes}
