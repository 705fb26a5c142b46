"""The directories of temporary files: all that name one must have the same subdirectories (nginx: ngx_add_path)."""

from __future__ import annotations

import os
from collections.abc import Callable

from wproxy.config.tree import Node, Position
from wproxy.directives.temporary_path import TemporaryPath

WITH_LEVELS = tuple(f"{module}_temp_path" for module in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))


class TemporaryPaths:
    """The directories named so far, line by line."""

    def __init__(self, problem: Callable[[str, Position | None], None], prefix: str) -> None:
        self._problem = problem
        self._prefix = prefix
        self._known: dict[str, tuple[tuple[int, ...], Position]] = {}

    def note(self, lines: tuple[Node, ...], value: TemporaryPath) -> None:
        """Record one directive of one block."""
        position = lines[-1].position
        levels, first = self._known.setdefault(os.path.join(self._prefix, value.path), (value.levels, position))
        if levels != value.levels:
            text = f'the same path name "{value.path}" has other levels in {first} and'
            self._problem(text, position)
