r"""nginx.conf, read into the directive tree (nginx: src/core/ngx_conf_file.c).

A directive is words up to `;`, or up to `{` for a block. Words end at SP HT CR LF `;` `{`; a `}`, a `#` or a quote is special
only at the start of a word. `{` straight after `$` belongs to the word. A backslash hides the next
character; in the word that is kept, `\" \' \\` lose it, `\t \r \n` become control characters and anything else stays as
written. After a closing quote only white space, `;`, `{` or `)` may come, and `)` begins the next word.

The position of a node is the one that nginx reports: the line of the `;` or `{` that ends it, column 0. Bytes that are not UTF-8
are kept as surrogates (`surrogateescape`).

nginx stops at the first error. Here every error of a file is found in one run: after each the reader continues where the text
most likely makes sense again, and adds to nginx's words where an unclosed brace or quote was opened.

Measured on 1,000 servers of 10 locations (60,000 tokens, CPython 3.11): 0.1 s, because one match of one regular expression takes
a token with all white space and comments before it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import NamedTuple

from wproxy.config.document import (
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
from wproxy.config.tree import BrokenShape, ConfigurationError, Node, Position, Problem

TOKEN_LIMIT = 4096  # bytes, including the token's end; nginx: NGX_CONF_BUFFER
DEPTH_LIMIT = 100  # of blocks and of includes: more than any real file has, and it bounds the recursion over the tree
# Directives that are a list of words, or have no blocks inside: a brace in one of them means that it was not closed.
_WITHOUT_BLOCKS = frozenset(("types", "map", "geo", "split_clients", "charset_map", "events"))

# The groups of a token: a bare word, a word in double and in single quotes, a sign.
_QUOTED = (2, 3)
_PUNCTUATION = 4

# The quantifiers are possessive (`*+`): a token can be read in one way only, so backtracking would find nothing.
_TOKEN = re.compile(
    r"""
    (?: [ \t\r\n]++ | \#[^\n]*+ )*+
    (?: ( (?: [^ \t\r\n;{}#"'\\$] | \\. | \$\{*+ ) (?: [^ \t\r\n;{\\$]++ | \\. | \$\{*+ )*+ )
      | "( (?: [^"\\]++ | \\. )*+ )"
      | '( (?: [^'\\]++ | \\. )*+ )'
      | ( [;{}] )
    )""",
    re.VERBOSE | re.DOTALL,
)
# From the brace of a quantifier to the end of its word, with further quantifiers in it. A possessive group that can go back
# inside is wrong in Python before 3.11.5 (gh-106052); an atomic one means the same.
_QUANTIFIER = re.compile(r"\{\d+(?:,\d*)?\}(?>(?:[^ \t\r\n;{\\]++|\\.|\{\d+(?:,\d*)?\})*)", re.DOTALL)
_AFTER_QUOTE = frozenset(" \t\r\n;{)") | {""}  # the empty text: the end of the file, which has its own message
_GAP = re.compile(r"(?:[ \t\r\n]++|#[^\n]*+)*+")
_COMMENT = re.compile(r"#([^\n]*)")
_ESCAPE = re.compile(r"\\([\"'\\trn])")
_ESCAPED = {"t": "\t", "r": "\r", "n": "\n"}


def parse_nginx(text: bytes, file: str, open_file: OpenFile = no_file, config_directory: str = "", glob: Glob = no_match) -> Node:
    """Read an nginx.conf; the root node has no name and holds the main context. See `read_nginx`."""
    return read_nginx(text, file, open_file, config_directory, glob).root


def read_nginx(
    text: bytes, file: str, open_file: OpenFile = no_file, config_directory: str = "", glob: Glob = no_match
) -> Document:
    """Read an nginx.conf with all that it includes.

    text: its bytes. file: its name in messages. open_file, glob: functions for included files. config_directory: the directory
    that their names are relative to. Raises ConfigurationError with everything that is wrong with the shape of the files. The
    check of the tree decides whether the directives exist, are allowed where they are and have the right arguments.
    """
    reader = _Reader(open_file, config_directory, glob)
    root = Node("", (), Position(file, 1), [])
    reader.file(text, file, root)
    if reader.problems:
        raise BrokenShape(reader.problems, root, reader.is_balanced, SourceFile.places(reader.files))
    return Document(root, reader.files, reader.comments)


def read_block(
    text: bytes, file: str, block: Node, open_file: OpenFile, config_directory: str, glob: Glob
) -> tuple[Document, list[Problem]]:
    """Add the contents of an nginx file to a block; return a document of that block, and the file's problems."""
    reader = _Reader(open_file, config_directory, glob)
    reader.file(text, file, block)
    return Document(block, reader.files, reader.comments), reader.problems


