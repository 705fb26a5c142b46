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

In a named directive the value of a key gives the arguments after the first: a scalar, an array of arguments, or a table
of parameters (`{ weight = 3, backup = true }` is `weight=3 backup`); an array of arrays or tables makes several
occurrences. In a named block it is the block, or an array of blocks with the same arguments.

The key of a named block that takes several arguments is split into words as nginx.conf would: at white space, and a word in
quotes may have white space inside (`[http.map.'"$host $uri" $backend']`); `;` `{` `}` and `#` are ordinary characters there.
There are two exceptions: a block that takes one argument has the whole key as its argument, and the key of a location is an
optional modifier and a pattern, which is taken literally, including white space and backslashes.

Some blocks hold entries, not directives: map, geo, split_clients, types. There a key is the entry's first word, whatever it is,
and the value is the rest: a scalar, or an array of words (`"text/html" = ["html", "htm"]`); an array of arrays makes several
entries; `hostnames = true` is an entry of one word.

`include = "sites/*.toml"`, or an array, is replaced by the contents of other files, in any block, also one of entries. Names are
relative to the directory of the main file. A file that ends in `.toml` is TOML, a table of that block; any other file is in
nginx's syntax.

Order. A table has each key once. Where directives of one name must alternate with others, as the steps of the rewrite module
do, a block lists them in `steps`: an array of statements, each an array of its words in nginx.conf's form. A block has its
contents as the last element, statements again or a table:

    [http.server.location."/"]
    steps = [
        ["set", "$a", "1"],
        ["if", "($arg_b)", [["set", "$a", "2"], ["break"]]],
        ["set", "$c", "$a"],
    ]

Any directive may be a step. A block of entries, where `steps` is a word like any other, is an array of statements itself
then: `"$v" = [["delete", "10.0.0.0/8"], ["default", "x"]]` under `[http.geo]`.

Nodes are in the order of the file. That is finer than the order of tomli's dictionaries, which keep the values of one key
together: with dotted keys (`deny."10.0.0.1" = []`, then `allow."10.0.0.0/8" = []`) directives may alternate. Only directives that
nginx must read before others are moved (`wproxy.config.precedence`).

An unknown name becomes a node by a best guess: the check of the tree reports it, with a suggestion.
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
from wproxy.config.toml_positions import LineAndColumn, Path, dotted, doubly_said, left_open, locate
from wproxy.config.tree import BrokenShape, ConfigurationError, Node, Position, Problem

Lookup = Callable[[str, int], Directive | None]
Table = dict[str, Any]

_SEPARATOR = re.compile(r"[ \t\r\n]+")  # between the arguments in a key; nginx has the same four
_LOCATION_MODIFIERS = ("=", "~", "~*", "^~")
_ANY_CONTEXT = 0  # inside an unknown block
# A statement that ends on the line where it began; the line can be left out.
_KEY_AND_VALUE = re.compile(r"[ \t]*[^\s#\[=][^=]*=(?![^\"']*\[[^\]]*$)(?!.*(?:\"\"\"|''')).*").fullmatch
PROBLEM_LIMIT = 20  # in one file
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

    lookup: the row of a name in a context (the `block` of the row around it), None when there is none. open_file, glob: functions
    for included files. config_directory: the directory that their names are relative to. with_comments: whether to find comments,
    which takes time. Raises ConfigurationError with everything that is wrong with the shape of the file. The check of the tree
    decides whether the directives exist, are allowed where they are and have the right arguments.
    """
    files = _Files(lookup, open_file, config_directory, glob, with_comments)
    root = Node("", (), Position(file, 1, 1), [])
    files.read(text, file, root, MAIN)
    if files.problems:
        raise BrokenShape(files.problems, root, True, SourceFile.places(files.sources))
    return Document(root, files.sources, files.comments)


class _Files:
    """State that the files of one configuration share."""

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
        """Add the contents of a TOML file to a block of that context."""
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
                from wproxy.config.toml_comments import attach_comments  # needed only for a conversion

                attach_comments(self.comments, document, file, found, block, reader.blocks_by_path)
        except ConfigurationError as error:
            self.problems += error.problems
        except UnicodeDecodeError as error:
            before = text[: error.start].decode()
            position = Position(file, before.count("\n") + 1, len(before) - before.rfind("\n"))
            self.problems.append(Problem(f"not UTF-8: byte 0x{text[error.start]:02x}", position))
        except RecursionError:  # tomli's limit is 400 inline levels and 1,000 parts in a key, ours somewhat lower
            self.problems.append(Problem("tables or arrays are nested too deeply", Position(file, 0)))
        block.children = children
        self.including.pop()

    def load(self, document: str, file: str) -> tuple[Table, str, list[Problem]]:
        """Return the data of a file, its text without the lines that cannot be read, and the problems of those lines.

        Raises ConfigurationError when a problem is not confined to one line.
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
                # An extra line may have been meant for an open array or string: then nothing after it is certain.
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
        """Read the files of an `include` in a block like that one."""
        inside = Node(block.name, block.arguments, block.position, [])
        for file in included_files(name, self.directory, self.glob):
            if any(os.path.normpath(outer) == os.path.normpath(file) for outer in self.including):
                chain = " includes ".join(f'"{outer}"' for outer in (*self.including, file))
                raise ConfigurationError(Problem(f"a file includes itself: {chain}", position))  # there may be n! ways round
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
        # `inside` is freed after this, and another object may get its identity.
        if lines := self.comments.end.pop(id(inside), []):
            self.comments.end.setdefault(id(block), []).extend(lines)
        return inside.children or []

    def note_source(self, source: SourceFile) -> None:
        """List a file once, however often it is included."""
        if not any(known.name == source.name for known in self.sources):
            self.sources.append(source)


