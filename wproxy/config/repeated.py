"""Warnings about words that are repeated in the directives of one block.

Each function takes the nodes of one directive in a block, up to the current one, and yields warnings about the last of them.
"""

from __future__ import annotations

from collections.abc import Iterator

from wproxy.config.tree import Node, Problem


def repeated_words(nodes: tuple[Node, ...]) -> Iterator[Problem]:
    """Yield a warning for each word of a set that it contained already (nginx: ngx_conf_set_bitmask_slot)."""
    return _repeated(nodes, "value", set())


def repeated_types(nodes: tuple[Node, ...]) -> Iterator[Problem]:
    """Yield a warning for each type that was named already; text/html always is (nginx: ngx_http_types_slot)."""
    return _repeated(nodes, "MIME type", {"text/html"})


def repeated_types_without_html(nodes: tuple[Node, ...]) -> Iterator[Problem]:
    """Yield a warning for each type that was named already, where text/html is not part of every list."""
    return _repeated(nodes, "MIME type", set())


def _repeated(nodes: tuple[Node, ...], kind: str, seen: set[str]) -> Iterator[Problem]:
    seen.update(word.lower() for node in nodes[:-1] for word in node.arguments)
    for word in nodes[-1].arguments:
        if word.lower() in seen:
            yield Problem(f'duplicate {kind} "{word}"', nodes[-1].position)
        seen.add(word.lower())
