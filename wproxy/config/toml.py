"""wproxy.toml, read into the directive tree.

The file is the same tree as an nginx.conf. The top level is the main context; a key is the name of a directive, and
its row in the registry says what the value means:

| the row | the value | what it is |
|---|---|---|
| any simple directive | scalar | one occurrence with one argument; true and false are `on` and `off` |
| takes no argument | true, false | there, or not: `ip_hash = true` |
| does not repeat | array | the arguments of its one occurrence: `keepalive_timeout = [75, 60]` |
| repeats | array | an occurrence for each element, an array if it has several: `listen = [80, ["443", "ssl"]]` |
| named, no block | table | an occurrence for each key, its first argument: `proxy_set_header = { Host = "$host" }` |
| block | table, array of tables | one block, several: `[http]`, `[[http.server]]` |
| named block | table | a block for each key, its arguments: `[http.upstream.app]`, `[http.server.location."= /x"]` |

In a named directive the value of a key is what follows the first argument: a scalar, an array of arguments, or a table
of parameters (`{ weight = 3, backup = true }` is `weight=3 backup`); an array of arrays or tables makes several
occurrences. In a named block it is the block, or an array of blocks with the same arguments.

Nodes stand in the order of the file. That is finer than the order of tomli's dictionaries, which keep together what
belongs to one key: with dotted keys (`deny."10.0.0.1" = []`, then `allow."10.0.0.0/8" = []`) directives may alternate.

A name that is not known becomes a node as well as can be guessed: the check of the tree reports it, with a suggestion.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import tomli

from wproxy.config.registry import MAIN, Directive, find_directive
from wproxy.config.toml_positions import Path, Place, locate
from wproxy.config.tree import ConfigurationError, Node, Position, Problem

Lookup = Callable[[str, int], Directive | None]
Table = dict[str, Any]

_SEPARATOR = re.compile(r"[ \t\r\n]+")  # between the arguments in a key; nginx has the same four
_LOCATION_MODIFIERS = ("=", "~", "~*", "^~")
_ANY_CONTEXT = 0  # inside a block that nobody knows


def parse_toml(text: bytes, file: str, lookup: Lookup = find_directive) -> Node:
    """Read a wproxy.toml; the root node has no name and holds the main context.

    lookup: the row of a name in a context (the `block` of the row around it), None when there is none.
    Raises ConfigurationError with everything that is wrong with the shape of the file. Whether the directives exist,
    may stand where they stand and have the right arguments is left to the check of the tree.
    """
    try:
        document = text.decode()
        table = _load(document, file)
        reader = _Reader(file, locate(document), lookup)
        children = reader.children(table, (), MAIN)
    except UnicodeDecodeError as error:
        before = text[: error.start].decode()
        position = Position(file, before.count("\n") + 1, len(before) - before.rfind("\n"))
        raise ConfigurationError(Problem(f"not UTF-8: byte 0x{text[error.start]:02x}", position)) from None
    except RecursionError:  # tomli draws its line at 400 inline levels and 1,000 parts in a key, we somewhat earlier
        raise ConfigurationError(Problem("tables or arrays are nested too deeply", Position(file, 0))) from None
    if reader.problems:
        raise ConfigurationError(*sorted(reader.problems, key=_place_of))
    return Node("", (), Position(file, 1, 1), children)


def _load(document: str, file: str) -> Table:
    """The data of the file."""
    try:
        return tomli.loads(document)
    except tomli.TOMLDecodeError as error:
        raise ConfigurationError(Problem(error.msg, Position(file, error.lineno, error.colno))) from None
    except ValueError as error:  # an integer that Python refuses to read, of more than 4,300 digits
        raise ConfigurationError(Problem(str(error), Position(file, 0))) from None


class _Reader:
    """Turns tables into nodes. Every method takes the path of its value, to say where it stands."""

    def __init__(self, file: str, places: dict[Path, Place], lookup: Lookup) -> None:
        self.file = file
        self.places = places
        self.lookup = lookup
        self.problems: list[Problem] = []

    def children(self, table: Table, path: Path, context: int) -> list[Node]:
        """The directives of one block, in the order of the file."""
        nodes: list[Node] = []
        for name, value in table.items():
            here = (*path, name)
            row = self.lookup(name, context)
            if row is None:
                nodes += self.unknown(name, value, here)
            elif row.block:
                nodes += self.named_blocks(name, row, value, here) if row.named else self.blocks(name, row, value, here)
            elif row.named and isinstance(value, dict):
                nodes += self.named_directives(name, value, here)
            else:
                nodes += self.directives(name, row, value, here)
        nodes.sort(key=_place_of)
        return nodes

    # Blocks

    def blocks(self, name: str, row: Directive | None, value: Any, path: Path) -> Iterator[Node]:
        """One block for a table, several for an array of tables."""
        inside = row.block if row else _ANY_CONTEXT
        for table, here in _elements(value, path):
            if isinstance(table, dict):
                yield Node(name, (), self.position(here), self.children(table, here, inside))
            else:
                self.refuse(f'"{name}" is a block and takes a table, not {_kind(table)}', here)

    def named_blocks(self, name: str, row: Directive, value: Any, path: Path) -> Iterator[Node]:
        """A table whose keys are the arguments of the blocks."""
        if not isinstance(value, dict):
            self.refuse(f'"{name}" takes a table for each name, as in [{name}.NAME], not {_kind(value)}', path)
            return
        for key, blocks in value.items():
            arguments = _arguments_in_key(name, row, key)
            for table, here in _elements(blocks, (*path, key)):
                if isinstance(table, dict):
                    yield Node(name, arguments, self.position(here), self.children(table, here, row.block))
                else:
                    self.refuse(
                        f'"{key}" stands where "{name}" has its name, as in [{name}.NAME]: it takes a table, not {_kind(table)}',
                        here,
                    )

    # Simple directives

    def directives(self, name: str, row: Directive, value: Any, path: Path) -> Iterator[Node]:
        """A directive that is written with all its arguments in the value."""
        least, most = row.arity
        if not most and isinstance(value, bool):
            if value:
                yield Node(name, (), self.position(path))
            return
        expected = _expected(row)
        for occurrence, here in _elements(value, path) if row.repeats else ((value, path),):
            # listen = [80, 443] is meant, error_page = [404, "/404.html"] cannot be
            if here is not path and least > 1 and not isinstance(occurrence, list | dict):
                shape = "{ FIRST = ... }" if row.named else "[[..., ...]]"
                self.refuse(f'"{name}" takes at least {least} arguments: write {name} = {shape}', here)
                return
            arguments = self.arguments(name, occurrence, here, expected)
            if arguments is not None:
                yield Node(name, arguments, self.position(here))

    def named_directives(self, name: str, table: Table, path: Path) -> Iterator[Node]:
        """A table whose keys are the first arguments."""
        for key, value in table.items():
            for rest, here in _occurrences(value, (*path, key)):
                if isinstance(rest, dict):
                    arguments = self.parameters(name, rest, here)
                else:
                    arguments = self.arguments(name, rest, here, "a value, an array of values or a table of parameters")
                if arguments is not None:
                    yield Node(name, (key, *arguments), self.position(here))

    def unknown(self, name: str, value: Any, path: Path) -> Iterator[Node]:
        """A name without a row: a block if it looks like one, otherwise arguments."""
        if isinstance(value, dict) or (isinstance(value, list) and value and isinstance(value[0], dict)):
            yield from self.blocks(name, None, value, path)
            return
        for occurrence, here in _occurrences(value, path):
            arguments = self.arguments(name, occurrence, here, "a value or an array of values")
            if arguments is not None:
                yield Node(name, arguments, self.position(here))

    # Arguments

    def arguments(self, name: str, value: Any, path: Path, expected: str) -> tuple[str, ...] | None:
        """A scalar or an array of scalars as text; None when the value is something else, which is then reported."""
        words: list[str] = []
        for element, here in _elements(value, path):
            word = _word(element)
            if word is None:
                inside = " inside an array" if isinstance(here[-1], int) else ""
                self.refuse(f'"{name}" takes {expected}, not {_kind(element)}{inside}', here)
                return None
            words.append(word)
        return tuple(words)

    def parameters(self, name: str, table: Table, path: Path) -> tuple[str, ...] | None:
        """`{ weight = 3, backup = true, down = false }` is `weight=3 backup`; None when one makes no sense."""
        words: list[str] = []
        for key, value in table.items():
            word = _word(value)
            if word is None:
                self.refuse(f'parameter "{key}" of "{name}" takes a value, not {_kind(value)}', (*path, key))
                return None
            if value is True:
                words.append(key)
            elif value is not False:
                words.append(f"{key}={word}")
        return tuple(words)

    # Messages

    def position(self, path: Path) -> Position:
        """Where the path stands, or what is around it, should its own place not be known."""
        while path and path not in self.places:
            path = path[:-1]
        line, column = self.places[path] if path else (1, 1)
        return Position(self.file, line, column)

    def refuse(self, text: str, path: Path) -> None:
        self.problems.append(Problem(text, self.position(path)))


def _place_of(item: Node | Problem) -> Place:
    """The line and column, to sort by."""
    position = item.position
    return (position.line, position.column) if position else (0, 0)


def _elements(value: Any, path: Path) -> list[tuple[Any, Path]]:
    """The elements of an array, each with its path; any other value by itself."""
    if isinstance(value, list):
        return [(element, (*path, index)) for index, element in enumerate(value)]
    return [(value, path)]


def _occurrences(value: Any, path: Path) -> list[tuple[Any, Path]]:
    """The elements of an array of arrays or tables; any other value, an array of scalars too, by itself."""
    if isinstance(value, list) and value and all(isinstance(element, list | dict) for element in value):
        return _elements(value, path)
    return [(value, path)]


def _arguments_in_key(name: str, row: Directive, key: str) -> tuple[str, ...]:
    """The arguments of a named block: only the last of them may have white space inside."""
    most = row.arity[1]
    if most < 2:
        return (key,)
    words = tuple(_SEPARATOR.split(key, most - 1))
    if name == "location" and words[0] not in _LOCATION_MODIFIERS:  # a prefix may have white space
        return (key,)
    return words


def _word(value: Any) -> str | None:
    """A scalar as nginx.conf would have it; None for a date, a table, an array, an integer past 64 bits."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, int):
        return str(value) if -(2**63) <= value < 2**63 else None
    return str(value) if isinstance(value, float) else None


def _kind(value: Any) -> str:
    """What a value is, for a person."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "an array of tables" if value and isinstance(value[0], dict) else "an array"
    if _word(value) is not None:
        return "a value"
    return "a number of more than 64 bits" if isinstance(value, int) else "a date or time (put it in quotes)"


def _expected(row: Directive) -> str:
    """What a simple directive takes, for a person."""
    most = row.arity[1]
    if row.named:
        return "a table with its first arguments as keys"
    if not most:
        return "true or false"
    if row.repeats:
        return "a value or an array" if most == 1 else "a value or an array of values and arrays"
    return "a value" if most == 1 else "a value or an array of values"
