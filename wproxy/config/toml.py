"""wproxy.toml, read into the directive tree.

The file is the same tree as an nginx.conf. The top level is the main context; a key is the name of a directive, and
its row in the registry says what the value means:

| the row | the value | what it is |
|---|---|---|
| any simple directive | scalar | one occurrence with one argument; true and false are `on` and `off` |
| may stand without argument | true, false | there, or not: `ip_hash = true` |
| does not repeat | array | the arguments of its one occurrence: `keepalive_timeout = [75, 60]` |
| repeats | array | an occurrence for each element, an array if it has several: `listen = [80, ["443", "ssl"]]` |
| a step of the rewrite module | array | its arguments, `return = [301, "/x"]`; with arrays inside an occurrence for each |
| named, no block | table | an occurrence for each key, its first argument: `proxy_set_header = { Host = "$host" }` |
| block | table, array of tables | one block, several: `[http]`, `[[http.server]]` |
| named block | table | a block for each key, its arguments: `[http.upstream.app]`, `[http.server.location."= /x"]` |

In a named directive the value of a key is what follows the first argument: a scalar, an array of arguments, or a table
of parameters (`{ weight = 3, backup = true }` is `weight=3 backup`); an array of arrays or tables makes several
occurrences. In a named block it is the block, or an array of blocks with the same arguments.

The key of a named block that takes several arguments is split into words as nginx.conf would: at white space, and a word in
quotes may have white space inside (`[http.map.'"$host $uri" $backend']`); `;` `{` `}` and `#` are ordinary characters there.
Two are read otherwise: a block that takes one argument has its key whole, and the key of a location is an optional modifier
and a pattern, which is taken as it stands, white space and backslashes and all.

Some blocks hold entries, not directives: map, geo, split_clients, types. There a key is the entry's first word, whatever it
is, and the value what follows it: a scalar, or an array of words (`"text/html" = ["html", "htm"]`); an array of arrays makes
several entries; `hostnames = true` is an entry of one word.

`include = "sites/*.toml"`, or an array, puts what is in other files in its place, in any block, of entries too. Names are
relative to the directory of the main file. What ends in `.toml` is TOML, a table of that block; any other file is in
nginx's syntax.

Order. A table has each key once. Where directives of one name must alternate with others, as the steps of the rewrite module
do, a block lists them in `steps`: an array of statements, each an array of its words as nginx.conf has them, and a block
with what is inside it as the last element, statements again or a table:

    [http.server.location."/"]
    steps = [
        ["set", "$a", "1"],
        ["if", "($arg_b)", [["set", "$a", "2"], ["break"]]],
        ["set", "$c", "$a"],
    ]

Any directive may be a step. A block of entries, where `steps` is a word like any other, is an array of statements itself
then: `"$v" = [["delete", "10.0.0.0/8"], ["default", "x"]]` under `[http.geo]`.

Nodes stand in the order of the file. That is finer than the order of tomli's dictionaries, which keep together what
belongs to one key: with dotted keys (`deny."10.0.0.1" = []`, then `allow."10.0.0.0/8" = []`) directives may alternate. Only
what nginx wants to have read before something else is put before it (`wproxy.config.precedence`).

A name that is not known becomes a node as well as can be guessed: the check of the tree reports it, with a suggestion.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Callable, Iterator
from typing import Any

import tomli

from wproxy.config.document import (
    BYTE_ORDER_MARK,
    Comments,
    Document,
    Glob,
    OpenFile,
    SourceFile,
    in_utf_16,
    included_files,
    is_utf_16,
    no_file,
    no_match,
)
from wproxy.config.nginx import DEPTH_LIMIT, read_block, split_words
from wproxy.config.precedence import in_nginx_order
from wproxy.config.registry import ENTRIES, MAIN, OPAQUE, STEP, Directive, find_directive
from wproxy.config.toml_positions import Path, Place, dotted, doubly_said, left_open, locate
from wproxy.config.tree import BrokenShape, ConfigurationError, Node, Position, Problem

Lookup = Callable[[str, int], Directive | None]
Table = dict[str, Any]

_SEPARATOR = re.compile(r"[ \t\r\n]+")  # between the arguments in a key; nginx has the same four
_LOCATION_MODIFIERS = ("=", "~", "~*", "^~")
_ANY_CONTEXT = 0  # inside a block that nobody knows
# A statement that ends where it began; its line can be left out.
_KEY_AND_VALUE = re.compile(r"[ \t]*[^\s#\[=][^=]*=(?![^\"']*\[[^\]]*$)(?!.*(?:\"\"\"|''')).*").fullmatch
PROBLEM_LIMIT = 20  # of one file
STEPS = "steps"
INCLUDE = "include"


def parse_toml(
    text: bytes,
    file: str,
    lookup: Lookup = find_directive,
    open_file: OpenFile = no_file,
    config_directory: str = "",
    glob: Glob = no_match,
) -> Node:
    """Read a wproxy.toml; the root node has no name and holds the main context. See `read_toml`."""
    return read_toml(text, file, lookup, open_file, config_directory, glob).root


def read_toml(
    text: bytes,
    file: str,
    lookup: Lookup = find_directive,
    open_file: OpenFile = no_file,
    config_directory: str = "",
    glob: Glob = no_match,
    with_comments: bool = False,
) -> Document:
    """Read a wproxy.toml with all that it includes.

    lookup: the row of a name in a context (the `block` of the row around it), None when there is none. open_file, glob: give
    the included files. config_directory: what their names are relative to. with_comments: whether they are wanted, for
    finding them takes time. Raises ConfigurationError with everything that is wrong with the shape of the file. Whether the
    directives exist, may stand where they stand and have the right arguments is left to the check of the tree.
    """
    files = _Files(lookup, open_file, config_directory, glob, with_comments)
    root = Node("", (), Position(file, 1, 1), [])
    files.read(text, file, root, MAIN)
    if files.problems:
        raise BrokenShape(files.problems, root, True, SourceFile.places(files.sources))
    return Document(root, files.sources, files.comments)


class _Files:
    """What the files of one configuration have in common."""

    def __init__(self, lookup: Lookup, open_file: OpenFile, directory: str, glob: Glob, with_comments: bool) -> None:
        self.lookup = lookup
        self.open_file = open_file
        self.directory = directory
        self.glob = glob
        self.with_comments = with_comments
        self.problems: list[Problem] = []
        self.sources: list[SourceFile] = []
        self.comments = Comments()
        self.including: list[str] = []  # the files being read, outermost first

    def read(self, text: bytes, file: str, block: Node, context: int, included_at: Position | None = None) -> None:
        """Add what a TOML file holds to a block of that context."""
        self.note_source(SourceFile(file, text, included_at))
        self.including.append(file)
        children = block.children if block.children is not None else []
        try:
            if is_utf_16(text):
                raise ConfigurationError(in_utf_16(file))
            document = text.decode()
            table, document, unreadable = self.load(document, file)
            reader = _Reader(self, file, locate(document))
            found = reader.children(table, (), context, block)
            children += found
            self.problems += sorted([*unreadable, *reader.problems], key=_place_of)
            if self.with_comments and "#" in document:
                from wproxy.config.toml_comments import attach_comments  # only a conversion needs it

                attach_comments(self.comments, document, file, found, block, reader.blocks_by_path)
        except ConfigurationError as error:
            self.problems += error.problems
        except UnicodeDecodeError as error:
            before = text[: error.start].decode()
            position = Position(file, before.count("\n") + 1, len(before) - before.rfind("\n"))
            self.problems.append(Problem(f"not UTF-8: byte 0x{text[error.start]:02x}", position))
        except RecursionError:  # tomli draws its line at 400 inline levels and 1,000 parts in a key, we somewhat earlier
            self.problems.append(Problem("tables or arrays are nested too deeply", Position(file, 0)))
        block.children = children
        self.including.pop()

    def load(self, document: str, file: str) -> tuple[Table, str, list[Problem]]:
        """The data of a file, its text without the lines that cannot be read, and what is wrong with those.

        Raises ConfigurationError where what is wrong is not a matter of one line.
        """
        problems: list[Problem] = []
        while True:
            try:
                table = _load(document, file)
            except ConfigurationError as error:
                (problem,) = error.problems
                place = problem.position
                before = problems[-1].position if problems else None
                lines = document.split("\n")
                # A line too many may have been meant for an array or a string that is open: then nothing behind it is sure.
                is_new = place is not None and (before is None or place.line > before.line + 1)
                if place is None or not is_new or not _KEY_AND_VALUE(lines[place.line - 1]) or len(problems) == PROBLEM_LIMIT:
                    if is_new or not problems:
                        problems.append(problem)
                    raise ConfigurationError(*problems) from None
                problems.append(problem)
                lines[place.line - 1] = ""
                document = "\n".join(lines)
            else:
                return table, document, problems

    def include(self, name: str, position: Position, block: Node, context: int) -> list[Node]:
        """What the files of an `include` hold that stands in a block like that one."""
        inside = Node(block.name, block.arguments, block.position, [])
        for file in included_files(name, self.directory, self.glob):
            if any(os.path.normpath(outer) == os.path.normpath(file) for outer in self.including):
                chain = " includes ".join(f'"{outer}"' for outer in (*self.including, file))
                raise ConfigurationError(Problem(f"a file includes itself: {chain}", position))  # and there may be n! ways
            if len(self.including) >= DEPTH_LIMIT:
                raise ConfigurationError(Problem(f'"include" of "{file}" is nested too deeply', position))
            try:
                content = self.open_file(file)
            except ConfigurationError as error:
                self.problems += [Problem(problem.text, problem.position or position) for problem in error.problems]
                continue
            if file.endswith(".toml"):
                self.read(content, file, inside, context, position)
                continue
            document, problems = read_block(content, file, inside, self.open_file, self.directory, self.glob)
            self.problems += problems
            self.comments.above.update(document.comments.above)
            for owner, lines in document.comments.end.items():
                self.comments.end.setdefault(owner, []).extend(lines)
            for source in document.files:
                self.note_source(source if source.included_at else source._replace(included_at=position))
        # `inside` is gone after this, and another object may get its identity.
        if lines := self.comments.end.pop(id(inside), []):
            self.comments.end.setdefault(id(block), []).extend(lines)
        return inside.children or []

    def note_source(self, source: SourceFile) -> None:
        """A file is listed once, however often it is included."""
        if not any(known.name == source.name for known in self.sources):
            self.sources.append(source)


def _load(document: str, file: str) -> Table:
    """The data of the file."""
    try:
        return tomli.loads(document)
    except tomli.TOMLDecodeError as error:
        text = _with_keys(error.msg)
        if document.startswith(BYTE_ORDER_MARK):
            text = "the file begins with a byte order mark: save it as UTF-8 without one"
        if text.startswith(("Unclosed", "Unterminated", "Expected \"'")):
            opened = left_open(document[: error.pos])
            text += f", {opened[0]} was opened in line {opened[1]} and is not closed" if opened else ""
        elif text.startswith("Cannot"):
            said = doubly_said(document, error.pos)
            if said is not None:
                key, place, first = said
                before = f", it was given in line {first}" if first else ""
                text = f"{text.removesuffix(' a value')} {key}{before}" if text.endswith(" a value") else f"{text}{before}"
                raise ConfigurationError(Problem(text, Position(file, *place))) from None
        raise ConfigurationError(Problem(text, Position(file, error.lineno, error.colno))) from None
    except ValueError as error:  # an integer that Python refuses to read, of more than 4,300 digits
        raise ConfigurationError(Problem(str(error), Position(file, 0))) from None


def _with_keys(text: str) -> str:
    """Return a message of tomli's with its keys, which it tells as tuples of Python, as TOML writes them."""
    return re.sub(r"\(('[^()]*'),?\)", lambda found: dotted(ast.literal_eval(f"({found[1]},)")), text)


