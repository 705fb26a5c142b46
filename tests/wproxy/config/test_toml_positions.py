"""Every key and element of a TOML text has its place, however it is written.

The property test writes random data in random styles and notes, as it goes, where it wrote each key and element. The corpus
holds what is tricky about TOML; its places are checked by eye for a few documents and for completeness in all of them.
"""

from __future__ import annotations

import random
import string
import time
from collections.abc import Iterator
from typing import Any

import pytest
import tomli
from hypothesis import example, given, settings
from hypothesis import strategies as st

from wproxy.config.toml_positions import LineAndColumn, Path, comments_in, layout, locate

TRICKY = {
    "nothing": "",
    "only a comment": "# [a]\n  # b = 1",
    "no newline at the end": "a = 1",
    "blank before the key": "\t a = 1",
    "no blanks": "a=1\nb='x'\nc=[1,2]\nd={e=1,f=2}",
    "comments after everything": "[a] # one\nb = 1 # two\nc = \"#\" # three\nd = '#'#four\ne = [ # five\n1, # six\n] # seven",
    "a date with a blank": "a = 1979-05-27 07:32:00Z # when\nb = [1979-05-27 07:32:00, 07:32:00]",
    "numbers": "a = +1_000\nb = 0xdead_beef\nc = -inf\nd = 1e-6\ne = [1.5, nan, -0.0]",
    "quotes in strings": 'a = "\\"[x]\\\\"\nb = \'"\\\'\nc = "\'"',
    "empty strings": "a = \"\"\nb = ''\nc = \"\"\"\"\"\"\nd = ''''''\ne = 1",
    "strings over several lines": 'a = """\nx = 1\n# no comment\n\\"""\n[b]"""\nc = 2\nd = \'\'\'\n[e]\\\'\'\'\nf = 3',
    "quotes before the closing quotes": 'a = """x"""""\nb = """""x"""\nc = \'\'\'y\'\'\'\'\'\nd = """a""b"c"""\ne = 1',
    "a backslash that joins lines": 'a = """x \\\n\n   y \\  \n z"""\nb = 1',
    "a plain line that only looks plain": 'a = """x"""\nb = """\n"""\nc = 1',
    "dotted keys": "a.b.c = 1\na.b.d = 2\na . e = 3\n[f]\ng.h = 1\n[f.g2]\nx.y = 1",
    "quoted keys": '"a b" = 1\n\'c.d\' = 2\ne."f.g".\'h"\' = 3\n"" = 4\n["~ \\\\.php$".\'^~ /x\']\n"= /" = 1',
    "escapes in keys": '"\\u00e9\\U0001F600\\x41\\t\\n\\"\\\\\\e\\b\\f\\r" = 1',
    "bare keys of digits": "1.2 = 3\n-_- = 4\n[3.14]\n15 = 9",
    "blanks in headers": "[ a . b ]\nc = 1\n[[ d . e ]]\nf = 1",
    "a table before the one around it": "[a.b]\nx = 1\n[a]\ny = 1",
    "arrays of tables": "[[a]]\nx = 1\n[[a]]\n[[a.b]]\ny = 1\n[[a.b]]\n[a.b.c]\nz = 1\n[[a]]\n[a.b]\nz = 1",
    "an array of tables under an implicit table": "[[a.b.c]]\nx = 1\n[a]\ny = 1\n[a.b.d]\nz = 1\n[[a.b.c]]",
    "an empty table": "[a]\n[b]\n[[c]]\n[[c]]",
    "inline tables": "a = {}\nb = { c = { d = 1 }, e.f = 2, e.g = [ { h = 1 }, {} ] }\ni = [{j = 1}, {j = [1, 2]}]",
    "an inline table over several lines": "a = { # one\n  b = 1, # two\n  c = [\n 1 ],\n}\nd = 1",
    "arrays": 'a = []\nb = [[1, [2, 3]], [], [[]]]\nc = [\n\n  1, # x ] ,\n  # 2,\n  \'a,]#\',\n  """\n]""",\n]\nd = 1',
    "CRLF": '[a]\r\nb = 1\r\nc = """\r\nx\r\n"""\r\nd = [\r\n1,\r\n2]\r\n# x\r\n\r\ne = 1\r\n',
    "more than ASCII": 'a = "é😀"  # é\nb = ["é", "😀", 1]\n"é" = { "😀" = 1, c = 2 }\n["ключ"]\nd = 1',
}


