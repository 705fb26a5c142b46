"""The registry of directives: one row each, written as a typed attribute of the class that will carry its value.

    class ProxyDirectives:
        proxy_read_timeout: float = directive(time, HTTP | SERVER | LOCATION, default="60s", doc="...")

That one line gives the name, the contexts, the reader of the arguments, the default (as a person would write it), the rule of
inheritance, the one-line description for the generated pages, and the type under which the rest of the program reads
`location.proxy_read_timeout`. `register` collects the rows of a class and puts the parsed default in their place, so that a
resolved object carries only values that were set and finds the rest on its class.

How a directive inherits (nginx: ngx_conf_merge_* in each module): inner blocks see the value of a block until one of them sets it
again. GATHER directives may be repeated in one block and their values add up there, but a block that sets one loses everything
that it would have inherited. OWN directives are not inherited at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from wproxy.config.repeated import repeated_words
from wproxy.config.tree import Node, Problem

# Contexts, as bits: the blocks in which a directive is allowed.
MAIN = 1
EVENTS = 2
HTTP = 4
UPSTREAM = 8
SERVER = 16
LOCATION = 32
SERVER_IF = 64
LOCATION_IF = 128
LIMIT_EXCEPT = 256
# Blocks of entries: the words in them are keys, not directives, and are not looked up in the registry.
MAP = 512
GEO = 1024
SPLIT_CLIENTS = 2048
TYPES = 4096
# The contents of a block that is accepted and has no effect yet; they are not checked.
OPAQUE = 8192
CHARSET_MAP = 32768
# The tests that the answer to a health check has to pass.
MATCH = 16384
# The collector of spans.
EXPORTER = 65536

ENTRIES = MAP | GEO | SPLIT_CLIENTS | TYPES | OPAQUE | CHARSET_MAP

CONTEXT_NAMES = {
    MAIN: "main",
    EVENTS: "events",
    HTTP: "http",
    UPSTREAM: "upstream",
    SERVER: "server",
    LOCATION: "location",
    SERVER_IF: "if in server",
    LOCATION_IF: "if in location",
    LIMIT_EXCEPT: "limit_except",
    MAP: "map",
    GEO: "geo",
    SPLIT_CLIENTS: "split_clients",
    TYPES: "types",
    CHARSET_MAP: "charset_map",
    MATCH: "match",
    EXPORTER: "otel_exporter",
}

# Treatment of a second occurrence in one block, and of a value of an outer block.
SCALAR = "scalar"  # a second one is a duplicate; inner blocks override
GATHER = "gather"  # occurrences add up to a tuple; an inner block that has one replaces the outer list as a whole
OWN = "own"  # a second one is a duplicate; never inherited
OWN_GATHER = "own gather"  # occurrences add up to a tuple; never inherited
UNION = "union"  # sets of words: occurrences in one block are united; an inner block that has one replaces the set
STEP = "step"  # occurrences of all rows of this kind add up, in the order of the file, to the tuple `steps`; never inherited

Reader = Callable[..., Any]
# A function that takes the nodes of one directive in one block, up to the current one, and yields warnings about the last of
# them.
Warns = Callable[[tuple[Node, ...]], Iterable[Problem]]


@dataclass(slots=True)
class Directive:
    """One row: see the module's description for the columns."""

    read: Reader
    contexts: int
    arity: tuple[int, int]
    default: str | tuple[str, ...] | None
    inherit: str
    doc: str
    block: int  # the context that its braces open, 0 for a simple directive
    named: bool  # TOML writes the arguments of this block or directive as a key: [http.upstream.app]
    effective: bool = True  # False: accepted so that a configuration loads, but without effect yet
    guards: bool = False  # not effective, and a start refuses it: its absence would weaken security
    excludes: str = ""  # the attribute that may not be set in the same block, and whose inherited value this one replaces
    joins: str = ""  # the attribute that holds this and its sisters (allow, deny) as one list, in the order of the file
    inherit_by: str = ""  # the directive that says how a gathered list inherits: on, off or merge
    warns: Warns | None = None  # the function that finds things to warn about
    alone: str = ""  # the argument that makes a gathering directive the only one of its name in a block: off
    idle_parameters: Mapping[str, bool] = field(default_factory=dict)  # without effect yet; True: a start refuses the parameter
    completes: Callable[[Any, Any], Any] | None = None  # makes a value whole out of itself and the one of the outer block
    name: str = ""
    attribute: str = ""  # where the model keeps it: the name, with a `_` where Python has the word
    value: Any = None  # the default, read

    @property
    def repeats(self) -> bool:
        """Whether it may be repeated in one block."""
        return self.inherit in (GATHER, OWN_GATHER, STEP)

    @property
    def has_entries(self) -> bool:
        """Whether it is a block of entries: its reader gets the inner nodes as its last argument."""
        return bool(self.block & ENTRIES)

    def accepts(self, count: int) -> bool:
        """Whether this number of arguments is allowed."""
        least, most = self.arity
        return least <= count <= most


