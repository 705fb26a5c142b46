"""What nginx wants to have read before something else, and TOML may say in any order.

In TOML a table stands after the values of its block, however its author thinks of it: `[http.log_format]` comes after
`access_log = ...`. nginx reads from top to bottom and refuses that, so the reader of TOML puts such pairs in nginx's order. The
order of all else stays that of the file.

Servers with `backup` and a method that knows none are another pair: nginx refuses them in one order and not in the other. Nobody
who writes both means it, so TOML has them in the order of the file, and the writer of TOML keeps the order by `steps`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NamedTuple

from wproxy.config.tree import Node


class Precedence(NamedTuple):
    """One pair: directives of the name `early` go before the first of the names `late`.

    matters: whether it must be so, by one of each.
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
    """Put the directives of a block in an order that nginx accepts; the same list where it does already."""
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
    """Whether the directives of an upstream have a `backup` above the method that would refuse it below."""
    backup = next((index for index, node in enumerate(nodes) if node.name == "server" and "backup" in node.arguments), None)
    return backup is not None and any(node.name in WITHOUT_BACKUP for node in nodes[backup:])
