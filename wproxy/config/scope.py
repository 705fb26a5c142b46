"""The settings of one block, on top of those that it inherits.

`ScopeReader.read` reads the directives of a block through the registry: is it allowed here, has it the right number of arguments,
what do they mean. A directive that is wrong is noted and left out, so that all problems are found in one run.
"""

from __future__ import annotations

from typing import Any, TypeVar, cast

from wproxy.config.effects import Ineffective, ineffective
from wproxy.config.registry import (
    EVENTS,
    GATHER,
    HTTP,
    INHERITED_BY,
    JOINED,
    LOCATION,
    MAIN,
    OWN,
    OWN_GATHER,
    SCALAR,
    SERVER,
    STEP,
    UNION,
    Directive,
    find_directive,
    unknown_directive_text,
)
from wproxy.config.tree import ConfigurationError, Node, Position, Problem

Values = dict[str, Any]
Written = dict[str, tuple[Node, ...]]


class Scope:
    """The settings of one block: its own values by attribute name, and the directives they come from.

    heritage: the values that an inner block sees.
    """

    __slots__ = ("heritage", "values", "written")

    def __init__(self, outer: Scope | None = None) -> None:
        self.values: Values = dict(outer.heritage) if outer else {}
        self.written: Written = {name: outer.written[name] for name in outer.heritage if name in outer.written} if outer else {}
        self.heritage: Values = dict(self.values)


class ScopeReader:
    """Reads blocks, and collects problems and directives that have no effect yet."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.ineffective: list[Ineffective] = []

    def problem(self, text: str, position: Position | None) -> None:
        """Note an error."""
        problem = Problem(text, position)
        if problem not in self.problems:
            self.problems.append(problem)

    def read(self, node: Node | None, context: int, outer: Scope | None) -> Scope:
        """Return the scope of a block (None: an empty one) of that context inside another."""
        scope = Scope(outer)
        if node is None:
            return scope
        own: set[str] = set()
        for child in node.children or ():
            row = self.check(child, context)
            if row is None:
                continue
            self.ineffective.extend(ineffective(row, child))
            kind = row.inherit
            attribute = "steps" if kind == STEP else row.attribute
            if attribute in own and kind in (SCALAR, OWN):
                self.problem(f'"{child.name}" directive is duplicate', child.position)
                continue
            if row.alone and attribute in own and (row.alone,) in (child.arguments, scope.written[attribute][-1].arguments):
                self.problem(f'"{child.name}" directive is duplicate', child.position)
                continue
            value = self.value(row, child)
            if value is _NOTHING:
                continue
            nodes: tuple[Node, ...] = (child,)
            if kind in (GATHER, OWN_GATHER, STEP, UNION) and attribute in own:
                nodes = (*scope.written[attribute], child)
            if kind in (GATHER, OWN_GATHER, STEP):
                value = (*scope.values[attribute], value) if attribute in own else (value,)
            elif kind == UNION and attribute in own:
                value = scope.values[attribute] | value
            if row.completes is not None and attribute in scope.values:
                value = row.completes(value, scope.values[attribute])
            if row.warns is not None:
                self.warnings.extend(row.warns(nodes))
            if row.excludes:
                if row.excludes in own:
                    text = f'"{child.name}" directive is duplicate, "{row.excludes}" directive was specified earlier'
                    self.problem(text, child.position)
                    continue
                scope.values.pop(row.excludes, None)
                scope.heritage.pop(row.excludes, None)
            own.add(attribute)
            scope.values[attribute] = value
            scope.written[attribute] = nodes
            if kind not in (OWN, OWN_GATHER, STEP):
                scope.heritage[attribute] = value
        self.join(scope, own, node)
        self.merge(scope, own, outer)
        return scope

    def join(self, scope: Scope, own: set[str], node: Node) -> None:
        """Combine directives that count together, such as allow and deny, into one list in the order of the file."""
        order = {id(child): number for number, child in enumerate(node.children or ())}
        for joined, names in JOINED.items():
            if own.isdisjoint(names):
                continue
            items: list[tuple[int, Any]] = []
            for name in names:
                if name in own:
                    items += zip((order[id(written)] for written in scope.written[name]), scope.values[name])
                else:
                    for table in (scope.values, scope.heritage, scope.written):
                        table.pop(name, None)
            items.sort(key=lambda item: item[0])
            scope.values[joined] = scope.heritage[joined] = tuple(value for _, value in items)

    def merge(self, scope: Scope, own: set[str], outer: Scope | None) -> None:
        """Combine lists whose inheritance is set by a directive of its own, such as add_header_inherit."""
        for attribute, switch in INHERITED_BY.items():
            mode = scope.values.get(switch, "on")
            if mode == "on":
                continue  # like every other list
            values = scope.values[attribute] if attribute in own else ()
            written = scope.written[attribute] if attribute in own else ()
            theirs = outer.heritage.get(attribute, ()) if outer else ()
            scope.values[attribute] = scope.heritage[attribute] = inherited(mode, values, theirs)
            nodes = outer.written.get(attribute, ()) if outer else ()
            scope.written[attribute] = inherited(mode, written, nodes)

    def value(self, row: Directive, node: Node) -> Any:
        """Return the value of a directive's arguments; _NOTHING after noting a problem."""
        try:
            if row.has_entries:
                value = row.read(*node.arguments, node.children)
                self.warnings.extend(getattr(value, "warnings", ()))
                return value
            value = row.read(*node.arguments)
        except ConfigurationError as error:  # from the entries of a block
            self.problems.extend(error.problems)
            return _NOTHING
        except ValueError as error:
            # Only there: a person may have written %s too.
            text = str(error).replace('"%s" directive', f'"{node.name}" directive')
            position = getattr(error, "position", None) or node.position
            self.problem(text, position)
            return _NOTHING
        if row.block and value is not None:
            value.node = node  # its contents are read when the block around it has been read
        return value

    def check(self, node: Node, context: int) -> Directive | None:
        """Return the row of a directive that is allowed here with these arguments; None after noting why it is not."""
        row = find_directive(node.name, context)
        if row is None:
            self.problem(unknown_directive_text(node, context), node.position)
            return None
        text = refusal(row, node, context)
        if text is not None:
            self.problem(text, node.position)
            return None
        return row


