"""Directive trees for the tests of the writers: rows of every kind, and random trees that fit them or do not."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from wproxy.config.registry import (
    ENTRIES,
    EVENTS,
    GATHER,
    GEO,
    HTTP,
    LIMIT_EXCEPT,
    LOCATION,
    LOCATION_IF,
    MAIN,
    MAP,
    OPAQUE,
    OWN,
    OWN_GATHER,
    SCALAR,
    SERVER,
    SERVER_IF,
    STEP,
    TYPES,
    UNION,
    UPSTREAM,
    Directive,
    directive,
)
from wproxy.config.tree import Node, Position
from wproxy.directives.values import flag

LEVELS = HTTP | SERVER | LOCATION
STEPS = SERVER | LOCATION | SERVER_IF | LOCATION_IF
HERE = Position("f", 1)


def row(name: str, contexts: int, read: Any = str, **columns: Any) -> Directive:
    made: Directive = directive(read, contexts, doc="", **columns)
    made.name = name
    return made


ROWS = [
    row("events", MAIN, arity=0, block=EVENTS, inherit=OWN),
    row("http", MAIN, arity=0, block=HTTP, inherit=OWN),
    row("stream", MAIN, arity=0, block=OPAQUE, inherit=OWN),
    row("server", HTTP, arity=0, block=SERVER, inherit=OWN_GATHER),
    row("upstream", HTTP, block=UPSTREAM, inherit=OWN_GATHER, named=True),
    row("map", HTTP, arity=2, block=MAP, inherit=OWN_GATHER, named=True),
    row("geo", HTTP, arity=(1, 2), block=GEO, inherit=OWN_GATHER, named=True),
    row("charset_map", HTTP, arity=(1, 5), block=OPAQUE, inherit=OWN_GATHER, named=True),
    row("types", LEVELS, arity=0, block=TYPES, inherit=GATHER),
    row("location", SERVER | LOCATION, arity=(1, 2), block=LOCATION, inherit=OWN_GATHER, named=True),
    row("if", SERVER, arity=(1, 1000), block=SERVER_IF, inherit=STEP, named=True),
    row("if", LOCATION, arity=(1, 1000), block=LOCATION_IF, inherit=STEP, named=True),
    row("limit_except", LOCATION, arity=(1, 100), block=LIMIT_EXCEPT, inherit=OWN, named=True),
    row("set", STEPS, arity=2, inherit=STEP),
    row("rewrite", STEPS, arity=(2, 3), inherit=STEP, named=True),
    row("return", STEPS, arity=(1, 2), inherit=STEP),
    row("break", STEPS, arity=0, inherit=STEP),
    row("server", UPSTREAM, arity=(1, 9), inherit=OWN_GATHER, named=True),
    row("ip_hash", UPSTREAM, arity=0),
    row("keepalive", UPSTREAM),
    row("listen", SERVER, arity=(1, 9), inherit=OWN_GATHER),
    row("server_name", SERVER, arity=(1, 99), inherit=OWN_GATHER),
    row("sendfile", LEVELS, flag),
    row("keepalive_timeout", LEVELS, arity=(1, 2)),
    row("error_page", LEVELS, arity=(2, 99), inherit=GATHER),
    row("proxy_pass", LOCATION, inherit=OWN),
    row("proxy_hide_header", LEVELS, inherit=GATHER),
    row("proxy_set_header", LEVELS, arity=2, inherit=GATHER, named=True),
    row("add_header", LEVELS, arity=(2, 3), inherit=GATHER, named=True),
    row("allow", LEVELS | LIMIT_EXCEPT, inherit=GATHER, named=True),
    row("deny", LEVELS | LIMIT_EXCEPT, inherit=GATHER, named=True),
    row("gzip_types", LEVELS, arity=(1, 100), inherit=UNION),
    row("odd", LEVELS, arity=(1, 3), inherit=SCALAR, named=True),
]


def lookup(name: str, context: int) -> Directive | None:
    """As find_directive."""
    rows = [row for row in ROWS if row.name == name]
    return next((row for row in rows if row.contexts & context), rows[0] if rows else None)


_AWKWARD = [
    *("on", "off", "80", "007", "-1", "$a", "${b}", "a b", "", "=", "~", "^~", "= /x", "/x", r"\.php$", "a\\", r"\\n", "\\n"),
    *('"', "'", "a\"b'c", "{", "}", "#", ";", ")", "steps", "include x", "weight=3", "a=b=c", "backup", "default", "$", "\u00e9"),
    *("\x7f", "\t", "x\n", "\r", "'''", "${", "$a{", "\u2028", "\ufeff", "[a]", "a.b"),
]
WORDS = st.one_of(st.sampled_from(_AWKWARD), st.text(st.characters(exclude_categories=["Cs"]), max_size=6))
_NAMES = st.one_of(st.sampled_from(sorted({row.name for row in ROWS})), WORDS.filter(lambda word: word != "include"))


def _nodes(depth: int) -> st.SearchStrategy[Node]:
    """Any directive at all, known or not, right or wrong."""
    arguments = st.lists(WORDS, max_size=3).map(tuple)
    simple = st.builds(Node, _NAMES, arguments, st.just(HERE))
    if not depth:
        return simple
    return st.one_of(simple, st.builds(Node, _NAMES, arguments, st.just(HERE), st.lists(_nodes(depth - 1), max_size=5)))


@st.composite
def _good(draw: st.DrawFn, context: int = MAIN, depth: int = 4) -> list[Node]:
    """Directives where they may stand, with as many arguments as they take."""
    if context & ENTRIES:
        return draw(st.lists(_nodes(1 if context == OPAQUE else 0), max_size=5))
    rows = [row for row in ROWS if row.contexts & context]
    nodes = []
    for row in draw(st.lists(st.sampled_from(rows), max_size=7)) if rows else ():
        least, most = row.arity
        arguments = tuple(draw(st.lists(WORDS, min_size=least, max_size=min(most, least + 2))))
        inside = (draw(_good(row.block, depth - 1)) if depth else []) if row.block else None
        nodes.append(Node(row.name, arguments, HERE, inside))
    return nodes


def root(children: list[Node]) -> Node:
    return Node("", (), HERE, children)


TREES = st.one_of(_good().map(root), st.lists(_nodes(3), max_size=5).map(root))

Shape = tuple[str, tuple[str, ...], "list[Shape] | None"]


def shape(nodes: list[Node] | None) -> list[Shape]:
    """Names, arguments and children, in their order."""
    return [(node.name, node.arguments, None if node.children is None else shape(node.children)) for node in nodes or ()]


_SEQUENCES = {"allow": " access", "deny": " access", **dict.fromkeys(("if", "set", "rewrite", "return", "break"), " steps")}


def in_order_that_matters(nodes: list[Node] | None) -> list[Shape]:
    """The same, where directives of different names may change places, but for steps and access rules."""
    shapes = [
        (node.name, node.arguments, None if node.children is None else in_order_that_matters(node.children))
        for node in nodes or ()
    ]
    return sorted(shapes, key=lambda found: _SEQUENCES.get(found[0], found[0]))