def _load(document: str, file: str) -> Table:
    """Return the data of the file."""
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
    """Return a message of tomli's with its keys, which it shows as Python tuples, in TOML's form."""
    return re.sub(r"\(('[^()]*'),?\)", lambda found: dotted(ast.literal_eval(f"({found[1]},)")), text)


class _Reader:
    """Turns tables into nodes. Every method takes the path of its value, to tell its position."""

    def __init__(self, files: _Files, file: str, places: dict[Path, LineAndColumn]) -> None:
        self.files = files
        self.file = file
        self.places = places
        self.lookup = files.lookup
        self.problems: list[Problem] = []
        self.moved: dict[int, LineAndColumn] = {}  # the position of the include that brought this node
        self.blocks_by_path: dict[Path, Node] = {}  # by the path of their contents

    def children(self, table: Table, path: Path, context: int, block: Node) -> list[Node]:
        """Return the directives of one block, in the order of the file."""
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

    def place_in_file(self, node: Node) -> LineAndColumn:
        """Return the position of a node in this file, even if it was read from another."""
        return self.moved.get(id(node)) or _place_of(node)

    # Blocks

    def blocks(self, name: str, row: Directive | None, value: Any, path: Path) -> Iterator[Node]:
        """Yield one block for a table, several for an array of tables."""
        inside = row.block if row else _ANY_CONTEXT
        for content, here in _blocks(value, path):
            if isinstance(content, dict) or _is_statements(content):
                yield self.block(name, (), content, here, inside)
            else:
                self.refuse(f'"{name}" is a block and takes a table, not {_kind(content)}', here)

    def named_blocks(self, name: str, row: Directive, value: Any, path: Path) -> Iterator[Node]:
        """Yield the blocks of a table whose keys are their arguments."""
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
                        f'"{key}" is where "{name}" has its name, as in [{name}.NAME]: it takes a table, not {_kind(content)}',
                        here,
                    )

    def block(self, name: str, arguments: tuple[str, ...], content: Any, path: Path, context: int) -> Node:
        """Return a block and its contents: a table, or an array of statements."""
        node = self.blocks_by_path[path] = Node(name, arguments, self.position(path), [])
        inside = self.children if isinstance(content, dict) else self.statements
        node.children = list(inside(content, path, context, node))
        return node

    def included(self, value: Any, path: Path, context: int, block: Node) -> Iterator[Node]:
        """Yield the nodes of included files; their position is that of the `include`."""
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
        """Yield the entries of one key: a value, an array of values, or several of these."""
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
        """Read directives in nginx.conf's form, one after the other: arrays of words, and the contents of blocks."""
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
        """Yield a directive that is written with all its arguments in the value."""
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
        """Yield the directives of a table whose keys are the first arguments."""
        for key, value in table.items():
            for rest, here in _occurrences(value, (*path, key)):
                if isinstance(rest, dict):
                    arguments = self.parameters(name, rest, here)
                else:
                    arguments = self.arguments(name, rest, here, "a value, an array of values or a table of parameters")
                if arguments is not None:
                    yield Node(name, (key, *arguments), self.position(here))

    def unknown(self, name: str, value: Any, path: Path) -> Iterator[Node]:
        """Yield a name without a row: a block if it looks like one, otherwise arguments."""
        if isinstance(value, dict) or (isinstance(value, list) and value and isinstance(value[0], dict)):
            yield from self.blocks(name, None, value, path)
            return
        for occurrence, here in _occurrences(value, path):
            arguments = self.arguments(name, occurrence, here, "a value or an array of values")
            if arguments is not None:
                yield Node(name, arguments, self.position(here))

    # Arguments

    def arguments(self, name: str, value: Any, path: Path, expected: str) -> tuple[str, ...] | None:
        """Return a scalar or an array of scalars as text; None for any other value, which is then reported."""
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
        """Return `{ weight = 3, backup = true, down = false }` as `weight=3 backup`; None when a value makes no sense."""
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
        """Return the position of the path, or of its surroundings when its own is not known."""
        while path and path not in self.places:
            path = path[:-1]
        line, column = self.places[path] if path else (1, 1)
        return Position(self.file, line, column)

    def refuse(self, text: str, path: Path) -> None:
        self.problems.append(Problem(text, self.position(path)))


