"""The directories that a start makes: those of temporary files, and of caches (nginx: ngx_add_path).

All that name a directory of temporary files must have the same subdirectories; those of caches are compared in zones.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from wproxy.config.tree import Node, Position
from wproxy.directives.cache import CachePath
from wproxy.directives.temporary_path import TemporaryPath

WITH_LEVELS = tuple(f"{module}_temp_path" for module in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
CACHE_PATHS = ("proxy_cache_path", "fastcgi_cache_path", "uwsgi_cache_path", "scgi_cache_path")


class MadeDirectories:
    """The directories named so far, line by line. places: their absolute paths, and where each was first named."""

    def __init__(self, problem: Callable[[str, Position | None], None], prefix: str) -> None:
        self._problem = problem
        self._prefix = prefix
        self._levels: dict[str, tuple[tuple[int, ...], Position]] = {}
        self.places: dict[str, Position] = {}

    def note(self, lines: tuple[Node, ...], value: TemporaryPath) -> None:
        """Record one directive of one block."""
        position = lines[-1].position
        path = os.path.join(self._prefix, value.path)
        self.places.setdefault(path, position)
        levels, first = self._levels.setdefault(path, (value.levels, position))
        if levels != value.levels:
            text = f'the same path name "{value.path}" has other levels in {first} and'
            self._problem(text, position)

    def note_caches(self, lines: tuple[Node, ...], values: tuple[CachePath, ...]) -> None:
        """Record the caches of one block."""
        for line, cache in zip(lines, values, strict=False):
            self.places.setdefault(os.path.join(self._prefix, cache.path), line.position)
