"""Warnings about addresses with bits set beyond the prefix of their network (nginx: ngx_ptocidr)."""

from __future__ import annotations

from collections.abc import Iterator

from wproxy.config.tree import Node, Problem
from wproxy.maps.addresses import parse_network


def low_bits(nodes: tuple[Node, ...]) -> Iterator[Problem]:
    """Yield a warning when the network in the last of these directives is not written as its first address."""
    node = nodes[-1]
    for text in node.arguments[:1]:
        try:
            has_low_bits = "/" in text and parse_network(text)[1]
        except ValueError:
            continue  # set_real_ip_from takes host names, too
        if has_low_bits:
            yield Problem(f"low address bits of {text} are meaningless", node.position)