def _place_of(item: Node | Problem) -> LineAndColumn:
    """Return the line and column, to sort by."""
    position = item.position
    return (position.line, position.column) if position else (0, 0)


def _elements(value: Any, path: Path) -> list[tuple[Any, Path]]:
    """Return the elements of an array, each with its path; any other value by itself."""
    if isinstance(value, list):
        return [(element, (*path, index)) for index, element in enumerate(value)]
    return [(value, path)]


def _occurrences(value: Any, path: Path) -> list[tuple[Any, Path]]:
    """Return the elements of an array of arrays or tables; any other value, including an array of scalars, by itself."""
    if isinstance(value, list) and value and all(isinstance(element, list | dict) for element in value):
        return _elements(value, path)
    return [(value, path)]


def _blocks(value: Any, path: Path) -> list[tuple[Any, Path]]:
    """Return the blocks in an array of blocks; anything else, including an array of statements, by itself."""
    return [(value, path)] if _is_statements(value) else _elements(value, path)


def _is_statements(value: Any) -> bool:
    """Whether it is the contents of one block: an array of arrays that begin with a word."""
    return isinstance(value, list) and bool(value) and all(_is_statement(element) for element in value)


def _is_statement(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], str)


def _is_table(value: Any) -> bool:
    return isinstance(value, dict)


def arguments_in_key(name: str, row: Directive, key: str) -> tuple[str, ...]:
    """Return the arguments of a named block; raises ValueError when the quotes in the key make no sense."""
    if row.arity[1] < 2:
        return (key,)
    if name != "location":
        return split_words(key)
    words = tuple(_SEPARATOR.split(key, 1))
    # A prefix may have white space; a pattern is a regular expression, whose backslashes are its own.
    return words if words[0] in _LOCATION_MODIFIERS else (key,)


def _word(value: Any) -> str | None:
    """Return a scalar in nginx.conf's form; None for a date, a table, an array, an integer past 64 bits."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, int):
        return str(value) if -(2**63) <= value < 2**63 else None
    return str(value) if isinstance(value, float) else None


def _kind(value: Any) -> str:
    """Describe the type of a value for a person."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "an array of tables" if value and isinstance(value[0], dict) else "an array"
    if _word(value) is not None:
        return "a value"
    return "a number of more than 64 bits" if isinstance(value, int) else "a date or time (put it in quotes)"


def _expected(row: Directive) -> str:
    """Describe the argument of a simple directive for a person."""
    most = row.arity[1]
    if row.named:
        return "a table with its first arguments as keys"
    if not most:
        return "true or false"
    if row.repeats:
        return "a value or an array" if most == 1 else "a value or an array of values and arrays"
    return "a value" if most == 1 else "a value or an array of values"
