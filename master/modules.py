"""Python's own files, kept accessible to a worker that has given up root's rights.

A Python in root's home (pyenv, a virtual environment) lies behind a directory that no other user may enter. Modules that a worker
has imported by then are loaded; later imports would fail, at the first request that needs them. So the directories of modules are
opened before, and where the new user has no access to one, it uses the open descriptor: that needs rights to the directory
itself, not to those above it.
"""

from __future__ import annotations

import importlib
import os
import sys


def hold_modules() -> dict[str, int]:
    """Open the directories that modules come from; return their descriptors, the deepest path first."""
    held: dict[str, int] = {}
    for path in sorted(_directories(), key=len, reverse=True):
        try:
            held[path] = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            continue  # a zip file, or a place where there is nothing yet
    return held


def keep_within_reach(held: dict[str, int]) -> list[str]:
    """As the new user: make modules found by descriptor if their path is closed; return the directories that stay closed."""
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
    """Return the directories where `import` looks, and those of packages from elsewhere (editable installations)."""
    found = {os.path.abspath(path) for path in sys.path}
    for name, module in list(sys.modules.items()):
        if "." not in name:
            found.update(os.path.dirname(os.path.abspath(path)) for path in getattr(module, "__path__", ()))
    return found


def _move(moved: dict[str, str]) -> None:
    """Make Python find under other paths what it knows under these."""

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
