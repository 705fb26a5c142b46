"""Templates: text with variables (`http://$host:${server_port}`), compiled to a function at load.

A template knows how long its value holds (`varies`): as long as the connection and the header block stay the same, or for one
request only. What holds longer is remembered by whoever evaluates it.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from wproxy.http import Request
from wproxy.variables import BLOCK, Reader, Variable, find_variable

_PIECE = re.compile(r"\$(?:\{([A-Za-z0-9_]+)\}|([A-Za-z0-9_]+)|\{([A-Za-z0-9_]+)|())")

Evaluate = Callable[[Request], bytes]


class Template:
    """Compiled text. `constant` is its value when it has no variables, else None."""

    __slots__ = ("constant", "evaluate", "text", "varies")

    def __init__(self, text: str, constant: bytes | None, evaluate: Evaluate, varies: int) -> None:
        self.text = text
        self.constant = constant
        self.evaluate = evaluate
        self.varies = varies

    def __repr__(self) -> str:
        return f"<template {self.text!r}>"


def compile_template(text: str) -> Template:
    """Compile; raises ValueError for an unknown variable or a brace left open.

    A variable that is not found counts as empty.
    """
    pieces = parse_pieces(text)
    if not any(isinstance(piece, Variable) for piece in pieces):
        return _constant_template(text, b"".join(piece for piece in pieces if isinstance(piece, bytes)))
    varies = max(piece.varies for piece in pieces if isinstance(piece, Variable))
    if len(pieces) == 1 and isinstance(pieces[0], Variable):
        read = pieces[0].read
        return Template(text, None, lambda request: read(request) or b"", varies)
    return Template(text, None, _joiner([piece.read if isinstance(piece, Variable) else piece for piece in pieces]), varies)


def parse_pieces(text: str) -> list[bytes | Variable]:
    """Text cut into literal bytes and variables; raises ValueError."""
    pieces: list[bytes | Variable] = []
    position = 0
    for match in _PIECE.finditer(text):
        if match.start() > position:
            pieces.append(_encode(text[position : match.start()]))
        name = match[1] or match[2]
        if match[3]:
            raise ValueError(f'the closing bracket in "{match[3]}" variable is missing')
        if not name:
            raise ValueError("invalid variable name")
        variable = find_variable(name.lower())
        if variable is None:
            raise ValueError(f'unknown "{name}" variable')
        pieces.append(variable)
        position = match.end()
    if position < len(text):
        pieces.append(_encode(text[position:]))
    return pieces


def _constant_template(text: str, value: bytes) -> Template:
    return Template(text, value, lambda request: value, BLOCK)


def _joiner(pieces: list[bytes | Reader]) -> Evaluate:
    def evaluate(request: Request) -> bytes:
        return b"".join([piece if isinstance(piece, bytes) else piece(request) or b"" for piece in pieces])

    return evaluate


def _encode(text: str) -> bytes:
    """Configuration text as bytes: what was not UTF-8 in the file stays as it was."""
    return text.encode("utf-8", "surrogateescape")