@pytest.mark.parametrize("text", TRICKY.values(), ids=TRICKY)
def test_every_path_of_the_data_has_a_place_and_nothing_else_has(text: str) -> None:
    assert set(locate(text)) == set(paths(tomli.loads(text)))


@pytest.mark.parametrize("text", TRICKY.values(), ids=TRICKY)
def test_the_place_of_a_key_is_its_first_character(text: str) -> None:
    lines = text.replace("\r\n", "\n").split("\n")
    for path, (line, column) in locate(text).items():
        if isinstance(path[-1], str):
            assert lines[line - 1][column - 1 :].startswith((path[-1] or '"', '"', "'")), path


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("a = 1", {("a",): (1, 1)}),
        ("\n\n  a.b = 1", {("a",): (3, 3), ("a", "b"): (3, 5)}),
        ("a = [\n  1, [2],\n]", {("a",): (1, 1), ("a", 0): (2, 3), ("a", 1): (2, 6), ("a", 1, 0): (2, 7)}),
        ("a = { b = 1 }", {("a",): (1, 1), ("a", "b"): (1, 7)}),
        ("[a.'b c']\nd = 1", {("a",): (1, 2), ("a", "b c"): (1, 4), ("a", "b c", "d"): (2, 1)}),
        ("[[a]]\n[[a]]\nb = 1", {("a",): (1, 3), ("a", 0): (1, 3), ("a", 1): (2, 3), ("a", 1, "b"): (3, 1)}),
        ("a = '''\r\n\r\n'''\r\nb = 1\r\n", {("a",): (1, 1), ("b",): (4, 1)}),
        ("a = {'é😀' = 1, b = 2}", {("a",): (1, 1), ("a", "é😀"): (1, 6), ("a", "b"): (1, 16)}),
    ],
)
def test_lines_and_columns_count_characters_from_one(text: str, places: dict[Path, LineAndColumn]) -> None:
    assert locate(text) == places


def test_a_table_stands_at_its_own_header_even_if_it_is_mentioned_before() -> None:
    assert locate("[a.b]\n[a]\nc = 1")[("a",)] == (2, 2)


def test_a_table_without_a_header_stands_where_it_is_first_mentioned() -> None:
    places = locate("[a.b]\n[a.c]\n[d]\ne.f = 1\ne.g = 2")
    assert places[("a",)] == (1, 2)
    assert places[("d", "e")] == (4, 1)


def test_what_tomli_would_refuse_ends_the_walk_and_keeps_the_places_before() -> None:
    assert locate("a = 1\nb = 2\n? = 3\nc = 4") == {("a",): (1, 1), ("b",): (2, 1)}
    assert locate("a = [1, ") == {("a",): (1, 1), ("a", 0): (1, 6), ("a", 1): (1, 9)}
    assert locate("a = {b = 1, ") == {("a",): (1, 1), ("a", "b"): (1, 6)}


def test_strings_that_never_end_take_no_time_to_give_up() -> None:
    """The token patterns go back for nothing: each of these took minutes with a careless pattern."""
    started = time.process_time()
    for text in ('a = "' + "\\\\" * 50_000, 'a = """' + '"" x' * 50_000, "a = " + "# \n" * 50_000, "#\n \t" * 50_000):
        locate(text)
    assert time.process_time() - started < 5


# The property


def paths(data: Any, path: Path = ()) -> Iterator[Path]:
    """Every path of parsed data, tables and arrays included."""
    items: Any = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for step, value in items:
        yield (*path, step)
        yield from paths(value, (*path, step))