def directive(
    read: Reader,
    contexts: int,
    *,
    arity: int | tuple[int, int] = 1,
    default: str | tuple[str, ...] | None = None,
    inherit: str = SCALAR,
    block: int = 0,
    named: bool = False,
    effective: bool = True,
    guards: bool = False,
    excludes: str = "",
    joins: str = "",
    inherit_by: str = "",
    warns: Warns | None = None,
    alone: str = "",
    idle_parameters: Mapping[str, bool] = MappingProxyType({}),
    completes: Callable[[Any, Any], Any] | None = None,
    doc: str,
) -> Any:
    """Return one row of the registry.

    read: takes the arguments as str, one parameter each, and returns the value; raises ValueError with the reason.
    contexts: the blocks that may contain it, MAIN | HTTP | ...
    arity: the number of arguments, or (least, most).
    default: arguments as they would be written; None leaves the attribute None (or () when it gathers).
    inherit: SCALAR, GATHER, OWN, OWN_GATHER, UNION or STEP.
    block: the context that its braces open; 0 for a simple directive. The reader of a block of ENTRIES gets the list of inner
    nodes after the arguments.
    named: TOML writes the first argument(s) as a key.
    effective: False for a directive that is accepted and has no effect yet.
    guards: not effective, and a start refuses it, because its absence would weaken security.
    excludes, joins, inherit_by, warns, alone, idle_parameters, completes: as in `Directive`.
    doc: one line for the generated pages and for `wproxy check`.
    """
    both = (arity, arity) if isinstance(arity, int) else arity
    if inherit == UNION and warns is None:
        warns = repeated_words
    return Directive(
        read,
        contexts,
        both,
        default,
        inherit,
        doc,
        block,
        named,
        effective,
        guards,
        excludes,
        joins,
        inherit_by,
        warns,
        alone,
        idle_parameters,
        completes,
    )


# Rows by name; a name may have two rows in different contexts: `server` in http and in upstream.
REGISTRY: dict[str, list[Directive]] = {}
# The attributes that are read into one list, by the attribute of that list.
JOINED: dict[str, list[str]] = {}
# The directive that says how a gathered list inherits, by the attribute of the list.
INHERITED_BY: dict[str, str] = {}


def register(*classes: type) -> None:
    """Collect the rows of these classes and put the parsed defaults in their place as class attributes."""
    for owner in classes:
        for name, row in list(vars(owner).items()):
            if not isinstance(row, Directive):
                continue
            # `return_`, `server_`: words that are reserved in Python, or that have another row elsewhere.
            row.name, row.attribute = name.rstrip("_"), name
            if row.default is None:
                row.value = () if row.repeats else None
            else:
                arguments = (row.default,) if isinstance(row.default, str) else row.default
                value = row.read(*arguments)
                row.value = (value,) if row.repeats else value
            _enter(row)
            setattr(owner, name, row.value)


def register_accepted(table: Mapping[str, Iterable[Directive]]) -> None:
    """Enter rows that no class carries, by name: directives that are accepted and do not (yet) mean anything to the program.

    Raises AssertionError where one of the contexts already has a row of the name: then the directive works now, and has to leave
    the table of merely accepted ones (`wproxy.directives.accepted`).
    """
    for name, rows in table.items():
        for row in rows:
            row.name = row.attribute = name
            row.value = () if row.repeats else None
            _enter(row)


def _enter(row: Directive) -> None:
    rows = REGISTRY.setdefault(row.name, [])
    if any(other.contexts & row.contexts for other in rows):
        raise AssertionError(f"two rows for {row.name} in one context")
    rows.append(row)
    if row.joins:
        JOINED.setdefault(row.joins, []).append(row.attribute)
    if row.inherit_by:
        INHERITED_BY[row.attribute] = row.inherit_by


def find_directive(name: str, context: int = 0) -> Directive | None:
    """Return the row of that name for a block of that context, or else any row of the name, so that an error can say more."""
    rows = REGISTRY.get(name)
    if not rows:
        return None
    for row in rows:
        if row.contexts & context:
            return row
    return rows[0]


def context_names(contexts: int) -> list[str]:
    """Return the names of the contexts in a bit set, outermost first."""
    return [word for bit, word in CONTEXT_NAMES.items() if contexts & bit]


def closest_name(name: str, candidates: Iterable[str]) -> str | None:
    """Return the candidate a typing mistake away from `name`, for "did you mean"; None when nothing is near."""
    import difflib  # 5 ms, needed only for an error

    near = difflib.get_close_matches(name, list(candidates), n=1, cutoff=0.75)
    return near[0] if near else None


def default_words(name: str) -> str:
    """Return the default of a directive as a person would write it."""
    rows = REGISTRY.get(name)
    default = rows[0].default or () if rows else ()
    return default if isinstance(default, str) else " ".join(default)


# Directives that newer nginx no longer has, and their replacements.
GONE = {"ssl": 'write "ssl" after the address in "listen"'}


def unknown_directive_text(node: Node, context: int) -> str:
    """Return nginx's message for an unknown directive, with a suggestion where a known name is near."""
    if node.name.startswith("\ufeff"):
        return f'unknown directive "{node.name}", the file begins with a byte order mark: save it as UTF-8 without one'
    if node.name in GONE:
        return f'unknown directive "{node.name}", {GONE[node.name]}'
    near = closest_name(node.name, (name for name, rows in REGISTRY.items() if any(row.contexts & context for row in rows)))
    near = near or closest_name(node.name, REGISTRY)
    return f'unknown directive "{node.name}"' + (f', did you mean "{near}"?' if near else "")
