"""`rewrite`, `set`, `if`, `break`, `return` (nginx: src/http/modules/ngx_http_rewrite_module.c).

These are steps: they act one after the other, in the order of the file, whatever their names. Each reader makes one value;
worker/rewrite.py carries them out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from wproxy.config.registry import (
    HTTP,
    LOCATION,
    LOCATION_IF,
    SERVER,
    SERVER_IF,
    STEP,
    directive,
)
from wproxy.directives.values import flag
from wproxy.regex import Regex, compile_regex
from wproxy.template import Template, compile_template
from wproxy.variables import check_definable

if TYPE_CHECKING:
    from wproxy.config.model import Location
    from wproxy.config.tree import Node

REDIRECTS = (301, 302, 303, 307, 308)


class Return(NamedTuple):
    """The answer of a `return`: a status and a text or, for a redirect, a URL; text None leaves the built-in page."""

    status: int
    text: Template | None


class Break(NamedTuple):
    """Ends the steps; the location stays."""


class Assignment(NamedTuple):
    """`set $name value`.

    plain: the value with no capture escaped, as it is after a `rewrite` has matched; None without captures.
    """

    name: str
    value: Template
    plain: Template | None = None


# What `rewrite` does after a match.
GO_ON = ""
LAST = "last"
BREAK = "break"


class Rewrite(NamedTuple):
    """One `rewrite`.

    redirect: the status to answer with, 0 for a change of the URI. replacement: the new path, or the whole URL of a redirect.
    args: the part after the first "?" of the replacement, or None. adds_args: whether the request's own arguments are kept.
    flag: GO_ON, LAST or BREAK.
    """

    regex: Regex
    replacement: Template
    args: Template | None
    adds_args: bool
    redirect: int
    flag: str


# The tests of `if`: true or false for a value.
IS_SET = "is set"
EQUALS = "="
MATCHES = "~"
FILE_TESTS = ("-f", "-d", "-e", "-x")


class Condition(NamedTuple):
    """The condition of an `if`. kind: IS_SET, EQUALS, MATCHES or one of FILE_TESTS; negated: whether the result is inverted.

    value: the tested value. against: the other side of EQUALS; regex: that of MATCHES. text: as written.
    """

    kind: str
    negated: bool
    value: Template
    against: Template | None
    regex: Regex | None
    text: str


@dataclass(slots=True)
class If:
    """One `if`: its condition, the steps inside, and, in a location, the settings that apply when it was true."""

    condition: Condition
    node: Node | None = None
    steps: tuple[Any, ...] = ()
    location: Location | None = field(default=None, repr=False)


Step = Return | Break | Assignment | Rewrite | If


def return_value(first: str, second: str | None = None) -> Return:
    """Read `return CODE [TEXT]`, `return CODE URL` or `return URL`."""
    if second is None and first.startswith(("http://", "https://", "$scheme")):
        return Return(302, compile_template(first))
    if not (first.isascii() and first.isdigit()) or len(first) > 3:
        raise ValueError(f'invalid return code "{first}"')
    return Return(int(first), None if second is None else compile_template(second))


def break_() -> Break:
    """Read `break`."""
    return Break()


_NAME = re.compile(r"\$([A-Za-z0-9_]+)")


def assignment(name: str, value: str) -> Assignment:
    """Read `set $name value`."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise ValueError(f'invalid variable name "{name}"' if name else "invalid variable name")
    lower = match[1].lower()
    check_definable(lower)
    escaped = escape_captures(value)
    return Assignment(lower, compile_template(escaped), compile_template(value) if escaped != value else None)


# `$1`: a capture of the last regex. One digit: `$10` is `$1` and a 0.
_CAPTURE = re.compile(r"\$([1-9])")


def escape_captures(text: str) -> str:
    """Return the text with every `$1` escaped where the client's URI was (nginx: ngx_http_script_copy_capture_code)."""
    return _CAPTURE.sub(lambda match: f"${{wproxy_escaped_capture_{match[1]}}}", text)


def rewrite(regex: str, replacement: str, mode: str | None = None) -> Rewrite:
    """Read `rewrite REGEX REPLACEMENT [last|break|redirect|permanent]`."""
    if not replacement:
        raise ValueError("empty replacement")
    redirect, then = 0, GO_ON
    if replacement.startswith(("http://", "https://", "$scheme")):
        redirect = 302
    if mode in (LAST, BREAK):
        then = mode
    elif mode == "redirect":
        redirect = 302
    elif mode == "permanent":
        redirect = 301
    elif mode is not None:
        raise ValueError(f'invalid parameter "{mode}"')
    adds_args = not replacement.endswith("?")
    text = replacement if adds_args else replacement[:-1]
    compiled = compile_regex(regex)
    if redirect:
        # Its arguments, if it has any, are part of the URL.
        return Rewrite(compiled, compile_template(escape_captures(text)), _mark(text), adds_args, redirect, then)
    path, question, args = text.partition("?")
    return Rewrite(
        compiled,
        compile_template(path),
        compile_template(escape_captures(args)) if question else None,
        adds_args,
        0,
        then,
    )