class Writer:
    """Writes data as TOML, choosing among the ways there are, and notes where each key and element went."""

    def __init__(self, choose: random.Random) -> None:
        self.choose = choose
        self.newline = choose.choice(["\n", "\r\n"])
        self.text = ""
        self.line = 1
        self.column = 1
        self.places: dict[Path, LineAndColumn] = {}

    def maybe(self) -> bool:
        return self.choose.random() < 0.4

    def write(self, text: str) -> None:
        """Text with \\n for the newlines of the document."""
        for character in text:
            if character == "\n":
                self.text += self.newline
                self.line += 1
                self.column = 1
            else:
                self.text += character
                self.column += 1

    def note(self, path: Path, *, again: bool = False) -> None:
        if again or path not in self.places:
            self.places[path] = (self.line, self.column)

    def blanks(self) -> None:
        self.write(self.choose.choice(["", " ", "  ", "\t"]))

    def gap(self) -> None:
        """White space where newlines and comments may stand."""
        while self.maybe():
            self.write(self.choose.choice([" ", "\t", "\n", "# a = [1, '\n", '#]}"\n', "# é😀\n"]))

    def end_of_line(self) -> None:
        self.blanks()
        self.write(self.choose.choice(["", "", "# = [ ] \" '"]) + "\n")
        while self.maybe():
            self.write(self.choose.choice(["\n", "  \n", "#\n", "\t# [x]\n"]))

    # Strings

    def basic(self, text: str, *, multiline: bool) -> str:
        written = ""
        for character in text:
            if character in '"\\':
                written += "\\" + character
            elif character == "\n" and multiline:
                written += self.choose.choice(["\n", "\\n", "\\\n \n  \\n"])
            elif ord(character) < 32 or ord(character) == 127 or self.choose.random() < 0.1:
                written += f"\\U{ord(character):08x}" if self.maybe() or ord(character) > 0xFFFF else f"\\u{ord(character):04X}"
            else:
                written += character
        return written

    def one_line(self, text: str) -> str:
        if "'" not in text and all(ord(c) >= 32 and ord(c) != 127 for c in text) and self.maybe():
            return f"'{text}'"
        return f'"{self.basic(text, multiline=False)}"'

    def string(self, text: str) -> str:
        if self.maybe():
            if "'''" not in text and all(c == "\n" or (ord(c) >= 32 and ord(c) != 127) for c in text) and self.maybe():
                return f"'''\n{text}'''"
            first = "\n" if text.startswith("\n") or self.maybe() else ""
            body = self.basic(text, multiline=True)
            if body.endswith('\\"') and not body.endswith('\\\\"') and self.maybe():
                body = body[:-2] + '"'
            return f'"""{first}{body}"""'
        return self.one_line(text)

    # Keys and values

    def key_part(self, part: str) -> None:
        bare = part and set(part) <= set(string.ascii_letters + string.digits + "-_")
        self.write(part if bare and not self.maybe() else self.one_line(part))

    def key(self, above: Path, parts: tuple[str, ...]) -> None:
        for index, part in enumerate(parts):
            if index:
                self.blanks()
                self.write(".")
                self.blanks()
            above = (*above, part)
            self.note(above)
            self.key_part(part)

    def value(self, path: Path, value: Any) -> None:
        if isinstance(value, dict):
            self.write("{")
            self.gap()
            for index, (parts, inner) in enumerate(self.assignments(value)):
                if index:
                    self.write(",")
                    self.gap()
                self.assign(path, parts, inner)
                self.gap()
            self.write("}")
        elif isinstance(value, list):
            self.write("[")
            self.gap()
            for index, element in enumerate(value):
                self.note((*path, index))
                self.value((*path, index), element)
                self.gap()
                if index < len(value) - 1 or self.maybe():
                    self.write(",")
                    self.gap()
            self.write("]")
        elif isinstance(value, str):
            self.write(self.string(value))
        else:
            self.write(str(value).lower())

    def assignments(self, table: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
        """The values of a table, some of its tables taken apart into dotted keys."""
        for key, value in table.items():
            if isinstance(value, dict) and value and self.maybe():
                for parts, inner in self.assignments(value):
                    yield (key, *parts), inner
            else:
                yield (key,), value

    def assign(self, table: Path, parts: tuple[str, ...], value: Any) -> None:
        self.key(table, parts)
        self.blanks()
        self.write("=")
        self.blanks()
        self.value((*table, *parts), value)

    # Tables

    def header(self, path: Path, opening: str) -> None:
        self.blanks()
        self.write(opening)
        self.blanks()
        *above, last = [index for index, step in enumerate(path) if isinstance(step, str)]
        for index in above:
            self.note(path[: index + 1])
            self.key_part(str(path[index]))
            self.blanks()
            self.write(".")
            self.blanks()
        # A table has the place of its own header, an array of tables that of the first one.
        self.note(path[: last + 1], again=opening == "[")
        self.note(path)
        self.key_part(str(path[last]))
        self.blanks()
        self.write("]" * len(opening))
        self.end_of_line()

    def table(self, path: Path, table: dict[str, Any], opening: str = "") -> None:
        """A table: its header, then its own lines, then the tables in it that have a header."""
        headed = {key: value for key, value in table.items() if may_have_header(value) and not self.maybe()}
        plain = {key: value for key, value in table.items() if key not in headed}
        if opening == "[[" or (opening and (plain or not headed or self.maybe())):
            self.header(path, opening)
        for parts, value in self.assignments(plain):
            self.blanks()
            self.assign(path, parts, value)
            self.end_of_line()
        for key, value in headed.items():
            if isinstance(value, list):
                for index, element in enumerate(value):
                    self.table((*path, key, index), element, "[[")
            else:
                self.table((*path, key), value, "[")


def may_have_header(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(isinstance(element, dict) for element in value)
    return isinstance(value, dict)


TEXT = st.text(st.characters(codec="utf-8"), max_size=6) | st.text("\"'\\\n[]{}#=,. ab", max_size=6)
KEYS = st.text(string.ascii_letters + string.digits + "-_", min_size=1, max_size=4) | TEXT
SCALARS = st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False) | TEXT
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(KEYS, inner, max_size=4)
        | st.lists(st.dictionaries(KEYS, inner, max_size=3), min_size=1, max_size=3)
    ),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None)
