"""The master's error log, in nginx's line format, to every place that `error_log` names (nginx: src/core/ngx_log.c).

One os.write per line on a descriptor opened with O_APPEND: lines of several processes never mix.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable

from master.user import Identity
from wproxy.config.model import Configuration
from wproxy.config.tree import ConfigurationError, Problem
from wproxy.directives.core import LEVELS

RANKS = {level: rank for rank, level in enumerate(LEVELS)}
STDERR = 2
NO_FILES = ("off", "stdout", "stderr")  # what an access_log may name instead of a path


class ErrorLog:
    """Open logs. Each takes what is at least as grave as its level."""

    def __init__(self, targets: Iterable[tuple[str, str]], owner: Identity | None = None) -> None:
        """Open (path or "stderr", level) pairs; raises ConfigurationError, with nothing left open.

        owner: whom files belong to, so that workers who reopen them after a rotation may (nginx: ngx_reopen_files).
        """
        self._targets = tuple((path, RANKS[level]) for path, level in targets)
        self._owner = owner
        self._filenos = self._open()

    def write(self, level: str, text: str) -> None:
        """Log a line at a level of nginx's: "emerg" "alert" "crit" "error" "warn" "notice" "info" "debug"."""
        rank = RANKS[level]
        pid = os.getpid()
        line = f"{time.strftime('%Y/%m/%d %H:%M:%S')} [{level}] {pid}#{pid}: {text}\n".encode("utf-8", "replace")
        for fileno, (_, threshold) in zip(self._filenos, self._targets, strict=True):
            if rank <= threshold:
                try:
                    os.write(fileno, line)
                except OSError:  # a full disk or a closed terminal must not stop the master
                    pass

    def reopen(self) -> None:
        """Open every file by its name again, after a rotation; raises ConfigurationError and keeps the old ones."""
        old, self._filenos = self._filenos, self._open()
        _close_files(old)

    def close(self) -> None:
        """Close the files. Nothing may be written afterwards."""
        _close_files(self._filenos)
        self._filenos = []
        self._targets = ()

    def take_over_stderr(self) -> None:
        """Let stray output of a process in the background land in the first log that is a file."""
        for fileno in self._filenos:
            if fileno != STDERR:
                os.dup2(fileno, STDERR, inheritable=True)
                return

    def _open(self) -> list[int]:
        filenos: list[int] = []
        for path, _ in self._targets:
            try:
                filenos.append(STDERR if path == "stderr" else open_log_file(path, self._owner))
            except OSError as error:
                _close_files(filenos)
                raise _cannot_open(path, error) from None
        return filenos

    def __repr__(self) -> str:
        return f"<error log to {', '.join(path for path, _ in self._targets)}>"


def open_error_log(configuration: Configuration, owner: Identity | None) -> ErrorLog:
    """The logs that a configuration names, its relative paths made absolute; raises ConfigurationError."""
    targets = configuration.error_log
    return ErrorLog(((path if path == "stderr" else configuration.path(path), level) for path, level in targets), owner)


def provide_access_logs(configuration: Configuration, owner: Identity | None) -> None:
    """Create the access logs that are missing and give them to the workers, who open them by name as themselves.

    Raises ConfigurationError (nginx: ngx_reopen_files).
    """
    paths = {
        configuration.path(log.path)
        for server in configuration.servers
        for location in server.locations
        for log in location.access_log
        if log.path not in NO_FILES
    }
    for path in sorted(paths):
        try:
            os.close(open_log_file(path, owner))
        except OSError as error:
            raise _cannot_open(path, error) from None


def open_log_file(path: str, owner: Identity | None) -> int:
    """Open for appending, making the file and its directory when missing; it is given to the owner. Raises OSError."""
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    fileno = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    if owner is not None and _is_plain_file(path, fileno):
        os.fchown(fileno, owner.uid, -1)
    return fileno


def _is_plain_file(path: str, fileno: int) -> bool:
    """Whether this is a regular file of one name, and that name no symbolic link.

    Anything else must not change hands: /dev/stdout, or what a worker that was broken into made the name point to.
    """
    opened, named = os.fstat(fileno), os.lstat(path)
    is_same = (opened.st_dev, opened.st_ino) == (named.st_dev, named.st_ino)
    return is_same and stat.S_ISREG(opened.st_mode) and opened.st_nlink == 1


def _cannot_open(path: str, error: OSError) -> ConfigurationError:
    return ConfigurationError(Problem(f'open() "{path}" failed ({error.errno}: {error.strerror})'))


def _close_files(filenos: Iterable[int]) -> None:
    for fileno in filenos:
        if fileno != STDERR:
            os.close(fileno)
