"""Reading of the contents of `map`, `geo` and `split_clients`: problems are reported at the line of each entry."""

from __future__ import annotations

from collections.abc import Callable

from wproxy.config.tree import ConfigurationError, Node, Problem

Read = Callable[[Node], None]


def read_entries(entries: list[Node], read: Read) -> None:
    """Give every entry to `read`, which raises ValueError for an invalid one.

    Raises ConfigurationError with all problems, each with its position.
    """
    problems = []
    for entry in entries:
        try:
            if entry.children is not None:
                raise ValueError('unexpected "{"')
            read(entry)
        except ValueError as error:
            problems.append(Problem(str(error), entry.position))
    if problems:
        raise ConfigurationError(*problems)