@given(data=st.dictionaries(KEYS, VALUES, max_size=5), seed=st.integers(0, 2**32))
@example(data={"a": [{"b": {"c": [{"d": 1}, {}]}}, {"b": {}}]}, seed=1)
def test_places_are_where_things_were_written(data: dict[str, Any], seed: int) -> None:
    writer = Writer(random.Random(seed))
    writer.table((), data)
    assert tomli.loads(writer.text) == data
    assert locate(writer.text) == writer.places


def test_comments_are_found_but_not_in_strings() -> None:
    text = """# one
a = "# no" # two
b = \'# no\'
c = \'\'\'
# no
\'\'\' #three
  # four
[d] #
"""
    assert list(comments_in(text)) == [
        (1, " one", True, 0),
        (2, " two", False, 11),
        (6, "three", False, 4),
        (7, " four", True, 2),
        (8, "", False, 4),
    ]


def test_the_layout_has_headers_and_the_ends_of_arrays() -> None:
    text = "a = [1,\n2]\n[b.c]\n[[d]]\nsteps = [\n  ['x', [\n['y'],\n]],\n]\n[[d]] # more\r\n"
    found = layout(text)
    assert found.headers == [(3, ("b", "c")), (4, ("d", 0)), (10, ("d", 1))]
    assert found.ends[("a",)] == 2
    assert found.ends[("d", 0, "steps", 0, 1)] == 8
    assert found.ends[("d", 0, "steps")] == 9
