"""`open_file_cache` and `disable_symlinks`: how files are opened (nginx: ngx_http_core_module.c, ngx_open_file_cache.c)."""

from __future__ import annotations

from typing import Any, NamedTuple

from wproxy.directives.values import parse_time
from wproxy.template import Template, compile_template


def seconds(value: str) -> float:
    """Return whole seconds, from a time in units of years to seconds, without milliseconds."""
    found = parse_time(value)
    if found is None or "ms" in value:
        raise ValueError('"%s" directive invalid value')
    return found


class FileCache:
    """One `open_file_cache`, and a worker's files in it: all locations that inherit the line share them.

    most: the greatest number of files. inactive: seconds after which an unused file is forgotten.
    store: the worker's cache (worker.content.kept_files.FileStore).
    """

    __slots__ = ("inactive", "most", "store")

    def __init__(self, most: int, inactive: float) -> None:
        self.most = most
        self.inactive = inactive
        self.store: Any = None

    def __repr__(self) -> str:
        return f"<open file cache of {self.most}>"


def open_file_cache(*words: str) -> FileCache | None:
    """Read `off`, or `max=NUMBER [inactive=TIME]`."""
    most, inactive = 0, 60.0
    for word in words:
        name, _, value = word.partition("=")
        time = None if "ms" in value else parse_time(value)
        if name == "max" and value.isascii() and value.isdigit() and int(value):
            most = int(value)
        elif name == "inactive" and time is not None:
            inactive = time
        elif word != "off":
            raise ValueError(f'invalid "open_file_cache" parameter "{word}"')
    if "off" in words:
        return None
    if not most:
        raise ValueError('"open_file_cache" must have the "max" parameter')
    return FileCache(most, inactive)


class SymlinkPolicy(NamedTuple):
    """The symbolic links to refuse: all of them, or those whose owner is not the owner of their target.

    trusted: the beginning of a path that is not checked (`from=`).
    """

    by_owner: bool
    trusted: Template | None


def disable_symlinks(*words: str) -> SymlinkPolicy | None:
    """Read `off`, or `on|if_not_owner [from=PART]`."""
    mode, trusted = "", None
    for word in words:
        if word in ("off", "on", "if_not_owner"):
            if mode:
                raise ValueError(f'duplicate parameters "{mode} {word}"')
            mode = word
        elif word.startswith("from="):
            trusted = compile_template(word.removeprefix("from="))
        else:
            raise ValueError(f'invalid parameter "{word}"')
    if not mode:
        raise ValueError('"disable_symlinks" must have "off", "on" or "if_not_owner" parameter')
    if mode == "off":
        if trusted is not None:
            raise ValueError('"from=" cannot be used with "off" parameter')
        return None
    return SymlinkPolicy(mode == "if_not_owner", trusted)