class _Reader:
    """Turns tables into nodes. Every method takes the path of its value, to say where it stands."""

    def __init__(self, files: _Files, file: str, places: dict[Path, Place]) -> None:
        self.files = files
        self.file = file
        self.places = places
        self.lookup = files.lookup
        self.problems: list[Problem] = []
        self.moved: dict[int, Place] = {}  # where the include stands that brought this node
        self.blocks_by_path: dict[Path, Node] = {}  # by the path of what is inside

    def children(self, table: Table, path: Path, context: int, block: Node) -> list[Node]:
        """The directives of one block, in the order of the file."""
        nodes: list[Node] = []
        for name, value in table.items():
            here = (*path, name)
            if name == INCLUDE:
                nodes += self.included(value, here, context, block)
                continue
            if context & ENTRIES:
                nodes += self.entries(name, value, here, context)
                continue
            if name == STEPS:
                nodes += self.statements(value, here, context, block)
                continue
            row = self.lookup(name, context)
            if row is None:
                nodes += self.unknown(name, value, here)
            elif row.block:
                nodes += self.named_blocks(name, row, value, here) if row.named else self.blocks(name, row, value, here)
            elif row.named and isinstance(value, dict):
                nodes += self.named_directives(name, value, here)
            else:
                nodes += self.directives(name, row, value, here)
        nodes.sort(key=self.place_in_file if self.moved else _place_of)
        return in_nginx_order(nodes)

    def place_in_file(self, node: Node) -> Place:
        """Where a node stands in this file, though it may have been read from another."""
        return self.moved.get(id(node)) or _place_of(node)

    # Blocks

    def blocks(self, name: str, row: Directive | None, value: Any, path: Path) -> Iterator[Node]:
        """One block for a table, several for an array of tables."""
        inside = row.block if row else _ANY_CONTEXT
        for content, here in _blocks(value, path):
            if isinstance(content, dict) or _is_statements(content):
                yield self.block(name, (), content, here, inside)
            else:
                self.refuse(f'"{name}" is a block and takes a table, not {_kind(content)}', here)

    def named_blocks(self, name: str, row: Directive, value: Any, path: Path) -> Iterator[Node]:
        """A table whose keys are the arguments of the blocks."""
        if not isinstance(value, dict):
            self.refuse(f'"{name}" takes a table for each name, as in [{name}.NAME], not {_kind(value)}', path)
            return
        for key, blocks in value.items():
            try:
                arguments = arguments_in_key(name, row, key)
            except ValueError as error:
                self.refuse(f'{error} in the name of "{name}"', (*path, key))
                continue
            for content, here in _blocks(blocks, (*path, key)):
                if isinstance(content, dict) or _is_statements(content):
                    yield self.block(name, arguments, content, here, row.block)
                else:
                    self.refuse(
                        f'"{key}" stands where "{name}" has its name, as in [{name}.NAME]: '
                        f"it takes a table, not {_kind(content)}",
                        here,
                    )

    def block(self, name: str, arguments: tuple[str, ...], content: Any, path: Path, context: int) -> Node:
        """A block and what is in it: a table, or an array of statements."""
        node = self.blocks_by_path[path] = Node(name, arguments, self.position(path), [])
        inside = self.children if isinstance(content, dict) else self.statements
        node.children = list(inside(content, path, context, node))
        return node

    def included(self, value: Any, path: Path, context: int, block: Node) -> Iterator[Node]:
        """The nodes of other files; they stand where the `include` stands."""
        for name, here in _elements(value, path):
            if isinstance(name, str):
                place = self.position(here)
                for node in self.files.include(name, place, block, context):
                    self.moved[id(node)] = (place.line, place.column)
                    yield node
            else:
                self.refuse(f'"include" takes the name of a file or an array of names, not {_kind(name)}', here)

    # Entries and statements

    def entries(self, name: str, value: Any, path: Path, context: int) -> Iterator[Node]:
        """The entries of one key: a value, an array of values, or several of these."""
        if isinstance(value, bool):
            if value:
                yield Node(name, (), self.position(path))
            return
        if context == OPAQUE and (isinstance(value, dict) or (isinstance(value, list) and any(map(_is_table, value)))):
            for content, here in _blocks(value, path):
                if isinstance(content, dict) or _is_statements(content):
                    yield self.block(name, (), content, here, OPAQUE)
                else:
                    self.refuse(f'"{name}" is a block and takes a table, not {_kind(content)}', here)
            return
        for occurrence, here in _occurrences(value, path):
            arguments = self.arguments(name, occurrence, here, "a value or an array of values")
            if arguments is not None:
                yield Node(name, arguments, self.position(here))

    def statements(self, value: Any, path: Path, context: int, block: Node) -> Iterator[Node]:
        """Directives as nginx.conf has them, one after the other: arrays of words, and what is inside a block."""
        if not isinstance(value, list):
            self.refuse(f'"{path[-1]}" takes an array of statements, as in [["set", "$a", "1"]], not {_kind(value)}', path)
            return
        for statement, here in _elements(value, path):
            if not (isinstance(statement, list) and statement and isinstance(statement[0], str)):
                self.refuse(f'a statement is an array of words, as in ["set", "$a", "1"], not {_kind(statement)}', here)
                continue
            name, *rest = statement
            content = rest.pop() if rest and isinstance(rest[-1], list | dict) else None
            words: list[str] = []
            for index, element in enumerate(rest):
                word = _word(element)
                if word is None:
                    self.refuse(f'"{name}" takes a value in a statement, not {_kind(element)}', (*here, index + 1))
                    break
                words.append(word)
            else:
                if name == INCLUDE and content is None and len(words) == 1:
                    yield from self.included(words[0], here, context, block)
                elif content is None:
                    yield Node(name, tuple(words), self.position(here))
                else:
                    row = None if context & ENTRIES else self.lookup(name, context)
                    inside = OPAQUE if context & ENTRIES else row.block if row else _ANY_CONTEXT
                    node = self.block(name, tuple(words), content, (*here, len(rest) + 1), inside)
                    node.position = self.position(here)
                    yield node

    # Simple directives

    def directives(self, name: str, row: Directive, value: Any, path: Path) -> Iterator[Node]:
        """A directive that is written with all its arguments in the value."""
        least = row.arity[0]
        if not least and isinstance(value, bool):
            if value:
                yield Node(name, (), self.position(path))
            return
        expected = _expected(row)
        if row.inherit == STEP:
            occurrences = _occurrences(value, path)
        else:
            occurrences = _elements(value, path) if row.repeats else [(value, path)]
        for occurrence, here in occurrences:
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


def _blocks(value: Any, path: Path) -> list[tuple[Any, Path]]:
    """The blocks in an array of blocks; anything else, an array of statements too, by itself."""
    return [(value, path)] if _is_statements(value) else _elements(value, path)


def _is_statements(value: Any) -> bool:
    """Whether it is what is inside one block: an array of arrays that begin with a word."""
    return isinstance(value, list) and bool(value) and all(_is_statement(element) for element in value)


def _is_statement(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], str)


def _is_table(value: Any) -> bool:
    return isinstance(value, dict)


def arguments_in_key(name: str, row: Directive, key: str) -> tuple[str, ...]:
    """The arguments of a named block; raises ValueError when the quotes in the key make no sense."""
    if row.arity[1] < 2:
        return (key,)
    if name != "location":
        return split_words(key)
    words = tuple(_SEPARATOR.split(key, 1))
    # A prefix may have white space; a pattern is a regular expression, whose backslashes are its own.
    return words if words[0] in _LOCATION_MODIFIERS else (key,)


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
