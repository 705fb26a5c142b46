"""Writing of the directive tree as an nginx.conf: reading the text gives the tree again."""

from __future__ import annotations

import re

from wproxy.config.document import Comments
from wproxy.config.nginx import TOKEN_LIMIT, in_bytes
from wproxy.config.tree import ConfigurationError, Node, Problem

_INDENTATION = "    "
# A word that needs no quotes. `{` begins a block, except for the one of a variable. It can be read in one way only.
_BARE = re.compile(r"""(?:[^ \t\r\n;{}#"'$] | \$\{\w+\} | \$(?!\{)) (?: [^ \t\r\n;{"'$] | \$\{\w+\} | \$(?!\{) )*""", re.VERBOSE)
# A backslash that the tokeniser would take for the beginning of an escape.
_READ_AS_ESCAPE = re.compile(r"""\\(?=["'\\trn\t\r\n]|\Z)""")
_CONTROLS = {"\t": r"\t", "\r": r"\r", "\n": r"\n"}
_CONTROL = re.compile(r"[\t\r\n]")


def write_nginx(root: Node, comments: Comments | None = None) -> str:
    """Return the text of a tree; bytes that are not UTF-8 are surrogates in it (`surrogateescape`).

    Raises ConfigurationError for a word beyond the token limit of nginx.conf.
    """
    writer = _Writer(comments or Comments())
    writer.block(root, "")
    if writer.problems:
        raise ConfigurationError(*writer.problems)
    return "".join(f"{line}\n" for line in writer.lines)


def write_directives(nodes: list[Node]) -> str:
    """Return the text of a few directives."""
    return write_nginx(Node("", (), nodes[0].position, nodes)) if nodes else ""


def quote_word(word: str) -> str:
    """Return a word as the tokeniser reads it back, in quotes where needed."""
    if _BARE.fullmatch(word) and _escape(word) == word:
        return word
    quote = "'" if '"' in word and "'" not in word else '"'
    return quote + _escape(word).replace(quote, "\\" + quote) + quote


def _escape(word: str) -> str:
    """Return a word with the backslashes doubled that would be lost, and white space other than blanks as escapes."""
    return _CONTROL.sub(lambda control: _CONTROLS[control[0]], _READ_AS_ESCAPE.sub(r"\\\\", word))


class _Writer:
    """Collects the lines of a text."""

    def __init__(self, comments: Comments) -> None:
        self.comments = comments
        self.lines: list[str] = []
        self.problems: list[Problem] = []

    def block(self, block: Node, indentation: str) -> None:
        """Write the contents of a block."""
        for index, node in enumerate(block.children or ()):
            if index and node.children is not None:
                self.lines.append("")
            self.comment(self.comments.of(node), indentation)
            line = indentation + " ".join(self.word(word, node) for word in (node.name, *node.arguments))
            if node.children is None:
                self.lines.append(line + ";")
            elif not node.children and not self.comments.at_end_of(node):
                self.lines.append(line + " {}")
            else:
                self.lines.append(line + " {")
                self.block(node, indentation + _INDENTATION)
                self.lines.append(indentation + "}")
        self.comment(self.comments.at_end_of(block), indentation)

    def word(self, word: str, node: Node) -> str:
        """Return a word of a directive, in quotes where needed."""
        written = quote_word(word)
        if len(written) * 4 >= TOKEN_LIMIT and len(in_bytes(written)) >= TOKEN_LIMIT:
            self.problems.append(Problem(f'a parameter of "{node.name}" is too long for nginx.conf', node.position))
        return written

    def comment(self, lines: list[str], indentation: str) -> None:
        self.lines += [f"{indentation}#{line}" for line in lines]
