"""Cookies are found as nginx finds them, and in a time that grows with the length of the field only."""

from __future__ import annotations

import random
import re

import pytest

from tests.quickest import quickest
from wproxy.variables.header import find_cookie

_NEXT = re.compile(rb"[;,] *").search


def by_the_book(text: bytes, name: bytes) -> bytes | None:
    """ngx_http_parse_multi_header_lines, step by step."""
    position = 0
    while position < len(text):
        if text[position : position + len(name)].lower() == name:
            rest = text[position + len(name) :].lstrip(b" ")
            if rest.startswith(b"="):
                return rest[1:].lstrip(b" ").partition(b";")[0]
            position = len(text) - len(rest) + 1
        separator = _NEXT(text, position)
        if separator is None:
            return None
        position = separator.end()
    return None


@pytest.mark.parametrize("name", [b"a", b"ab", b"a.b", b"b"])
def test_it_is_what_nginx_finds(name: bytes) -> None:
    chance = random.Random(5)
    for _ in range(30_000):
        text = bytes(chance.choice(b"aAb.=;, \n") for _ in range(chance.randrange(14)))
        assert find_cookie(text, name) == by_the_book(text, name), text


@pytest.mark.parametrize("piece", [b"a;", b"a,", b"; ", b"a;;", b"a   ;", b"b=c; ", b"a"])
def test_a_long_field_costs_little(piece: bytes) -> None:
    text = piece * (24_000 // len(piece))
    seconds, _ = quickest(0.04, lambda: [find_cookie(text, b"a") for _ in range(10)])
    assert seconds / 10 < 0.004
