"""What one block sets, on top of what the blocks around it hand down.

`ScopeReader.read` takes the directives that stand in a block through the registry: may it stand here, has it the right number
of arguments, what do they mean. A directive that is wrong is noted and left out, so that all problems are found in one run.
"""

from __future__ import annotations

from typing import Any

from wproxy.config.effects import Ineffective, ineffective, ineffective_listen
from wproxy.config.registry import (
    EVENTS,
    GATHER,
    HTTP,
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
from wproxy.directives.access import TOGETHER
from wproxy.directives.files import EXCLUSIVE, repeated_extensions
from wproxy.directives.headers import INHERITED_BY, inherited

Values = dict[str, Any]
Written = dict[str, tuple[Node, ...]]


class Scope:
    """What one block sets: its own values by attribute name, and the directives they come from.

    heritage: of the values, those that an inner block sees.
    """

    __slots__ = ("heritage", "values", "written")

    def __init__(self, outer: Scope | None = None) -> None:
        self.values: Values = dict(outer.heritage) if outer else {}
        self.written: Written = {name: outer.written[name] for name in outer.heritage if name in outer.written} if outer else {}
        self.heritage: Values = dict(self.values)


class ScopeReader:
    """Reads blocks, collecting problems, and the directives that have no effect yet."""

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
        """The scope of a block (None: an empty one) of that context inside another."""
        scope = Scope(outer)
        if node is None:
            return scope
        own: set[str] = set()
        for child in node.children or ():
            row = self.check(child, context)
            if row is None:
                continue
            note = ineffective(row, child)
            if note is not None:
                self.ineffective.append(note)
            if row.name == "listen":
                self.ineffective.extend(ineffective_listen(child))
            kind = row.inherit
            attribute = "steps" if kind == STEP else row.attribute
            if attribute in own and kind in (SCALAR, OWN):
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
            if kind == UNION or child.name.endswith("_types"):
                self.warn_of_repetition(child, nodes[:-1])
            elif child.name == "types":
                self.warnings.extend(repeated_extensions(nodes))
            rival = EXCLUSIVE.get(attribute)
            if rival is not None:
                if rival in own:
                    text = f'"{child.name}" directive is duplicate, "{rival}" directive was specified earlier'
                    self.problem(text, child.position)
                    continue
                scope.values.pop(rival, None)
                scope.heritage.pop(rival, None)
            own.add(attribute)
            scope.values[attribute] = value
            scope.written[attribute] = nodes
            if kind not in (OWN, OWN_GATHER, STEP):
                scope.heritage[attribute] = value
        if own.intersection(TOGETHER):
            self.put_together(scope, own, node)
        for attribute, switch in INHERITED_BY.items():
            mode = scope.values.get(switch, "on")
            if mode != "on":
                mine = scope.values[attribute] if attribute in own else ()
                theirs = outer.heritage.get(attribute, ()) if outer else ()
                scope.values[attribute] = scope.heritage[attribute] = inherited(mode, mine, theirs, attribute in own)
                nodes = outer.written.get(attribute, ()) if outer and mode == "merge" else ()
                scope.written[attribute] = (*(scope.written[attribute] if attribute in own else ()), *nodes)
        return scope

    def put_together(self, scope: Scope, own: set[str], node: Node) -> None:
        """Make one list of the allow and deny of a block, in the order of the file."""
        order = {id(child): number for number, child in enumerate(node.children or ())}
        rules: list[tuple[int, Any]] = []
        for name in TOGETHER:
            if name in own:
                rules += zip(map(id, scope.written[name]), scope.values[name])
            else:
                for table in (scope.values, scope.heritage, scope.written):
                    table.pop(name, None)
        rules.sort(key=lambda rule: order[rule[0]])
        scope.values["access_rules"] = scope.heritage["access_rules"] = tuple(value for _, value in rules)

    def warn_of_repetition(self, node: Node, before: tuple[Node, ...]) -> None:
        """Note every word of a set that was in it already (nginx: ngx_conf_set_bitmask_slot, ngx_http_types_slot)."""
        is_types = node.name.endswith("_types")
        seen = {word.lower() for line in before for word in line.arguments}
        if is_types and node.name != "xslt_types":
            seen.add("text/html")  # the one that is always meant
        for word in node.arguments:
            if word.lower() in seen:
                kind = "MIME type" if is_types else "value"
                self.warnings.append(Problem(f'duplicate {kind} "{word}"', node.position))
            seen.add(word.lower())

    def value(self, row: Directive, node: Node) -> Any:
        """What a directive's arguments mean; _NOTHING after noting what is wrong with them."""
        try:
            if row.has_entries:
                value = row.read(*node.arguments, node.children)
                self.warnings.extend(getattr(value, "warnings", ()))
                return value
            value = row.read(*node.arguments)
        except ConfigurationError as error:  # of the entries of a block
            self.problems.extend(error.problems)
            return _NOTHING
        except ValueError as error:
            # Only there: a person may have written %s too.
            text = str(error).replace('"%s" directive', f'"{node.name}" directive')
            position = getattr(error, "position", None) or node.position
            self.problem(text, position)
            return _NOTHING
        if row.block and value is not None:
            value.node = node  # what is inside is read when the block around it has been read
        return value

    def check(self, node: Node, context: int) -> Directive | None:
        """The row of a directive that may stand here with these arguments; None after noting why not."""
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


def refusal(row: Directive, node: Node, context: int) -> str | None:
    """Why a directive may not stand here like this, in nginx's words; None when it may."""
    if not row.contexts & context:
        return f'"{node.name}" directive is not allowed here' + (_way_in(row) if context == MAIN else "")
    if not row.accepts(len(node.arguments)):
        return f'invalid number of arguments in "{node.name}" directive'
    if row.block and node.children is None:
        return f'directive "{node.name}" has no opening "{{"'
    if not row.block and node.children is not None:
        return f'directive "{node.name}" is not terminated by ";"'
    if any("\0" in argument for argument in node.arguments):
        return f'a zero byte in "{node.name}" directive'
    if context == MAIN and row.block and node.arguments:
        return f'invalid number of arguments in "{node.name}" directive'
    return None


# The blocks around a context, the shortest way first.
_WAYS = ((HTTP, '"http"'), (EVENTS, '"events"'), (SERVER, '"http" and "server"'), (LOCATION, '"http", "server" and "location"'))


def _way_in(row: Directive) -> str:
    """What to do where a part of a configuration is given as the whole."""
    way = next((way for context, way in _WAYS if row.contexts & context), "")
    return f", it stands inside {way}: put that around it, or include this file there" if way else ""
