"""The registry: every row makes sense, is found where it stands, and is missed with a suggestion."""

from __future__ import annotations

import pytest

from tests.every import for_every
from wproxy.config import model
from wproxy.config.registry import (
    CONTEXT_NAMES,
    ENTRIES,
    EVENTS,
    GATHER,
    HTTP,
    LOCATION,
    MAIN,
    OPAQUE,
    OWN,
    OWN_GATHER,
    REGISTRY,
    SCALAR,
    SERVER,
    STEP,
    UNION,
    UPSTREAM,
    Directive,
    closest_name,
    context_names,
    directive,
    find_directive,
    register,
    unknown_directive_text,
)
from wproxy.config.tree import Node, Position
from wproxy.directives.accepted import ACCEPTED
from wproxy.template import Template

ROWS = [row for rows in REGISTRY.values() for row in rows]
EVERYWHERE = sum(CONTEXT_NAMES)
MODELS = (model.Configuration, model.Server, model.Location, model.Upstream, model.Match, model.Exporter)


def called(row: Directive) -> str:
    return f"{row.name} in {' '.join(context_names(row.contexts))}"


of_every_row = for_every(ROWS, called)


# Rows


@of_every_row
def test_a_row_is_found_under_its_name(row):
    assert row.name
    assert row.attribute.rstrip("_") == row.name
    assert row in REGISTRY[row.name]


@of_every_row
def test_a_row_stands_in_contexts_that_there_are(row):
    assert row.contexts
    assert not row.contexts & ~EVERYWHERE
    assert row.block in (0, OPAQUE, *CONTEXT_NAMES)
    assert row.inherit in (SCALAR, GATHER, OWN, OWN_GATHER, UNION, STEP)


@of_every_row
def test_a_row_has_one_line_of_documentation(row):
    assert row.doc.endswith(".")
    assert row.doc == row.doc.strip()
    assert "\n" not in row.doc
    assert row.doc[0].isupper() or not row.doc[0].isalpha()


@of_every_row
def test_a_row_takes_a_number_of_arguments(row):
    least, most = row.arity
    assert 0 <= least <= most
    assert row.accepts(least) and row.accepts(most)
    assert not row.accepts(least - 1) and not row.accepts(most + 1)
    if not most and not row.block:
        row.read()  # being there is all that it says


@of_every_row
def test_a_default_is_what_a_person_could_write(row):
    if row.default is None:
        assert row.value == (() if row.repeats else None)
        return
    arguments = (row.default,) if isinstance(row.default, str) else row.default
    assert row.accepts(len(arguments))
    value = row.read(*arguments)
    assert shown(row.value) == shown((value,) if row.repeats else value)


def shown(value):
    """A value with the texts of its templates, which are equal to none but themselves."""
    if isinstance(value, tuple):
        return tuple(map(shown, value))
    return value.text if isinstance(value, Template) else value


@of_every_row
def test_a_block_has_no_default(row):
    if row.block:
        assert row.default is None
        assert row.inherit in (OWN, OWN_GATHER, STEP, GATHER)


@of_every_row
def test_a_block_of_directives_carries_nothing_but_itself(row):
    """What is inside is read by `resolve`; where the words around it mean something, the value has a place for the node."""
    if row.block and not row.has_entries:
        arguments = {"if": ["($host)"], "limit_except": ["GET"]}.get(row.name, ["a"] * row.arity[0])
        value = row.read(*arguments)
        assert value is None or value.node is None


@of_every_row
def test_a_block_of_entries_is_one_that_is_listed(row):
    assert row.has_entries == bool(row.block and row.block & ENTRIES)


@of_every_row
def test_what_is_named_has_an_argument_to_be_named_by(row):
    if row.named:
        assert row.arity[0] >= 1
        assert row.repeats or row.block, "a table has many keys, or the one is its heading"


def test_two_rows_of_one_name_never_meet():
    for rows in REGISTRY.values():
        contexts = [row.contexts for row in rows]
        assert sum(contexts) == sum({bit for bit in CONTEXT_NAMES for mask in contexts if mask & bit})


def test_the_models_carry_the_values():
    """Every row that is carried out and no block is an attribute of a model, with the default in its place."""
    for row in ROWS:
        if not row.block and row not in ACCEPTED.get(row.name, ()):
            owners = [owner for owner in MODELS if any(row.attribute in vars(base) for base in owner.__mro__)]
            assert owners, called(row)
            assert any(getattr(owner, row.attribute) == row.value for owner in owners), called(row)


@pytest.mark.parametrize("owner", MODELS, ids=lambda owner: owner.__name__)
def test_no_model_gets_one_attribute_from_two_tables(owner):
    tables = [base for base in owner.__mro__ if base.__name__.endswith("Directives")]
    attributes = [name for table in tables for name in table.__annotations__]
    assert len(set(attributes)) == len(attributes)
    structure = set(owner.__annotations__)
    assert not structure & set(attributes)


