"""The origins of a variable's value, through `set` and `map`: a rule that looks for `$uri` must find it under other names.

A variable that the configuration does not define is its own origin. One that it defines has the origins of all its values:
all `set` lines of the server and of the blocks around, and all values of a map. A capture in a map is a part of the map's source,
cut out by the regex of that entry.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from wproxy.check.blocks import Block, Blocks, variables_in
from wproxy.config.registry import LOCATION_IF, SERVER, SERVER_IF
from wproxy.config.tree import Node, Position


class Origin(NamedTuple):
    """One origin of a value.

    name: the variable at the beginning. block: the block that reads it. through: the lines that pass it on, from the variable in
    question to the beginning. entry: the key of the map entry on the way, None without a map. is_captured: whether it was cut out
    by a regex of that entry.
    """

    name: str
    block: Block
    through: tuple[Position, ...] = ()
    entry: str | None = None
    is_captured: bool = False

    @property
    def by(self) -> str:
        """The way, for a message: empty when the variable is used directly."""
        return f" (through {' and '.join(map(str, self.through))})" if self.through else ""


def origins(blocks: Blocks, block: Block, name: str) -> Iterator[Origin]:
    """Yield all origins of a variable that is used in a block; every definition is followed once."""
    yield from _origins(blocks, Origin(name.lower(), block), set())


def origins_in(blocks: Blocks, block: Block, text: str) -> Iterator[Origin]:
    """Yield the origins of all variables in a text that is used in a block."""
    for name in variables_in(text):
        yield from origins(blocks, block, name)


def _origins(blocks: Blocks, origin: Origin, seen: set[int]) -> Iterator[Origin]:
    definitions = [] if origin.name.isdigit() else list(_definitions(blocks, origin))
    if not definitions:
        yield origin
    for node, found in definitions:
        if id(node) not in seen:
            seen.add(id(node))
            for one in found:
                yield from _origins(blocks, one, seen)


def _definitions(blocks: Blocks, origin: Origin) -> Iterator[tuple[Node, list[Origin]]]:
    """Yield the lines that give a variable its value, each with the variables in that value."""
    for block in _setting_blocks(origin.block):
        for node in block.own("set"):
            if len(node.arguments) == 2 and node.arguments[0].lower() == f"${origin.name}":
                through = (*origin.through, node.position)
                names = variables_in(node.arguments[1])
                yield node, [Origin(name, block, through, origin.entry) for name in names]
    made = blocks.maps.get(f"${origin.name}")
    for entry in made.children or () if made is not None else ():
        if made is not None and len(entry.arguments) == 1:
            through = (*origin.through, entry.position)
            names = variables_in(entry.arguments[0])
            found = [Origin(name, origin.block, through, entry.name) for name in names if not _is_capture_of(entry.name, name)]
            if len(found) < len(names):
                sources = variables_in(made.arguments[0])
                found += [Origin(name, origin.block, through, entry.name, True) for name in sources]
            yield entry, found


def _is_capture_of(key: str, name: str) -> bool:
    """Whether a variable in the value of a map entry is a capture of the entry's regex."""
    return key.startswith("~") and (name.isdigit() or f"<{name}>" in key.lower())


def _setting_blocks(block: Block) -> Iterator[Block]:
    """Yield the blocks whose `set` may have run before a variable is read in this one."""
    for one in block.chain():
        yield from one.inside() if one.context == SERVER else (one,)


def is_guarded(blocks: Blocks, origin: Origin, variable: str) -> bool:
    """Whether a value is only given after a comparison of a client's variable: in an `if`, or by the key of a map entry that is
    not the default.
    """
    if origin.entry is not None and origin.entry not in ("default", "~.", "~.*", "~.+", "~^.*$", "~^.+$", "~*.*", "~", "~^"):
        return True
    conditions = [block for block in origin.block.chain() if block.context in (SERVER_IF, LOCATION_IF)]
    names = {one.name for block in conditions for one in origins_in(blocks, block, " ".join(block.node.arguments))}
    return variable in names


def location_of_capture(origin: Origin) -> Block | None:
    """Return the location whose regex made the capture that a variable holds, as far as that is certain."""
    location = next((one for one in origin.block.chain() if one.is_regex), None)
    if location is None or origin.is_captured:
        return None
    if not origin.name.isdigit():
        return location if f"<{origin.name}>" in location.pattern.lower() else None
    # A rewrite, or an `if` with a regex, makes captures of its own.
    is_other = any(
        block.has("rewrite") or any(word.lstrip("!") in ("~", "~*") for node in block.own("if") for word in node.arguments)
        for block in origin.block.chain()
        if block is not location.outer and block.context != SERVER
    )
    return None if is_other else location