def _mark(text: str) -> Template | None:
    """Mark a redirect that has arguments: those of the request are then added with "&"."""
    return compile_template("") if "?" in text else None


_OPERATORS = {"=": (EQUALS, False), "!=": (EQUALS, True)}
_MATCH_OPERATORS = {"~": (False, False), "~*": (False, True), "!~": (True, False), "!~*": (True, True)}  # (negated, caseless)


def condition(*words: str) -> Condition:
    """Read the words between `if` and its block, including the outer parentheses (nginx: ngx_http_rewrite_if_condition)."""
    text = " ".join(words)
    parts = list(words)
    if not parts[0].startswith("("):
        raise ValueError(f'invalid condition "{parts[0]}"')
    if parts[0] == "(" and len(parts) > 1:  # `( $a = b )`
        parts = parts[1:]
    else:
        parts[0] = parts[0][1:]
    if not parts[-1].endswith(")") or parts == [")"]:
        raise ValueError(f'invalid condition "{parts[-1]}"')
    if parts[-1] == ")":
        parts = parts[:-1]
    else:
        parts[-1] = parts[-1][:-1]
    return _condition(parts, text)


def _condition(parts: list[str], text: str) -> Condition:
    head = parts[0]
    if head.startswith("$") and len(head) > 1:
        if len(parts) not in (1, 3):
            raise ValueError(f'invalid condition "{head}"')
        if not re.fullmatch(r"\$(?:[A-Za-z0-9_]+|\{[A-Za-z0-9_]+\})", head):
            raise ValueError(f'invalid condition "{head}"')
        if head[1:].isdigit() and len(head) == 2:  # captures are not variables here
            raise ValueError(f'unknown "{head[1:]}" variable')
        value = compile_template(head)
        if len(parts) == 1:
            return Condition(IS_SET, False, value, None, None, text)
        operator = parts[1]
        if operator in _OPERATORS:
            kind, negated = _OPERATORS[operator]
            return Condition(kind, negated, value, compile_template(parts[2]), None, text)
        if operator in _MATCH_OPERATORS:
            negated, caseless = _MATCH_OPERATORS[operator]
            return Condition(MATCHES, negated, value, None, compile_regex(parts[2], caseless), text)
        raise ValueError(f'unexpected "{operator}" in condition')
    bare = head.removeprefix("!")
    if bare in FILE_TESTS and len(parts) == 2 and parts[1]:
        return Condition(bare, head != bare, compile_template(parts[1]), None, None, text)
    raise ValueError(f'invalid condition "{head}"')


def if_block(*words: str) -> If:
    """Read `if (CONDITION) { ... }`; `resolve` fills in the contents."""
    return If(condition(*words))


def walk_steps(steps: tuple[Any, ...], visit: Callable[[Step], None]) -> None:
    """Visit every step, including those inside of `if`."""
    for step in steps:
        visit(step)
        if isinstance(step, If):
            walk_steps(step.steps, visit)


_IN_ANY = SERVER | LOCATION | SERVER_IF | LOCATION_IF


class RewriteDirectives:
    """Steps, and the logging of them."""

    return_: Return = directive(
        return_value,
        _IN_ANY,
        arity=(1, 2),
        inherit=STEP,
        doc="Answer at once: a status with a text, or a redirect with a URL.",
    )
    rewrite: Rewrite = directive(
        rewrite,
        _IN_ANY,
        arity=(2, 3),
        inherit=STEP,
        doc="Change the URI where it matches a regex, or redirect the client.",
    )
    set: Assignment = directive(assignment, _IN_ANY, arity=2, inherit=STEP, doc="Give a variable a value.")
    break_: Break = directive(break_, _IN_ANY, arity=0, inherit=STEP, doc="End the rewriting and stay in the location.")
    rewrite_log: bool = directive(
        flag, HTTP | _IN_ANY, default="off", doc="Whether the results of rewriting are logged, at notice."
    )
    uninitialized_variable_warn: bool = directive(
        flag, HTTP | _IN_ANY, default="on", doc="Whether reading a variable that was never set is logged, at warn."
    )


class ServerIf:
    """`if` in a server: it contains only steps."""

    if_: If = directive(
        if_block,
        SERVER,
        arity=(1, 1000),
        inherit=STEP,
        block=SERVER_IF,
        named=True,
        doc="Steps to take when a condition is true.",
    )


class LocationIf:
    """`if` in a location: steps, and settings of its own."""

    if_: If = directive(
        if_block,
        LOCATION,
        arity=(1, 1000),
        inherit=STEP,
        block=LOCATION_IF,
        named=True,
        doc="Steps and settings that apply when a condition is true.",
    )