_NOTHING = object()


Items = TypeVar("Items", bound=tuple[Any, ...])


def inherited(mode: str, own: Items, outer: Items) -> Items:
    """Return the items of a block that has some of its own and sees those of the block around it.

    mode: `on`: its own, or else the outer ones; `off`: its own; `merge`: its own, then the outer ones.
    """
    if mode == "merge":
        return cast(Items, own + outer)
    return outer if mode == "on" and not own else own


def refusal(row: Directive, node: Node, context: int) -> str | None:
    """Return why a directive is not allowed here in this form, in nginx's words; None when it is."""
    if not row.contexts & context:
        return f'"{node.name}" directive is not allowed here' + (_way_in(row) if context == MAIN else "")
    if not row.accepts(len(node.arguments)):
        return f'invalid number of arguments in "{node.name}" directive'
    if row.block and node.children is None:
        return f'directive "{node.name}" has no opening "{{"'
    if not row.block and node.children is not None:
        return f'directive "{node.name}" is not terminated by ";"'
    if "\0" in " ".join(node.arguments):
        return f'a zero byte in "{node.name}" directive'
    if context == MAIN and row.block and node.arguments:
        return f'invalid number of arguments in "{node.name}" directive'
    return None


# The blocks around a context, the shortest path first.
_WAYS = ((HTTP, '"http"'), (EVENTS, '"events"'), (SERVER, '"http" and "server"'), (LOCATION, '"http", "server" and "location"'))


def _way_in(row: Directive) -> str:
    """Return advice for a part of a configuration that is given as the whole."""
    way = next((way for context, way in _WAYS if row.contexts & context), "")
    return f", it belongs inside {way}: put that around it, or include this file there" if way else ""
