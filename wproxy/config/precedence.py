"""Directives that nginx must read before others, while TOML may have them in any order.

A TOML table comes after the values of its block, however its author thinks of it: `[http.log_format]` comes after
`access_log = ...`. nginx reads from top to bottom and refuses that, so the TOML reader puts such pairs in nginx's order. The
order of everything else stays that of the file.

Servers with `backup` and a method that does not support them are another pair: nginx refuses them in one order and not in the
other. No one writes both on purpose, so the TOML reader keeps the order of the file, and the writer uses `steps` for it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NamedTuple

from wproxy.config.tree import Node


class Precedence(NamedTuple):
    """One pair: directives named `early` go before the first one named in `late`.

    matters: tells for one directive of each name whether the order matters.
    """

    early: str
    late: Collection[str]
    matters: Callable[[Node, Node], bool] = lambda early, late: True


PRECEDENCES = (
    # "unknown log format"
    Precedence("log_format", ("access_log", "server")),
    # '"proxy_redirect default" should be placed after the "proxy_pass" directive'
    Precedence("proxy_pass", ("proxy_redirect",), lambda early, late: late.arguments[:1] == ("default",)),
)
WITHOUT_BACKUP = frozenset(("ip_hash", "hash", "random"))


def in_nginx_order(nodes: list[Node]) -> list[Node]:
    """Put the directives of a block in an order that nginx accepts; return the same list if it is in order already."""
    names = {node.name for node in nodes}
    for early, late, matters in PRECEDENCES:
        if early not in names or names.isdisjoint(late):
            continue
        first = next(index for index, node in enumerate(nodes) if node.name in late)
        behind = [node for node in nodes[first:] if node.name in late]
        moved = [node for node in nodes[first:] if node.name == early]
        if any(matters(one, other) for one in moved for other in behind):
            nodes = [*nodes[:first], *moved, *(node for node in nodes[first:] if node.name != early)]
    return nodes


def has_backup_before_method(nodes: list[Node]) -> bool:
    """Whether the directives of an upstream have a `backup` above a method that would refuse it below."""
    backup = next((index for index, node in enumerate(nodes) if node.name == "server" and "backup" in node.arguments), None)
    return backup is not None and any(node.name in WITHOUT_BACKUP for node in nodes[backup:])