def test_no_row_is_left_unread_on_a_class():
    for owner in MODELS:
        assert not [name for name in dir(owner) if isinstance(getattr(owner, name), Directive)]


# Registering


def test_a_second_row_of_a_name_in_one_context_is_a_mistake(monkeypatch):
    monkeypatch.setattr("wproxy.config.registry.REGISTRY", {})

    class First:
        size: int = directive(int, HTTP | SERVER, default="5", doc="A size.")

    class Second:
        size: int = directive(int, SERVER, doc="Another.")

    class Elsewhere:
        size: int = directive(int, UPSTREAM, doc="Another.")

    register(First, Elsewhere)
    with pytest.raises(AssertionError, match="two rows for size in one context"):
        register(Second)


def test_registering_puts_read_defaults_on_the_class(monkeypatch):
    monkeypatch.setattr("wproxy.config.registry.REGISTRY", {})

    class Table:
        number: int = directive(int, HTTP, default="5", doc="A number.")
        numbers: tuple[int, ...] = directive(int, HTTP, default="5", inherit=GATHER, doc="Numbers.")
        pair: tuple[int, int] = directive(lambda a, b: (int(a), int(b)), HTTP, arity=2, default=("1", "2"), doc="A pair.")
        nothing: int | None = directive(int, HTTP, doc="Perhaps a number.")
        none: tuple[int, ...] = directive(int, HTTP, inherit=OWN_GATHER, doc="Perhaps numbers.")
        class_: int = directive(int, HTTP, default="1", doc="A word of Python's.")
        other = 7

    register(Table)
    assert (Table.number, Table.numbers, Table.pair, Table.nothing, Table.none, Table.class_) == (5, (5,), (1, 2), None, (), 1)
    assert Table.other == 7
    found = find_directive("class", HTTP)
    assert found and (found.name, found.attribute, found.arity) == ("class", "class_", (1, 1))


# Finding


@pytest.mark.parametrize(
    ("name", "context", "block", "contexts"),
    [
        ("server", HTTP, SERVER, HTTP),
        ("server", UPSTREAM, 0, UPSTREAM),
        ("keepalive_timeout", LOCATION, 0, HTTP | SERVER | LOCATION),
        ("keepalive_timeout", UPSTREAM, 0, UPSTREAM),
        ("http", MAIN, HTTP, MAIN),
        ("events", MAIN, EVENTS, MAIN),
    ],
)
def test_a_name_means_what_it_means_in_its_context(name, context, block, contexts):
    row = find_directive(name, context)
    assert row and (row.block, row.contexts) == (block, contexts)


def test_elsewhere_any_row_of_the_name_is_found_to_say_more():
    row = find_directive("listen", MAIN)
    assert row and row.contexts == SERVER
    assert find_directive("server") is REGISTRY["server"][0]


@pytest.mark.parametrize("name", ["", "nope", "Listen", "return_", "server_"])
def test_a_name_that_is_none_is_not_found(name):
    assert find_directive(name, SERVER) is None


def test_contexts_are_named_from_the_outside_in():
    assert context_names(EVERYWHERE) == list(CONTEXT_NAMES.values())
    assert context_names(EVERYWHERE)[:6] == ["main", "events", "http", "upstream", "server", "location"]
    assert context_names(LOCATION | HTTP) == ["http", "location"]
    assert context_names(0) == []


# Did you mean


@pytest.mark.parametrize(
    ("written", "context", "meant"),
    [
        ("proxy_passs", LOCATION, "proxy_pass"),
        ("porxy_pass", LOCATION, "proxy_pass"),
        ("proxy-pass", LOCATION, "proxy_pass"),
        ("proxy_set_headers", HTTP, "proxy_set_header"),
        ("lisen", SERVER, "listen"),
        ("server_names", SERVER, "server_name"),
        ("worker_process", MAIN, "worker_processes"),
        ("keep_alive", UPSTREAM, "keepalive"),
        ("Daemon", MAIN, "daemon"),
        ("locations", SERVER, "location"),
        # not here, but somewhere
        ("proxy_passs", MAIN, "proxy_pass"),
    ],
)
def test_a_typing_mistake_is_met_with_a_suggestion(written, context, meant):
    node = Node(written, (), Position("f", 1))
    assert unknown_directive_text(node, context) == f'unknown directive "{written}", did you mean "{meant}"?'


@pytest.mark.parametrize("written", ["x", "wondrous_static", "frobnicate", "\u00e9", ""])
def test_where_nothing_is_near_nothing_is_suggested(written):
    assert unknown_directive_text(Node(written, (), Position("f", 1)), LOCATION) == f'unknown directive "{written}"'


def test_the_closest_of_several_is_meant():
    assert closest_name("abcx", ["abcd", "abcxy", "zzz"]) == "abcxy"
    assert closest_name("abc", []) is None
