"""The error log, in nginx's line format, to every place that `error_log` names (nginx: src/core/ngx_log.c).

The master and each worker have one of their own on the same files: a line is one `write` on a descriptor opened for appending,
so lines of several processes never mix.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from wproxy.directives.core import LEVELS
from wproxy.variables import error_log_time

RANKS = {level: rank for rank, level in enumerate(LEVELS)}
STDERR = 2

# Opens a log file by its path for appending and returns its descriptor; raises OSError.
OpenFile = Callable[[str], int]


def open_for_appending(path: str) -> int:
    """Open a log file, making it when it is missing; returns its descriptor. Raises OSError."""
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)


class ErrorLog:
    """Open logs. Each takes what is at least as grave as its level."""

    def __init__(
        self,
        targets: Iterable[tuple[str, str]],
        read_wall: Callable[[], float],
        open_file: OpenFile = open_for_appending,
    ) -> None:
        """Open (path or "stderr", level) pairs; raises OSError with its filename set, and nothing left open.

        read_wall: tells unix time in seconds.
        """
        self._targets = tuple((path, RANKS[level]) for path, level in targets)
        self._threshold = max((rank for _, rank in self._targets), default=-1)
        self._read_wall = read_wall
        self._open_file = open_file
        self._owns_stderr = False
        self._filenos = self._open()

    def logs(self, level: str) -> bool:
        """Whether a line of that level would be written anywhere."""
        return RANKS[level] <= self._threshold

    def write(self, level: str, text: str, serial: int = 0) -> None:
        """Log a line at a level of nginx's; `serial` is the number of the client connection it is about, if any."""
        rank = RANKS[level]
        if rank > self._threshold:
            return
        pid = os.getpid()
        connection = f"*{serial} " if serial else ""
        when = error_log_time(int(self._read_wall()))
        line = f"{when} [{level}] {pid}#{pid}: {connection}{text}\n".encode("utf-8", "replace")
        for fileno, (_, threshold) in zip(self._filenos, self._targets, strict=True):
            if rank <= threshold:
                try:
                    os.write(fileno, line)
                except OSError:
                    pass  # a full disk or a closed terminal: there is no place left to say so, and no reason to stop

    def reopen(self) -> None:
        """Open every file by its name again, after a rotation; raises OSError and keeps the old ones."""
        old, self._filenos = self._filenos, self._open()
        _close_files(old)
        if self._owns_stderr:
            self.take_over_stderr()

    def close(self) -> None:
        """Close the files. What is written afterwards goes nowhere."""
        _close_files(self._filenos)
        self._filenos = []
        self._targets = ()
        self._threshold = -1

    def take_over_stderr(self) -> None:
        """Let stray output of a process in the background land in the first log that is a file."""
        for fileno in self._filenos:
            if fileno != STDERR:
                os.dup2(fileno, STDERR, inheritable=True)
                self._owns_stderr = True
                return

    def _open(self) -> list[int]:
        filenos: list[int] = []
        for path, _ in self._targets:
            try:
                filenos.append(STDERR if path == "stderr" else self._open_file(path))
            except OSError:
                _close_files(filenos)
                raise
        return filenos

    def __repr__(self) -> str:
        return f"<error log to {', '.join(path for path, _ in self._targets)}>"


def _close_files(filenos: Iterable[int]) -> None:
    for fileno in filenos:
        if fileno != STDERR:
            os.close(fileno)
