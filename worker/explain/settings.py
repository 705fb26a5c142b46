"""The settings that apply to a request: as written and where, or their defaults."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from worker.upstream.peers import Group
from wproxy.config.model import Configuration, Location, Settings
from wproxy.config.registry import ENTRIES, LOCATION, REGISTRY, SERVER, UPSTREAM, Directive
from wproxy.config.tree import Node
from wproxy.explain import DEFAULT

# Rows that are not settings of a request: those that open blocks, and those that appear as steps and names.
_NO_SETTINGS = frozenset(("listen", "server_name", "location", "server", "upstream"))


def settings_of(location: Location, configuration: Configuration, group: Group | None) -> Iterator[dict[str, str]]:
    """Yield every setting that applies in a location, in its server and in its upstream: as written and where, or its default."""
    yield from settings_in(location, LOCATION, "location")
    yield from settings_in(location.server, SERVER, "server", beside=LOCATION)
    upstream = next((one for one in configuration.upstreams if group is not None and one.name == group.name), None)
    if upstream is not None and not upstream.implicit:
        yield from settings_in(upstream, UPSTREAM, "upstream")


def settings_in(block: Settings, context: int, name: str, beside: int = 0) -> Iterator[dict[str, str]]:
    """Yield the settings of one block of that context, except those that are found in a block of the context `beside`."""
    values = vars(block)
    for directive, row in _rows(context, beside, sum(map(len, REGISTRY.values()))):
        attribute = row.attribute
        nodes = block.written.get(attribute, ()) if attribute in values else ()
        for node in nodes:
            effect = "yes" if row.effective else "no"
            yield {"block": name, "name": directive, "value": _words(node), "from": str(node.position), "effect": effect}
        if nodes or row.default is None or (row.excludes and row.excludes in values):
            continue
        shown = row.default if isinstance(row.default, str) else " ".join(row.default)
        yield {"block": name, "name": directive, "value": shown, "from": DEFAULT, "effect": "yes"}


@lru_cache(8)
def _rows(context: int, beside: int, known: int) -> tuple[tuple[str, Directive], ...]:
    """Return the rows of settings in blocks of a context, by name. known: how many there are, as tables register late."""
    return tuple(
        (directive, row)
        for directive, rows in sorted(REGISTRY.items())
        for row in rows
        if row.contexts & context and not row.contexts & beside and row.inherit != "step" and row.name not in _NO_SETTINGS
        if not row.block or row.block & ENTRIES
    )


def _words(node: Node) -> str:
    shown = " ".join(f'"{word}"' if not word or " " in word else word for word in node.arguments)
    if node.children is None:
        return shown
    return f"{shown} {{ {len(node.children)} entries }}".lstrip()