def parse_main_arguments(
    text: str, open_file: OpenFile = no_file, config_directory: str = "", glob: Glob = no_match
) -> list[Node]:
    """Read the directives of `-g`: simple ones for the main context, each with its `;`.

    Raises ConfigurationError; its problems end with `in command line`.
    """
    reader = _Reader(open_file, config_directory, glob)
    root = Node("", (), Position("command line", 0), [])
    reader.command_line(text, root)
    if reader.problems:
        raise ConfigurationError(*reader.problems)
    return root.children or []


def split_words(text: str) -> tuple[str, ...]:
    """Split a text into words like the arguments of a directive, except that `;` `{` `}` and `#` are ordinary characters.

    Raises ValueError when a quote is left open or has something after it.
    """
    words = []
    for match in _SPLIT.finditer(text):
        if match[4]:
            raise ValueError(f"the quote {match[4]} is not closed, or has something after it,")
        bare, double, single = match[1], match[2], match[3]
        words.append(unescape(next(word for word in (bare, double, single) if word is not None)))
    return tuple(words)


# A lone backslash at the end is itself.
_SPLIT = re.compile(
    r"""[ \t\r\n]*+ (?: ( (?: [^ \t\r\n"'\\] | \\.?+ ) (?: [^ \t\r\n\\]++ | \\.?+ )*+ )
      | "( (?: [^"\\]++ | \\. )*+ )" (?= [ \t\r\n)] | \Z )
      | '( (?: [^'\\]++ | \\. )*+ )' (?= [ \t\r\n)] | \Z )
      | ( ["'] )
    )""",
    re.VERBOSE | re.DOTALL,
)


def unescape(word: str) -> str:
    """Return a word without the backslashes that the tokeniser removes."""
    return _ESCAPE.sub(_unescaped, word) if "\\" in word else word


def _unescaped(escape: re.Match[str]) -> str:
    return _ESCAPED.get(escape[1], escape[1])


def _children(block: Node) -> list[Node]:
    """Return the list that a block's directives go to."""
    if block.children is None:
        block.children = []
    return block.children


def in_bytes(text: str) -> bytes:
    """Return a text as it was in the file."""
    return text.encode("utf-8", "surrogateescape")


class _Open(NamedTuple):
    """A block that waits for its closing brace, and the line of its opening one."""

    node: Node
    line: int


class _Reader:
    """Reads a file and the files it includes; collects problems instead of stopping at the first."""

    def __init__(self, open_file: OpenFile, directory: str, glob: Glob) -> None:
        self.open_file = open_file
        self.directory = directory
        self.glob = glob
        self.problems: list[Problem] = []
        self.files: list[SourceFile] = []
        self.comments = Comments()
        self.including: list[str] = []  # the files being read, outermost first
        self.is_balanced = True  # no brace too many or missing so far
        self.goes_in_circles = False  # then no more includes are followed: there may be n! ways round

    def file(self, content: bytes, name: str, block: Node, included_at: Position | None = None) -> None:
        """Read the text of a file into a block."""
        if not any(read.name == name for read in self.files):
            self.files.append(SourceFile(name, content, included_at))
        if is_utf_16(content):
            self.problems.append(in_utf_16(name))
            return
        self.including.append(name)
        _Text(self, content.decode("utf-8", "surrogateescape"), name).read(block)
        self.including.pop()

    def command_line(self, text: str, root: Node) -> None:
        """Read the argument of `-g`."""
        _Text(self, text, "command line", is_command_line=True).read(root)

    def include(self, name: str, position: Position, block: Node) -> None:
        """Read one file, or those that match a pattern, into the block that contains the `include`."""
        for file in included_files(name, self.directory, self.glob):
            if self.goes_in_circles:
                return
            same = os.path.normpath(file)
            if any(os.path.normpath(open_name) == same for open_name in self.including):
                chain = " includes ".join(f'"{open_name}"' for open_name in (*self.including, file))
                self.problems.append(Problem(f"a file includes itself: {chain}", position))
                self.goes_in_circles = True
            elif len(self.including) >= DEPTH_LIMIT:
                self.problems.append(Problem(f'"include" of "{file}" is nested too deeply', position))
            elif file.endswith(".toml"):
                text = f'"include" of "{file}" is not possible: it is TOML, and an nginx.conf includes its own syntax only'
                self.problems.append(Problem(text, position))
            else:
                try:
                    content = self.open_file(file)
                except ConfigurationError as error:
                    self.problems += [Problem(problem.text, problem.position or position) for problem in error.problems]
                else:
                    self.file(content, file, block, position)


