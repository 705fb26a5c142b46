"""The argument of client_body_temp_path and proxy_temp_path: where temporary files are."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class TemporaryPath(NamedTuple):
    """A directory for temporary files. levels: how many characters of a file's number, from its end, name each subdirectory."""

    path: str
    levels: tuple[int, ...] = ()

    def below(self, absolute: Callable[[str], str]) -> TemporaryPath:
        """Return the same with a path that does not depend on the working directory."""
        return self._replace(path=absolute(self.path))

    def __str__(self) -> str:
        return " ".join([self.path, *map(str, self.levels)])


# The digits of a file's number that may name subdirectories.
_MOST_DIGITS = 10


def temporary_path(path: str, *levels: str) -> TemporaryPath:
    """Read `PATH [LEVEL1 [LEVEL2 [LEVEL3]]]` (nginx: ngx_conf_set_path_slot)."""
    for level in levels:
        if not (level.isascii() and level.isdigit() and level.strip("0") and len(level) < 10):
            raise ValueError('"%s" directive invalid value')
    if sum(map(int, levels)) > _MOST_DIGITS:
        raise ValueError('"%s" directive invalid value')
    return TemporaryPath(path.rstrip("/") or "/", tuple(map(int, levels)))
