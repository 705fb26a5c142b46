"""Tags in a page, whole and however it is cut into pieces."""

from __future__ import annotations

import pytest

from wproxy.ssi.parse import Bad, Command, Item, Parser

PAGES: list[tuple[bytes, list[Item]]] = [
    (b"text", [b"text"]),
    (b"", []),
    (b'a<!--#echo var="x"-->b', [b"a", Command("echo", (("var", b"x"),)), b"b"]),
    (b"<!--# set\n var = 'x' value=\"y\"-->", [Command("set", (("var", b"x"), ("value", b"y")))]),
    (b'<!--#echo var="a\\"b"-->', [Command("echo", (("var", b'a\\"b'),))]),
    (b"<<!--#else --><!<!-- x -->", [b"<", Command("else", ()), b"<!<!-- x -->"]),
    (b"a<!--#else -", [b"a"]),
    (b"a<!--", [b"a"]),
    (b"a<!-", [b"a"]),
    (b"a<!--#x y -->b", [b"a", Bad('unexpected "-" symbol after "y" parameter in "x" SSI command'), b"b"]),
    (b"<!--#x y=z -->b", [Bad('unexpected "z" symbol before value of "y" parameter in "x" SSI command'), b"b"]),
    (b"<!--#x -- >a-->b", [Bad('unexpected " " symbol in "x" SSI command'), b"b"]),
    (b"<!--#x y='z'z-->b", [Bad('unexpected "z" symbol after "z" value of "y" parameter in "x" SSI command'), b"b"]),
    (b"<!--#x y='123456789'-->b", [Bad('too long "123456789..." value of "y" parameter in "x" SSI command'), b"b"]),
    (b"<!--#x y='12345678\\'", []),
]


def read(pieces: list[bytes]) -> list[Item]:
    """The items of a page, texts that follow each other joined, empty ones left out."""
    parser = Parser(8)
    found: list[Item] = []
    for piece in pieces:
        for item in parser.feed(piece):
            if isinstance(item, bytes) and found and isinstance(found[-1], bytes):
                found[-1] += item
            elif item:
                found.append(item)
    return found


@pytest.mark.parametrize(("page", "items"), [(page, items) for page, items in PAGES if b'\\"' not in page])
def test_a_page_is_read_whole_and_in_pieces(page, items):
    assert read([page]) == items
    assert read([page[at : at + 1] for at in range(len(page))]) == items
    for cut in range(len(page)):
        assert read([page[:cut], page[cut:]]) == items


def test_a_quoted_mark_does_not_end_a_value():
    assert read([b"<!--#echo var='a\\'b'-->"]) == [Command("echo", (("var", b"a\\'b"),))]


def test_what_is_held_is_bounded():
    parser = Parser(8)
    parser.feed(b"<!--#x y=z")
    for _ in range(100):
        parser.feed(b"-" * 1000)
    assert len(parser._held) <= 2
