"""Writing of the directive tree as a wproxy.toml: reading the text gives the tree again, with the same directives in each block.

Everything that the tables of `wproxy.config.toml` can express is written with tables. In a block the keys with plain values come
first, then tables of named directives, then the blocks, so directives of different names may change places, which does not change
their meaning. Those whose order matters keep it: directives of one name; the steps of the rewrite module; allow and deny. Where
tables cannot keep it, or cannot express something at all (an unknown directive, or one that is repeated and must not be), `steps`
does.

A comment after the last directive of a block is written where the block ends, indented by as many levels as there are blocks
around it: a table has no brace that would show which one it belongs to (`wproxy.config.toml_comments` reads it that way).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby, takewhile

from wproxy.config.document import Comments
from wproxy.config.nginx import unescape
from wproxy.config.precedence import has_backup_before_method
from wproxy.config.registry import ENTRIES, MAIN, OPAQUE, STEP, UPSTREAM, Directive, find_directive
from wproxy.config.toml import INCLUDE, STEPS, Lookup, arguments_in_key
from wproxy.config.toml_comments import INDENTATION
from wproxy.config.tree import ConfigurationError, Node, Problem
from wproxy.config.write_nginx import quote_word
from wproxy.directives.values import flag, text

Path = tuple[str, ...]

# Names whose order among each other matters, in addition to the rows of kind STEP.
_SEQUENCES = {"allow": "access", "deny": "access"}
_STEPS_OF_REWRITE = "rewrite"
_WIDTH = 100  # a longer line is broken where possible

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")
_PARAMETER = re.compile(r"([a-z_]+)(?:=(.*))?", re.DOTALL)
_NEEDS_ESCAPE = re.compile('[\x00-\x1f"\\\\\x7f]')
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_FLAGS = {"on": "true", "off": "false"}
_ESCAPED = {"\b": r"\b", "\t": r"\t", "\n": r"\n", "\f": r"\f", "\r": r"\r", '"': r"\"", "\\": r"\\"}


def write_toml(root: Node, comments: Comments | None = None, lookup: Lookup = find_directive) -> str:
    """Return the text of a tree.

    lookup: the row of a name in a context, the same that will read the text. Raises ConfigurationError for a word with bytes that
    are not UTF-8, which TOML cannot express.
    """
    problems = list(_not_unicode(root))
    if problems:
        raise ConfigurationError(*problems)
    writer = _Writer(comments or Comments(), lookup)
    writer.table(root, (), MAIN)
    writer.comment(writer.comments.at_end_of(root))
    return "".join(f"{line}\n" for line in writer.lines)


def _not_unicode(node: Node) -> Iterator[Problem]:
    for word in (node.name, *node.arguments):
        found = _SURROGATE.search(word)
        if found:
            yield Problem(f"not UTF-8: byte 0x{ord(found[0]) & 0xFF:02x} is not allowed in TOML", node.position)
    for child in node.children or ():
        yield from _not_unicode(child)


class _Writer:
    """Collects the lines of a text."""

    def __init__(self, comments: Comments, lookup: Lookup) -> None:
        self.comments = comments
        self.lookup = lookup
        self.lines: list[str] = []

    def table(self, block: Node, path: Path, context: int, depth: int = 0) -> None:
        """Write the contents of a block whose header is written. depth: the number of blocks around the contents."""
        if context & ENTRIES:
            self.entries(block)
            return
        steps, groups = self.sort_out(block.children or [], context)
        tables: list[tuple[str, Directive, list[Node]]] = []
        blocks: list[Node] = []
        for name, row, nodes in groups:
            if row.block:
                blocks += nodes
                continue
            value = self.value_of(row, nodes)
            if value is None:
                tables.append((name, row, nodes))
            else:
                self.assign(name, value, nodes)
        if steps:
            self.lines += [f"{STEPS} = [", *self.statements(steps, context, "    "), "]"]
        for name, row, nodes in tables:
            self.lines += ["", f"[{_dotted((*path, name))}]"]
            for first, occurrences in _by_first(nodes):
                self.assign(first, _rest_of(row, occurrences), occurrences)
        order = {id(node): index for index, node in enumerate(block.children or ())}
        blocks.sort(key=lambda node: order[id(node)])
        self.blocks(blocks, path, context, depth)

    def blocks(self, blocks: list[Node], path: Path, context: int, depth: int) -> None:
        """Write the blocks inside one, each under its header."""
        rows = {node.name: self.lookup(node.name, context) for node in blocks}
        keys = [self.key_of(rows[node.name], node) for node in blocks]
        times: dict[tuple[str, str | None], int] = {}
        for node, key in zip(blocks, keys):
            times[node.name, key] = times.get((node.name, key), 0) + 1
        for node, key in zip(blocks, keys):
            row = rows[node.name]
            here = (*path, node.name) if key is None else (*path, node.name, key)
            is_array = times[node.name, key] > 1 or (key is None and row is not None and row.repeats and not row.has_entries)
            header = _dotted(here)
            if self.lines:
                self.lines.append("")
            self.comment(self.comments.of(node))
            self.lines.append(f"[[{header}]]" if is_array else f"[{header}]")
            self.table(node, here, row.block if row else 0, depth + 1)
            self.comment(self.comments.at_end_of(node), (depth + 1) * INDENTATION)

    def entries(self, block: Node) -> None:
        """Write the contents of a block of entries, which can be a table."""
        for first, entries in _runs(block.children or [], lambda entry: entry.name):
            if len(entries) == 1:
                words = entries[0].arguments
                self.assign(first, "true" if not words else _array_or_one(map(_string, words)), entries)
            else:
                self.assign(first, _array(_array(map(_string, entry.arguments)) for entry in entries), entries)

    def statements(self, nodes: list[Node], context: int, indentation: str) -> list[str]:
        """Write directives as arrays of words, one to a line."""
        lines: list[str] = []
        for node in nodes:
            row = None if context & ENTRIES else self.lookup(node.name, context)
            lines += [f"{indentation}#{_plain(line)}" for line in self.comments.of(node)]
            words = [_string(node.name), *self.words(row, node.arguments)]
            if node.children is None:
                lines.append(f"{indentation}[{', '.join(words)}],")
                continue
            inside = self.statements(
                node.children, OPAQUE if context & ENTRIES else row.block if row else 0, indentation + "    "
            )
            inside += [f"{indentation}    #{_plain(line)}" for line in self.comments.at_end_of(node)]
            if inside:
                lines += [f"{indentation}[{', '.join(words)}, [", *inside, f"{indentation}]],"]
            else:
                lines.append(f"{indentation}[{', '.join([*words, '[]'])}],")
        return lines

    # Things that can be a table

    def sort_out(self, nodes: list[Node], context: int) -> tuple[list[Node], list[tuple[str, Directive, list[Node]]]]:
        """Return the directives of a block: those that must be steps, and the others by name."""
        by_name: dict[str, list[Node]] = {}
        for node in nodes:
            by_name.setdefault(node.name, []).append(node)
        rows = {name: self.lookup(name, context) for name in by_name}
        sequences: dict[str, list[str]] = {}
        for name, row in rows.items():
            sequence = _STEPS_OF_REWRITE if row and row.inherit == STEP else _SEQUENCES.get(name)
            sequences.setdefault(sequence or f" {name}", []).append(name)
        as_steps: set[str] = set()
        for names in sequences.values():
            of_sequence = [node for node in nodes if node.name in names]
            if not all(self.can_be_table(rows[name], by_name[name]) for name in names) or not self.keeps_order(of_sequence, rows):
                as_steps.update(names)
        if context & UPSTREAM and has_backup_before_method(nodes):
            as_steps.update(by_name)
        groups = [(name, row, by_name[name]) for name, row in rows.items() if row and name not in as_steps]
        return [node for node in nodes if node.name in as_steps], groups

    def keeps_order(self, nodes: list[Node], rows: dict[str, Directive | None]) -> bool:
        """Whether these are in the order that tables would give them: name by name, values, tables, blocks."""
        kinds = []
        for name, run in _runs(nodes, lambda node: node.name):
            row = rows[name]
            kinds.append(2 if row and row.block else 1 if row and self.value_of(row, run) is None else 0)
        return len(kinds) == len({node.name for node in nodes}) and kinds == sorted(kinds)

    def can_be_table(self, row: Directive | None, nodes: list[Node]) -> bool:
        """Whether directives of one name and one block can be written with tables, in their order."""
        if row is None or nodes[0].name in (STEPS, INCLUDE):
            return False
        if row.block:
            if any(node.children is None for node in nodes):
                return False
            if any(self.key_of(row, node) is None if row.named else node.arguments for node in nodes):
                return False
            return not row.has_entries or all(_can_be_entries(node) for node in nodes)
        if any(node.children is not None for node in nodes):
            return False
        if not row.arity[1]:
            return len(nodes) == 1 and not nodes[0].arguments
        if row.repeats:
            return True
        return len(nodes) == 1 or (row.named and _is_by_first(nodes))

    def key_of(self, row: Directive | None, node: Node) -> str | None:
        """Return the key for the arguments of a block; None when there is none."""
        if row is None or not row.named:
            return None
        if row.arity[1] < 2 or node.name == "location":
            key = " ".join(node.arguments)
        else:
            key = " ".join(_quote_in_key(word) for word in node.arguments)
        return key if node.arguments and arguments_in_key(node.name, row, key) == node.arguments else None

    # Values

    def assign(self, key: str, value: str, nodes: list[Node]) -> None:
        for node in nodes:
            self.comment(self.comments.of(node))
        self.lines.append(f"{_key(key)} = {value}")

    def value_of(self, row: Directive, nodes: list[Node]) -> str | None:
        """Return the value of a simple directive on its own line; None when a table under a header is easier to read."""
        least, most = row.arity
        are_words = all(len(node.arguments) == 1 for node in nodes) and (row.repeats or len(nodes) == 1)
        if row.named and not are_words and _is_by_first(nodes):
            pairs = [f"{_key(first)} = {_rest_of(row, occurrences)}" for first, occurrences in _by_first(nodes)]
            line = f"{{ {', '.join(pairs)} }}"
            fits = len(row.name) + 3 + len(line) <= _WIDTH
            return line if len(pairs) == 1 or (len(pairs) == 2 and fits and not self.are_commented(nodes)) else None
        if not most:
            return "true"
        values = [self.words(row, node.arguments) for node in nodes]
        if not row.repeats or (row.inherit == STEP and len(nodes) == 1):
            return values[0][0] if len(values[0]) == 1 else _array(values[0])
        if len(nodes) == 1 and len(values[0]) == 1:
            return values[0][0]
        may_be_bare = least < 2 and row.inherit != STEP
        return _array(words[0] if len(words) == 1 and may_be_bare else _array(words) for words in values)

    def words(self, row: Directive | None, arguments: tuple[str, ...]) -> list[str]:
        """Write arguments as TOML values: booleans, numbers, strings. A number is one only when all before it are."""
        if row is None or row.named or row.read is text:
            return list(map(_string, arguments))
        if row.read is flag:
            return [_FLAGS.get(word) or _string(word) for word in arguments]
        at_most = 1 if row.inherit == STEP else len(arguments)
        numbers = len(list(takewhile(_NUMBER.fullmatch, arguments[:at_most])))
        return [*arguments[:numbers], *map(_string, arguments[numbers:])]

    def are_commented(self, nodes: list[Node]) -> bool:
        return any(self.comments.of(node) for node in nodes[1:])

    def comment(self, lines: list[str], indentation: str = "") -> None:
        self.lines += [f"{indentation}#{_plain(line)}" for line in lines]


def _can_be_entries(block: Node) -> bool:
    """Whether the contents of a block of entries can be a table: each first word once, or in a row."""
    children = block.children or []
    if any(entry.name == INCLUDE for entry in children):
        return False
    runs = list(_runs(children, lambda entry: entry.name))
    if any(entry.children is not None for entry in children):
        return False
    return len(runs) == len({entry.name for entry in children})


def _is_by_first(nodes: list[Node]) -> bool:
    """Whether every directive has a first argument, and those with the same one are neighbours."""
    if not all(node.arguments for node in nodes):
        return False
    return len(list(_by_first(nodes))) == len({node.arguments[0] for node in nodes})


def _by_first(nodes: list[Node]) -> Iterator[tuple[str, list[Node]]]:
    return _runs(nodes, lambda node: node.arguments[0])


def _runs(nodes: list[Node], key: Callable[[Node], str]) -> Iterator[tuple[str, list[Node]]]:
    """Group neighbours with the same key."""
    return ((value, list(run)) for value, run in groupby(nodes, key))


def _rest_of(row: Directive, occurrences: list[Node]) -> str:
    """Return the value for the arguments after the first of a named directive."""
    rests = [node.arguments[1:] for node in occurrences]
    if len(rests) > 1:
        return _array(_array(map(_string, rest)) for rest in rests)
    rest = rests[0]
    if row.contexts & UPSTREAM and row.arity[1] > 2:
        table = _parameters(rest)
        if table is not None:
            return table
    return _array_or_one(map(_string, rest))


def _parameters(words: Iterable[str]) -> str | None:
    """Return `weight=3 backup` as `{ weight = 3, backup = true }`; None when the words are no parameters."""
    pairs: dict[str, str] = {}
    for word in words:
        match = _PARAMETER.fullmatch(word)
        if match is None or match[1] in pairs:
            return None
        value = match[2]
        pairs[match[1]] = "true" if value is None else value if _NUMBER.fullmatch(value) else _string(value)
    return f"{{ {', '.join(f'{key} = {value}' for key, value in pairs.items())} }}" if pairs else "{}"


def _quote_in_key(word: str) -> str:
    """Return a word of a key with several words; only white space, a leading quote and some backslashes need quotes."""
    is_plain = word and not re.search(r"""^["']|[ \t\r\n]|\\\Z""", word) and unescape(word) == word
    if is_plain:
        return word
    quoted = quote_word(word)
    return quoted if quoted[0] in "\"'" else f'"{quoted}"'


# TOML


def _dotted(path: Path) -> str:
    return ".".join(map(_key, path))


def _key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else _string(name)


def _string(word: str) -> str:
    if not _NEEDS_ESCAPE.search(word):
        return f'"{word}"'
    if "'" not in word and not _CONTROL.search(word) and "\t" not in word:
        return f"'{word}'"
    return '"' + _NEEDS_ESCAPE.sub(lambda found: _ESCAPED.get(found[0]) or f"\\u{ord(found[0]):04x}", word) + '"'


def _array(values: Iterable[str]) -> str:
    values = list(values)
    line = f"[{', '.join(values)}]"
    return line if len(line) <= _WIDTH or len(values) < 2 else "[\n    " + ",\n    ".join(values) + ",\n]"


def _array_or_one(values: Iterable[str]) -> str:
    values = list(values)
    return values[0] if len(values) == 1 else _array(values)


def _plain(comment: str) -> str:
    """Return a comment without the characters that TOML does not allow in one."""
    return _CONTROL.sub("?", comment)
