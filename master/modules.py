"""Python's own files, within reach of a worker that has given up root's rights.

A Python in root's home (pyenv, a virtual environment) lies behind a directory that nobody else may enter. What a worker has
imported by then it has; what it imports later would be missing, at the first request that needs it. So directories of modules are
opened before, and where the new user finds no way into one it goes by the open descriptor: that needs rights to the directory
itself, not to those before it.
"""

from __future__ import annotations

import importlib
import os
import sys


def hold_modules() -> dict[str, int]:
    """Open the directories that modules come from; returns their descriptors, the deepest path first."""
    held: dict[str, int] = {}
    for path in sorted(_directories(), key=len, reverse=True):
        try:
            held[path] = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            continue  # a zip file, or a place where there is nothing yet
    return held


def keep_within_reach(held: dict[str, int]) -> list[str]:
    """As the new user: have modules found by descriptor where their path is closed; returns the directories that stay closed."""
    moved: dict[str, str] = {}
    lost = []
    for path, fileno in held.items():
        by_descriptor = f"/proc/self/fd/{fileno}"
        if os.access(path, os.R_OK | os.X_OK):
            os.close(fileno)
        elif os.access(by_descriptor, os.R_OK | os.X_OK):
            moved[path] = by_descriptor
        else:
            os.close(fileno)
            lost.append(path)
    if moved:
        _move(moved)
    return lost


def _directories() -> set[str]:
    """Where `import` looks, and where packages lie that came from elsewhere (editable installations)."""
    found = {os.path.abspath(path) for path in sys.path}
    for name, module in list(sys.modules.items()):
        if "." not in name:
            found.update(os.path.dirname(os.path.abspath(path)) for path in getattr(module, "__path__", ()))
    return found


def _move(moved: dict[str, str]) -> None:
    """Have Python find what it knows by these paths by others."""

    def elsewhere(path: str) -> str:
        for old, new in moved.items():
            if path == old or path.startswith(f"{old}/"):
                return new + path[len(old) :]
        return path

    sys.path[:] = [elsewhere(os.path.abspath(path)) for path in sys.path]
    for module in list(sys.modules.values()):
        paths = getattr(module, "__path__", None)
        if paths:
            module.__path__ = [elsewhere(os.path.abspath(path)) for path in paths]
    sys.path_importer_cache.clear()
    importlib.invalidate_caches()