class _Text:
    """One text, read from its start to its end."""

    def __init__(self, reader: _Reader, text: str, name: str, is_command_line: bool = False) -> None:
        self.reader = reader
        self.text = text
        self.name = name
        self.is_command_line = is_command_line
        self.offset = 0
        self.counted = 0  # the offset up to which the lines are counted
        self.line = 1
        self.outer: list[_Open] = []
        self.notes: list[str] = []  # comments waiting for the directive below them
        self.previous: Node | None = None  # the node that a comment on the same line belongs to

    def read(self, root: Node) -> None:
        """Read everything into a block."""
        text, token = self.text, _TOKEN.match
        self.root = self.block = root
        _children(root)
        words: list[str] = []
        while True:
            match = token(text, self.offset)
            if match is None:
                if not self.leaves_open_quote():
                    break
                words = []
                continue
            kind = match.lastindex or 0
            begin = match.start(kind)
            if begin - self.offset > 1 and "#" in text[self.offset : begin]:
                gap = text[self.offset : begin - (kind in _QUOTED)]
                self.notes += self.take_comments(gap, self.previous if not words else None)
            self.previous = None
            if kind != _PUNCTUATION:
                word = match[kind]
                self.offset = match.end()
                words.append(_ESCAPE.sub(_unescaped, word) if "\\" in word else word)
                goes_back = False
                if kind in _QUOTED and text[self.offset : self.offset + 1] not in _AFTER_QUOTE:
                    goes_back = self.after_quote(begin - 1)
                elif len(word) * 4 >= TOKEN_LIMIT - 1 and self.is_too_long(match):
                    goes_back = self.too_long(match)
                if goes_back:
                    words = []
                continue
            self.offset = match.end()
            sign = match[_PUNCTUATION]
            self.line += text.count("\n", self.counted, self.offset)
            self.counted = self.offset
            if sign == "{" and words and begin and self.is_quantifier(begin, words):
                continue
            if sign == "}":
                self.close_block(words)
            elif words or self.is_block_without_name(sign):
                self.add(Node(words[0] if words else "", tuple(words[1:]), self.here()), sign)
                if len(self.outer) > DEPTH_LIMIT:
                    self.problem("blocks are nested too deeply")
                    return
            words = []
        if self.notes or "#" in text[self.offset :]:
            rest = _GAP.match(text, self.offset)
            self.notes += self.take_comments(rest[0] if rest else "", self.previous if not words else None)
            self.reader.comments.end.setdefault(id(self.block), []).extend(self.notes)
        self.end(words, self.outer)

    def is_quantifier(self, begin: int, words: list[str]) -> bool:
        """Whether a `{` belongs to an unquoted regex, `[a-z]{8,}`; if so, note it and continue after the word.

        nginx takes it for the beginning of a block, and the rest for directives; then every later brace is off by one.
        """
        if self.block.name in _WITHOUT_BLOCKS or self.text[begin - 1] in " \t\r\n":
            return False
        rest = _QUANTIFIER.match(self.text, begin)
        if rest is None:
            return False
        word = f"{words[-1]}{rest[0]}"
        first = re.split(r"[ \t\r\n;{]", rest[0][1:], maxsplit=1)[0]
        self.problem(f'unknown directive "{first}", the brace in "{word}" begins a block: write the regex in quotes')
        words[-1] = word
        self.offset = rest.end()
        return True

    def close_block(self, words: list[str]) -> None:
        """Handle a `}`. words: the unfinished words before it."""
        if words or not self.outer:
            self.problem('unexpected "}"')
        if not self.outer:
            self.reader.is_balanced = False
            return
        if self.notes:
            self.reader.comments.end.setdefault(id(self.block), []).extend(self.notes)
            self.notes = []
        self.previous = self.block
        self.outer.pop()
        self.block = self.outer[-1].node if self.outer else self.root

    def is_block_without_name(self, sign: str) -> bool:
        """Note that a `;` or `{` has nothing before it; tell whether a block begins there, whose end must be found."""
        self.problem(f'unexpected "{sign}"')
        return sign == "{"

    def add(self, node: Node, sign: str) -> None:
        """Add a directive at its end, `;` or `{`."""
        children = _children(self.block)
        above = self.reader.comments.above
        if node.name == "include" and self.block.name != "split_clients":
            before = len(children)
            self.include(node, sign, self.block)
            if self.notes and len(children) > before:  # they go to the first included directive
                above[id(children[before])] = [*self.notes, *self.reader.comments.of(children[before])]
                self.notes = []
            if sign == ";":
                return
        if self.notes:
            above[id(node)] = self.notes
            self.notes = []
        self.previous = node
        children.append(node)
        if sign == "{":
            if self.is_command_line:
                self.problem("block directives are not supported in -g option")
            _children(node)
            self.block = node
            self.outer.append(_Open(node, self.line))

    # The end of the text, expected or not

    def end(self, words: list[str], outer: list[_Open]) -> None:
        """Handle the end of the text: nothing may be open."""
        gap = _GAP.match(self.text, self.offset)
        is_inside = bool(words) or (gap is not None and gap.end() < len(self.text))  # in a word, or after a lone backslash
        self.count_to(len(self.text))
        if is_inside and self.is_command_line:
            self.problem('unexpected end of parameter, expecting ";"')
        elif is_inside:
            self.problem('unexpected end of file, expecting ";" or "}"')
        if outer and not self.is_command_line:
            blamed = self.left_open(outer)
            self.reader.is_balanced = False
            opened = f'"{blamed.node.name}" was opened in line {blamed.line} and is not closed'
            self.problem(f'unexpected end of file, expecting "}}", {opened}')

    def left_open(self, outer: list[_Open]) -> _Open:
        """Return the block that lacks its brace: the first with an impossible inner block, or one that ended at a brace with
        another indentation than its own.

        Where every block ended at its indentation, it is the innermost open one.
        """
        stack: list[tuple[int, int]] = []  # offset of the first word, line of the brace
        start, line, counted, offset = -1, 1, 0, 0
        name = ""
        names: list[str] = []
        while match := _TOKEN.match(self.text, offset):
            offset = match.end()
            kind = match.lastindex or 0
            sign = match[_PUNCTUATION]
            if sign is None:
                if start < 0:
                    start, name = match.start(kind), match[kind]
                continue
            line += self.text.count("\n", counted, offset)
            counted = offset
            if sign == "{":
                if names and names[-1] in _WITHOUT_BLOCKS:
                    return _Open(Node(names[-1], (), Position(self.name, stack[-1][1])), stack[-1][1])
                stack.append((max(start, 0), line))
                names.append(name)
            elif sign == "}" and stack:
                began, opened = stack.pop()
                blamed = names.pop()
                own, its = self.indentation(began), self.indentation(match.start(kind))
                if opened != line and own is not None and its is not None and len(its) < len(own):
                    return _Open(Node(blamed, (), Position(self.name, opened)), opened)
            start = -1
        return outer[-1]

    def indentation(self, offset: int) -> str | None:
        """Return the white space before the first token of a line; None for any other token."""
        before = self.text[self.text.rfind("\n", 0, offset) + 1 : offset]
        return None if before.strip(" \t") else before

    def leaves_open_quote(self) -> bool:
        """Whether an unclosed quote is the reason why there is no token; if so, note it and skip the quote.

        All the rest of the text is inside it. Most likely it should have ended with its line.
        """
        gap = _GAP.match(self.text, self.offset)
        start = gap.end() if gap else self.offset
        sign = self.text[start : start + 1]
        if sign not in ('"', "'"):
            return False
        self.count_to(start)
        position = Position(self.name, self.line)
        if self.is_command_line:
            self.offset = len(self.text)
            self.problem('unexpected end of parameter, expecting ";"')
            return True
        if len(in_bytes(self.text[start + 1 :])) >= TOKEN_LIMIT:
            self.problem(f'too long parameter, probably missing terminating "{sign}" character')
        else:
            text = f'unexpected end of file, expecting ";" or "}}", the quote {sign} opened in line {self.line} is not closed'
            self.problem(text, position._replace(line=self.text.count("\n") + 1))
        self.resume_after_line_of(start)
        return True

    def after_quote(self, start: int) -> bool:
        """Note that something forbidden follows a closing quote; tell whether the reader went back for it."""
        self.count_to(start)
        opened = self.line
        self.count_to(self.offset)
        text = f'unexpected "{self.text[self.offset]}"'
        if self.line == opened or self.is_command_line:
            self.problem(text)
            return False
        # The quote that seems to close is more likely an opening one: the one before it was left open in its own line.
        self.problem(f"{text}, after the quote {self.text[start]} that was opened in line {opened}")
        self.counted, self.line = start, opened
        self.resume_after_line_of(start)
        return True

    def resume_after_line_of(self, offset: int) -> None:
        """Continue after the line of that offset; lines must be counted up to there, no further."""
        newline = self.text.find("\n", offset)
        self.offset = newline if newline >= 0 else len(self.text)

    # Words

    def is_too_long(self, match: re.Match[str]) -> bool:
        """Whether a token and its end do not fit in nginx's buffer."""
        kind = match.lastindex or 0
        ended_at_once = self.text[match.end(kind) : match.end(kind) + 1] in (";", "{")
        return not self.is_command_line and len(in_bytes(match[kind])) + (not ended_at_once) >= TOKEN_LIMIT

    def too_long(self, match: re.Match[str]) -> bool:
        """Note a token that is too long, in the line where it began; tell whether the reader went back to that line."""
        kind = match.lastindex or 0
        self.count_to(match.start(kind))
        if kind not in _QUOTED or len(in_bytes(match[kind])) < TOKEN_LIMIT:
            self.problem(f'too long parameter "{match[kind][:10]}..." started')
            return False
        self.problem(f'too long parameter, probably missing terminating "{self.text[match.start(kind) - 1]}" character')
        self.resume_after_line_of(match.start(kind))
        return True

    def include(self, node: Node, sign: str, block: Node) -> None:
        """Replace an `include` by the directives of its files."""
        if sign == "{":
            self.problem('directive "include" is not terminated by ";"')
        elif len(node.arguments) != 1:
            self.problem('invalid number of arguments in "include" directive')
        else:
            self.reader.include(node.arguments[0], node.position, block)

    def take_comments(self, gap: str, previous: Node | None) -> Iterator[str]:
        """Yield the comments between two tokens; one on the line of the directive before it goes to that directive."""
        first_line = gap.find("\n")
        for comment in _COMMENT.finditer(gap):
            line = comment[1].rstrip()
            if previous is not None and comment.start() < (first_line if first_line >= 0 else len(gap)):
                self.reader.comments.above.setdefault(id(previous), []).append(line)
            else:
                yield line

    # Messages

    def count_to(self, offset: int) -> None:
        """Count the lines up to an offset."""
        if offset > self.counted:
            self.line += self.text.count("\n", self.counted, offset)
            self.counted = offset

    def problem(self, text: str, position: Position | None = None) -> None:
        """Note a problem, in the line counted so far unless another is given."""
        self.reader.problems.append(Problem(text, position or self.here()))

    def here(self) -> Position:
        """Return the line counted so far."""
        return Position(self.name, 0 if self.is_command_line else self.line)
