"""Templates: text with variables (`http://$host:${server_port}`), compiled to a function at load.

A template knows how long its value holds (`varies`): as long as the connection and the header block stay the same, or for one
request only. The code that evaluates it remembers a value that holds longer. A template may name variables that the configuration
declares further down: how long those hold is known at the end of the load.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from wproxy.failures import ClientError
from wproxy.http import Request
from wproxy.variables import BLOCK, CAPTURES, Reader, Variable, active_namespace, find_variable

# `$1` is one digit, whatever follows; with braces it would be a name (nginx: ngx_http_script_compile).
_PIECE: Final = re.compile(r"\$(?:([1-9])|\{([A-Za-z0-9_]+)\}|([A-Za-z0-9_]+)|\{([A-Za-z0-9_]*)(?!\})(.?)|())", re.DOTALL)
# Where a directive takes only names, `$1` is a name, and no variable has it (nginx: ngx_http_get_variable_index).
_NAMED_PIECE: Final = re.compile(_PIECE.pattern.replace("[1-9]", "(?!)"), re.DOTALL)

Evaluate = Callable[[Request], bytes]

# Leaves as it is what is safe in a head. (With bytes to delete, `translate` makes a table each time: three times as long.)
_SAFE_IN_A_HEAD: Final = bytes(byte ^ 0xFF if byte in b"\r\n\0" else byte for byte in range(256))


class Template:
    """Compiled text. `constant` is its value when it has no variables, else None.

    read: the same as `evaluate`, and quicker if the text is a single variable: it may return None where that returns nothing.
    """

    __slots__ = ("_variables", "constant", "evaluate", "read", "text")

    def __init__(
        self,
        text: str,
        constant: bytes | None,
        evaluate: Evaluate,
        variables: tuple[Variable, ...],
        read: Reader | None = None,
    ) -> None:
        self.text = text
        self.constant = constant
        self.evaluate = evaluate
        self.read: Reader = read or evaluate
        self._variables = variables

    @property
    def varies(self) -> int:
        """BLOCK, LOCATION, LINE, REQUEST or FIELDS; ask only when the configuration has been read."""
        return max((variable.varies for variable in self._variables), default=BLOCK)

    def names(self, variable: str) -> bool:
        """Whether the text has this variable of ours, by its own name."""
        return find_variable(variable) in self._variables

    @property
    def reads(self) -> frozenset[bytes] | None:
        """The header fields that its value depends on, in lower case; None: any of them. For one that holds for a location."""
        if any(variable.reads is None for variable in self._variables):
            return None
        return frozenset(name for variable in self._variables for name in variable.reads or ())

    @property
    def by_address(self) -> bool:
        """Whether its value holds for other connections with the same address, block and location (`Variable`)."""
        return all(variable.by_address for variable in self._variables)

    def __repr__(self) -> str:
        return f"<template {self.text!r}>"


def compile_template(text: str) -> Template:
    """Compile a text; raises ValueError for an unknown variable or an unclosed brace.

    A variable without a value counts as empty. While a configuration is read, equal texts are one template: a large one repeats
    its proxy_set_header lines in every location.
    """
    templates = active_namespace().templates
    if templates is None:
        return _compile(text)
    template: Template | None = templates.get(text)
    if template is None:
        template = templates[text] = _compile(text)
    return template


def _compile(text: str) -> Template:
    pieces = parse_pieces(text)
    variables = tuple(piece for piece in pieces if isinstance(piece, Variable))
    if not variables:
        return literal(text)
    if len(pieces) == 1:
        return _of_variable(text, variables[0])
    return Template(text, None, _joiner([piece.read if isinstance(piece, Variable) else piece for piece in pieces]), variables)


def compile_variable(text: str) -> Template:
    """Compile `$NAME`, where only the name of a variable is allowed; raises ValueError.

    `$1` is a name like any other there, and no variable has it (nginx: ngx_http_get_variable_index).
    """
    name = text[1:]
    if not text.startswith("$") or not name:
        raise ValueError(f'invalid variable name "{text}"')
    return _of_variable(text, _found(name))


def _of_variable(text: str, variable: Variable) -> Template:
    read = variable.read
    return Template(text, None, lambda request: read(request) or b"", (variable,), read)


def parse_pieces(text: str, has_captures: bool = True) -> list[bytes | Variable]:
    """Cut a text into literal bytes and variables; raises ValueError. has_captures: whether `$1` to `$9` are allowed in it."""
    pieces: list[bytes | Variable] = []
    position = 0
    for match in (_PIECE if has_captures else _NAMED_PIECE).finditer(text):
        if match.start() > position:
            pieces.append(_encode(text[position : match.start()]))
        pieces.append(_variable(match))
        position = match.end()
    if position < len(text):
        pieces.append(_encode(text[position:]))
    return pieces


def _variable(match: re.Match[str]) -> Variable:
    digit, braced, bare, unclosed, following, _ = match.groups()
    if digit:
        active_namespace().captures_are_read = True
        return CAPTURES[int(digit) - 1]
    if unclosed or following:
        raise ValueError(f'the closing bracket in "{unclosed}" variable is missing')
    name = braced or bare
    if not name:
        raise ValueError("invalid variable name")
    return _found(name)


def _found(name: str) -> Variable:
    variable = find_variable(name.lower())
    if variable is None:
        raise ValueError(f'unknown "{name}" variable')
    return variable


def literal(text: str) -> Template:
    """Return a template of text without variables."""
    value = _encode(text)
    return Template(text, value, lambda request: value, ())


def checked(value: bytes) -> bytes:
    """Return a value made from variables, if it is safe to put into a head; raises ClientError(500) otherwise."""
    if value.translate(_SAFE_IN_A_HEAD) != value:
        raise ClientError(500, "a line break or zero byte in a header value made from variables")
    return value


def _joiner(pieces: list[bytes | Reader]) -> Evaluate:
    def evaluate(request: Request) -> bytes:
        return b"".join([piece if isinstance(piece, bytes) else piece(request) or b"" for piece in pieces])

    return evaluate


def _encode(text: str) -> bytes:
    """Encode configuration text: bytes that were not UTF-8 in the file stay as they were."""
    return text.encode("utf-8", "surrogateescape")
